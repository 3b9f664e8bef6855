// The public functions, with arguments spoiled in the ways in which users spoil them.
import * as lib from '../../lib/index.js';
import { Policy, QuantilePrm, Tensor } from '../../lib/index.js';
import type { Target } from './fuzz.js';
import { describe, detach, type Fault, hostile, putBehindGetter } from './hostile.js';
import { LIBRARY_CALLS } from './library-calls.js';
import type { Making } from './making.js';
import { PUBLIC_CALLS, type PublicCall } from './public-calls.js';

const CALLS: Record<string, PublicCall> = { ...PUBLIC_CALLS, ...LIBRARY_CALLS };

/**
 * Take nothing; or are about files, the network, servers and whole trainings, which have hostile tests of their own.
 */
const ELSEWHERE = [
  ...['availableMemory', 'cudaDevices', 'nativeInfo', 'synchronize', 'describeReport'],
  ...['emptyCudaCache', 'initCuda'],
  ...['collectPrmData', 'downloadFiles', 'evaluatePrm', 'loadProcessRewardModel', 'readPrmData', 'resolveModel'],
  ...['resolveTokenizer', 'serve', 'serveTinker', 'trainQuantilePrm', 'warmStart', 'PrlError', 'RunFolder'],
];
const METHODS: Record<string, string[]> = {
  Policy: ['parameterCount', 'gradients', 'call', 'checkMemory', 'save', 'saveOptimizer', 'loadOptimizer'],
  QuantilePrm: ['save', 'standardize', 'finetune', 'weights', 'restore', 'steps'],
  Tokenizer: ['save', 'hasChatTemplate', 'readsClock'],
  ArithmeticTask: ['measure'],
};
const OBJECTS = { policy: lib.Policy, prm: lib.QuantilePrm, tokenizer: lib.Tokenizer, task: lib.ArithmeticTask };

const ownArray = (m: Making, array: Float32Array | Int32Array): [string, unknown] =>
  m.of<() => [string, unknown]>([
    () => {
      detach(array);
      return ['a detached array', array];
    },
    () => [
      'a shared array',
      new (array.constructor as Float32ArrayConstructor)(new SharedArrayBuffer(array.byteLength)),
    ],
    () => ['a shorter array', array.subarray(1)],
    () => ['an heir of an array', Object.create(array)],
    () => ['a proxy of an array', new Proxy(array, {})],
    () => ['float64', Float64Array.from(array)],
    () => ['bigints', BigInt64Array.from(array as Int32Array, (x) => BigInt(Math.trunc(x) || 0))],
    () => ['strings', Array.from(array, String)],
    () => ['a hole', Object.assign(Array.from(array), { length: array.length + 1 })],
    () => ['bad values', array.map((x, i) => (i % 2 ? x : m.of([Number.NaN, -1, 1e30, 2 ** 31])))],
  ])();

const ownTensor = (m: Making, tensor: Tensor): [string, unknown] =>
  m.of<() => [string, unknown]>([
    () => {
      tensor.dispose();
      return ['a disposed tensor', tensor];
    },
    () => {
      detach(tensor.data);
      return ['a tensor whose buffer was taken', tensor];
    },
    () => ['another type', Tensor.zeros(tensor.shape, { dtype: m.of(['int32', 'bfloat16', 'float16', 'float32']) })],
    () => ['another shape', Tensor.zeros([...tensor.shape, 2])],
    () => [
      'an object like a tensor',
      { dtype: tensor.dtype, shape: tensor.shape, device: 'cpu', data: tensor.data, size: tensor.size },
    ],
    () => ['an heir of a tensor', Object.create(tensor)],
    () => ['a proxy of a tensor', new Proxy(tensor, {})],
    () => {
      for (const [name, value] of Object.entries({ data: new Float32Array(3), shape: [2 ** 31], size: 3 }))
        if (Reflect.defineProperty(tensor, name, { value })) throw new Error(`a tensor took another ${name}`);
      if (Reflect.set(tensor.shape, 0, 2 ** 31)) throw new Error('a tensor took another size');
      return ['a tensor that others tried to change', tensor];
    },
  ])();

function spoilPublic(m: Making, args: Record<string, unknown>, interfere: () => void): Fault {
  const names = Object.keys(args).filter(
    (name) => !(args[name] instanceof Policy) && !(args[name] instanceof QuantilePrm),
  );
  if (names.length === 0) return { what: 'nothing to spoil' };
  const name = m.of(names);
  const value = args[name];
  // Options, configs and batches are spoiled in their fields.
  if (
    m.chance(0.7) &&
    typeof value === 'object' &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype
  ) {
    const inner = spoilPublic(m, value as Record<string, unknown>, interfere);
    return { ...inner, what: `${name}: ${inner.what}` };
  }
  const array = ArrayBuffer.isView(value) && (value instanceof Float32Array || value instanceof Int32Array);
  if (m.chance(0.5) && (array || value instanceof Tensor)) {
    const [what, spoiled] = value instanceof Tensor ? ownTensor(m, value) : ownArray(m, value as Float32Array);
    args[name] = spoiled;
    return { what: `${name}: ${what}`, last: true };
  }
  if (m.chance(0.15) && Array.isArray(value) && value.length > 0) {
    const at = m.int(0, value.length - 1);
    const item = hostile(m);
    value[at] = item;
    return { what: `${name}[${at}] = ${describe(item)}`, foreign: true };
  }
  if (m.chance(0.1)) {
    delete args[name];
    return { what: `no ${name}` };
  }
  if (m.chance(0.1)) {
    args.epsilonn = 1;
    return { what: 'an unknown option' };
  }
  if (m.chance(0.15)) {
    putBehindGetter(args, name, interfere);
    return { what: `a getter for ${name}`, foreign: true, unruly: true };
  }
  const other = hostile(m);
  args[name] = other;
  return { what: `${name} = ${describe(other)}`, foreign: true };
}

/** Every function that the package exports is called, or it is said why not. */
function checkComplete(): void {
  const known = Object.keys(CALLS);
  const isCalled = (name: string) => known.some((each) => each === name || each.startsWith(`${name}.`));
  const missing = Object.entries(lib)
    .filter(([name, value]) => typeof value === 'function' && !ELSEWHERE.includes(name) && !isCalled(name))
    .map(([name]) => name)
    .filter((name) => !(name in METHODS));
  for (const [object, kind] of Object.entries(OBJECTS))
    for (const name of Object.getOwnPropertyNames(kind.prototype))
      if (name !== 'constructor' && !METHODS[kind.name].includes(name) && !known.includes(`${object}.${name}`))
        missing.push(`${object}.${name}`);
  if (missing.length)
    throw new Error(`the fuzz knows no right arguments for ${missing.join(', ')}: add them to public-calls.ts`);
}

export function publicTargets(): Target[] {
  checkComplete();
  return Object.entries(CALLS).map(
    ([name, { make, call, outputs = [] }]: [string, PublicCall]): Target => ({
      name: `lib ${name}`,
      outputs,
      make,
      call,
      spoil: spoilPublic,
    }),
  );
}
