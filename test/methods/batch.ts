// Four responses in two groups, cut into steps, that the tests of the methods share.
import type { MethodBatch } from '../../lib/methods/method.js';
import type { OutcomeOptions } from '../../lib/methods/outcome.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { ArithmeticTask } from '../../lib/tasks/arithmetic.js';

export const { tokenizer } = new ArithmeticTask();
const texts = ['1+2=3\n3+4=7\n#7', '#6', '1+2=3\n#3', '#7'];
export const completions = texts.map((text) => Int32Array.from([...tokenizer.encode(text), tokenizer.eosTokenId]));
export const cuSeqlens = Int32Array.from([
  0,
  ...completions.map((_, i) => completions.slice(0, i + 1).reduce((n, c) => n + c.length, 0)),
]);
export const total = cuSeqlens[4];
export const batch: MethodBatch = {
  rewards: Float32Array.from([1, 0, 0, 0]),
  groupIds: Int32Array.from([5, 5, 5, 9]),
  cuSeqlens,
  cuSteps: completionSteps(completions, tokenizer, { stepSplit: 'newline', stepLength: 1 }),
  oldLogProbs: Float32Array.from({ length: total }, (_, t) => -0.1 * ((t % 7) + 1)),
  refLogProbs: Float32Array.from({ length: total }, (_, t) => -0.2 * ((t % 5) + 1)),
};
export const outcomeOptions = (scaleRewards: 'group' | 'batch' | 'none'): OutcomeOptions => ({
  scaleRewards,
  advantageEstimator: 'grpo',
  advantageStd: 'sample',
  advantageEpsilon: 1e-4,
  singleton: 'zero',
});

/** What each token of response i gets, in float64. */
export const spread = (values: number[]) =>
  values.flatMap((value, i) => Array<number>(completions[i].length).fill(value));
