import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { frpo } from '../../lib/methods/frpo.js';
import { grpo } from '../../lib/methods/grpo.js';
import { prl } from '../../lib/methods/prl.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { groupAdvantagesReference } from '../reference/advantages.js';
import { near } from '../reference/numbers.js';
import { batch, completions, cuSeqlens, outcomeOptions, spread, tokenizer, total } from './batch.js';

const frpoOptions = { frpoBeta: 0.25, frpoEstimator: 'k1', frpoDirection: 'reverse', frpoBaseline: false } as const;
const prlOptions = { eta: 4, suffix: 'inclusive', prlAdvantage: 'outcome' } as const;

const methods = suite('prl');
methods("prl is the outcome minus the log-ratio from the step's last token on, divided by eta", () => {
  const eta = 4;
  const { advantages, metrics } = prl.run(batch, { ...outcomeOptions('none'), ...prlOptions, eta });
  const outcome = [2 / 3, -1 / 3, -1 / 3, 0];
  const delta = Array.from({ length: total }, (_, t) => batch.oldLogProbs[t] - batch.refLogProbs![t]);
  const expected = Array.from({ length: total }, (_, t) => {
    const i = outcome.findIndex((_, response) => t < cuSeqlens[response + 1]);
    const stepEnd = batch.cuSteps.find((begin) => begin > t)! - 1;
    let suffix = 0;
    for (let j = stepEnd; j < cuSeqlens[i + 1]; j++) suffix += delta[j];
    return outcome[i] - suffix / eta;
  });
  near(advantages, expected, 1e-5);
  near([metrics['process_reward/mean']], [-delta.reduce((a, b) => a + b, 0) / eta / (batch.cuSteps.length - 1)], 1e-6);
});

methods('prl with the reference itself is grpo', () => {
  const same = { ...batch, refLogProbs: batch.oldLogProbs };
  const { advantages } = prl.run(same, { ...outcomeOptions('group'), ...prlOptions });
  assert.equal(advantages, grpo.run(batch, outcomeOptions('group')).advantages);
});

methods("prlAdvantage 'process' sums rewards and suffix sums per response, then normalises", () => {
  const eta = 4;
  const delta = Array.from({ length: total }, (_, t) => batch.oldLogProbs[t] - batch.refLogProbs![t]);
  for (const suffix of ['inclusive', 'exclusive'] as const) {
    const sums = completions.map((_, i) => {
      let sum = 0;
      for (let t = cuSeqlens[i]; t < cuSeqlens[i + 1]; t++) {
        sum += batch.rewards[i];
        for (let j = suffix === 'inclusive' ? t : t + 1; j < cuSeqlens[i + 1]; j++) sum -= delta[j] / eta;
      }
      return sum;
    });
    const options = { ...outcomeOptions('group'), eta, suffix, prlAdvantage: 'process' } as const;
    const { advantages, metrics } = prl.run(batch, options);
    // Sums of up to 16 tokens, rounded to float32 before they are compared.
    near(advantages, spread([...groupAdvantagesReference(sums, batch.groupIds)]), 1e-5, suffix);
    const outcome = prl.run(batch, { ...options, prlAdvantage: 'outcome' });
    assert.equal(metrics, outcome.metrics);
  }
});

methods('prl with steps of one token is frpo with beta 1 / eta and k1, bit for bit', () => {
  const cuSteps = completionSteps(completions, tokenizer, { stepSplit: 'length', stepLength: 1 });
  const { advantages } = prl.run({ ...batch, cuSteps }, { ...outcomeOptions('group'), ...prlOptions, eta: 4 });
  assert.equal(frpo.run(batch, { ...outcomeOptions('group'), ...frpoOptions }).advantages, advantages);
});

methods.run();
