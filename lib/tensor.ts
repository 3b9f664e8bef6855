import { invalidArgument, outOfRange, PrlError } from './errors.js';

/** Storage types. Arithmetic is float32 whatever the storage. */
export type DType = 'float32' | 'bfloat16' | 'float16' | 'int32';
export type Device = 'cpu' | 'cuda';
/** The typed array behind a CPU tensor: the 16-bit types are kept as their bits. */
export type TensorData = Float32Array | Int32Array | Uint16Array;
/** Where a function takes a tensor, a typed array does too: one dimension, or the shape that the function expects. */
export type TensorLike = Tensor | Float32Array | Int32Array;

const ARRAYS = { float32: Float32Array, bfloat16: Uint16Array, float16: Uint16Array, int32: Int32Array } as const;

export interface TensorOptions {
  /** Default: float32, or int32 for an Int32Array. */
  dtype?: DType;
  /** Default: 'cpu'. */
  device?: Device;
}

/**
 * A dense row-major array of numbers on a device. `data` is its memory on the CPU, not a copy: what is written there is what
 * kernels read.
 */
export class Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly device: Device;
  #data: TensorData | undefined;

  private constructor(data: TensorData, shape: readonly number[], dtype: DType, device: Device) {
    this.#data = data;
    this.shape = shape;
    this.dtype = dtype;
    this.device = device;
  }

  /**
   * A tensor over `data`. A typed array of the storage's own kind is used as it is, without a copy (Float32Array for float32,
   * Int32Array for int32, Uint16Array for the bits of bfloat16 and float16); anything else is converted, rounding to nearest.
   *
   * @param shape sizes of the dimensions; their product is the number of elements
   * @throws TypeError for a wrong dtype or data that is shared or not numbers, RangeError for a shape that does not fit
   */
  static from(data: ArrayLike<number>, shape: readonly number[] = [data.length], options: TensorOptions = {}): Tensor {
    const dtype = options.dtype ?? (data instanceof Int32Array ? 'int32' : 'float32');
    checkPlace(dtype, options.device);
    const elements = countElements(shape);
    if (elements !== data.length)
      throw outOfRange(`shape [${shape}] has ${elements} elements but the data has ${data.length}`);
    const Storage = ARRAYS[dtype];
    if (data instanceof Storage) {
      if (!(data.buffer instanceof ArrayBuffer))
        throw invalidArgument('a tensor cannot stand on a SharedArrayBuffer: copy the data first');
      return new Tensor(data, [...shape], dtype, 'cpu');
    }
    if (dtype === 'int32') {
      const ints = Int32Array.from(data);
      for (let i = 0; i < ints.length; i++)
        if (ints[i] !== data[i]) throw outOfRange(`data[${i}] = ${data[i]} is not a 32-bit integer`);
      return new Tensor(ints, [...shape], dtype, 'cpu');
    }
    if (dtype === 'float32') return new Tensor(Float32Array.from(data), [...shape], dtype, 'cpu');
    const convert = dtype === 'bfloat16' ? toBFloat16 : toFloat16;
    const bits = new Uint16Array(elements);
    for (let i = 0; i < elements; i++) bits[i] = convert(data[i]);
    return new Tensor(bits, [...shape], dtype, 'cpu');
  }

  /** A tensor of zeros. */
  static zeros(shape: readonly number[], options: TensorOptions = {}): Tensor {
    const dtype = options.dtype ?? 'float32';
    checkPlace(dtype, options.device);
    return new Tensor(new ARRAYS[dtype](countElements(shape)), [...shape], dtype, 'cpu');
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  /** The memory of a CPU tensor; bits for the 16-bit types (see {@link read} for numbers). */
  get data(): TensorData {
    if (!this.#data) throw new PrlError('ERR_PRL_DISPOSED', 'the tensor was disposed');
    return this.#data;
  }

  /** A copy of the values as numbers, from any device: Int32Array for int32, else Float32Array. */
  async read(): Promise<Float32Array | Int32Array> {
    return toNumbers(this.data, this.dtype);
  }

  /** Lets go of the memory. Using the tensor afterwards is an error. */
  dispose(): void {
    this.#data = undefined;
  }
}

function checkPlace(dtype: DType, device: Device = 'cpu') {
  if (!Object.hasOwn(ARRAYS, dtype))
    throw invalidArgument(`dtype must be one of ${Object.keys(ARRAYS).join(', ')}, not ${JSON.stringify(dtype)}`);
  if (device === 'cuda')
    throw new PrlError('ERR_PRL_UNSUPPORTED', "tensors live on the CPU in this version: device must be 'cpu'");
  if (device !== 'cpu') throw invalidArgument(`device must be 'cpu' or 'cuda', not ${JSON.stringify(device)}`);
}

function countElements(shape: readonly number[]): number {
  if (!Array.isArray(shape) || shape.length < 1 || shape.length > 8)
    throw invalidArgument('shape must be an array of 1 to 8 sizes');
  let elements = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) throw outOfRange(`shape [${shape}] holds ${size}, which is no size`);
    elements *= size;
  }
  if (elements > 2 ** 32) throw outOfRange(`shape [${shape}] has more than 2^32 elements`);
  return elements;
}

