// Checks of what callers pass: single values, and tables of options.
import { closest, distance } from 'fastest-levenshtein';
import { invalidArgument, outOfRange, unknownOption } from './errors.js';
import { shorten } from './text.js';

/**
 * Reads each option of a call once: callers may pass getters, and the checked value must be the one that is used.
 * Options are never ignored silently: one that is not in `known` is an error that names the nearest.
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
    if (value !== undefined) given[name] = name === 'signal' ? checkSignal(value) : value;
  }
  return given as T;
}

/** Suggests the choice that was probably meant, if one is near. */
function guess(name: string, known: readonly string[]): string {
  const wrong = shorten(name);
  const near = closest(wrong, [...known]);
  return distance(wrong, near) <= Math.max(4, wrong.length, near.length) / 2 ? ` Did you mean '${near}'?` : '';
}

/** A finite number in [low, high]; `exclusive` excludes `low` itself. */
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

/** A whole number from 0 to `most`. */
export const isCount = (value: unknown, most = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalidArgument(`${name} must be true or false, not ${describe(value)}`);
  return value;
}

export function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw invalidArgument(`${name} must be a string, not ${describe(value)}`);
  return value;
}

/** A non-empty string; `what` describes it in the message. */
export function checkText(name: string, value: unknown, what = 'a non-empty string'): string {
  if (typeof value !== 'string' || value === '')
    throw invalidArgument(`${name} must be ${what}, not ${describe(value)}`);
  return value;
}

/** A non-empty list of non-empty strings. */
export const checkStrings = (name: string, value: unknown): string[] =>
  Array.from(checkList(name, value), (item, i) => checkText(`${name}[${i}]`, item));

export function checkList(name: string, value: unknown): unknown[] {
  if (!Array.isArray(value) || value.length === 0)
    throw invalidArgument(`${name} must be a non-empty array, not ${Array.isArray(value) ? '[]' : describe(value)}`);
  return value;
}

/** A function; `what` describes it in the message. */
export function checkFunction(name: string, value: unknown, what = 'a function'): void {
  if (typeof value !== 'function') throw invalidArgument(`${name} must be ${what}, not ${describe(value)}`);
}

/** An object with at least these functions; `expected` begins the message. */
export function checkInterface(expected: string, value: unknown, functions: readonly string[]): void {
  if (typeof value !== 'object' || value === null) throw invalidArgument(`${expected}, not ${describe(value)}`);
  for (const name of functions)
    if (typeof (value as { [name: string]: unknown })[name] !== 'function')
      throw invalidArgument(`${expected}; this one has no function ${name}`);
}

/** An AbortSignal of this realm, which follows one of another realm (jsdom has a class of its own). */
export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  if (!isSignal(signal)) throw invalidArgument(`signal must be an AbortSignal, not ${describe(signal)}`);
  const known = followers.get(signal);
  if (known) return known;
  const own = new AbortController();
  const abort = () => own.abort(signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  followers.set(signal, own.signal);
  return own.signal;
}
const followers = new WeakMap<AbortSignal, AbortSignal>();

const isSignal = (value: unknown): value is AbortSignal =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as AbortSignal).aborted === 'boolean' &&
  typeof (value as AbortSignal).addEventListener === 'function';

/** One of a list of strings. */
export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  const expected = `${name} must be one of ${choices.map((c) => `'${c}'`).join(', ')}`;
  if (typeof value !== 'string') throw invalidArgument(`${expected}, not ${describe(value)}`);
  throw outOfRange(`${expected}, not '${shorten(value)}'.${guess(value, choices)}`);
}

/** Describes an unexpected value for a message. Runs no code of it. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return `${value}`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return `the string '${shorten(value)}'`;
  if (typeof value !== 'object') return `the ${typeof value} ${shorten(String(value))}`;
  if (Array.isArray(value)) return 'an array';
  if (!ArrayBuffer.isView(value)) return 'an object';
  const kind = arrayKind(value);
  return `${kind.startsWith('I') ? 'an' : 'a'} ${kind}`;
}

/** The class of a typed array or DataView, such as 'Float32Array', also where the array is of another realm. */
export const arrayKind = (view: ArrayBufferView): string => arrayTag.call(view) ?? 'DataView';
const arrayTag = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!
  .get as () => string | undefined;

