import { checkChoice, checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asFloats, asInts, deviceOf, Tensor } from './tensor.js';

const MODES = {
  token_truncate: { level: 0, bound: 0 },
  token_mask: { level: 0, bound: 1 },
  sequence_truncate: { level: 1, bound: 0 },
  sequence_mask: { level: 1, bound: 1 },
} as const;

export const IMPORTANCE_MODES = Object.keys(MODES) as (keyof typeof MODES)[];

/** Arguments of {@link importanceWeights}: T tokens of B sequences. */
export interface ImportanceWeightsArgs {
  /** [T]: log-probabilities of the tokens under the weights that sampled, computed by the trainer. */
  oldLogProbs: Tensor | ArrayLike<number>;
  /** [T]: what the engine that sampled said they are. */
  rolloutLogProbs: Tensor | ArrayLike<number>;
  /** int32 [B + 1]: sequence i owns tokens cuSeqlens[i] .. cuSeqlens[i + 1] - 1. */
  cuSeqlens: Tensor | ArrayLike<number>;
  /** int32 [T]: tokens with 0 take no part and get 1. */
  mask?: Tensor | ArrayLike<number>;
  /**
   * One ratio per token, or the product of them per sequence; brought within the bounds (truncate), or 0 outside of them (mask).
   * Default 'sequence_mask', as TRL's vllm_importance_sampling_mode.
   */
  mode?: keyof typeof MODES;
  /** Default 3. Infinity: none. */
  clipMax?: number;
  /** Default 0: none. */
  clipMin?: number;
}

/**
 * Weights that correct for an engine whose log-probabilities are not the trainer's: truncated or masked importance sampling. They
 * go to the losses as `importanceWeights` (with lossType 'vespo' those of a token mode).
 *
 * @returns [T] float32
 * @throws PrlError ERR_PRL_NON_FINITE when an active token's input or weight is not finite; it names the token
 */
export function importanceWeights(args: ImportanceWeightsArgs): Tensor {
  args = checkOptions('importanceWeights', args, [
    'oldLogProbs',
    'rolloutLogProbs',
    'cuSeqlens',
    'mask',
    'mode',
    'clipMax',
    'clipMin',
  ]);
  const mode = checkChoice('mode', args.mode ?? 'sequence_mask', IMPORTANCE_MODES);
  const { clipMax = 3 } = args;
  const clipMin = checkNumber('clipMin', args.clipMin ?? 0, 0);
  const device = deviceOf({ ...args });
  const oldLogProbs = asFloats('oldLogProbs', args.oldLogProbs, device);
  const weights = Tensor.empty([oldLogProbs.size], { device });
  native().importanceWeight({
    oldLogProbs,
    rolloutLogProbs: asFloats('rolloutLogProbs', args.rolloutLogProbs, device),
    cuSeqlens: asInts('cuSeqlens', args.cuSeqlens, device),
    mask: args.mask === undefined ? undefined : asInts('mask', args.mask, device),
    ...MODES[mode],
    clipMin,
    clipMax: clipMax === Infinity ? undefined : checkNumber('clipMax', clipMax, clipMin, Infinity, true),
    weights,
  });
  return weights;
}
