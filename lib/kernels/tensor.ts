import { types } from 'node:util';
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { arrayKind, checkInteger, checkOptions, describe, isCount } from '../base/options.js';
import { native } from './native.js';

/** Storage types. Arithmetic is float32 whatever the storage. */
export type DType = 'float32' | 'bfloat16' | 'float16' | 'int32';
/** Where a tensor lives: main memory, or the GPU that this process uses. */
export type Device = 'cpu' | 'cuda';
/** The typed array behind a CPU tensor. The 16-bit types are stored as their bits. */
export type TensorData = Float32Array | Int32Array | Uint16Array;
/** A tensor, or a typed array: functions take it as one dimension, or in the shape that they expect. */
export type TensorLike = Tensor | Float32Array | Int32Array;

const ARRAYS = { float32: Float32Array, bfloat16: Uint16Array, float16: Uint16Array, int32: Int32Array } as const;

/** Type and device of a tensor. */
export interface TensorOptions {
  /** Default: float32, or int32 for an Int32Array. */
  dtype?: DType | undefined;
  /** Default: 'cpu'. */
  device?: Device | undefined;
}

/** What another process needs to access a tensor on the GPU: see {@link Tensor.exportIpc}. */
export interface CudaIpcMemory {
  /** The 64 bytes of CUDA's handle. */
  handle: Uint8Array;
  /** Offset of the tensor in the memory that the handle names, in bytes. */
  offset: number;
}

/**
 * A dense row-major array of numbers on a device.
 *
 * On the CPU, `data` is its memory, not a copy: kernels read what you write there. On the GPU, `await read()` returns
 * the values. Work on them is queued in the order of the calls, on one stream per process, and JavaScript does not wait
 * for it.
 */
