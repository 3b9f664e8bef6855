// Arguments of functions, filters, tests and methods: positions and names to parameters.
import { TemplateError, typeName, type Value } from './values.js';

/**
 * The arguments in the order of `parameters`; undefined for those that were not given. A name that ends in ! must be
 * given, and the names after '/' are positions only.
 */
export function bind(
  what: string,
  parameters: readonly string[],
  args: readonly Value[],
  named: ReadonlyMap<string, Value>,
): (Value | undefined)[] {
  const names = parameters.map((name) => name.replace(/!$/, ''));
  if (args.length > names.length)
    throw new TemplateError(`${what} takes at most ${names.length} arguments, not ${args.length}`);
  const found: (Value | undefined)[] = names.map((_, i) => args[i]);
  for (const [name, value] of named) {
    const place = names.indexOf(name);
    if (place < 0) throw new TemplateError(`${what} has no argument '${name}'`);
    if (found[place] !== undefined) throw new TemplateError(`${what} has two values for '${name}'`);
    found[place] = value;
  }
  const missing = parameters.find((name, i) => name.endsWith('!') && found[i] === undefined);
  if (missing) throw new TemplateError(`${what} needs the argument '${missing.slice(0, -1)}'`);
  return found;
}

export function textArgument(what: string, value: Value | undefined): string {
  if (typeof value === 'string') return value;
  throw new TemplateError(`${what} needs a text, not '${value === undefined ? 'nothing' : typeName(value)}'`);
}

export function intArgument(what: string, value: Value | undefined, otherwise?: number): number {
  if (value === undefined && otherwise !== undefined) return otherwise;
  if (typeof value === 'bigint' || typeof value === 'boolean')
    return Math.max(-(2 ** 31), Math.min(2 ** 31, Number(value)));
  throw new TemplateError(`${what} needs an int, not '${value === undefined ? 'nothing' : typeName(value)}'`);
}
