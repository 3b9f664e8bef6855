// What should never come, and what to do to arguments that would have been right.
import type { AddonCall } from './kernel-calls.js';
import type { Making, RawTensor } from './making.js';

/** Thrown by getters and proxies of ours: it must come out as it went in. */
export class Thrown extends Error {}
const fail = (): never => {
  throw new Thrown('thrown by an argument');
};

/** An array whose buffer another owner has taken. */
export function detach(array: ArrayBufferView): void {
  if (array.buffer instanceof ArrayBuffer) structuredClone(array.buffer, { transfer: [array.buffer] });
}

const resizable = (bytes: number, most: number, Kind = ArrayBuffer as unknown): ArrayBuffer =>
  new (Kind as new (length: number, options: object) => ArrayBuffer)(bytes, { maxByteLength: most });

export const ILLEGAL_NUMBERS = [-1, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 53, -(2 ** 31), 1e308, -0.1, 2 ** 63];
const NUMBERS = [...ILLEGAL_NUMBERS, 0, -0, 1, 2, 3, 5e-324, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40];

const VALUES: ((m: Making) => unknown)[] = [
  () => undefined,
  () => null,
  (m) => m.of(NUMBERS),
  (m) => m.of(NUMBERS),
  (m) => m.chance(0.5),
  (m) => m.of([0n, -1n, 2n ** 63n, 2n ** 64n, 10n ** 40n, 64n]),
  (m) => m.of(['', 'float32', 'cuda', 'F32', 'x'.repeat(100), '\0', '\ud800', 'model.norm.weight', '3']),
  () => Symbol('symbol'),
  () => () => 1,
  () => [],
  (m) => Array.from({ length: m.int(1, 20) }, () => m.of(NUMBERS)),
  () => new Array(2 ** 32 - 1),
  () => ({}),
  () => Object.create(null),
  () => ({ length: 2 ** 40 }),
  () => ({ length: -1 }),
  () => ({
    length: 2,
    0: 1,
    get 1() {
      return fail();
    },
  }),
  () => ({ valueOf: fail, toString: fail }),
  () => new Proxy({}, { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail }),
  () => new Proxy([], {}),
  () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  (m) => new Float32Array(m.int(0, 9)),
  (m) => new Int32Array(m.int(0, 9)),
  () => new Float64Array(4),
  () => new BigInt64Array(4),
  () => new Uint8ClampedArray(64),
  () => new Float32Array(new SharedArrayBuffer(16)),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(64),
  () => new SharedArrayBuffer(64),
  () => {
    const array = new Float32Array(4);
    detach(array);
    return array;
  },
  () => new Date(Number.NaN),
  () => Promise.resolve(1),
  () => new Map(),
];
export const hostile = (m: Making): unknown => m.of(VALUES)(m);

export function isTensor(value: unknown): value is RawTensor {
  try {
    return typeof value === 'object' && value !== null && 'dtype' in value && 'shape' in value;
  } catch {
    return false; // a hostile proxy
  }
}
export const tensorsOf = (args: Record<string, unknown>) =>
  Object.entries(args).filter((entry): entry is [string, RawTensor] => isTensor(entry[1]));

type Words = Float32Array | Int32Array | Uint16Array;
const kindOf = (data: Words) =>
  data.constructor as {
    new (buffer: ArrayBufferLike, offset?: number, length?: number): Words;
    BYTES_PER_ELEMENT: number;
  };

