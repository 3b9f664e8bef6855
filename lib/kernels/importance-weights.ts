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
  /** [T]: log-probabilities of the tokens under the weights that sampled them, as the trainer computes them. */
  oldLogProbs: Tensor | ArrayLike<number>;
  /** [T]: the same log-probabilities as the engine that sampled reports them. */
  rolloutLogProbs: Tensor | ArrayLike<number>;
  /** int32 [B + 1]: sequence i owns tokens cuSeqlens[i] .. cuSeqlens[i + 1] - 1. */
  cuSeqlens: Tensor | ArrayLike<number>;
  /** int32 [T]: a token with 0 takes no part and gets the weight 1. */
  mask?: Tensor | ArrayLike<number> | undefined;
  /**
   * One ratio per token, or their product per sequence. Truncation brings it within the bounds; masking makes it 0
   * outside of them. Default 'sequence_mask', as in TRL's vllm_importance_sampling_mode.
   */
  mode?: keyof typeof MODES | undefined;
  /** Upper bound. Default 3; Infinity: none. */
  clipMax?: number | undefined;
  /** Lower bound. Default 0: none. */
  clipMin?: number | undefined;
}

/**
 * Weights that correct for an engine whose log-probabilities differ from the trainer's: truncated or masked importance
 * sampling. Pass them to the losses as `importanceWeights`. lossType 'vespo' takes those of a token mode.
 *
 * @returns [T] float32
 * @throws PrlError ERR_PRL_NON_FINITE if an input or weight of an active token is not finite; it names the token
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
