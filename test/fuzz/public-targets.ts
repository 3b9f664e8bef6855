// The public functions, with arguments spoiled in the ways in which users spoil them.
import { readdirSync } from 'node:fs';
import { Policy, QuantilePrm, Tensor } from '../../lib/index.js';
import type { Target } from './fuzz.js';
import { describe, detach, type Fault, hostile } from './hostile.js';
import type { Making } from './making.js';
import { PUBLIC_CALLS, type PublicCall } from './public-calls.js';

/** What lib/kernels exports for other files of lib/ alone. */
const INTERNAL = [
  'checkLogits',
  'checkQuantiles',
  'entropyThreshold',
  'lossBatch',
  'lossMetrics',
  'lossParams',
  'openQuantile',
  'withLoss',
];
/** Files are other tests' business (hostile checkpoints, lost folders); these return at once or are called by the others. */
const METHODS = {
  Policy: [
    'constructor',
    'parameterCount',
    'gradients',
    'call',
    'checkMemory',
    'save',
    'saveOptimizer',
    'loadOptimizer',
  ],
  QuantilePrm: ['constructor', 'save', 'standardize', 'finetune', 'weights', 'restore', 'steps'],
};

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
    Object.defineProperty(args, name, {
      enumerable: true,
      configurable: true,
      get() {
        interfere();
        return value;
      },
    });
    return { what: `a getter for ${name}`, foreign: true, unruly: true };
  }
  const other = hostile(m);
  args[name] = other;
  return { what: `${name} = ${describe(other)}`, foreign: true };
}

async function checkComplete(): Promise<void> {
  const folder = new URL('../../lib/kernels/', import.meta.url);
  const known = Object.keys(PUBLIC_CALLS);
  const missing: string[] = [];
  for (const file of readdirSync(folder)) {
    const exported: Record<string, unknown> = await import(new URL(file, folder).href);
    for (const [name, value] of Object.entries(exported))
      if (typeof value === 'function' && !INTERNAL.includes(name) && !known.includes(name)) missing.push(name);
  }
  for (const [object, kind] of [
    ['policy', Policy],
    ['prm', QuantilePrm],
  ] as const) {
    const elsewhere = METHODS[kind.name as keyof typeof METHODS];
    for (const name of Object.getOwnPropertyNames(kind.prototype))
      if (!elsewhere.includes(name) && !known.includes(`${object}.${name}`)) missing.push(`${object}.${name}`);
  }
  if (missing.length)
    throw new Error(`the fuzz knows no right arguments for ${missing.join(', ')}: add them to public-calls.ts`);
}

export async function publicTargets(): Promise<Target[]> {
  await checkComplete();
  return Object.entries(PUBLIC_CALLS).map(
    ([name, { make, call, outputs = [] }]: [string, PublicCall]): Target => ({
      name: `lib ${name}`,
      outputs,
      make,
      call,
      spoil: spoilPublic,
    }),
  );
}
