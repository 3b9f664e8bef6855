// a.b, a['b'], a[0] and a[1:2]. Python looks for the attribute first in a.b, and for the item first in a['b'].
import { ATTRIBUTES, methodOf } from './methods.js';
import { repr } from './text.js';
import {
  Attributes,
  Callable,
  characters,
  Dict,
  Namespace,
  Range,
  sequenceOf,
  TemplateError,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

export function attributeOf(object: Value, name: string): Value {
  const own = attribute(object, name);
  if (own !== undefined) return own;
  const found = item(object, name);
  return found === undefined ? undefinedOf(object, name) : found;
}

export function itemOf(object: Value, key: Value): Value {
  const found = item(object, key);
  if (found !== undefined) return found;
  return typeof key === 'string' ? ownAttributeOf(object, key) : undefinedOf(object, key);
}

/** The value of an attribute only, as the filter attr gives it. */
export function ownAttributeOf(object: Value, name: string): Value {
  const own = attribute(object, name);
  return own === undefined ? undefinedOf(object, name) : own;
}

const KINDS: { [type: string]: string } = {
  ...{ str: 'str', dict: 'dict', list: 'list', tuple: 'tuple', int: 'int', float: 'float', bool: 'int' },
};

const undefinedOf = (object: Value, key: Value) =>
  new Undefined(
    typeof key === 'string'
      ? `'${typeName(object)} object' has no attribute ${repr(key)}`
      : `'${typeName(object)} object' has no element ${repr(key)}`,
  );

function attribute(object: Value, name: string): Value | undefined {
  if (object instanceof Undefined) throw new TemplateError(object.message);
  if (object instanceof Namespace) return object.attributes.get(name);
  if (object instanceof Attributes) return object.attribute(name);
  if (object instanceof Tuple && object.names.includes(name)) return object.items[object.names.indexOf(name)];
  if (object instanceof Callable && object.shown !== undefined && name === 'name') return object.name;
  const kind = KINDS[typeName(object)];
  if (kind === undefined || !ATTRIBUTES[kind].includes(name)) return undefined;
  return methodOf(object, kind, name);
}

function item(object: Value, key: Value): Value | undefined {
  if (object instanceof Undefined) throw new TemplateError(object.message);
  if (object instanceof Dict) return isHashable(key) ? object.get(key) : undefined;
  if (typeof key !== 'bigint' && typeof key !== 'boolean') return undefined;
  return sequenceOf(object)?.at(Number(key));
}

const isHashable = (key: Value) => !Array.isArray(key) && !(key instanceof Dict);

export function sliceOf(object: Value, bounds: readonly (Value | undefined)[]): Value {
  if (object instanceof Undefined) throw new TemplateError(object.message);
  const items = sequenceOf(object);
  if (!items) return undefinedOf(object, null);
  const [start, stop, step = null] = bounds.map((bound) => {
    if (bound === undefined || bound === null) return null;
    if (typeof bound === 'bigint' || typeof bound === 'boolean') return Number(bound);
    throw new TemplateError(`slice indices must be ints or None, not '${typeName(bound)}'`);
  });
  const picked = pick(items, start, stop ?? null, step ?? 1);
  if (typeof object === 'string') return picked.join('');
  if (object instanceof Tuple) return new Tuple(picked);
  if (object instanceof Range) throw new TemplateError('a slice of a range is not supported: use | list first');
  return picked;
}

function pick(items: readonly Value[], start: number | null, stop: number | null, step: number): Value[] {
  if (step === 0) throw new TemplateError('slice step cannot be zero');
  const { length } = items;
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1];
  const place = (bound: number | null, otherwise: number) =>
    bound === null ? otherwise : Math.max(low, Math.min(high, bound < 0 ? bound + length : bound));
  const [from, to] = [place(start, step > 0 ? low : high), place(stop, step > 0 ? high : low)];
  const picked: Value[] = [];
  for (let i = from; step > 0 ? i < to : i > to; i += step) picked.push(items[i]);
  return picked;
}

/** A text with its characters in the other order. */
export const reversedText = (text: string): string => characters(text).reverse().join('');