export class Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly device: Device;
  readonly #size: number;
  #data: TensorData | undefined;
  #memory: object | undefined;

  /** @internal An object that only resembles or wraps a tensor (a proxy, an heir) has no memory. */
  static [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && #data in value;
  }

  private constructor(storage: TensorData | object, shape: readonly number[], dtype: DType, device: Device) {
    if (device === 'cpu') this.#data = storage as TensorData;
    else this.#memory = storage;
    this.shape = Object.freeze([...shape]);
    this.dtype = dtype;
    this.device = device;
    this.#size = elementsOf(shape);
    Object.freeze(this);
  }

  /**
   * Makes a tensor over `data`. A typed array of the storage's own kind is used without a copy (Float32Array for
   * float32, Int32Array for int32, Uint16Array for the bits of bfloat16 and float16). Anything else is converted,
   * rounding to nearest. On the GPU the tensor is always a copy, so you may change `data` at once.
   *
   * @param shape sizes of the dimensions. Their product is the number of elements. Default: one dimension
   * @throws TypeError for a wrong dtype, or data that is shared or not numbers; RangeError for a shape that does not
   *   fit; PrlError ERR_PRL_UNSUPPORTED without a GPU, ERR_PRL_OUT_OF_MEMORY
   */
  static from(data: ArrayLike<number>, shape?: readonly number[], options: TensorOptions = {}): Tensor {
    options = checkOptions('a tensor', options, ['dtype', 'device']);
    const dtype = options.dtype ?? (types.isInt32Array(data) ? 'int32' : 'float32');
    return tensorOf('data', 'an array of numbers', data, dtype, options.device, shape);
  }

  /** A tensor of zeros. */
  static zeros(shape: readonly number[], options: TensorOptions = {}): Tensor {
    return make(shape, options, true);
  }

  /** A tensor for outputs. On the CPU it holds zeros, on the GPU whatever its memory held before. */
  static empty(shape: readonly number[], options: TensorOptions = {}): Tensor {
    return make(shape, options, false);
  }

  /** @internal */
  static on(memory: TensorData | object, shape: readonly number[], dtype: DType, device: Device): Tensor {
    return new Tensor(memory, shape, dtype, device);
  }

  /**
   * A tensor on GPU memory of another owner, without a copy: a buffer of another addon in this process.
   *
   * The owner must keep the memory allocated until this tensor is disposed of and all work that uses it has run (`await
   * synchronize()`). Before this call, the owner waits for its own stream. Before the owner reads what kernels wrote
   * here, `await synchronize()`.
   *
   * @param pointer address on the device, a multiple of the element's size
   * @throws if it is not memory of the GPU in use, or has fewer bytes than the shape needs
   */
  static fromDevicePointer(pointer: bigint, shape: readonly number[], dtype: DType = 'float32'): Tensor {
    checkPlace(dtype, 'cuda');
    const alignment = ARRAYS[dtype].BYTES_PER_ELEMENT;
    shape = checkShape(shape);
    const memory = native().cudaWrap({ pointer, bytes: elementsOf(shape) * alignment, alignment });
    return new Tensor(memory, shape, dtype, 'cuda');
  }

  /**
   * A tensor on GPU memory that another process allocated and shares through CUDA IPC, without a copy: a trainer passes
   * its logits and finds their gradient in place. PyTorch's `tensor.untyped_storage()._share_cuda_()` gives the handle
   * as its second value (two bytes before the 64 are understood). The offset is its fourth value plus the tensor's own
   * storage offset in bytes. examples/pytorch-ipc shows the whole exchange, and what to tell PyTorch afterwards.
   *
   * The other process owns the memory and must keep it until this tensor is disposed of. The streams of two processes
   * know nothing of each other. So the other process synchronises before it sends the handle, and this one (`await
   * synchronize()`) before it answers. A process cannot open its own handles.
   */
  static importIpc({ handle, offset = 0 }: CudaIpcMemory, shape: readonly number[], dtype: DType = 'float32'): Tensor {
    checkPlace(dtype, 'cuda');
    const size = ARRAYS[dtype].BYTES_PER_ELEMENT;
    if (!isCount(offset) || offset % size !== 0)
      throw outOfRange(`offset must be a multiple of ${size} bytes, the size of an element, not ${offset}`);
    shape = checkShape(shape);
    const memory = native().cudaImportIpc({ handle: ipcHandle(handle), offset, bytes: elementsOf(shape) * size });
    return new Tensor(memory, shape, dtype, 'cuda');
  }

  /** Number of elements. */
  get size(): number {
    return this.#size;
  }

  /** The memory of a CPU tensor. For the 16-bit types it holds bits (see {@link read} for numbers). */
  get data(): TensorData {
    if (this.device === 'cuda')
      throw new PrlError('ERR_PRL_UNSUPPORTED', 'the tensor is on the GPU: await tensor.read() gives its values');
    if (!this.#data) throw disposed();
    return this.#data;
  }

  /** @internal The memory of a GPU tensor, as the addon knows it. */
  get memory(): object {
    if (!this.#memory) throw disposed();
    return this.#memory;
  }

  /**
   * A copy of the values as numbers, from any device: Int32Array for int32, else Float32Array. From the GPU, the values
   * include all work queued before the call. This throws the errors of kernels that were queued before.
   */
  async read(): Promise<Float32Array | Int32Array> {
    if (this.device === 'cpu') return toNumbers(dataOf('the tensor', this), this.dtype, true);
    const Storage = ARRAYS[this.dtype];
    const bytes = this.size * Storage.BYTES_PER_ELEMENT;
    const buffer: ArrayBuffer = await native().cudaRead({ memory: this.memory, bytes });
    return toNumbers(new Storage(buffer), this.dtype, false);
  }

  /**
   * The address of a GPU tensor, for other libraries in this process. {@link fromDevicePointer} explains the order of
   * work.
   */
  get devicePointer(): bigint {
    if (this.device === 'cpu') throw invalidArgument('the tensor is on the CPU: it has no device pointer');
    return native().cudaPointer({ memory: this.memory });
  }

  /**
   * Gives another process on this machine access to a GPU tensor: see {@link importIpc}. The tensor must live until
   * that process has closed it. First `await synchronize()`, so that all queued work is visible there.
   *
   * The other process sees this tensor and nothing else. CUDA shares units of 2 MiB, so a smaller tensor moves to
   * memory of its own. This waits for queued work. A tensor whose {@link devicePointer} was read cannot move.
   *
   * @throws PrlError ERR_PRL_UNSUPPORTED if the tensor would have to move and cannot, or if its memory has another
   *   owner ({@link fromDevicePointer})
   */
  exportIpc(): CudaIpcMemory {
    if (this.device === 'cpu')
      throw invalidArgument('the tensor is on the CPU: only memory of the GPU is shared by handle');
    return native().cudaExportIpc({ memory: this.memory });
  }

  /** Frees the memory. Later use of the tensor is an error. Work that is queued on it still runs. */
  dispose(): void {
    this.#data = undefined;
    if (this.#memory) native().cudaDispose({ memory: this.#memory });
    this.#memory = undefined;
  }
}

const disposed = () => new PrlError('ERR_PRL_DISPOSED', 'the tensor was disposed');

function make(shape: readonly number[], options: TensorOptions, zero: boolean): Tensor {
  options = checkOptions('a tensor', options, ['dtype', 'device']);
  const dtype = options.dtype ?? 'float32';
  const device = checkPlace(dtype, options.device);
  shape = checkShape(shape);
  const elements = elementsOf(shape);
  if (device === 'cpu') return Tensor.on(allocate(dtype, elements), shape, dtype, device);
  const bytes = elements * ARRAYS[dtype].BYTES_PER_ELEMENT;
  return Tensor.on(native().cudaAllocate({ bytes, zero }), shape, dtype, device);
}

/**
 * Waits for all work that is queued on the GPU, without blocking the event loop. It throws the errors of kernels. It
 * returns at once if no tensor is on a GPU.
 */
export async function synchronize(): Promise<void> {
  if (usedGpu) await native().cudaSynchronize({});
}
let usedGpu = false;

/**
 * Starts the GPU and cuBLAS now, on another thread. Otherwise the first tensor and the first matrix product on the GPU
 * start them, which blocks the event loop for up to some seconds. Without cuBLAS it starts the GPU alone.
 *
 * @throws PrlError ERR_PRL_UNSUPPORTED without a GPU, ERR_PRL_CUDA if it does not start; a later call tries again
 */
export async function initCuda(): Promise<void> {
  await native().cudaStart({});
  usedGpu = true;
}

/**
 * Gives memory that this process keeps for its next tensors back to the GPU, for other processes: as
 * `torch.cuda.empty_cache()`. It waits for queued work without blocking the event loop. Tensors keep their memory. A
 * process that runs out of GPU memory does this by itself.
 *
 * @returns the bytes of GPU memory that were given back
 */
export async function emptyCudaCache(): Promise<number> {
  return usedGpu ? await native().cudaEmptyCache({}) : 0;
}

/**
 * CUDA's 64 bytes, also behind PyTorch's two: a version (1, 2 and 3 hold the same) and 'c' for memory of cudaMalloc.
 * See shareIpcHandle in https://github.com/pytorch/pytorch/blob/v2.11.0/c10/cuda/CUDACachingAllocator.cpp.
 */
function ipcHandle(handle: Uint8Array): Uint8Array {
  if (!types.isUint8Array(handle)) throw invalidArgument('handle must be a Uint8Array');
  if (handle.length === 64) return handle.slice();
  if (handle.length === 66 && handle[1] === 'c'.charCodeAt(0)) return handle.slice(2);
  if (handle[1] === 'e'.charCodeAt(0))
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      "the handle is one of PyTorch's expandable segments, which are not shared this way: leave expandable_segments out of PYTORCH_CUDA_ALLOC_CONF",
    );
  throw outOfRange(`handle must have CUDA's 64 bytes, or PyTorch's 66, not ${handle.length}`);
}

/** An array as a tensor, with one dimension by default. Errors call it `name`. */
function tensorOf(
  name: string,
  expected: string,
  data: ArrayLike<number>,
  dtype: DType,
  device?: Device,
  shape?: readonly number[],
): Tensor {
  device = checkPlace(dtype, device);
  if (!isArrayLike(data)) throw invalidArgument(`${name} must be ${expected}, not ${describe(data)}`);
  const { length } = data;
  shape = checkShape(shape ?? [length]);
  const elements = elementsOf(shape);
  if (elements !== length) throw outOfRange(`shape [${shape}] has ${elements} elements, but ${name} has ${length}`);
  const storage = toStorage(name, data, length, dtype);
  if (device === 'cpu') return Tensor.on(storage, shape, dtype, device);
  const tensor = Tensor.empty(shape, { dtype, device });
  native().cudaUpload({ memory: tensor.memory, data: storage });
  return tensor;
}

/** The data in the storage's own kind of array: unchanged if it is one, else converted. */
function toStorage(name: string, data: ArrayLike<number>, length: number, dtype: DType): TensorData {
  if (isView(data) && isLost(data)) throw lost(name);
  if (isView(data) && arrayKind(data) === ARRAYS[dtype].name) {
    if (!types.isArrayBuffer(data.buffer))
      throw invalidArgument(`${name} is backed by a SharedArrayBuffer, which no tensor can use: copy it first`);
    return data;
  }
  const numbers = isView(data) ? data : numbersOf(name, data, length);
  const storage = allocate(dtype, length);
  const convert = dtype === 'bfloat16' ? toBFloat16 : dtype === 'float16' ? toFloat16 : Number;
  for (let i = 0; i < length; i++) {
    storage[i] = convert(numbers[i]);
    if (dtype === 'int32' && storage[i] !== numbers[i])
      throw outOfRange(`${name}[${i}] = ${numbers[i]} is not a 32-bit integer`);
  }
  return storage;
}

/** The numbers of a list, each read once. A length alone proves nothing, so nothing is allocated by it. */
function numbersOf(name: string, data: ArrayLike<unknown>, length: number): number[] {
  const numbers: number[] = [];
  for (let i = 0; i < length; i++) {
    const value = data[i];
    if (typeof value !== 'number') throw invalidArgument(`${name}[${i}] must be a number, not ${describe(value)}`);
    numbers.push(value);
  }
  return numbers;
}

/** An object that only resembles a typed array (an heir, a proxy) has no elements. */
const isArrayLike = (value: unknown): value is ArrayLike<number> =>
  typeof value === 'object' &&
  value !== null &&
  (ArrayBuffer.isView(value) || !('BYTES_PER_ELEMENT' in value)) &&
  isCount((value as ArrayLike<number>).length);

const isView = (data: ArrayLike<number>): data is TensorData =>
  ArrayBuffer.isView(data) && !types.isBigInt64Array(data) && !types.isBigUint64Array(data);

/** A typed array whose buffer was detached has no elements, and its methods throw. */
function isLost(array: TensorData): boolean {
  if (array.length > 0) return false;
  try {
    array.at(0);
    return false;
  } catch {
    return true;
  }
}

const lost = (name: string) => invalidArgument(`${name} is backed by a detached or shrunk ArrayBuffer`);

function allocate(dtype: DType, elements: number): TensorData {
  try {
    return new ARRAYS[dtype](elements);
  } catch (cause) {
    const bytes = elements * ARRAYS[dtype].BYTES_PER_ELEMENT;
    throw new PrlError('ERR_PRL_OUT_OF_MEMORY', `no memory for a tensor of ${bytes} bytes`, { cause });
  }
}

function checkPlace(dtype: DType, device: Device = 'cpu'): Device {
  if (typeof dtype !== 'string' || !Object.hasOwn(ARRAYS, dtype))
    throw invalidArgument(`dtype must be one of ${Object.keys(ARRAYS).join(', ')}, not ${describe(dtype)}`);
  if (device !== 'cpu' && device !== 'cuda')
    throw invalidArgument(`device must be 'cpu' or 'cuda', not ${describe(device)}`);
  usedGpu ||= device === 'cuda';
  return device;
}

function checkShape(shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape)) throw invalidArgument(`shape must be an array of sizes, not ${describe(shape)}`);
  if (shape.length < 1 || shape.length > 8) throw outOfRange(`shape must have 1 to 8 sizes, not ${shape.length}`);
  const sizes = Array.from(shape, (size, i) => checkInteger(`shape[${i}]`, size));
  if (elementsOf(sizes) > 2 ** 32) throw outOfRange(`shape [${sizes}] has more than 2^32 elements`);
  return sizes;
}

const elementsOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/**
 * Where a call runs: the device of the tensors among its arguments, or the CPU if there are none. Typed arrays follow
 * the tensors.
 *
 * @throws TypeError naming two tensors that are on different devices
 */
export function deviceOf(args: Record<string, unknown>): Device {
  let first: { name: string; device: Device } | undefined;
  for (const [name, value] of Object.entries(args)) {
    if (!(value instanceof Tensor)) continue;
    first ??= { name, device: value.device };
    if (value.device !== first.device)
      throw invalidArgument(
        `${first.name} is on '${first.device}' but ${name} is on '${value.device}': all tensors of a call must be on one device`,
      );
  }
  return first?.device ?? 'cpu';
}

/** Any input as a tensor. A typed array gets the requested `shape` and goes to `device`. */
export function asTensor(name: string, value: TensorLike, device: Device = 'cpu', shape?: readonly number[]): Tensor {
  if (value instanceof Tensor) return value;
  const expected = 'a Tensor, a Float32Array or an Int32Array';
  const dtype = types.isFloat32Array(value) ? 'float32' : types.isInt32Array(value) ? 'int32' : undefined;
  if (!dtype) throw invalidArgument(`${name} must be ${expected}, not ${describe(value)}`);
  return tensorOf(name, expected, value, dtype, device, shape);
}

