import { invalidArgument } from './errors.js';
import { checkChoice, checkInteger, checkList, checkNumber, checkOptions, checkStrings, describe } from './options.js';

/**
 * One option: its kind, default and meaning. Tables of these validate what callers pass, fill in defaults, type the options,
 * and print the command line's help, so that none of the four can drift from the others.
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
  /** Lists; in a terminal their items stand between commas. */
  | { readonly type: 'integers'; readonly default?: readonly number[]; readonly min?: number; readonly max?: number }
  | { readonly type: 'numbers'; readonly default?: readonly number[]; readonly min?: number; readonly max?: number }
  | { readonly type: 'strings'; readonly default?: readonly string[] }
  /** Names of files, which may hold commas: each has the option to itself. */
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

export function checkOption(name: string, spec: OptionSpec, value: unknown): unknown {
  switch (spec.type) {
    case 'number':
      // Where there is no upper bound, Infinity is how "none" is said.
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
    default:
      if (typeof value !== spec.type) throw invalidArgument(`${name} must be a ${spec.type}, not ${describe(value)}`);
      return value;
  }
}
