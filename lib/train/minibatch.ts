import type { PolicyBatch } from '../policy/types.js';
import type { Rollout } from '../rollout/rollout.js';
import type { ResolvedTrainerOptions } from './options.js';

interface Cut {
  rollout: Rollout;
  /** [T] */
  advantages: Float32Array;
  /** [T] */
  refLogProbs?: Float32Array;
  /** A permutation of the B responses. */
  order: Int32Array;
  /** Which of the numMinibatches parts of `order`. */
  part: number;
}

/**
 * One optimizer batch of a rollout, with the normalizer that belongs to it.
 *
 * Responses whose advantages are all 0 are left out of it where nothing else could give them a gradient: with outcome
 * advantages those are whole groups of equal rewards. They still count in the normalizer, so the gradient is the same.
 */
export function cutBatch({ rollout, advantages, refLogProbs, order, part }: Cut, options: ResolvedTrainerOptions) {
  const { numMinibatches, maskTruncatedCompletions, beta, entropyCoef, topEntropyQuantile, lossType } = options;
  const size = order.length / numMinibatches;
  // In the rollout's order: responses to one prompt lie side by side, and the policy then reads the prompt once.
  const members = [...order.subarray(Math.round(part * size), Math.round((part + 1) * size))].sort((a, b) => a - b);
  const { cuSeqlens, finished } = rollout;
  const active = members.filter((i) => !maskTruncatedCompletions || finished[i]);
  const normalizer = {
    tokens: active.reduce((sum, i) => sum + cuSeqlens[i + 1] - cuSeqlens[i], 0),
    sequences: active.length,
  };
  // bnpo averages over what is given; a quantile is of all tokens.
  const canSkip = beta === 0 && entropyCoef === 0 && topEntropyQuantile === 1 && lossType !== 'bnpo';
  const teaches = (i: number) =>
    advantages.subarray(cuSeqlens[i], cuSeqlens[i + 1]).some((advantage) => advantage !== 0);
  let chosen = canSkip ? active.filter(teaches) : active;
  // The optimizer's momentum moves the weights in every update, also in one without a gradient.
  if (chosen.length === 0) chosen = members.slice(0, 1);
  const none = active.length === 0;

  const tokens = (values: Float32Array) => {
    const parts = chosen.map((i) => values.subarray(cuSeqlens[i], cuSeqlens[i + 1]));
    const packed = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const values of parts) {
      packed.set(values, at);
      at += values.length;
    }
    return packed;
  };
  const batch: PolicyBatch = {
    prompts: chosen.map((i) => rollout.prompts[i]),
    completions: chosen.map((i) => rollout.completions[i]),
    advantages: none ? tokens(advantages).fill(0) : tokens(advantages),
    oldLogProbs: tokens(rollout.logProbs),
    refLogProbs: refLogProbs && tokens(refLogProbs),
    rolloutLogProbs: rollout.rolloutLogProbs && tokens(rollout.rolloutLogProbs),
    importanceWeights: rollout.importanceWeights && tokens(rollout.importanceWeights),
  };
  if (lossType === 'bnpo') return { batch };
  return { batch, normalizer: none ? { tokens: 1, sequences: 1 } : normalizer };
}