/** Any input as a tensor; a typed array gets the `shape` that is asked for. */
export function asTensor(name: string, value: TensorLike, shape?: readonly number[]): Tensor {
  if (value instanceof Tensor) return value;
  if (value instanceof Float32Array || value instanceof Int32Array) return Tensor.from(value, shape ?? [value.length]);
  throw invalidArgument(
    `${name} must be a Tensor, a Float32Array or an Int32Array, not ${value === null ? 'null' : typeof value}`,
  );
}

/** Numbers as a float32 tensor. Anything but a Float32Array or a Tensor is converted. */
export function asFloats(name: string, value: Tensor | ArrayLike<number>): Tensor {
  if (value instanceof Tensor) return value;
  if (value === null || typeof value !== 'object' || typeof value.length !== 'number')
    throw invalidArgument(`${name} must be a Float32Array, an array of numbers or a float32 Tensor`);
  return Tensor.from(value, [value.length], { dtype: 'float32' });
}

/** Indices as an int32 tensor. Plain arrays and the other integer arrays are converted. */
export function asInts(name: string, value: Tensor | ArrayLike<number>): Tensor {
  if (value instanceof Tensor) return value;
  if (
    value === null ||
    typeof value !== 'object' ||
    typeof value.length !== 'number' ||
    value instanceof Float32Array ||
    value instanceof Float64Array
  ) {
    throw invalidArgument(`${name} must be an Int32Array, an array of integers or an int32 Tensor`);
  }
  return value instanceof Int32Array ? Tensor.from(value) : Tensor.from(value, [value.length], { dtype: 'int32' });
}

function toNumbers(data: TensorData, dtype: DType): Float32Array | Int32Array {
  if (data instanceof Int32Array || data instanceof Float32Array) return data.slice();
  const convert = dtype === 'bfloat16' ? fromBFloat16 : fromFloat16;
  return Float32Array.from(data, convert);
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The bits of the nearest bfloat16 (ties to even). */
export function toBFloat16(x: number): number {
  f32[0] = x;
  const bits = u32[0];
  if (Number.isNaN(x)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBFloat16(bits: number): number {
  u32[0] = bits << 16;
  return f32[0];
}

/** The bits of the nearest float16 (ties to even). */
export function toFloat16(x: number): number {
  f32[0] = x;
  const bits = u32[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to infinity
  if (magnitude < 0x38800000) {
    // Subnormal: the value in units of 2^-24, rounded to even by the float addition itself.
    f32[0] = Math.abs(x) + 0.5;
    return sign | (u32[0] - 0x3f000000);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
