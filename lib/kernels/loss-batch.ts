// What the losses take besides log-probabilities or logits, and what they report.
import { native } from './native.js';
import { asInts, asTensor, type Device, type Tensor, type TensorLike } from './tensor.js';

/** What a policy loss reports. Means are over active tokens unless said otherwise. */
export interface PolicyLossMetrics {
  /** The loss, with KL term and entropy bonus. */
  loss: number;
  /** Active tokens. */
  tokens: number;
  /** Nats; 0 where no entropies were given. */
  entropy: number;
  /** k3 estimate of the KL to the reference; 0 without one. */
  kl: number;
  /** Estimates of the KL to the policy that sampled: mean of old - new, and the nonnegative k3. */
  approxKl: number;
  /** Its k3 estimate, never negative. */
  approxKlK3: number;
  /** Of new to old probability, over tokens (over sequences, at sequence level); 1 when on-policy. */
  ratioMean: number;
  /** The largest of them. */
  ratioMax: number;
  /** The smallest of them. */
  ratioMin: number;
  /** Share of tokens (of sequences, at sequence level) with A < 0 and ratio < 1 - epsilon; A > 0 and ratio > 1 + epsilonHigh (cispo: epsilonHigh); either. */
  clipRatioLow: number;
  /** A > 0 and ratio > 1 + epsilonHigh. */
  clipRatioHigh: number;
  /** Either of the two. */
  clipRatioRegion: number;
  /** lossType vespo: mean of the sequences' weights; else 0. */
  phiMean: number;
  /** Effective sample size of the ratios as a share: (sum rho)^2 / (n sum rho^2). */
  effectiveSampleSize: number;
}

/** T tokens in B sequences, packed. */
export interface LossBatch {
  /**
   * [T] per token, or [B] per sequence. When T = B they are taken per token (the same, unless there are empty sequences).
   */
  advantages: TensorLike;
  /** int32 [B + 1]: sequence i owns tokens cuSeqlens[i] .. cuSeqlens[i + 1] - 1. */
  cuSeqlens: Tensor | ArrayLike<number>;
  /** [T]: log-probabilities when the tokens were sampled. Absent: on-policy, ratio 1 with the gradient through logProbs. */
  oldLogProbs?: TensorLike;
  /** [T]: log-probabilities under the reference policy; needed when beta is not 0. */
  refLogProbs?: TensorLike;
  /**
   * [T], 0 or more: multiply each token's policy term, not its KL term (lossType 'vespo' has them in its sequence weights instead,
   * and so takes weights of tokens only). See importanceWeights.
   */
  importanceWeights?: TensorLike;
  /** [T]: log-probabilities that the engine gave which sampled; read with offPolicyMaskThreshold. Default: oldLogProbs. */
  rolloutLogProbs?: TensorLike;
  /** int32 [T]: tokens with 0 take no part, whatever their other inputs hold. */
  mask?: Tensor | ArrayLike<number>;
}

/** The inputs that hold one number per token. */
export const TOKEN_INPUTS = ['oldLogProbs', 'refLogProbs', 'importanceWeights', 'rolloutLogProbs'] as const;
export const LOSS_BATCH = ['advantages', 'cuSeqlens', ...TOKEN_INPUTS, 'mask'] as const;

/** The batch as the addon takes it, and its size. Lengths are checked by the addon. */
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

/** Means from sums. Without an active token the ratios are 1 (nothing was off-policy) and all else is 0. */
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

/** What a loss's function of the addon gives: the sums, or on the GPU a ticket for them. */
export type NativeLoss = LossSums | { ticket: object };

/**
 * `outputs` with loss and metrics. On the GPU they are read when they are first asked for, which waits for the call and throws
 * what it found wrong.
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
