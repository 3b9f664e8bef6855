import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { groupAdvantages } from '../../lib/index.js';
import { grpo } from '../../lib/methods/grpo.js';
import { near } from '../reference/numbers.js';
import { batch, outcomeOptions, spread } from './batch.js';

// Mean 1/3; sample deviation of (1, 0, 0).
const deviation = Math.sqrt(1 / 3);

const methods = suite('grpo');
methods('grpo gives every token the outcome, scaled as scaleRewards says', () => {
  const scaled = (scaleRewards: 'group' | 'batch' | 'none') => grpo.run(batch, outcomeOptions(scaleRewards)).advantages;
  const epsilon = 1e-4;
  near(scaled('group'), spread([2 / 3, -1 / 3, -1 / 3, 0].map((a) => a / (deviation + epsilon))), 1e-6);
  near(scaled('none'), spread([2 / 3, -1 / 3, -1 / 3, 0]), 1e-6);
  // The batch's rewards are 1, 0, 0, 0: their sample deviation is 1 / 2.
  near(scaled('batch'), spread([2 / 3, -1 / 3, -1 / 3, 0].map((a) => a / (0.5 + epsilon))), 1e-6);
});

methods('grpo passes estimator, deviation, epsilon and singleton to the kernel', () => {
  const { rewards, groupIds } = batch;
  const none = { epsilon: 1e-4 };
  for (const [change, expected] of [
    [{ advantageEstimator: 'rloo' }, { kind: 'rloo' }],
    [{ advantageEstimator: 'dr_grpo' }, { kind: 'dr_grpo' }],
    [{ advantageStd: 'population' }, { std: 'population', ...none }],
    [{ advantageEpsilon: 0.5 }, { epsilon: 0.5 }],
    [{ singleton: 'raw' }, { singleton: 'raw', ...none }],
    [
      { scaleRewards: 'batch', advantageStd: 'population' },
      { scale: 'batch', std: 'population', ...none },
    ],
    [{ scaleRewards: 'none', advantageStd: 'population' }, { std: 'none' }],
  ] as const) {
    const { advantages } = grpo.run(batch, { ...outcomeOptions('group'), ...change });
    const values = Array.from(groupAdvantages(rewards, groupIds, expected).data);
    assert.equal(Array.from(advantages), spread(values), JSON.stringify(change));
  }
});

methods.run();
