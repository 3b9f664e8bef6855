// An update through a Tinker server: our kernel computes the loss and its gradient in the log-probabilities, the
// server the gradient in the weights.

import { PrlError } from '../../base/errors.js';
import { cumulative } from '../../base/packed.js';
import type { LossBatch } from '../../kernels/loss-batch.js';
import type { PolicyLossOptions } from '../../kernels/loss-options.js';
import { type PolicyLoss, policyLoss } from '../../kernels/policy-loss.js';
import type { adamOptions } from '../adam.js';
import { packBatch } from '../batch.js';
import type { PolicyBatch, UpdateMetrics } from '../types.js';
import { type Scored, scoredSequences } from './datums.js';
import { foldedAdvantages, type LossPlan, lossPlan, minus } from './loss.js';
import type { LossReduction, Model, ServerLoss } from './model.js';
import type { AdamParams } from './wire/messages.js';

/** A batch as the loss and the server take it. */
export interface ReadBatch {
  loss: LossBatch & PolicyLossOptions;
  options: PolicyLossOptions;
  sequences: Scored[];
  /** Number of tokens that take part. */
  tokens: number;
  /** Number of completion tokens. */
  size: number;
  /** [size] whether each takes part. */
  takesPart: (t: number) => boolean;
}

export function readBatch(batch: PolicyBatch, options: PolicyLossOptions): ReadBatch {
  const { packed, given } = packBatch(batch);
  const [ids, cuSeqlens, start] = [packed.ids, packed.cuSeqlens, packed.start].map(({ data }) => data as Int32Array);
  const { advantages, oldLogProbs, refLogProbs, importanceWeights, rolloutLogProbs, mask } = packed;
  const cuCompletions = cumulative(Array.from(start, (first, i) => cuSeqlens[i + 1] - cuSeqlens[i] - first));
  const optional = Object.entries({ oldLogProbs, refLogProbs, importanceWeights, rolloutLogProbs, mask });
  const inputs = Object.fromEntries(optional.filter(([, value]) => value !== undefined));
  const flags = mask?.data;
  return {
    loss: { advantages, cuSeqlens: cuCompletions, ...inputs, ...options },
    options,
    sequences: scoredSequences({ ids, cuSeqlens, start }),
    tokens: given.tokens,
    size: cuCompletions[cuCompletions.length - 1],
    takesPart: (t) => flags === undefined || flags[t] !== 0,
  };
}

/** The loss of the batch under these log-probabilities. */
export const measureLoss = ({ loss }: ReadBatch, logProbs: Float32Array): PolicyLoss =>
  policyLoss({ ...loss, logProbs });

/** One optimizer step. */
export async function takeStep(
  model: Model,
  read: ReadBatch,
  adam: ReturnType<typeof adamOptions>,
  path: 'auto' | 'surrogate',
  signal?: AbortSignal,
): Promise<UpdateMetrics & { server: object }> {
  const { sequences } = read;
  const plan = lossPlan(read.options, read.loss, path);
  // A server that averages divides the terms of cross_entropy by the sum of their weights, which may be anything.
  const measure = async () =>
    plan.lossFn === 'linear' ||
    (plan.lossFn === 'cross_entropy' && (await model.reduction(sequences, signal)) === 'mean');
  const measured = (await measure()) ? await model.forward(sequences, signal) : undefined;
  const loss = serverLoss(read, plan, await model.reduction(sequences, signal), measured);
  const { logProbs, metrics: server, gradNorm } = await model.step(sequences, loss, adamParams(adam), signal);
  if (gradNorm === Infinity || gradNorm === -Infinity)
    throw new PrlError(
      'ERR_PRL_ENGINE',
      'the server took an optimizer step with a gradient that is not finite, so its weights are lost: resume from the last checkpoint',
    );
  const { metrics } = measureLoss(read, logProbs);
  return { ...metrics, entropy: meanSurprisal(read, logProbs), gradNorm, applied: true, server };
}

/** What the server computes gradients of. `measured`: the log-probabilities now, for a linear loss. */
function serverLoss(read: ReadBatch, plan: LossPlan, reduction: LossReduction, measured?: Float32Array): ServerLoss {
  const { sequences, size } = read;
  const scaled = (values: Float32Array) => (reduction === 'mean' ? asSum(values, sequences) : values);
  if (plan.lossFn === 'ppo' || plan.lossFn === 'cispo') {
    const advantages = scaled(foldedAdvantages(read.loss, read.options, size));
    const logprobs = Float32Array.from(oldLogProbs(read), (value, t) => (read.takesPart(t) ? value : 0));
    return { lossFn: plan.lossFn, config: plan.config, inputs: { logprobs, advantages } };
  }
  if (!measured)
    return { lossFn: 'cross_entropy', inputs: { weights: foldedAdvantages(read.loss, read.options, size) } };
  const gradient = minus(measureLoss(read, measured).dLogProbs.data);
  if (reduction === 'sum') return { lossFn: 'cross_entropy', inputs: { weights: gradient } };
  // At ratio 1, importance_sampling is linear as well, and its advantages are no divisor.
  return { lossFn: 'importance_sampling', inputs: { logprobs: measured, advantages: scaled(gradient) } };
}

const oldLogProbs = ({ loss }: ReadBatch): ArrayLike<number> => (loss.oldLogProbs as { data: Float32Array }).data;

/** Undoes the average over the positions of each sequence, and over sequences. */
function asSum(values: Float32Array, sequences: readonly Scored[]): Float32Array {
  const scaled = Float32Array.from(values);
  for (const { ids, offset, count } of sequences)
    for (let t = offset; t < offset + count; t++) scaled[t] *= (ids.length - 1) * sequences.length;
  return scaled;
}

/** The mean of -log p over the tokens that take part: an estimate of the entropy on an on-policy batch. */
function meanSurprisal({ tokens, takesPart }: ReadBatch, logProbs: Float32Array): number {
  return logProbs.reduce((sum, value, t) => (takesPart(t) ? sum - value : sum), 0) / Math.max(1, tokens);
}

const adamParams = (adam: ReturnType<typeof adamOptions>): AdamParams => ({
  learning_rate: adam.learningRate,
  beta1: adam.adamBeta1,
  beta2: adam.adamBeta2,
  eps: adam.adamEpsilon,
  weight_decay: adam.weightDecay,
  grad_clip_norm: adam.maxGradNorm ?? 0,
});
