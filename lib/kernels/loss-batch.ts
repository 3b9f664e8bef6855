// The inputs of the losses besides log-probabilities and logits, and the metrics that they report.
import { native } from './native.js';
import { asInts, asTensor, type Device, type Tensor, type TensorLike } from './tensor.js';

/** Metrics of a policy loss. Means are over active tokens unless stated otherwise. */
export interface PolicyLossMetrics {
  /** The loss, including the KL term and the entropy bonus. */
  loss: number;
  /** Number of active tokens. */
  tokens: number;
  /** Mean entropy in nats; 0 without entropies. */
  entropy: number;
  /** k3 estimate of the KL to the reference; 0 without a reference. */
  kl: number;
  /** Estimate of the KL to the policy that sampled: the mean of old - new. */
  approxKl: number;
  /** k3 estimate of the same KL, never negative. */
  approxKlK3: number;
  /** Mean ratio of new to old probability, over tokens (at sequence level, over sequences); 1 when on-policy. */
  ratioMean: number;
  /** The largest ratio. */
  ratioMax: number;
  /** The smallest ratio. */
  ratioMin: number;
  /** Share of tokens (at sequence level, of sequences) with A < 0 and ratio < 1 - epsilon. */
  clipRatioLow: number;
  /** Share with A > 0 and ratio > 1 + epsilonHigh (cispo: ratio > epsilonHigh). */
  clipRatioHigh: number;
  /** Share to which either of the two applies. */
  clipRatioRegion: number;
  /** With lossType vespo, the mean of the sequences' weights; else 0. */
  phiMean: number;
  /** Effective sample size of the ratios as a share: (sum rho)^2 / (n sum rho^2). */
  effectiveSampleSize: number;
}

/** T tokens in B sequences, packed. */
export interface LossBatch {
  /**
   * [T] per token, or [B] per sequence. If T = B they are per token (the same, unless there are empty sequences).
   */
  advantages: TensorLike;
  /** int32 [B + 1]: sequence i owns tokens cuSeqlens[i] .. cuSeqlens[i + 1] - 1. */
  cuSeqlens: Tensor | ArrayLike<number>;
  /** [T]: log-probabilities at sampling time. Absent: on-policy, ratio 1 with the gradient through logProbs. */
  oldLogProbs?: TensorLike | undefined;
  /** [T]: log-probabilities under the reference policy. Required if beta is not 0. */
  refLogProbs?: TensorLike | undefined;
  /**
   * [T], 0 or more: factors of each token's policy term, not of its KL term. lossType 'vespo' puts them into its
   * sequence weights instead, and so takes only weights of a token mode. See importanceWeights.
   */
  importanceWeights?: TensorLike | undefined;
  /** [T]: log-probabilities of the engine that sampled, for offPolicyMaskThreshold. Default: oldLogProbs. */
  rolloutLogProbs?: TensorLike | undefined;
  /** int32 [T]: a token with 0 takes no part, whatever its other inputs hold. */
  mask?: Tensor | ArrayLike<number> | undefined;
}

/** The inputs with one number per token. */
export const TOKEN_INPUTS = ['oldLogProbs', 'refLogProbs', 'importanceWeights', 'rolloutLogProbs'] as const;
export const LOSS_BATCH = ['advantages', 'cuSeqlens', ...TOKEN_INPUTS, 'mask'] as const;

/** The batch as the addon takes it, and its size. The addon checks the lengths. */
export function lossBatch(batch: LossBatch, tokens: number, device: Device = 'cpu') {
  const cuSeqlens = asInts('cuSeqlens', batch.cuSeqlens, device);
  const advantages = asTensor('advantages', batch.advantages, device);
  const optional = (name: (typeof TOKEN_INPUTS)[number]) =>
    batch[name] === undefined ? undefined : asTensor(name, batch[name], device);
  const native = {
    cuSeqlens,
    advantages,
    advantagesPerToken: advantages.size === tokens,
    oldLogProbs: optional('oldLogProbs'),
    refLogProbs: optional('refLogProbs'),
    importanceWeights: optional('importanceWeights'),
    rolloutLogProbs: optional('rolloutLogProbs'),
    mask: batch.mask === undefined ? undefined : asInts('mask', batch.mask, device),
  };
  return { native, given: { sequences: Math.max(0, cuSeqlens.size - 1) } };
}

/** The addon's sums over active tokens; those of micro-batches add (ratioMax and ratioMin by max and min). */
export interface LossSums {
  loss: number;
  tokens: number;
  sequences: number;
  entropy: number;
  kl: number;
  oldKlK1: number;
  oldKlK3: number;
  ratio: number;
  ratioSquared: number;
  ratioMax: number;
  ratioMin: number;
  ratioCount: number;
  clipLow: number;
  clipHigh: number;
  phi: number;
  clipCount: number;
}

/** Means from sums. Without an active token the ratios are 1 (nothing was off-policy) and everything else is 0. */
export function lossMetrics(sums: LossSums): PolicyLossMetrics {
  const tokens = Math.max(1, sums.tokens);
  const clips = Math.max(1, sums.clipCount);
  const none = sums.ratioCount === 0;
  return {
    loss: sums.loss,
    tokens: sums.tokens,
    entropy: sums.entropy / tokens,
    kl: sums.kl / tokens,
    approxKl: sums.oldKlK1 / tokens,
    approxKlK3: sums.oldKlK3 / tokens,
    ratioMean: none ? 1 : sums.ratio / sums.ratioCount,
    ratioMax: none ? 1 : sums.ratioMax,
    ratioMin: none ? 1 : sums.ratioMin,
    clipRatioLow: sums.clipLow / clips,
    clipRatioHigh: sums.clipHigh / clips,
    clipRatioRegion: (sums.clipLow + sums.clipHigh) / clips,
    phiMean: sums.phi / clips,
    effectiveSampleSize: none ? 1 : sums.ratio ** 2 / (sums.ratioCount * sums.ratioSquared),
  };
}

/** Result of a loss function of the addon: the sums, or on the GPU a ticket for them. */
export type NativeLoss = LossSums | { ticket: object };

/**
 * Adds loss and metrics to `outputs`. On the GPU the first access reads them: it waits for the call and throws its
 * errors.
 */
export function withLoss<T extends object>(
  result: NativeLoss,
  outputs: T,
): T & { loss: number; metrics: PolicyLossMetrics } {
  let metrics = 'ticket' in result ? undefined : lossMetrics(result);
  if (metrics) return { loss: metrics.loss, ...outputs, metrics };
  const settle = () => {
    metrics ??= lossMetrics(native().lossSums(result));
    return metrics;
  };
  return Object.defineProperties(outputs, {
    loss: { get: () => settle().loss, enumerable: true },
    metrics: { get: settle, enumerable: true },
  }) as T & { loss: number; metrics: PolicyLossMetrics };
}
