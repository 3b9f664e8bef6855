import { closest, distance } from 'fastest-levenshtein';
import { invalidArgument, outOfRange, unknownOption } from './errors.js';
import { shorten } from './shorten.js';

/**
 * The options of a call, each read once: what callers pass may have getters, and what was checked must be what is used. An option
 * is never ignored in silence: one that is not in `known` is an error that names the nearest.
 */
export function checkOptions<T extends object>(where: string, options: T, known: readonly string[]): T {
  if (options === null || typeof options !== 'object' || Array.isArray(options) || ArrayBuffer.isView(options))
    throw invalidArgument(`${where} takes an object (${shorten(known.join(', '))}), not ${describe(options)}`);
  for (const key of Object.keys(options)) {
    if (!known.includes(key))
      throw unknownOption(
        `${where} has no option '${shorten(key)}'.${guess(key, known) || ` It takes ${shorten(known.join(', '))}`}`,
      );
  }
  const given: { [name: string]: unknown } = {};
  for (const name of known) {
    const value = (options as { [name: string]: unknown })[name];
    if (value !== undefined) given[name] = value;
  }
  return given as T;
}

/** Which one was meant, where one is near. */
function guess(name: string, known: readonly string[]): string {
  const wrong = shorten(name);
  const near = closest(wrong, [...known]);
  return distance(wrong, near) <= Math.max(4, wrong.length, near.length) / 2 ? ` Did you mean '${near}'?` : '';
}

/** A finite number in [low, high]; `exclusive` leaves `low` itself out. */
export function checkNumber(name: string, value: unknown, low = -Infinity, high = Infinity, exclusive = false): number {
  if (typeof value !== 'number') throw invalidArgument(`${name} must be a number, not ${describe(value)}`);
  if (!Number.isFinite(value)) throw outOfRange(`${name} must be a finite number, not ${value}`);
  if (value < low || value > high || (exclusive && value === low)) {
    throw outOfRange(
      `${name} must be ${exclusive ? 'above' : 'at least'} ${low}${high < Infinity ? ` and at most ${high}` : ''}, not ${value}`,
    );
  }
  return value;
}

export function checkInteger(name: string, value: unknown, low = 0, high = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number') throw invalidArgument(`${name} must be an integer, not ${describe(value)}`);
  if (!Number.isInteger(value) || value < low || value > high) {
    const range = high < Number.MAX_SAFE_INTEGER ? `from ${low} to ${high}` : `from ${low} up`;
    throw outOfRange(`${name} must be an integer ${range}, not ${value}`);
  }
  return value;
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalidArgument(`${name} must be true or false, not ${describe(value)}`);
  return value;
}

export function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw invalidArgument(`${name} must be a string, not ${describe(value)}`);
  return value;
}

/** A list that is not empty, of strings that are not. */
export function checkStrings(name: string, value: unknown): string[] {
  const strings: string[] = [];
  for (const item of checkList(name, value)) {
    if (checkString(`${name}[${strings.length}]`, item) === '')
      throw invalidArgument(`${name}[${strings.length}] must be a string that is not empty`);
    strings.push(item as string);
  }
  return strings;
}

export function checkList(name: string, value: unknown): unknown[] {
  if (!Array.isArray(value) || value.length === 0)
    throw invalidArgument(
      `${name} must be an array that is not empty, not ${Array.isArray(value) ? '[]' : describe(value)}`,
    );
  return value;
}

export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalidArgument(`signal must be an AbortSignal, not ${describe(signal)}`);
  return signal;
}

/** One of a list of strings. */
export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  const expected = `${name} must be one of ${choices.map((c) => `'${c}'`).join(', ')}`;
  if (typeof value !== 'string') throw invalidArgument(`${expected}, not ${describe(value)}`);
  throw outOfRange(`${expected}, not '${shorten(value)}'.${guess(value, choices)}`);
}

/** A value that came instead of another, for a message. Runs no code of it. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return `${value}`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return `the string '${shorten(value)}'`;
  if (typeof value !== 'object') return `the ${typeof value} ${shorten(String(value))}`;
  if (Array.isArray(value)) return 'an array';
  if (!ArrayBuffer.isView(value)) return 'an object';
  const kind = kindOf(value);
  return `${kind.startsWith('I') ? 'an' : 'a'} ${kind}`;
}

const kindOf = (view: ArrayBufferView): string => (view instanceof DataView ? 'DataView' : arrayKind.call(view));
const arrayKind = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!
  .get as () => string;
