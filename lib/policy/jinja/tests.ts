// The tests of Jinja: `value is name`.
import { FILTER_NAMES } from './filter-names.js';
import { arithmetic, compare } from './operators.js';
import { bind } from './signature.js';
import { str } from './text.js';
import {
  Attributes,
  Callable,
  Dict,
  DictView,
  isNumber,
  Lazy,
  sequenceOf,
  TemplateError,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

type Test = { parameters: readonly string[]; run(value: Value, other: Value): boolean };
const alone = (run: (value: Value) => boolean): Test => ({ parameters: [], run });
const comparison = (operator: string): Test => ({
  parameters: ['other!'],
  run: (value, other) => compare(operator, value, other),
});
const remainder = (value: Value, by: Value) => {
  if (typeof value === 'string') throw new TemplateError('a text is neither odd nor even');
  return arithmetic('%', value, by);
};
const isSequence = (value: Value) =>
  sequenceOf(value) !== undefined || value instanceof Dict || value instanceof Undefined;

const COMPARISONS = Object.fromEntries(
  Object.entries({
    ...{ '==': ['eq', 'equalto'], '!=': ['ne'], '<': ['lt', 'lessthan'], '<=': ['le'] },
    ...{ '>': ['gt', 'greaterthan'], '>=': ['ge'] },
  }).flatMap(([operator, names]) => [operator, ...names].map((name) => [name, comparison(operator)])),
);

export const TESTS: { readonly [name: string]: Test } = {
  ...COMPARISONS,
  in: comparison('in'),
  boolean: alone((value) => typeof value === 'boolean'),
  callable: alone(
    (value) =>
      value instanceof Callable ||
      value instanceof Undefined ||
      (value instanceof Attributes && value.call !== undefined),
  ),
  defined: alone((value) => !(value instanceof Undefined)),
  divisibleby: { parameters: ['num!'], run: (value, num) => compare('==', remainder(value, num), 0n) },
  escaped: alone(() => false),
  even: alone((value) => compare('==', remainder(value, 2n), 0n)),
  false: alone((value) => value === false),
  filter: alone((value) => FILTER_NAMES.has(nameOf(value))),
  float: alone((value) => typeof value === 'number'),
  integer: alone((value) => typeof value === 'bigint'),
  iterable: alone((value) => isSequence(value) || value instanceof DictView || value instanceof Lazy),
  lower: alone((value) => isCase(str(value), 'toLowerCase', 'toUpperCase')),
  mapping: alone((value) => value instanceof Dict),
  none: alone((value) => value === null),
  number: alone(isNumber),
  odd: alone((value) => compare('==', remainder(value, 2n), 1n)),
  sameas: { parameters: ['other!'], run: isSame },
  sequence: alone(isSequence),
  string: alone((value) => typeof value === 'string'),
  test: alone((value) => Object.hasOwn(TESTS, nameOf(value))),
  true: alone((value) => value === true),
  undefined: alone((value) => value instanceof Undefined),
  upper: alone((value) => isCase(str(value), 'toUpperCase', 'toLowerCase')),
};

/** A name of filters or tests; '' for other values that a dict could have as keys. */
function nameOf(value: Value): string {
  if (Array.isArray(value) || value instanceof Dict || value instanceof DictView)
    throw new TemplateError(`unhashable type: '${typeName(value)}'`);
  return typeof value === 'string' ? value : '';
}

function isCase(text: string, own: 'toLowerCase' | 'toUpperCase', other: 'toLowerCase' | 'toUpperCase'): boolean {
  return text === text[own]() && text !== text[other]();
}

function isSame(value: Value, other: Value): boolean {
  if (typeName(value) !== typeName(other)) return false;
  if (['str', 'int', 'float', 'tuple'].includes(typeName(value)) && !(value instanceof Tuple))
    throw new TemplateError(
      `whether two equal values of type '${typeName(value)}' are the same depends on Python: use ==`,
    );
  return value === other;
}

export function applyTest(
  name: string,
  value: Value,
  args: readonly Value[],
  named: ReadonlyMap<string, Value>,
): boolean {
  const test = Object.hasOwn(TESTS, name) ? TESTS[name] : undefined;
  if (!test) throw new TemplateError(`there is no test '${name}'`);
  const [other] = bind(`the test '${name}'`, test.parameters, args, named);
  return test.run(value, other!);
}