/**
 * One option: its kind, default and meaning. Tables of options validate what callers pass, fill in defaults, type the
 * options, and print the command line's help. So none of the four can drift from the others.
 */
export type OptionSpec = { readonly doc: string; readonly optional?: true } & (
  | {
      readonly type: 'number';
      readonly default?: number;
      readonly min?: number;
      readonly max?: number;
      readonly above?: number;
    }
  | { readonly type: 'integer'; readonly default?: number; readonly min?: number; readonly max?: number }
  | { readonly type: 'boolean'; readonly default?: boolean }
  | { readonly type: 'string'; readonly default?: string }
  | { readonly type: 'choice'; readonly default?: string; readonly choices: readonly string[] }
  /** Lists. On the command line, commas separate the items. */
  | { readonly type: 'integers'; readonly default?: readonly number[]; readonly min?: number; readonly max?: number }
  | { readonly type: 'numbers'; readonly default?: readonly number[]; readonly min?: number; readonly max?: number }
  | { readonly type: 'strings'; readonly default?: readonly string[] }
  /** File names, which may contain commas. On the command line, each follows an option of its own. */
  | { readonly type: 'files'; readonly default?: readonly string[] }
);
export type OptionTable = { readonly [name: string]: OptionSpec };

type ValueOf<S> = S extends { type: 'number' | 'integer' }
  ? number
  : S extends { type: 'boolean' }
    ? boolean
    : S extends { choices: readonly (infer C)[] }
      ? C
      : S extends { type: 'integers' | 'numbers' }
        ? readonly number[]
        : S extends { type: 'strings' | 'files' }
          ? readonly string[]
          : string;

/** What a caller may pass. */
export type OptionsOf<T extends OptionTable> = { -readonly [K in keyof T]?: ValueOf<T[K]> };
/** All options with defaults filled in; those without a default may be absent. */
export type ResolvedOptions<T extends OptionTable> = {
  -readonly [K in keyof T as T[K] extends { default: unknown } ? K : never]: ValueOf<T[K]>;
} & { -readonly [K in keyof T as T[K] extends { default: unknown } ? never : K]?: ValueOf<T[K]> };

/** The options whose table has a default are there. The comments of `Options` stay, which an editor shows. */
export type WithDefaults<Options, T extends OptionTable> = {
  [K in keyof Options as K extends keyof T ? (T[K] extends { default: unknown } ? K : never) : never]-?: Exclude<
    Options[K],
    undefined
  >;
} & {
  [K in keyof Options as K extends keyof T ? (T[K] extends { default: unknown } ? never : K) : K]?: Options[K];
};

/** Checks `given` against the table and fills in the defaults. */
export function resolveOptions<const T extends OptionTable>(
  where: string,
  table: T,
  given: object,
): ResolvedOptions<T> {
  given = checkOptions(where, given, Object.keys(table));
  const result: { [name: string]: unknown } = {};
  for (const [name, spec] of Object.entries(table)) {
    const value = (given as { [name: string]: unknown })[name] ?? spec.default;
    if (value !== undefined) result[name] = checkOption(name, spec, value);
  }
  return result as ResolvedOptions<T>;
}

/** Checks a value against its entry in a table. */
export function checkOption(name: string, spec: OptionSpec, value: unknown): unknown {
  switch (spec.type) {
    case 'number':
      // Without an upper bound, Infinity means "none".
      if (value === Infinity && spec.max === undefined) return value;
      return checkNumber(name, value, spec.above ?? spec.min, spec.max, spec.above !== undefined);
    case 'integer':
      return checkInteger(name, value, spec.min, spec.max);
    case 'choice':
      return checkChoice(name, value, spec.choices);
    case 'integers':
      return Array.from(checkList(name, value), (item, i) => checkInteger(`${name}[${i}]`, item, spec.min, spec.max));
    case 'numbers':
      return Array.from(checkList(name, value), (item, i) => checkNumber(`${name}[${i}]`, item, spec.min, spec.max));
    case 'strings':
    case 'files':
      return checkStrings(name, value);
    case 'boolean':
      return checkBoolean(name, value);
    case 'string':
      return checkString(name, value);
  }
}
