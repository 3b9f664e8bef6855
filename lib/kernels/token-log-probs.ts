import { outOfRange } from '../base/errors.js';
import { checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asInts, asTensor, deviceOf, Tensor, type TensorLike } from './tensor.js';

/** Options of {@link tokenLogProbs}. */
export interface TokenLogProbsOptions {
  /** Divides the logits. Default 1. */
  temperature?: number | undefined;
}

/** Result of {@link tokenLogProbs}: one value per row, on the device of the logits. */
export interface TokenLogProbs {
  /** [tokens] float32: log softmax(logits / temperature)[target]. */
  logProbs: Tensor;
  /** [tokens] float32: entropy of softmax(logits / temperature), in nats. */
  entropy: Tensor;
  /** [tokens] float32: log sum exp(logits / temperature). */
  logSumExp: Tensor;
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
  options = checkOptions('tokenLogProbs', options, ['temperature']);
  const temperature = checkNumber('temperature', options.temperature ?? 1, 0, Infinity, true);
  const rows = checkLogits(logits);
  const device = deviceOf({ logits, targets });
  const output = () => Tensor.empty([rows], { device });
  const result = { logProbs: output(), entropy: output(), logSumExp: output() };
  native().tokenLogprob({ logits, targets: asInts('targets', targets, device), temperature, ...result });
  return result;
}

/** The number of rows of [tokens, vocab] logits. */
export function checkLogits(logits: Tensor): number {
  const { shape } = asTensor('logits', logits);
  if (shape.length !== 2) throw outOfRange(`logits must have the shape [tokens, vocab], not [${shape}]`);
  return shape[0];
}