/** Numbers as a float32 tensor. Converts anything but a Float32Array or a Tensor. */
export function asFloats(name: string, value: Tensor | ArrayLike<number>, device: Device = 'cpu'): Tensor {
  if (value instanceof Tensor) return value;
  return tensorOf(name, 'a Float32Array, an array of numbers or a float32 Tensor', value, 'float32', device);
}

/** Indices as an int32 tensor. Converts plain arrays and the other integer arrays. */
export function asInts(
  name: string,
  value: Tensor | ArrayLike<number>,
  device: Device = 'cpu',
  expected = 'an Int32Array, an array of integers or an int32 Tensor',
): Tensor {
  if (value instanceof Tensor) return value;
  if (types.isFloat32Array(value) || types.isFloat64Array(value))
    throw invalidArgument(`${name} must be ${expected}, not ${describe(value)}`);
  return tensorOf(name, expected, value, 'int32', device);
}

/** A copy of numbers for JavaScript to read: reading other arguments may run code that changes them. */
export function copyFloats(name: string, value: Tensor | ArrayLike<number>): Float32Array {
  return copyOf(name, asFloats(name, value), 'float32') as Float32Array;
}

/** The same for indices. */
export function copyInts(name: string, value: Tensor | ArrayLike<number>, expected?: string): Int32Array {
  return copyOf(name, asInts(name, value, 'cpu', expected), 'int32') as Int32Array;
}

