import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { coherence, groupAdvantages, progrsAdvantages } from '../../lib/index.js';
import { progrs } from '../../lib/methods/progrs.js';
import { near } from '../reference/numbers.js';
import { batch, cuSeqlens, outcomeOptions } from './batch.js';

const progrsOptions = {
  ...outcomeOptions('group'),
  lambda: 1,
  alpha: 0.5,
  coherenceWindows: [2, 3, 5],
  lambdaVar: 1,
  center: 'incorrect',
  granularity: 'response',
  combine: 'advantage',
} as const;
// Three steps, one, two and one.
const stepScores = Float32Array.of(0.9, 0.8, 0.7, 0.1, 0.9, 0.6, 0.5);
const correct = [1, 0, 0, 0];

const methods = suite('progrs');
methods('progrs passes each option to the kernel, and each changes the result', () => {
  const { groupIds, cuSteps } = batch;
  const common = { stepScores, correct, groupIds, cuSeqlens, cuSteps };
  const outcomeAdvantages = groupAdvantages(batch.rewards, groupIds).data;
  const same = (change: object, args: object) => {
    const { advantages } = progrs.run({ ...batch, stepScores }, { ...progrsOptions, ...change });
    const expected = progrsAdvantages({ ...common, lambda: 1, ...args }).data;
    assert.equal(Array.from(advantages), Array.from(expected), JSON.stringify(change));
    return expected;
  };
  const outputs = [
    same({}, { outcomeAdvantages }),
    same({ lambda: 3 }, { outcomeAdvantages, lambda: 3 }),
    same({ alpha: 0.25 }, { outcomeAdvantages, alpha: 0.25 }),
    same({ coherenceWindows: [1, 3] }, { outcomeAdvantages, windows: [1, 3] }),
    same({ lambdaVar: 0.5 }, { outcomeAdvantages, lambdaVar: 0.5 }),
    same({ center: 'both' }, { outcomeAdvantages, center: 'both' }),
    same({ center: 'none' }, { outcomeAdvantages, center: 'none' }),
    same({ granularity: 'step' }, { outcomeAdvantages, granularity: 'step' }),
    same(
      { combine: 'reward', scaleRewards: 'none' },
      { rewards: batch.rewards, combine: 'reward', normalize: { std: 'none' } },
    ),
  ];
  assert.is(new Set(outputs.map((values) => values.join())).size, outputs.length, 'each option does something');
});

methods('progrs reports the scores, the coherence and the share of wrong responses it lifts', () => {
  const of = (change: object, rewards = batch.rewards) =>
    progrs.run({ ...batch, rewards, stepScores }, { ...progrsOptions, ...change }).metrics;
  // One group of the four, all wrong: naive scores push all of them up, centred ones those above the mean.
  const wrong = { ...batch, groupIds: new Int32Array(4), rewards: new Float32Array(4), stepScores };
  for (const center of ['incorrect', 'none', 'both'] as const) {
    const { metrics } = progrs.run(wrong, { ...progrsOptions, center });
    assert.is(metrics['prm/wrong_positive_share_naive'], 1);
    assert.is(metrics['prm/wrong_positive_share'], 0.5, 'the first and the third');
  }
  const metrics = of({});
  near([metrics['prm/score_mean']], [4.5 / 7], 1e-6);
  const coherent = coherence(stepScores, [0, 3, 4, 6, 7]).data;
  near([metrics['prm/coherence_mean']], [Array.from(coherent).reduce((a, b) => a + b, 0) / 4], 1e-6);
  assert.not.ok('prm/wrong_positive_share' in of({}, new Float32Array(4).fill(1)), 'no response is wrong');
});

methods.run();
