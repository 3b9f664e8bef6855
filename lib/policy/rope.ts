// The rotary embedding of a config, as transformers computes it: the type's formula, rounded to float32 at its steps.
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { isObject } from '../base/json.js';
import { checkBoolean, checkNumber } from '../base/options.js';
import { quoted } from '../base/text.js';
import type { PolicyConfig } from './types.js';

type Rope = { rope_theta: unknown; [key: string]: unknown };

/** Rotations of a head's pairs of elements. */
export interface Rotations {
  /** [headDim / 2] radians per position. */
  invFreq: Float32Array;
  /** Multiplies cosines and sines. */
  factor: number;
}

const f32 = Math.fround;
const DEFAULT_THETA = 10000;

/**
 * Rotary settings in either spelling: rope_parameters (transformers 5), or rope_theta and rope_scaling. rope_scaling
 * replaces rope_parameters whole.
 */
export function ropeOf(config: PolicyConfig): Rope {
  for (const name of ['rope_scaling', 'rope_parameters']) {
    const value = config[name];
    if (value != null && !isObject(value)) throw invalidArgument(`${name} must be an object, not ${quoted(value)}`);
  }
  const scaling = config.rope_scaling as Record<string, unknown> | null | undefined;
  const wins = scaling && Object.keys(scaling).length > 0;
  const rope = (wins ? scaling : config.rope_parameters) ?? {};
  return { ...rope, rope_theta: rope.rope_theta ?? config.rope_theta ?? DEFAULT_THETA };
}

/** What a user should know about the rotary settings of a config file. */
export function ropeWarning(config: PolicyConfig): string | undefined {
  const used = ropeOf(config).rope_theta;
  const lost = config.rope_parameters?.rope_theta ?? used;
  if (lost === used || config.rope_scaling?.rope_theta !== undefined) return undefined;
  return `rope_scaling replaces rope_parameters, and with it rope_theta ${quoted(lost)}: rope_theta is ${quoted(used)}, as in transformers. Write the rope_theta that you mean into rope_scaling`;
}

const typeOf = (rope: Rope) => rope.rope_type ?? rope.type ?? 'default';

function ropeNumber(rope: Rope, name: string): number {
  return checkNumber(`rope ${name}`, rope[name], 0, Infinity, true);
}

/** The length that the model was trained on before its context was extended. */
function originalLength(rope: Rope, config: PolicyConfig): number {
  const name = 'original_max_position_embeddings';
  return checkNumber(`rope ${name}`, config[name] ?? rope[name] ?? longest(config), 0, Infinity, true);
}

const longest = (config: PolicyConfig) => config.max_position_embeddings ?? 2048;

/** theta^(2i / headDim) */
const periods = (theta: number, headDim: number) =>
  Float32Array.from({ length: headDim / 2 }, (_, i) => theta ** f32((2 * i) / headDim));

/**
 * Formulas by rope_type. `plain` rotates by theta^(-2i / headDim) per position.
 *
 * dynamic (NTK) changes nothing up to max_position_embeddings, and longer sequences are refused.
 */
const TYPES: Record<string, (plain: Float32Array, rope: Rope, config: PolicyConfig) => Rotations> = {
  default: (plain) => ({ invFreq: plain, factor: 1 }),
  dynamic(plain, rope) {
    ropeNumber(rope, 'factor');
    return { invFreq: plain, factor: 1 };
  },
  linear(plain, rope) {
    const factor = f32(ropeNumber(rope, 'factor'));
    return { invFreq: plain.map((frequency) => frequency / factor), factor: 1 };
  },
  llama3,
  yarn,
};

export function rotations(config: PolicyConfig, headDim: number): Rotations {
  const rope = ropeOf(config);
  const theta = checkNumber('rope_theta', rope.rope_theta, 0, Infinity, true);
  const unsupported = (message: string) => new PrlError('ERR_PRL_UNSUPPORTED', message);
  const perLayer = Object.keys(rope).find((name) => isObject(rope[name]));
  if (perLayer) throw unsupported(`rope settings per kind of layer ('${perLayer}') are not supported`);
  const partial = rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1)
    throw unsupported(`partial_rotary_factor ${quoted(partial)} is not supported: the policy rotates the whole head`);
  const type = typeOf(rope);
  if (type === 'longrope')
    throw unsupported(
      'rope_type "longrope" is not supported: its frequencies depend on the length of the sequence that a token is in',
    );
  if (typeof type !== 'string' || !Object.hasOwn(TYPES, type))
    throw unsupported(
      `rope_type ${quoted(type)} is not supported: the policy has ${Object.keys(TYPES)
        .map((name) => `"${name}"`)
        .join(', ')}`,
    );
  const plain = periods(theta, headDim).map((period) => 1 / period);
  const { invFreq, factor } = TYPES[type](plain, rope, config);
  if (![...invFreq, factor].every(Number.isFinite))
    throw outOfRange(`rope_theta and the rope scaling of the config give rotations that are not finite`);
  return { invFreq, factor };
}

