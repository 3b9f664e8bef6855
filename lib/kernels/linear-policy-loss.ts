import { invalidArgument } from '../base/errors.js';
import { checkBoolean, checkInteger, checkNumber, checkOptions } from '../base/options.js';
import { entropyThreshold } from './entropy-threshold.js';
import type { PolicyLossMetrics } from './loss-batch.js';
import { LOSS_BATCH, type LossBatch, lossBatch, withLoss } from './loss-batch.js';
import type { PolicyLossOptions } from './loss-options.js';
import { LOSS_OPTIONS, lossParams } from './loss-options.js';
import { native } from './native.js';
import { asInts, asTensor, type Device, deviceOf, Tensor } from './tensor.js';

/** Arguments of {@link linearLogProbs}. */
export interface LinearLogProbsArgs {
  /** [T, width]: the hidden states that predict each token. float32; on the GPU also bfloat16 and float16. */
  hidden: Tensor;
  /** [vocab, width]: the output head, with the dtype of `hidden`. */
  head: Tensor;
  /** int32 [T]: the token ids. */
  targets: Tensor | ArrayLike<number>;
  /** Divides the logits. Default 1. */
  temperature?: number | undefined;
  /**
   * Bytes of logits that exist at once. The tokens pass through in as many chunks as this takes. Every chunk costs a
   * pass over the head, and with gradients one over dHead. Default: 512 MiB on the GPU, 64 MiB on the CPU (more if 64
   * tokens need more).
   */
  workspaceBytes?: number | undefined;
}

const LINEAR = ['hidden', 'head', 'targets', 'temperature', 'workspaceBytes'];

/** Arguments of the addon's functions of hidden states, except their outputs. */
function linear(args: LinearLogProbsArgs, device: Device) {
  const hidden = asTensor('hidden', args.hidden);
  const head = asTensor('head', args.head);
  const rowBytes = (head.dtype === 'float32' ? 4 : 2) * (head.shape[0] ?? 0);
  const workspaceBytes = Math.max(2 ** (device === 'cuda' ? 29 : 26), 64 * rowBytes);
  return {
    hidden,
    head,
    targets: asInts('targets', args.targets, device),
    temperature: checkNumber('temperature', args.temperature ?? 1, 0, Infinity, true),
    workspaceBytes: checkInteger('workspaceBytes', args.workspaceBytes ?? workspaceBytes, 1),
  };
}

/** Result of {@link linearLogProbs}. The tensors are on the device of the inputs. */
export interface LinearLogProbs {
  /** [T] float32: log softmax(hidden . head / temperature)[target]. */
  logProbs: Tensor;
  /** [T] float32: the entropy of that softmax, in nats. */
  entropy: Tensor;
}

/**
 * Same as {@link tokenLogProbs}, but from hidden states and the output head. It computes the logits of one chunk of
 * tokens at a time and never stores all of them. Outputs are on the device of the inputs. On the GPU the call is
 * queued, and the next read() or synchronize() throws its errors.
 *
 * @throws as tokenLogProbs; on the GPU also PrlError ERR_PRL_UNSUPPORTED if there is no cuBLAS (it says how to get it)
 */
export function linearLogProbs(args: LinearLogProbsArgs): LinearLogProbs {
  args = checkOptions('linearLogProbs', args, LINEAR);
  const device = deviceOf({ ...args });
  const given = linear(args, device);
  const shape = [given.hidden.shape[0] ?? 0];
  const out = { logProbs: Tensor.empty(shape, { device }), entropy: Tensor.empty(shape, { device }) };
  native().linearLogprob({ ...given, ...out });
  return out;
}

export interface LinearPolicyLossArgs extends LinearLogProbsArgs, LossBatch, PolicyLossOptions {
  /** [T, width], with the dtype of `hidden`: receives d loss / d hidden. Default: a new tensor. */
  dHidden?: Tensor | undefined;
  /** [vocab, width] float32: receives d loss / d head. Default: a new tensor. */
  dHead?: Tensor | undefined;
  /** Adds to dHead instead of overwriting it, so that micro-batches add up. Requires dHead. Default false. */
  accumulate?: boolean | undefined;
}

/** Result of {@link linearPolicyLoss}. The tensors are on the device of the inputs. */
export interface LinearPolicyLoss extends LinearLogProbs {
  /** The loss of this call. The losses of micro-batches add up. */
  loss: number;
  /** [T, width], with the dtype of `hidden`: d loss / d hidden. */
  dHidden: Tensor;
  /** [vocab, width] float32: d loss / d head. */
  dHead: Tensor;
  /** Statistics of the tokens. */
  metrics: PolicyLossMetrics;
}

/**
 * Same as {@link policyLoss}, but from hidden states and the output head, with both gradients. It computes the logits
 * of one chunk of tokens at a time and never stores all of them. Log-probabilities and entropies of masked tokens are
 * 0. After an error, dHidden and dHead hold garbage.
 *
 * @throws as linearLogProbs and policyLoss
 */
export function linearPolicyLoss(args: LinearPolicyLossArgs): LinearPolicyLoss {
  args = checkOptions('linearPolicyLoss', args, [
    ...LINEAR,
    'dHidden',
    'dHead',
    'accumulate',
    ...LOSS_BATCH,
    ...LOSS_OPTIONS,
  ]);
  const device = deviceOf({ ...args });
  const given = linear(args, device);
  const { hidden, head } = given;
  const tokens = hidden.shape[0] ?? 0;
  const { dHidden, dHead } = args;
  const accumulate = checkBoolean('accumulate', args.accumulate ?? false);
  if (accumulate && dHead === undefined) throw invalidArgument('accumulate needs dHead, the tensor to add to');
  const batch = lossBatch(args, tokens, device);
  const out = {
    logProbs: Tensor.empty([tokens], { device }),
    entropy: Tensor.empty([tokens], { device }),
    dHidden:
      dHidden === undefined
        ? Tensor.empty(hidden.shape, { dtype: hidden.dtype, device })
        : asTensor('dHidden', dHidden),
    dHead: dHead === undefined ? Tensor.empty(head.shape, { device }) : asTensor('dHead', dHead),
  };
  const { logProbs, entropy } = out;
  const threshold = entropyThreshold(args, args.mask, () => {
    native().linearLogprob({ ...given, mask: batch.native.mask, logProbs, entropy });
    return entropy;
  });
  const params = lossParams(args, batch.given, threshold);
  const result = native().linearPolicyLoss({ ...given, accumulate, ...batch.native, ...params, ...out });
  return withLoss(result, out);
}
