import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { grpo } from '../../lib/methods/grpo.js';
import type { MethodBatch, OutcomeOptions } from '../../lib/methods/method.js';
import { prl } from '../../lib/methods/prl.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { ArithmeticTask } from '../../lib/tasks/arithmetic.js';
import { near } from '../reference/numbers.js';

const { tokenizer } = new ArithmeticTask();
const texts = ['1+2=3\n3+4=7\n#7', '#6', '1+2=3\n#3', '#7'];
const completions = texts.map((text) => Int32Array.from([...tokenizer.encode(text), tokenizer.eosTokenId]));
const cuSeqlens = Int32Array.from([
  0,
  ...completions.map((_, i) => completions.slice(0, i + 1).reduce((n, c) => n + c.length, 0)),
]);
const total = cuSeqlens[4];
const batch: MethodBatch = {
  rewards: Float32Array.from([1, 0, 0, 0]),
  groupIds: Int32Array.from([5, 5, 5, 9]),
  cuSeqlens,
  cuSteps: completionSteps(completions, tokenizer, { stepSplit: 'newline', stepLength: 1 }),
  oldLogProbs: Float32Array.from({ length: total }, (_, t) => -0.1 * ((t % 7) + 1)),
  refLogProbs: Float32Array.from({ length: total }, (_, t) => -0.2 * ((t % 5) + 1)),
};
const outcomeOptions = (scaleRewards: 'group' | 'batch' | 'none'): OutcomeOptions => ({
  scaleRewards,
  advantageEstimator: 'grpo',
  advantageStd: 'sample',
  advantageEpsilon: 1e-4,
  singleton: 'zero',
});
const prlOptions = { eta: 4, suffix: 'inclusive', prlAdvantage: 'outcome' } as const;
// Mean 1/3; sample deviation of (1, 0, 0).
const deviation = Math.sqrt(1 / 3);

/** What each token of response i gets, in float64. */
const spread = (values: number[]) => values.flatMap((value, i) => Array(completions[i].length).fill(value));

const methods = suite('methods');
methods('steps end after each newline; the answer and the end are the last one', () => {
  const begins = (i: number) => Array.from(batch.cuSteps).filter((at) => at >= cuSeqlens[i] && at < cuSeqlens[i + 1]);
  assert.equal(begins(0), [0, 6, 12]);
  assert.equal(begins(1), [cuSeqlens[1]]);
  assert.equal(begins(2), [cuSeqlens[2], cuSeqlens[2] + 6]);
  const fixed = completionSteps(completions, tokenizer, { stepSplit: 'length', stepLength: 8 });
  assert.equal(Array.from(fixed), [0, 8, cuSeqlens[1], cuSeqlens[2], cuSeqlens[2] + 8, cuSeqlens[3], total]);
});

methods('grpo: the outcome on every token, scaled as asked', () => {
  const scaled = (scaleRewards: 'group' | 'batch' | 'none') => grpo(batch, outcomeOptions(scaleRewards)).advantages;
  const epsilon = 1e-4;
  near(scaled('group'), spread([2 / 3, -1 / 3, -1 / 3, 0].map((a) => a / (deviation + epsilon))), 1e-6);
  near(scaled('none'), spread([2 / 3, -1 / 3, -1 / 3, 0]), 1e-6);
  // The batch's rewards are 1, 0, 0, 0: their sample deviation is 1 / 2.
  near(scaled('batch'), spread([2 / 3, -1 / 3, -1 / 3, 0].map((a) => a / (0.5 + epsilon))), 1e-6);
});

methods('prl: the outcome minus the log-ratio from the last token of the step on, divided by eta', () => {
  const eta = 4;
  const { advantages, metrics } = prl(batch, { ...outcomeOptions('none'), ...prlOptions, eta });
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
  const { advantages } = prl(same, { ...outcomeOptions('group'), ...prlOptions });
  assert.equal(advantages, grpo(batch, outcomeOptions('group')).advantages);
});
methods.run();
