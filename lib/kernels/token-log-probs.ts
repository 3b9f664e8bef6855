import { outOfRange } from '../base/errors.js';
import { checkBoolean, checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asInts, asTensor, deviceOf, Tensor, type TensorLike } from './tensor.js';

/** Options of {@link tokenLogProbs}. */
export interface TokenLogProbsOptions {
  /** Divides the logits. Default 1. */
  temperature?: number | undefined;
  /** Also returns which targets are the most likely tokens. Default false. */
  top1?: boolean | undefined;
}

/** Result of {@link tokenLogProbs}: one value per row, on the device of the logits. */
export interface TokenLogProbs {
  /** [tokens] float32: log softmax(logits / temperature)[target]. */
  logProbs: Tensor;
  /** [tokens] float32: entropy of softmax(logits / temperature), in nats. */
  entropy: Tensor;
  /** [tokens] float32: log sum exp(logits / temperature). */
  logSumExp: Tensor;
  /** [tokens] int32, with the option `top1`: 1 where no logit of the row is above the target's, else 0. */
  top1?: Tensor;
}

/**
 * Log-probability of each target, with the entropy and the log-sum-exp of its row, in one pass over the logits. Outputs
 * are on the device of the logits. On the GPU the call is queued, and the next read() or synchronize() throws its
 * errors.
 *
 * @param logits [tokens, vocab] float32, bfloat16 or float16; -inf marks an impossible token
 * @param targets [tokens] int32 in [0, vocab)
 * @throws RangeError for a target outside the vocabulary, PrlError ERR_PRL_NON_FINITE for a row that holds a NaN or
 *   +inf, or only -inf; both name the row
 */
export function tokenLogProbs(logits: Tensor, targets: TensorLike, options: TokenLogProbsOptions = {}): TokenLogProbs {
  options = checkOptions('tokenLogProbs', options, ['temperature', 'top1']);
  const temperature = checkNumber('temperature', options.temperature ?? 1, 0, Infinity, true);
  const rows = checkLogits(logits);
  const device = deviceOf({ logits, targets });
  const output = () => Tensor.empty([rows], { device });
  const result: TokenLogProbs = { logProbs: output(), entropy: output(), logSumExp: output() };
  if (checkBoolean('top1', options.top1 ?? false)) result.top1 = Tensor.empty([rows], { dtype: 'int32', device });
  native().tokenLogprob({ logits, targets: asInts('targets', targets, device), temperature, ...result });
  return result;
}

/** The number of rows of [tokens, vocab] logits. */
export function checkLogits(logits: Tensor): number {
  const { shape } = asTensor('logits', logits);
  if (shape.length !== 2) throw outOfRange(`logits must have the shape [tokens, vocab], not [${shape}]`);
  return shape[0];
}
