// The values of a template, with the meaning that they have in Python: text, truth, equality, order, iteration.
import { PrlError } from '../../base/errors.js';

/** A template that cannot be read or rendered. The message names the construct. */
export class TemplateError extends PrlError {
  constructor(message: string) {
    super('ERR_PRL_TEMPLATE', message);
  }
}

/** An int is a bigint and a float a number, so that 1 and 1.0 stay different. A list is an array. */
export type Value =
  | string
  | bigint
  | number
  | boolean
  | null
  | Undefined
  | Value[]
  | Tuple
  | Range
  | Dict
  | DictView
  | Lazy
  | Namespace
  | Callable
  | Attributes;

/** A name, attribute or item that does not exist. It prints as nothing; most other uses of it are errors. */
export class Undefined {
  constructor(readonly message: string) {}
}

export class Tuple {
  /** @param names for items that can also be read as attributes */
  constructor(
    readonly items: readonly Value[],
    readonly names: readonly string[] = [],
  ) {}
}

export class Range {
  constructor(
    readonly items: readonly bigint[],
    readonly shown: string,
  ) {}
}

/** A dict: keys in the order of insertion, found by their value. */
export class Dict {
  readonly #entries = new Map<string, readonly [Value, Value]>();

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }
  get size(): number {
    return this.#entries.size;
  }
  has(key: Value): boolean {
    return this.#entries.has(hash(key));
  }
  get(key: Value): Value | undefined {
    return this.#entries.get(hash(key))?.[1];
  }
  set(key: Value, value: Value): void {
    const place = hash(key);
    const known = this.#entries.get(place);
    this.#entries.set(place, [known ? known[0] : key, value]);
  }
  entries(): readonly (readonly [Value, Value])[] {
    return [...this.#entries.values()];
  }
  keys(): Value[] {
    return this.entries().map(([key]) => key);
  }
}

/** The result of dict.keys(), dict.values() or dict.items(). */
export class DictView {
  constructor(
    readonly dict: Dict,
    readonly kind: 'keys' | 'values' | 'items',
  ) {}
  items(): Value[] {
    const entries = this.dict.entries();
    if (this.kind === 'items') return entries.map((entry) => new Tuple(entry));
    return entries.map(([key, value]) => (this.kind === 'keys' ? key : value));
  }
}

/** The result of a generator: its items are computed as they are read, and can be read once. */
export class Lazy {
  constructor(
    readonly name: string,
    readonly iterator: IterableIterator<Value>,
  ) {}
}

/** The result of namespace(): the only thing whose attributes a template can set. */
export class Namespace {
  constructor(readonly attributes: Dict) {}
}

/** A macro, method or function. */
export class Callable {
  /** @param shown its text, if that is not an address in memory */
  constructor(
    readonly name: string,
    readonly call: (args: Value[], named: Map<string, Value>) => Value,
    readonly shown?: string,
  ) {}
}

/** An object of which a template sees the attributes only, such as `loop`. */
export abstract class Attributes {
  abstract attribute(name: string): Value | undefined;
  abstract readonly shown: string;
  /** For objects that can be called. */
  call?(args: Value[], named: Map<string, Value>): Value;
}

/** Most items of a list that a template makes, and most bits of an int. */
export const MOST_ITEMS = 1_000_000;
const MOST_BITS = 1 << 14;

export function limitedInt(value: bigint): bigint {
  if (BigInt.asIntN(MOST_BITS, value) !== value) throw new TemplateError(`an int needs more than ${MOST_BITS} bits`);
  return value;
}

/** White space as Python's str.strip and re's \s see it. */
export const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

/** The characters of a text. Python counts code points. */
export const characters = (text: string): string[] => Array.from(text);

export const isNumber = (value: Value): value is bigint | number | boolean =>
  typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean';

/** The number of a bool is 0 or 1. */
export const numberOf = (value: bigint | number | boolean): bigint | number =>
  typeof value === 'boolean' ? BigInt(value) : value;

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (Array.isArray(value)) return 'list';
  if (value instanceof DictView) return `dict_${value.kind}`;
  if (value instanceof Lazy) return 'generator';
  if (value instanceof Attributes) return 'object';
  if (typeof value === 'object') return value.constructor.name.toLowerCase();
  return { string: 'str', bigint: 'int', number: 'float', boolean: 'bool' }[typeof value as string] ?? typeof value;
}

