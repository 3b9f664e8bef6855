// Inputs that a peer in another process can reproduce bit for bit (large ones repeat a small pattern), and how far its
// outputs may differ from ours.
import { type Device, type DType, Tensor } from '../lib/index.js';
import type { BenchDevice } from './device.js';
import type { PeerCase } from './peers.js';

/** Prime, so that rows of any usual width differ. */
const PATTERN_LENGTH = 65_521;

/** The i-th of a sequence of standard normal numbers. */
export function normal(i: number): number {
  const uniform = (k: number) => ((Math.imul(k + 1, 0x9e3779b1) ^ Math.imul(k + 7, 0x85ebca6b)) >>> 0) / 2 ** 32;
  return Math.sqrt(-2 * Math.log(1 - uniform(2 * i))) * Math.cos(2 * Math.PI * uniform(2 * i + 1));
}

/**
 * Normal numbers with deviation `scale`; another `from` gives other numbers. Element i of a tensor is number i modulo
 * their count.
 */
export const pattern = (scale: number, from = 0) =>
  Float32Array.from({ length: PATTERN_LENGTH }, (_, i) => scale * normal(from + i));

/** A tensor of any size from a pattern, rounded once to its type. */
export function repeated(
  device: BenchDevice,
  numbers: Float32Array,
  shape: readonly number[],
  dtype: 'float32' | 'bfloat16',
): Tensor {
  const period = Tensor.from(numbers, [numbers.length], { dtype }).data;
  const size = shape.reduce((a, b) => a * b, 1);
  const all = dtype === 'float32' ? new Float32Array(size) : new Uint16Array(size);
  for (let at = 0; at < size; at += period.length) all.set(period.subarray(0, size - at), at);
  return device.tensor(all, shape, dtype);
}

/**
 * Differences of new and old log-probabilities as in training: about 1% of the tokens are clipped at epsilon 0.2. None
 * is so near a bound that rounding decides on which side it falls.
 */
export function logRatio(t: number): number {
  const d = 0.08 * normal(t);
  for (const bound of [Math.log(1.2), Math.log(0.8)]) if (Math.abs(d - bound) < 0.005) return bound + 0.01;
  return d;
}

/** Responses of equal length, each with one advantage: a form that every peer accepts. */
export const SEQUENCES = 8;
export const evenSequences = (tokens: number) =>
  Int32Array.from({ length: SEQUENCES + 1 }, (_, i) => (i * tokens) / SEQUENCES);

/** About `count` rows, from the first to the last. */
export function sampleRows(rows: number, count = 32): number[] {
  const n = Math.min(rows, count);
  return Array.from({ length: n }, (_, i) => Math.round((i * (rows - 1)) / Math.max(1, n - 1)));
}

// --- what a peer's outputs are held against
// ---------------------------------------------------------------------------

/** Half the distance between neighbours of 1: the relative error of one rounding. */
export const ROUNDOFF: Record<Exclude<DType, 'int32'>, number> = {
  float32: 2 ** -24,
  bfloat16: 2 ** -9,
  float16: 2 ** -12,
};
const u = ROUNDOFF.float32;

export interface Expected {
  values: ArrayLike<number>;
  /** Largest error of a peer that computes in float32: absolute + relative * |value|. */
  absolute: number;
  relative?: number;
  /** Its storage type. Default: float32. */
  dtype?: LogitsShape['dtype'];
}

/**
 * A peer must return all outputs, in our lengths and near our values. Outputs that the peer itself rounds to a 16-bit
 * type may differ by a few such roundings more.
 */
export function agree(expected: { [name: string]: Expected }): PeerCase['verify'] {
  return (outputs) => {
    for (const [name, { values, absolute, relative = 0, dtype = 'float32' }] of Object.entries(expected)) {
      const output = outputs.get(name);
      if (output === undefined) return `it returns no ${name}`;
      if (output.values.length !== values.length)
        return `${name} has ${output.values.length} elements, ours has ${values.length}`;
      const rounding = output.dtype === dtype ? 0 : 8 * ROUNDOFF[output.dtype];
      for (let i = 0; i < values.length; i++) {
        const tolerance = absolute + (relative + rounding) * Math.abs(values[i]);
        // Written so that a NaN counts as a difference.
        if (!(Math.abs(output.values[i] - values[i]) <= tolerance))
          return `${name}[${i}] is ${output.values[i]}, ours is ${values[i]} (tolerance ${tolerance.toExponential(1)})`;
      }
    }
    return undefined;
  };
}

/**
 * Error of a log-probability in float32. The sum over the vocabulary collects roundings of both signs, which grow as
 * its square root. The logit and the result, up to about 25, are rounded a few times.
 */
export const logProbError = (vocab: number) => u * (4 * Math.sqrt(vocab) + 64);
/** The terms p log p of the entropy's sum are larger by the size of the logarithms. */
export const entropyError = (vocab: number) => Math.log(vocab) * logProbError(vocab);
/**
 * d loss / d logits is c (1[target] - p). c has the error of the ratio, p that of its log-probability, and each side
 * rounds once to the storage type. At the target, a difference of numbers up to the row's largest is rounded.
 */
export const gradientError = (vocab: number, dtype: 'float32' | 'bfloat16', largest: number) => ({
  relative: 2 * logProbError(vocab) + 16 * u + (dtype === 'float32' ? 0 : 4 * ROUNDOFF[dtype]),
  absolute: 4 * u * largest,
  dtype,
});
/** The mean of terms of about 1, each with the error of its ratio. */
export const lossError = (vocab: number) => 4 * logProbError(vocab);

// --- logits
// -------------------------------------------------------------------------------------------------------------

export interface LogitsShape {
  tokens: number;
  vocab: number;
  dtype: 'float32' | 'bfloat16';
}

/** Sizes that people train with. */
export function logitsShapes({ device, tiny }: Scale): LogitsShape[] {
  const sizes = tiny
    ? [[16, 500]]
    : device === 'cpu'
      ? [
          [2048, 32_000],
          [512, 151_936],
        ]
      : [
          [8192, 32_000],
          [8192, 128_256],
          [8192, 151_936],
        ];
  return sizes.flatMap(([tokens, vocab]) =>
    (['float32', 'bfloat16'] as const).map((dtype) => ({ tokens, vocab, dtype })),
  );
}

export interface Scale {
  device: Device;
  /** Sizes that test the benchmarks themselves in a moment. */
  tiny: boolean;
}

/** Logits like a model's (normal with deviation 2), and targets. */
export function logitsOf(device: BenchDevice, { tokens, vocab, dtype }: LogitsShape) {
  const numbers = pattern(2);
  const targets = Int32Array.from({ length: tokens }, (_, t) => (t * 977) % vocab);
  return { numbers, targets, logits: repeated(device, numbers, [tokens, vocab], dtype) };
}
