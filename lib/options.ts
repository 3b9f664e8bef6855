import { closest } from 'fastest-levenshtein';
import { invalidArgument, outOfRange, unknownOption } from './errors.js';
import { shorten } from './shorten.js';

/** Throws for a key of `options` that is not in `known`, naming the nearest one: an option is never ignored in silence. */
export function checkOptions(where: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== 'object')
    throw invalidArgument(`${where} takes an object of options, not ${options}`);
  for (const key of Object.keys(options)) {
    if (!known.includes(key))
      throw unknownOption(`${where} has no option '${key}'. Did you mean '${closest(key, [...known])}'?`);
  }
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
    throw outOfRange(`${name} must be an integer from ${low} to ${high}, not ${value}`);
  }
  return value;
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalidArgument(`${name} must be true or false, not ${describe(value)}`);
  return value;
}

/** One of a list of strings. */
export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (typeof value !== 'string') throw invalidArgument(`${name} must be a string, not ${describe(value)}`);
  if (!choices.includes(value as T)) {
    throw outOfRange(
      `${name} must be one of ${choices.map((c) => `'${c}'`).join(', ')}, not '${value}'. Did you mean '${closest(value, [...choices])}'?`,
    );
  }
  return value as T;
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return value === undefined
    ? 'undefined'
    : `${typeof value === 'object' ? 'an object' : `the ${typeof value} ${shorten(String(value))}`}`;
}