/** Items that can be counted and indexed. undefined: not a sequence. */
export function sequenceOf(value: Value): readonly Value[] | undefined {
  if (typeof value === 'string') return characters(value);
  if (Array.isArray(value)) return value;
  if (value instanceof Tuple || value instanceof Range) return value.items;
}

export function lengthOf(value: Value): number {
  if (value instanceof Undefined) return 0;
  if (value instanceof Dict) return value.size;
  if (value instanceof DictView) return value.dict.size;
  const items = sequenceOf(value);
  if (!items) throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
  return items.length;
}

/** What a for loop goes through. */
export function iterate(value: Value): Iterable<Value> {
  if (value instanceof Undefined) return [];
  if (value instanceof Dict) return value.keys();
  if (value instanceof DictView) return value.items();
  if (value instanceof Lazy) return value.iterator;
  const items = sequenceOf(value);
  if (!items) throw new TemplateError(`'${typeName(value)}' object is not iterable`);
  return items;
}

export function listOf(value: Value): Value[] {
  const list: Value[] = [];
  for (const item of iterate(value)) {
    if (list.length === MOST_ITEMS) throw new TemplateError(`a list has more than ${MOST_ITEMS} items`);
    list.push(item);
  }
  return list;
}

export function truth(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Dict || value instanceof DictView || sequenceOf(value)) return lengthOf(value) > 0;
  return isNumber(value) ? Boolean(value) && !Object.is(value, 0) : true;
}

/** The key of a value in a dict: equal values have the same. */
function hash(value: Value): string {
  if (typeof value === 'string') return `s${value}`;
  if (isNumber(value)) {
    const number = numberOf(value);
    return `n${Number.isInteger(number) ? BigInt(number) : number}`;
  }
  if (value === null) return 'none';
  if (value instanceof Undefined) return 'undefined';
  if (value instanceof Tuple) return `t${JSON.stringify(value.items.map(hash))}`;
  throw new TemplateError(`unhashable type: '${typeName(value)}'`);
}

export function equals(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return order(a, b) === 0;
  if (a instanceof Undefined) return b instanceof Undefined;
  if (Array.isArray(a)) return Array.isArray(b) && equalItems(a, b);
  if (a instanceof Tuple) return b instanceof Tuple && equalItems(a.items, b.items);
  if (a instanceof Range) return b instanceof Range && equalItems(a.items, b.items);
  if (a instanceof Dict)
    return (
      b instanceof Dict &&
      a.size === b.size &&
      a.entries().every(([key, value]) => b.has(key) && equals(value, b.get(key)!))
    );
  return a === b;
}

const equalItems = (a: readonly Value[], b: readonly Value[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i] || equals(item, b[i]));

/** Below, at or above 0 as a sorts before, with or after b. NaN: none of these. */
export function order(a: Value, b: Value, operator = '<'): number {
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [numberOf(a), numberOf(b)];
    // An int and a float may be equal, but not identical. NaN is neither.
    return x < y ? -1 : x > y ? 1 : x >= y ? 0 : Number.NaN;
  }
  if (typeof a === 'string' && typeof b === 'string') return orderOfTexts(a, b);
  const lists = (Array.isArray(a) && Array.isArray(b)) || (a instanceof Tuple && b instanceof Tuple);
  if (lists) {
    const [x, y] = [sequenceOf(a)!, sequenceOf(b)!];
    const i = x.findIndex((item, i) => i >= y.length || !equals(item, y[i]));
    return i < 0 || i >= y.length ? x.length - y.length : order(x[i], y[i], operator);
  }
  for (const value of [a, b]) if (value instanceof Undefined) throw new TemplateError(value.message);
  throw new TemplateError(`'${operator}' not supported between '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points: UTF-16 puts some of them in another order. */
function orderOfTexts(a: string, b: string): number {
  if (a === b) return 0;
  let i = 0;
  while (i < a.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  const low = (text: string) => text.charCodeAt(i) >= 0xdc00 && text.charCodeAt(i) < 0xe000;
  if (i > 0 && (low(a) || low(b))) i--;
  return (a.codePointAt(i) ?? -1) - (b.codePointAt(i) ?? -1);
}