/** Llama 3: slow rotations are divided by `factor`, fast ones stay, those between are interpolated. */
function llama3(plain: Float32Array, rope: Rope, config: PolicyConfig): Rotations {
  const factor = f32(ropeNumber(rope, 'factor'));
  const low = ropeNumber(rope, 'low_freq_factor');
  const high = ropeNumber(rope, 'high_freq_factor');
  const original = originalLength(rope, config);
  if (high <= low) throw outOfRange(`rope high_freq_factor (${high}) must be above low_freq_factor (${low})`);
  const [longWave, shortWave] = [f32(original / low), f32(original / high)];
  const invFreq = plain.map((frequency) => {
    const wave = f32(f32(1 / frequency) * f32(2 * Math.PI));
    if (wave > longWave) return frequency / factor;
    if (wave < shortWave) return frequency;
    const turns = f32(f32(1 / wave) * f32(original)); // in the original context
    const smooth = f32(f32(turns - f32(low)) / f32(high - low));
    return f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency);
  });
  return { invFreq, factor: 1 };
}

/**
 * YaRN (arXiv 2309.00071): rotations that turn less than beta_slow times in the original context are divided by
 * `factor`, those that turn more than beta_fast times stay, and a ramp over the pairs lies between.
 */
function yarn(plain: Float32Array, rope: Rope, config: PolicyConfig): Rotations {
  const original = originalLength(rope, config);
  // null, not absent: the ratio of the two lengths.
  const factor = rope.factor === null ? longest(config) / original : ropeNumber(rope, 'factor');
  // 0 and null count as absent.
  const optional = (name: string) => (rope[name] ? ropeNumber(rope, name) : undefined);
  const dim = 2 * plain.length;
  const theta = rope.rope_theta as number;
  const pairThatTurns = (times: number) => (dim * Math.log(original / (times * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = pairThatTurns(optional('beta_fast') ?? 32);
  let high = pairThatTurns(optional('beta_slow') ?? 1);
  if (rope.truncate === undefined || checkBoolean('rope truncate', rope.truncate ?? false))
    [low, high] = [Math.floor(low), Math.ceil(high)];
  [low, high] = [Math.max(low, 0), Math.min(high, dim - 1)];
  if (low === high) high += 0.001;
  const invFreq = periods(theta, dim).map((period, i) => {
    const ramp = f32(f32(i - f32(low)) / f32(high - low));
    const keep = f32(1 - Math.min(Math.max(ramp, 0), 1));
    const interpolated = f32(1 / f32(f32(factor) * period));
    return f32(interpolated * f32(1 - keep)) + f32(plain[i] * keep);
  });
  return { invFreq, factor: attentionFactor(rope, factor, optional('mscale'), optional('mscale_all_dim')) };
}

/** YaRN's temperature of attention, on queries and keys. */
function attentionFactor(rope: Rope, factor: number, mscale?: number, mscaleAllDim?: number): number {
  if (rope.attention_factor != null)
    return checkNumber('rope attention_factor', rope.attention_factor, 0, Infinity, true);
  const scale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale !== undefined && mscaleAllDim !== undefined ? scale(mscale) / scale(mscaleAllDim) : scale(1);
}

/**
 * The rotary settings of a saved config: the same in the spellings of transformers 4 and 5. What transformers 4 does
 * not find elsewhere is written out.
 */
export function savedRope(config: PolicyConfig) {
  const rope = ropeOf(config);
  const { rope_theta, ...scaling } = rope;
  scaling.rope_type = String(typeOf(rope));
  const outside = config.original_max_position_embeddings != null || scaling.rope_type === 'llama3';
  if (outside && (scaling.rope_type === 'llama3' || scaling.rope_type === 'yarn'))
    scaling.original_max_position_embeddings = originalLength(rope, config);
  if (scaling.rope_type === 'yarn' && scaling.factor === null)
    scaling.factor = longest(config) / originalLength(rope, config);
  return {
    rope_theta,
    rope_scaling: scaling.rope_type === 'default' ? null : scaling,
    rope_parameters: { ...scaling, rope_theta },
  };
}