/** Faults of a tensor's memory with at least one element: none may be accepted. */
const MEMORY_FAULTS: Record<string, (m: Making, tensor: RawTensor, data: Words) => void> = {
  detached: (_, __, data) => detach(data),
  shared: (m, tensor, data) => {
    const [bytes, Kind] = [data.byteLength, kindOf(data)];
    const most = m.chance(0.5) ? bytes * 2 : undefined;
    tensor.data = new Kind(most ? resizable(bytes, most, SharedArrayBuffer) : new SharedArrayBuffer(bytes));
  },
  shrunk: (_, tensor, data) => {
    const buffer = resizable(data.byteLength, 2 * data.byteLength);
    tensor.data = new (kindOf(data))(buffer);
    (buffer as unknown as { resize(bytes: number): void }).resize(data.byteLength - data.BYTES_PER_ELEMENT);
  },
  grown: (_, tensor, data) => {
    const buffer = resizable(data.byteLength, 2 * data.byteLength);
    tensor.data = new (kindOf(data))(buffer);
    (buffer as unknown as { resize(bytes: number): void }).resize(2 * data.byteLength);
  },
  'shrunk under a fixed view': (_, tensor, data) => {
    const buffer = resizable(data.byteLength, data.byteLength);
    tensor.data = new (kindOf(data))(buffer, 0, data.length);
    (buffer as unknown as { resize(bytes: number): void }).resize(0);
  },
  'another kind': (_, tensor, data) => {
    tensor.data = new Float64Array(data.length) as never;
  },
  shorter: (_, tensor, data) => {
    tensor.data = data.subarray(1) as Words;
  },
  'no array': (m, tensor) => {
    tensor.data = m.of([null, 1, [], {}, new ArrayBuffer(8), new DataView(new ArrayBuffer(8))]) as never;
  },
};

/** Faults of how a tensor is described. Not all make it wrong. */
const DESCRIPTIONS: ((m: Making, tensor: RawTensor) => void)[] = [
  (m, t) => {
    t.dtype = m.of(['float32', 'bfloat16', 'float16', 'int32', 'float64', '', 7, new String('float32'), null]) as never;
  },
  (m, t) => {
    t.device = m.of(['cpu', 'cuda', 'cpu\0', 'gpu', 1, undefined, new String('cpu')]) as never;
  },
  (m, t) => {
    t.shape[m.int(0, t.shape.length - 1)] = m.of(NUMBERS);
  },
  (m, t) => {
    t.shape = m.of([
      [],
      [0],
      [0, 2 ** 53 - 1],
      [2 ** 53 - 1, 0],
      [2 ** 32, 2 ** 32],
      [2 ** 21, 2 ** 21, 2 ** 21],
      new Array(9).fill(1),
    ]);
  },
  (m, t) => {
    t.shape = m.of([null, 3, '3', { length: 1, 0: 3 }, [[3]], ['3'], [3n], new Array(1), new Int32Array(1)]) as never;
  },
  (_, t) => {
    t.shape = [...t.shape].reverse();
  },
  (_, t) => {
    t.shape = [1, ...t.shape];
  },
  (m, t) => {
    t.memory = m.of([{}, null, t.data as object]) as never;
    t.device = 'cuda';
  },
];

const BAD_INTS = [-1, -(2 ** 31), 2 ** 31 - 1, 1, 2, 40, 1000, 2 ** 20];
const BAD_FLOATS = [Number.NaN, Infinity, -Infinity, 3.4e38, -3.4e38, 1e-45, 0, -0, 88.8, -104];

export interface Fault {
  what: string;
  /** Accepting the call would be wrong. */
  mustFail?: boolean;
  /** The call may fail with an error that an argument threw. */
  foreign?: boolean;
  /** Inputs may change: JavaScript runs in the middle. */
  unruly?: boolean;
  /** What is left cannot be spoiled further. */
  last?: boolean;
}

