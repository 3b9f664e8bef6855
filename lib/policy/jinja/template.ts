// A chat template in Jinja, as transformers renders it: trim_blocks, lstrip_blocks, {% break %} and {% continue %},
// {% generation %}, no escaping, and Python's values.
import { execute, Scope } from './interpreter.js';
import { parseTemplate } from './parser.js';
import { bind, textArgument } from './signature.js';
import { strftime } from './strftime.js';
import type { Statement } from './syntax.js';
import { str } from './text.js';
import { Callable, Dict, iterate, listOf, Namespace, Range, TemplateError, typeName, type Value } from './values.js';

export { TemplateError } from './values.js';

/** Longest range, as the sandbox of Jinja has it. */
const MOST_OF_RANGE = 100_000;

export class Template {
  readonly #body: readonly Statement[];

  /** @throws TemplateError that names the line */
  constructor(source: string) {
    this.#body = parseTemplate(source);
  }

  /**
   * @param values the variables, as in JSON. A number without a fraction is an int
   * @param now the local time of strftime_now, in the UTC fields of a Date
   * @throws TemplateError that names the construct
   */
  render(values: { readonly [name: string]: unknown }, now: Date): string {
    const scope = new Scope();
    for (const [name, value] of globals(now)) scope.variables.set(name, value);
    const inner = new Scope(scope);
    for (const [name, value] of Object.entries(values))
      if (value !== undefined) inner.variables.set(name, fromJson(value));
    const out: string[] = [];
    execute(this.#body, new Scope(inner), out);
    return out.join('');
  }
}

function* globals(now: Date): Generator<[string, Value]> {
  const functions: { [name: string]: (args: Value[], named: Map<string, Value>) => Value } = {
    dict: (args, named) => dictOf('dict', args, named),
    namespace: (args, named) => {
      const attributes = dictOf('namespace', args, named);
      const wrong = attributes.keys().find((name) => typeof name === 'string' && name.startsWith('_'));
      if (wrong !== undefined) throw new TemplateError(`a namespace cannot have ${str(wrong)}`);
      return new Namespace(attributes);
    },
    raise_exception: (args, named) => {
      throw new TemplateError(str(bind('raise_exception', ['message!'], args, named)[0]!));
    },
    range: rangeOf,
    strftime_now: (args, named) =>
      strftime(textArgument('strftime_now', bind('strftime_now', ['format!'], args, named)[0]), now),
  };
  for (const [name, run] of Object.entries(functions)) yield [name, new Callable(name, run)];
}

function dictOf(what: string, args: readonly Value[], named: ReadonlyMap<string, Value>): Dict {
  if (args.length > 1) throw new TemplateError(`${what} takes at most one argument without a name`);
  const [source] = args;
  const dict = new Dict(source instanceof Dict ? source.entries() : []);
  if (source !== undefined && !(source instanceof Dict))
    for (const pair of iterate(source)) {
      const items = listOf(pair);
      if (items.length !== 2) throw new TemplateError(`${what} needs pairs, not ${items.length} values`);
      dict.set(items[0], items[1]);
    }
  for (const [name, value] of named) dict.set(name, value);
  return dict;
}

function rangeOf(args: Value[], named: Map<string, Value>): Range {
  if (named.size > 0 || args.length === 0 || args.length > 3) throw new TemplateError('range takes one to three ints');
  const numbers = args.map((arg) => {
    if (typeof arg === 'bigint' || typeof arg === 'boolean') return BigInt(arg);
    throw new TemplateError(`range needs ints, not '${typeName(arg)}'`);
  });
  const [start, stop, step = 1n] = numbers.length === 1 ? [0n, numbers[0]] : numbers;
  if (step === 0n) throw new TemplateError('range() arg 3 must not be zero');
  const items: bigint[] = [];
  for (let i = start; step > 0n ? i < stop : i > stop; i += step)
    if (items.push(i) > MOST_OF_RANGE) throw new TemplateError(`a range has more than ${MOST_OF_RANGE} items`);
  return new Range(items, `range(${start}, ${stop}${step === 1n ? '' : `, ${step}`})`);
}

/** The value of something in JSON. */
function fromJson(value: unknown): Value {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || typeof value === 'bigint')
    return value;
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(fromJson);
  if (typeof value !== 'object') throw new TemplateError(`a variable is a ${typeof value}, which JSON does not have`);
  return new Dict(
    Object.entries(value as object)
      .filter(([, item]) => item !== undefined)
      .map(([name, item]) => [name, fromJson(item)] as const),
  );
}
