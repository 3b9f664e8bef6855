import type { PolicyBatch } from '../policy/types.js';
import type { ResolvedTrainerOptions } from './options.js';
import type { Step } from './step.js';

/** Tokens that an optimizer batch leaves out. */
export interface LeftOut {
  /** Number of tokens that take part but were left out of the batch. */
  tokens: number;
  /** Sum of -log p at sampling, over these tokens and those in the batch. */
  surprisal: number;
}

/**
 * One optimizer batch of a rollout, with its normalizer: part `part` of numMinibatches of `order`, a permutation of the
 * B responses.
 *
 * Responses whose advantages are all 0 are left out if nothing else can give them a gradient. With outcome advantages,
 * these are whole groups of equal rewards. They still count in the normalizer, so the gradient is the same, and in the
 * metrics (see updateMetrics).
 */
export function cutBatch(
  { rollout, advantages, refLogProbs }: Step,
  order: Int32Array,
  part: number,
  options: ResolvedTrainerOptions,
): { batch: PolicyBatch; normalizer?: { tokens: number; sequences: number }; leftOut: LeftOut } {
  const { numMinibatches, maskTruncatedCompletions, beta, entropyCoef, topEntropyQuantile, lossType } = options;
  const size = order.length / numMinibatches;
  // In the rollout's order, responses to one prompt are neighbours, so the policy reads the prompt once.
  const members = [...order.subarray(Math.round(part * size), Math.round((part + 1) * size))].sort((a, b) => a - b);
  const { cuSeqlens, finished } = rollout;
  const active = members.filter((i) => !maskTruncatedCompletions || finished[i]);
  const own = (values: Float32Array, i: number) => values.subarray(cuSeqlens[i], cuSeqlens[i + 1]);
  const count = (responses: readonly number[]) => responses.reduce((n, i) => n + cuSeqlens[i + 1] - cuSeqlens[i], 0);
  // bnpo averages over the tokens of the batch, and a quantile needs all tokens.
  const canSkip = beta === 0 && entropyCoef === 0 && topEntropyQuantile === 1 && lossType !== 'bnpo';
  const none = active.length === 0;
  let chosen = canSkip ? active.filter((i) => own(advantages, i).some((advantage) => advantage !== 0)) : active;
  // The optimizer's momentum moves the weights in every update, even without a gradient.
  if (chosen.length === 0) chosen = (none ? members : active).slice(0, 1);

  const tokens = (values: Float32Array) => {
    const packed = new Float32Array(count(chosen));
    let at = 0;
    for (const i of chosen) {
      packed.set(own(values, i), at);
      at += own(values, i).length;
    }
    return packed;
  };
  const batch: PolicyBatch = {
    prompts: chosen.map((i) => rollout.prompts[i]),
    completions: chosen.map((i) => rollout.completions[i]),
    advantages: none ? tokens(advantages).fill(0) : tokens(advantages),
    mask: none ? new Int32Array(count(chosen)) : undefined,
    oldLogProbs: tokens(rollout.logProbs),
    refLogProbs: refLogProbs && tokens(refLogProbs),
    rolloutLogProbs: rollout.rolloutLogProbs && tokens(rollout.rolloutLogProbs),
    importanceWeights: rollout.importanceWeights && tokens(rollout.importanceWeights),
  };
  const surprisal = active.reduce((sum, i) => own(rollout.logProbs, i).reduce((s, logProb) => s - logProb, sum), 0);
  const leftOut = { tokens: Math.max(0, count(active) - count(chosen)), surprisal };
  if (lossType === 'bnpo') return { batch, leftOut };
  const normalizer = none ? { tokens: 1, sequences: 1 } : { tokens: count(active), sequences: active.length };
  return { batch, normalizer, leftOut };
}
