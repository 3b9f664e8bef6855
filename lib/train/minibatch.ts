import { outOfRange } from '../base/errors.js';
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

/** Throws for more minibatches than a rollout has responses: some would have none. */
export function checkMinibatches({ numMinibatches, promptsPerStep, numGenerations }: ResolvedTrainerOptions): void {
  const responses = promptsPerStep * numGenerations;
  if (numMinibatches > responses)
    throw outOfRange(
      `numMinibatches must be at most ${responses}, the responses of a step (promptsPerStep ${promptsPerStep} times numGenerations ${numGenerations}), not ${numMinibatches}`,
    );
}

/** Why no response of a step takes part; undefined where importance weights are the reason, which was said before. */
export function whyEmpty(
  { rollout: { finished } }: Step,
  { maskTruncatedCompletions, method }: ResolvedTrainerOptions,
): string | undefined {
  const cut = finished.filter((ended) => !ended).length;
  if (maskTruncatedCompletions && cut > 0)
    return `${cut} of ${finished.length} were cut off at maxCompletionLength, and maskTruncatedCompletions leaves them out`;
  return method === 'raft' ? 'method raft learns from right responses only' : undefined;
}

/** One optimizer batch of a rollout. */
export interface Cut {
  /** Absent if no response takes part in the loss: then there is nothing to take an optimizer step with. */
  batch?: PolicyBatch;
  normalizer?: { tokens: number; sequences: number };
  leftOut: LeftOut;
}

/**
 * One optimizer batch of a rollout, with its normalizer: part `part` of numMinibatches of `order`, a permutation of the
 * B responses.
 *
 * A response takes part in the loss unless it is masked, has importance weights of 0 only, or is wrong with method
 * raft, which learns from right responses only. Without one that takes part there is no batch.
 *
 * Responses whose advantages are all 0 are left out if nothing else can give them a gradient. With outcome advantages,
 * these are whole groups of equal rewards. They still count in the normalizer, so the gradient is the same, and in the
 * metrics (see updateMetrics). If all are such, the batch keeps one of them: a gradient of 0 is a measured one, and
 * AdamW averages it with the others, as in TRL and verl.
 */
export function cutBatch(
  { rollout, advantages, refLogProbs }: Step,
  order: Int32Array,
  part: number,
  options: ResolvedTrainerOptions,
): Cut {
  const { numMinibatches, maskTruncatedCompletions, beta, entropyCoef, topEntropyQuantile, lossType, method } = options;
  const size = order.length / numMinibatches;
  // In the rollout's order, responses to one prompt are neighbours, so the policy reads the prompt once.
  const members = [...order.subarray(Math.round(part * size), Math.round((part + 1) * size))].sort((a, b) => a - b);
  const { cuSeqlens, finished, importanceWeights } = rollout;
  const active = members.filter((i) => !maskTruncatedCompletions || finished[i]);
  const own = (values: Float32Array, i: number) => values.subarray(cuSeqlens[i], cuSeqlens[i + 1]);
  const count = (responses: readonly number[]) => responses.reduce((n, i) => n + cuSeqlens[i + 1] - cuSeqlens[i], 0);
  // bnpo averages over the tokens of the batch, and a quantile needs all tokens.
  const canSkip = beta === 0 && entropyCoef === 0 && topEntropyQuantile === 1 && lossType !== 'bnpo';
  const surprisal = active.reduce((sum, i) => own(rollout.logProbs, i).reduce((s, logProb) => s - logProb, sum), 0);
  const isUsed = (values: Float32Array | undefined, i: number) =>
    !values || own(values, i).some((value) => value !== 0);
  // The KL term and the entropy bonus are of all responses, whatever their weights and advantages.
  const ofAll = beta !== 0 || entropyCoef !== 0;
  const takesPart = (i: number) =>
    cuSeqlens[i] < cuSeqlens[i + 1] &&
    (ofAll || (isUsed(importanceWeights, i) && (method !== 'raft' || isUsed(advantages, i))));
  const taking = active.filter(takesPart);
  if (taking.length === 0) return { leftOut: { tokens: count(active), surprisal } };
  const used = canSkip ? active.filter((i) => isUsed(advantages, i)) : active;
  const chosen = used.length > 0 ? used : taking.slice(0, 1);

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
    advantages: tokens(advantages),
    oldLogProbs: tokens(rollout.logProbs),
    refLogProbs: refLogProbs && tokens(refLogProbs),
    rolloutLogProbs: rollout.rolloutLogProbs && tokens(rollout.rolloutLogProbs),
    importanceWeights: rollout.importanceWeights && tokens(rollout.importanceWeights),
  };
  const leftOut = { tokens: count(active) - count(chosen), surprisal };
  if (lossType === 'bnpo') return { batch, leftOut };
  return { batch, normalizer: { tokens: count(active), sequences: active.length }, leftOut };
}
