// The one place of the loss options: their names, defaults, checks, what the addon gets, and what its sums mean.
import { invalidArgument } from '../errors.js';
import { native } from '../native.js';
import { checkChoice, checkInteger, checkNumber, checkOptions } from '../options.js';
import type { PolicyLossMetrics, PolicyLossOptions } from '../policy/types.js';
import { asInts, asTensor, type Device, type Tensor, type TensorLike } from '../tensor.js';

/** Names of the {@link PolicyLossOptions}, for checkOptions. */
export const LOSS_OPTIONS = [
  'lossType',
  'importanceSamplingLevel',
  'epsilon',
  'epsilonHigh',
  'delta',
  'beta',
  'klRatioCorrection',
  'entropyCoef',
  'maxCompletionLength',
  'normalizer',
] as const;

// Numbers of native/kernels/clipped_loss/clipped_loss.h.
const AGGREGATION = { dapo: 0, bnpo: 0, grpo: 1, dr_grpo: 3 } as const;
const RATIO_LEVEL = { token: 0, sequence: 1 } as const;

/** The loss's parameters as the addon takes them: spread them into its arguments. */
export interface LossParams {
  ratioLevel: number;
  aggregation: number;
  epsilonLow: number;
  epsilonHigh: number;
  delta?: number;
  beta: number;
  klRatioCorrection: boolean;
  entropyCoef: number;
  normTokens: number;
  normSequences: number;
  maxLength: number;
}

/**
 * Options with their defaults, checked.
 *
 * @param given active tokens (absent: the kernel counts them), and sequences, of what the call gets: the normalizer when the
 *   options have none
 */
export function lossParams(options: PolicyLossOptions, given: { tokens?: number; sequences: number }): LossParams {
  const lossType = checkChoice('lossType', options.lossType ?? 'dapo', ['grpo', 'dapo', 'bnpo', 'dr_grpo']);
  const level = checkChoice('importanceSamplingLevel', options.importanceSamplingLevel ?? 'token', [
    'token',
    'sequence',
  ]);
  const epsilon = checkNumber('epsilon', options.epsilon ?? 0.2, 0, 1);
  const correction = options.klRatioCorrection ?? true;
  if (typeof correction !== 'boolean') throw invalidArgument('klRatioCorrection must be true or false');
  if (lossType === 'dr_grpo' && options.maxCompletionLength === undefined)
    throw invalidArgument(
      "lossType 'dr_grpo' needs maxCompletionLength: it divides by that length, not by the actual ones",
    );
  const { delta } = options;
  return {
    ratioLevel: RATIO_LEVEL[level],
    aggregation: AGGREGATION[lossType],
    epsilonLow: epsilon,
    epsilonHigh: checkNumber('epsilonHigh', options.epsilonHigh ?? epsilon, 0),
    delta: delta === undefined || delta === Infinity ? undefined : checkNumber('delta', delta, 0, Infinity, true),
    beta: checkNumber('beta', options.beta ?? 0, 0),
    klRatioCorrection: correction,
    entropyCoef: checkNumber('entropyCoef', options.entropyCoef ?? 0),
    maxLength: checkInteger('maxCompletionLength', options.maxCompletionLength ?? 1, 1),
    ...normalizer(options, lossType, given),
  };
}

function normalizer(options: PolicyLossOptions, lossType: string, given: { tokens?: number; sequences: number }) {
  const asked = options.normalizer;
  // A batch without an active token has loss 0, not 0 / 0.
  if (asked === undefined)
    return {
      normTokens: given.tokens === undefined ? 0 : Math.max(1, given.tokens),
      normSequences: Math.max(1, given.sequences),
    };
  if (lossType === 'bnpo')
    throw invalidArgument(
      "normalizer has no meaning with lossType 'bnpo', which averages over the tokens of each call: use 'dapo'",
    );
  checkOptions('normalizer', asked, ['tokens', 'sequences']);
  return {
    normTokens: checkNumber('normalizer.tokens', asked.tokens, 0, Infinity, true),
    normSequences: checkNumber('normalizer.sequences', asked.sequences, 0, Infinity, true),
  };
}

/** What the losses take besides log-probabilities or logits. T tokens in B sequences, packed. */
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
  /** int32 [T]: tokens with 0 take no part, whatever their other inputs hold. */
  mask?: Tensor | ArrayLike<number>;
}

export const LOSS_BATCH = ['advantages', 'cuSeqlens', 'oldLogProbs', 'refLogProbs', 'mask'] as const;

/** The batch as the addon takes it, and its size. Lengths are checked by the addon. */
export function lossBatch(batch: LossBatch, tokens: number, device: Device = 'cpu') {
  const cuSeqlens = asInts('cuSeqlens', batch.cuSeqlens, device);
  const advantages = asTensor('advantages', batch.advantages, device);
  const optional = (name: 'oldLogProbs' | 'refLogProbs') =>
    batch[name] === undefined ? undefined : asTensor(name, batch[name], device);
  const native = {
    cuSeqlens,
    advantages,
    advantagesPerToken: advantages.size === tokens,
    oldLogProbs: optional('oldLogProbs'),
    refLogProbs: optional('refLogProbs'),
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