/** Does something to one of the arguments. @param interfere runs JavaScript that does harm: see fuzz.ts */
export function spoil(m: Making, args: Record<string, unknown>, call: AddonCall, interfere: () => void): Fault {
  const names = Object.keys(args);
  const tensors = tensorsOf(args);
  if (names.length === 0) return { what: 'nothing to spoil' };
  const name = m.of(names);
  const kind = m.int(0, 9);
  if (kind <= 1 || tensors.length === 0) {
    const number = typeof args[name] === 'number' && m.chance(0.6);
    let value = number ? m.of(NUMBERS) : hostile(m);
    if (call.costly?.includes(name) && typeof value === 'number') value = m.of(ILLEGAL_NUMBERS);
    args[name] = value;
    return { what: `${name} = ${describe(value)}`, foreign: true };
  }
  if (kind === 2) {
    delete args[name];
    return { what: `no ${name}` };
  }
  const [field, tensor] = m.of(tensors);
  const { data } = tensor;
  if (kind <= 4 && data?.length) {
    const fault = m.of(Object.keys(MEMORY_FAULTS));
    MEMORY_FAULTS[fault](m, tensor, data);
    return { what: `the data of ${field}: ${fault}`, mustFail: true };
  }
  if (kind === 5 && Array.isArray(tensor.shape) && tensor.shape.length > 0) {
    m.of(DESCRIPTIONS)(m, tensor);
    return {
      what: `${field} described as ${describe(tensor.dtype)} on ${describe(tensor.device)}, ${describe(tensor.shape)}`,
    };
  }
  if (kind === 6 && data?.length) {
    for (let n = m.int(1, 3); n > 0; n--)
      data[m.int(0, data.length - 1)] = m.of(
        tensor.dtype === 'int32'
          ? BAD_INTS
          : tensor.dtype === 'float32'
            ? BAD_FLOATS
            : [0x7f80, 0x7c00, 0x7fff, 0xffff, 0x0001],
      );
    return { what: `bad values in ${field}` };
  }
  if (kind === 7) {
    const output = tensors.filter(([n, t]) => call.outputs?.includes(n) && (t.data?.length ?? 0) > 0);
    const others = tensors.filter(([, t]) => (t.data?.length ?? 0) > 0);
    if (output.length > 0 && others.length > 1) return overlap(m, m.of(output), others);
  }
  return interrupt(m, args, m.chance(0.5) ? undefined : m.of(tensors)[1], interfere);
}

/** An output on the memory of another tensor. */
function overlap(m: Making, [name, output]: [string, RawTensor], tensors: [string, RawTensor][]): Fault {
  const [other, { data }] = m.of(tensors.filter(([n]) => n !== name));
  const [mine, theirs] = [output.data as Words, data as Words];
  const size = Math.max(mine.byteLength, theirs.byteLength) * 2 + 64;
  const buffer = new ArrayBuffer(size);
  const place = (words: Words, at: number): Words => {
    const moved = new (kindOf(words))(buffer, at, words.length);
    moved.set(words);
    return moved;
  };
  const there = place(theirs, 32);
  // The last of one over the first of the other, the first over the last, or within.
  const low = 32 - mine.byteLength + mine.BYTES_PER_ELEMENT;
  const high = 32 + theirs.byteLength - Math.max(mine.BYTES_PER_ELEMENT, theirs.BYTES_PER_ELEMENT);
  const unit = Math.max(mine.BYTES_PER_ELEMENT, 4);
  const at = Math.max(0, Math.floor(m.int(Math.min(low, high), high) / unit) * unit);
  const here = place(mine, Math.min(at, size - mine.byteLength));
  output.data = here;
  for (const [n, tensor] of tensors) if (n === other) tensor.data = there;
  const inPlace = name === 'dLogits' && other === 'logits' && here.byteOffset === 32;
  const apart = here.byteOffset >= 32 + there.byteLength || here.byteOffset + here.byteLength <= 32;
  return {
    what: `${name} at byte ${here.byteOffset} and ${other} at byte 32 of one buffer`,
    mustFail: !inPlace && !apart,
    unruly: inPlace,
  };
}

/** Reading the property runs `run` first. */
export function putBehindGetter(target: Record<string, unknown>, name: string, run: () => void): void {
  const value = target[name];
  Object.defineProperty(target, name, {
    enumerable: true,
    configurable: true,
    get() {
      run();
      return value;
    },
  });
}

/** A getter or proxy that runs JavaScript while the arguments are read. */
function interrupt(
  m: Making,
  args: Record<string, unknown>,
  tensor: RawTensor | undefined,
  interfere: () => void,
): Fault {
  const target = (tensor ?? args) as Record<string, unknown>;
  const name = m.of(Object.keys(target));
  putBehindGetter(target, name, m.chance(0.2) ? fail : interfere);
  return { what: `a getter for ${tensor ? `a tensor's ${name}` : name}`, foreign: true, unruly: true };
}

export function describe(value: unknown): string {
  try {
    if (typeof value === 'function') return 'a function';
    if (Array.isArray(value) && value.length > 20) return `an array of ${value.length}`;
    if (typeof value === 'object' && value !== null)
      return `${Object.prototype.toString.call(value)} ${JSON.stringify(value)?.slice(0, 60)}`;
    return String(value);
  } catch {
    return `a hostile ${typeof value}`;
  }
}