function copyOf(name: string, tensor: Tensor, dtype: DType): TensorData {
  if (tensor.dtype !== dtype) throw invalidArgument(`${name} must be ${dtype}, not ${tensor.dtype}`);
  return new ARRAYS[dtype](dataOf(name, tensor));
}

/** The memory of a CPU tensor, if its buffer still exists. */
function dataOf(name: string, { data, size }: Tensor): TensorData {
  if (data.length !== size || isLost(data)) throw lost(name);
  return data;
}

/** A copy of a list of numbers. */
export function asNumbers(name: string, value: ArrayLike<number>, expected = 'an array of numbers'): number[] {
  if (!isArrayLike(value)) throw invalidArgument(`${name} must be ${expected}, not ${describe(value)}`);
  return numbersOf(name, value, value.length);
}

/** Booleans or integers as an int32 tensor. */
export function asFlags(
  name: string,
  value: Tensor | ArrayLike<number> | readonly boolean[],
  device: Device = 'cpu',
): Tensor {
  if (!Array.isArray(value)) return asInts(name, value as Tensor | ArrayLike<number>, device);
  // Looked at before the copy: a length alone proves nothing.
  const flags: number[] = [];
  for (let i = 0; i < value.length; i++) {
    const flag: unknown = value[i];
    if (typeof flag !== 'boolean' && typeof flag !== 'number')
      throw invalidArgument(`${name}[${i}] must be true, false or an integer, not ${describe(flag)}`);
    flags.push(Number(flag));
  }
  return asInts(name, flags, device);
}

function toNumbers(data: TensorData, dtype: DType, copy: boolean): Float32Array | Int32Array {
  if (dtype === 'int32' || dtype === 'float32')
    return copy ? new ARRAYS[dtype](data) : (data as Float32Array | Int32Array);
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
