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
  /** [T, width]: the hidden states that predict each token. float32; on the GPU bfloat16 and float16 too. */
  hidden: Tensor;
  /** [vocab, width]: the output head, of the same type. */
  head: Tensor;
  /** int32 [T]: the tokens. */
  targets: Tensor | ArrayLike<number>;
  /** Divides the logits. Default 1. */
  temperature?: number;
  /**
   * Bytes of logits that exist at once; the tokens go through in as many chunks as that takes. Every chunk costs a pass over the
   * head, and with gradients one over dHead. Default: 512 MiB on the GPU, 64 MiB on the CPU (more when 64 tokens need more).
   */
  workspaceBytes?: number;
}

const LINEAR = ['hidden', 'head', 'targets', 'temperature', 'workspaceBytes'];

/** What the addon's functions of hidden states take, but for their outputs. */
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

/** What {@link linearLogProbs} gives; the tensors are where the inputs are. */
export interface LinearLogProbs {
  /** [T] float32: log softmax(hidden . head / temperature)[target]. */
  logProbs: Tensor;
  /** [T] float32: the entropy of that softmax, in nats. */
  entropy: Tensor;
}

/**
 * {@link tokenLogProbs} from hidden states and output head: logits are made a chunk of tokens at a time and never stored whole.
 * Outputs are where the inputs are; on the GPU the call is queued, and what it finds wrong is thrown by the next read() or
 * synchronize().
 *
 * @throws as tokenLogProbs does; on the GPU PrlError ERR_PRL_UNSUPPORTED where there is no cuBLAS (it says how to get it)
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
  /** [T, width], of the type of hidden: where d loss / d hidden goes. Default: a new tensor. */
  dHidden?: Tensor;
  /** [vocab, width] float32: where d loss / d head goes. Default: a new tensor. */
  dHead?: Tensor;
  /** Adds to dHead instead of writing it, so that micro-batches add up; needs dHead. Default false. */
  accumulate?: boolean;
}

/** What {@link linearPolicyLoss} gives; the tensors are where the inputs are. */
export interface LinearPolicyLoss extends LinearLogProbs {
  /** The loss of this call; those of micro-batches add up. */
  loss: number;
  /** [T, width], of the type of hidden: d loss / d hidden. */
  dHidden: Tensor;
  /** [vocab, width] float32: d loss / d head. */
  dHead: Tensor;
  /** What happened to the tokens. */
  metrics: PolicyLossMetrics;
}

/**
 * The loss of {@link policyLoss} from hidden states and output head, with both gradients: logits are made a chunk of tokens at a
 * time and never stored whole. Log-probabilities and entropies of masked tokens are 0. After an error dHidden and dHead hold garbage.
 *
 * @throws as linearLogProbs and policyLoss do
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
