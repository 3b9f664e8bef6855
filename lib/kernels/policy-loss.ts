import { invalidArgument } from '../base/errors.js';
import { checkNumber, checkOptions, describe } from '../base/options.js';
import { entropyThreshold } from './entropy-threshold.js';
import type { PolicyLossMetrics } from './loss-batch.js';
import { LOSS_BATCH, type LossBatch, lossBatch, withLoss } from './loss-batch.js';
import type { PolicyLossOptions } from './loss-options.js';
import { LOSS_OPTIONS, lossParams } from './loss-options.js';
import { native } from './native.js';
import { asInts, asTensor, deviceOf, Tensor, type TensorLike } from './tensor.js';
import { checkLogits } from './token-log-probs.js';

export interface PolicyLossArgs extends LossBatch, PolicyLossOptions {
  /** [T] float32: log-probabilities of the tokens under the policy in training. */
  logProbs: TensorLike;
  /** [T] float32: entropies. Required if entropyCoef is not 0, else only averaged. */
  entropy?: TensorLike | undefined;
  /**
   * [T] float32, memory of its own: receives d loss / d logProbs. After an error it holds garbage. Default: a new
   * tensor.
   */
  gradient?: Tensor | undefined;
}

/**
 * Outputs are on the device of the inputs. On the GPU the call is queued. The first access to `loss` or `metrics` waits
 * for it and throws its errors. Without such an access, the next read() of a tensor or synchronize() throws them.
 */
export interface PolicyLoss {
  /** The loss of this call. The losses of micro-batches add up. */
  readonly loss: number;
  /** [T] float32: d loss / d logProbs. */
  dLogProbs: Tensor;
  /** [T] float32: d loss / d entropy. Absent without entropies. */
  dEntropy?: Tensor;
  /** Statistics of the tokens. */
  readonly metrics: PolicyLossMetrics;
}

const missing = (name: string): never => {
  throw invalidArgument(`topEntropyQuantile needs ${name}`);
};

/**
 * Policy loss from log-probabilities, and its gradient: for a trainer that computes the log-probabilities itself. The
 * formulas, with their papers, are in native/kernels/clipped_loss/clipped_loss.h. {@link PolicyLossOptions.lossType}
 * chooses one.
 *
 * @throws PrlError ERR_PRL_NON_FINITE if an input, loss or gradient of an active token is not finite; it names the
 *   token. TypeError for an option of another lossType, RangeError for lengths and offsets that do not fit
 */
export function policyLoss(args: PolicyLossArgs): PolicyLoss {
  args = checkOptions('policyLoss', args, ['logProbs', 'entropy', 'gradient', ...LOSS_BATCH, ...LOSS_OPTIONS]);
  if (args.gradient !== undefined && !(args.gradient instanceof Tensor))
    throw invalidArgument(`gradient must be a Tensor, not ${describe(args.gradient)}`);
  const device = deviceOf({ ...args });
  const logProbs = asTensor('logProbs', args.logProbs, device);
  const entropy = args.entropy === undefined ? undefined : asTensor('entropy', args.entropy, device);
  const batch = lossBatch(args, logProbs.size, device);
  const threshold = entropyThreshold(args, args.mask, () => args.entropy ?? missing('entropy'));
  const dLogProbs = args.gradient ?? Tensor.empty([logProbs.size], { device });
  const dEntropy = entropy && Tensor.empty([logProbs.size], { device });
  const result = native().clippedLoss({
    logProbs,
    entropy,
    ...batch.native,
    ...lossParams(args, batch.given, threshold),
    dLogProbs,
    dEntropy,
  });
  return withLoss(result, { dLogProbs, ...(dEntropy && { dEntropy }) });
}

export interface PolicyLossFromLogitsArgs extends LossBatch, PolicyLossOptions {
  /** [T, vocab] float32, bfloat16 or float16: the logits that predict each token. */
  logits: Tensor;
  /** int32 [T]: the token ids. */
  targets: Tensor | ArrayLike<number>;
  /** Divides the logits. Default 1. */
  temperature?: number | undefined;
  /**
   * Where the gradient goes. Default: a new tensor. 'inplace' overwrites the logits and needs no memory; after an error
   * they hold garbage. A Tensor must have their shape and dtype. false: no gradient.
   */
  gradient?: 'inplace' | Tensor | false | undefined;
}

/** Device and timing are as for {@link PolicyLoss}. */
export interface PolicyLossFromLogits {
  /** The loss of this call. The losses of micro-batches add up. */
  readonly loss: number;
  /** [T] float32; 0 for masked tokens, whose logits are not read. */
  logProbs: Tensor;
  /** [T] float32; 0 for masked tokens. */
  entropy: Tensor;
  /** d loss / d logits. Absent with `gradient: false`. */
  dLogits?: Tensor;
  /** Statistics of the tokens. */
  readonly metrics: PolicyLossMetrics;
}

/**
 * Same as {@link policyLoss}, but straight from logits, with the gradient. It reads the logits once: at token level,
 * each row's log-probability, entropy, loss and gradient are computed while the row is in cache.
 *
 * @throws as tokenLogProbs and policyLoss
 */
export function policyLossFromLogits(args: PolicyLossFromLogitsArgs): PolicyLossFromLogits {
  args = checkOptions('policyLossFromLogits', args, [
    'logits',
    'targets',
    'temperature',
    'gradient',
    ...LOSS_BATCH,
    ...LOSS_OPTIONS,
  ]);
  const { logits } = args;
  const rows = checkLogits(logits);
  const device = deviceOf({ ...args });
  const batch = lossBatch(args, rows, device);
  const threshold = entropyThreshold(args, args.mask, () => {
    const { topEntropyQuantile: _, ...all } = args;
    return policyLossFromLogits({ ...all, gradient: false }).entropy;
  });
  const dLogits = gradientTensor(logits, args.gradient);
  const out = { logProbs: Tensor.empty([rows], { device }), entropy: Tensor.empty([rows], { device }) };
  const result = native().policyLoss({
    logits,
    targets: asInts('targets', args.targets, device),
    temperature: checkNumber('temperature', args.temperature ?? 1, 0, Infinity, true),
    ...batch.native,
    ...lossParams(args, batch.given, threshold),
    ...out,
    dLogits,
  });
  return withLoss(result, { ...out, ...(dLogits && { dLogits }) });
}

function gradientTensor(logits: Tensor, gradient: PolicyLossFromLogitsArgs['gradient']): Tensor | undefined {
  if (gradient === undefined) return Tensor.empty(logits.shape, { dtype: logits.dtype, device: logits.device });
  if (gradient === 'inplace') return logits;
  if (gradient === false) return undefined;
  if (gradient instanceof Tensor) return gradient;
  throw invalidArgument(`gradient must be 'inplace', a Tensor or false, not ${describe(gradient)}`);
}
