// What arguments are made of: a seeded generator, and memory with guards around it.
import { native } from '../../lib/kernels/native.js';
import { toBFloat16, toFloat16 } from '../../lib/kernels/tensor.js';
import { random } from '../reference/numbers.js';

export type RawDType = 'float32' | 'bfloat16' | 'float16' | 'int32';
type Words = Float32Array | Int32Array | Uint16Array;

/** A tensor as the addon takes it. */
export interface RawTensor {
  dtype: RawDType;
  device: 'cpu' | 'cuda';
  shape: number[];
  data?: Words;
  memory?: object;
}

const GUARD = 0xa5;

/** One call's arguments in the making. The same seed makes the same ones. */
export class Making {
  readonly next: () => number;
  private readonly guarded: { bytes: Uint8Array; begin: number; end: number; total: number }[] = [];

  /** @param known makes arguments of a call whose answer is known: nothing that other calls may have changed */
  constructor(
    seed: number,
    readonly known: boolean,
    readonly device: 'cpu' | 'cuda',
  ) {
    this.next = random(seed);
  }

  /** An integer from `low` to `high`. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }
  chance(p: number): boolean {
    return this.next() < p;
  }
  of<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)];
  }
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }

  /** A typed array in the middle of a buffer whose other bytes must stay as they are; now and then a resizable one. */
  words<T extends Words>(
    Kind: { new (buffer: ArrayBuffer, offset: number, length: number): T; BYTES_PER_ELEMENT: number },
    n: number,
  ): T {
    const size = Kind.BYTES_PER_ELEMENT;
    const begin = size * this.int(0, 9);
    const end = begin + n * size;
    const total = end + size * this.int(0, 9);
    const options = this.chance(0.1) ? { maxByteLength: total + 64 } : undefined;
    const buffer = new (ArrayBuffer as new (length: number, options?: object) => ArrayBuffer)(total, options);
    const bytes = new Uint8Array(buffer).fill(GUARD);
    bytes.fill(0, begin, end);
    this.guarded.push({ bytes, begin, end, total });
    return new Kind(buffer, begin, n);
  }

  /** Whether a byte outside of the arrays was changed. Buffers that were detached or resized have none to look at. */
  overrun(): boolean {
    return this.guarded.some(
      ({ bytes, begin, end, total }) =>
        total > 0 &&
        bytes.byteLength === total &&
        (bytes.subarray(0, begin).some((x) => x !== GUARD) || bytes.subarray(end).some((x) => x !== GUARD)),
    );
  }

  tensor(dtype: RawDType, shape: number[], value: (i: number) => number): RawTensor {
    const n = shape.reduce((a, b) => a * b, 1);
    const Kind = dtype === 'float32' ? Float32Array : dtype === 'int32' ? Int32Array : Uint16Array;
    const convert = dtype === 'bfloat16' ? toBFloat16 : dtype === 'float16' ? toFloat16 : (x: number) => x;
    const data = this.words(Kind as typeof Float32Array, n) as Words;
    for (let i = 0; i < n; i++) data[i] = convert(value(i));
    if (this.device === 'cpu') return { dtype, device: 'cpu', shape, data };
    const memory = native().cudaAllocate({ bytes: data.byteLength, zero: false });
    native().cudaUpload({ memory, data });
    return { dtype, device: 'cuda', shape, memory };
  }
  floats(n: number, value: (i: number) => number = () => this.normal()): RawTensor {
    return this.tensor('float32', [n], value);
  }
  logProbs(n: number): RawTensor {
    return this.floats(n, () => -Math.abs(this.normal()) - 0.1);
  }
  ints(n: number, value: (i: number) => number): RawTensor {
    return this.tensor('int32', [n], value);
  }
  out(n: number): RawTensor {
    return this.floats(n, () => 0);
  }
  maybe<T>(make: () => T): T | undefined {
    return this.chance(0.5) ? make() : undefined;
  }

  /** Offsets of `pieces` pieces of `total` things; `least` in each. */
  offsets(pieces: number, total: number, least = 0): number[] {
    const cuts = Array.from({ length: pieces - 1 }, () => this.int(0, total - least * pieces)).sort((a, b) => a - b);
    return [0, ...cuts.map((cut, i) => cut + least * (i + 1)), total];
  }
  packed(offsets: number[]): RawTensor {
    return this.ints(offsets.length, (i) => offsets[i]);
  }
}
