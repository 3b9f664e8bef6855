// The filters of Jinja: `value | name`.
import { itemOf, ownAttributeOf, reversedText } from './attributes.js';
import { FILTER_NAMES } from './filter-names.js';
import { toJson } from './json.js';
import { replaceText } from './methods.js';
import { round, toFloat, toInt } from './numbers.js';
import { arithmetic } from './operators.js';
import { bind, intArgument, textArgument } from './signature.js';
import { pad, splitLines, strip, upperFirst } from './strings.js';
import { applyTest } from './tests.js';
import { str } from './text.js';
import {
  characters,
  Dict,
  DictView,
  equals,
  isNumber,
  iterate,
  Lazy,
  lengthOf,
  listOf,
  numberOf,
  order,
  SPACE,
  TemplateError,
  Tuple,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.js';

type Named = ReadonlyMap<string, Value>;
type Filter = (value: Value, args: readonly Value[], named: Named) => Value;

/** A filter whose arguments have names; see bind. */
const filter =
  (name: string, parameters: readonly string[], run: (value: Value, given: (Value | undefined)[]) => Value): Filter =>
  (value, args, named) =>
    run(value, bind(`the filter '${name}'`, parameters, args, named));
const named = (filters: {
  [name: string]: [parameters: readonly string[], run: (value: Value, given: (Value | undefined)[]) => Value];
}) =>
  Object.fromEntries(Object.entries(filters).map(([name, [parameters, run]]) => [name, filter(name, parameters, run)]));

const lazy = (name: string, items: () => Generator<Value>): Lazy => new Lazy(`the filter '${name}'`, items());
const text = (value: Value | undefined) => textArgument('the filter', value);

/** A function that reads an attribute such as 'a.b' or 0 of items. */
function getter(attribute: Value | undefined, otherwise?: Value): (item: Value) => Value {
  if (attribute === undefined || attribute === null) return (item) => item;
  const path: Value[] =
    typeof attribute === 'string'
      ? attribute.split('.').map((part) => (/^\d+$/.test(part) ? BigInt(part) : part))
      : [attribute];
  return (item) => {
    let found = item;
    for (const part of path) {
      found = itemOf(found, part);
      if (found instanceof Undefined && otherwise !== undefined && otherwise !== null) found = otherwise;
    }
    return found;
  };
}

/** The key that items are sorted by. */
function sortKey(attribute: Value | undefined, caseSensitive: Value | undefined, otherwise?: Value) {
  const read = getter(attribute, otherwise);
  const ignores = !truth(caseSensitive ?? false);
  return (item: Value) => {
    const value = read(item);
    return ignores && typeof value === 'string' ? value.toLowerCase() : value;
  };
}

/** Equal items keep their order, also in reverse. */
function sorted(items: Value[], key: (item: Value) => Value, reverse: Value | undefined): Value[] {
  const sign = truth(reverse ?? false) ? -1 : 1;
  const keyed = items.map((item) => ({ item, key: key(item) }));
  return keyed.sort((a, b) => sign * order(a.key, b.key)).map(({ item }) => item);
}

function sort(value: Value, [reverse, caseSensitive, attribute]: (Value | undefined)[]): Value {
  const attributes = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const keys = attributes.map((each) => sortKey(each, caseSensitive));
  return sorted(listOf(value), (item) => keys.map((key) => key(item)), reverse);
}

function dictsort(value: Value, [caseSensitive, by = 'key', reverse]: (Value | undefined)[]): Value {
  if (!(value instanceof Dict)) throw new TemplateError(`dictsort needs a dict, not '${typeName(value)}'`);
  if (by !== 'key' && by !== 'value') throw new TemplateError("dictsort sorts by 'key' or 'value'");
  const items = value.entries().map((entry) => new Tuple(entry));
  return sorted(items, sortKey(by === 'key' ? 0n : 1n, caseSensitive), reverse);
}

function groupby(value: Value, [attribute, otherwise, caseSensitive]: (Value | undefined)[]): Value {
  const key = sortKey(attribute, caseSensitive, otherwise);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted(listOf(value), key, false)) {
    const own = key(item);
    const last = groups.at(-1);
    if (last && equals(last.key, own)) last.items.push(item);
    else groups.push({ key: own, items: [item] });
  }
  const shown = getter(attribute, otherwise);
  return groups.map(({ items }) => new Tuple([shown(items[0]), items], ['grouper', 'list']));
}

function extreme(name: string, sign: number) {
  return (value: Value, [caseSensitive, attribute]: (Value | undefined)[]): Value => {
    const key = sortKey(attribute, caseSensitive);
    let best: { item: Value; key: Value } | undefined;
    for (const item of iterate(value)) {
      const own = key(item);
      if (!best || sign * order(own, best.key) > 0) best = { item, key: own };
    }
    return best ? best.item : new Undefined(`there is no ${name}: the sequence is empty`);
  };
}

/** select, reject, selectattr and rejectattr: the items for which a test holds, or does not. */
function selecting(name: string, ofAttribute: boolean, keeps: boolean): Filter {
  return (value, args, named) =>
    lazy(name, function* () {
      if (!truth(value)) return;
      const [attribute, ...others] = ofAttribute ? args : [undefined, ...args];
      if (ofAttribute && attribute === undefined) throw new TemplateError(`${name} needs the name of an attribute`);
      const read = getter(attribute);
      const [test, ...rest] = others as Value[];
      for (const item of iterate(value)) {
        const own = read(item);
        const holds = test === undefined ? truth(own) : applyTest(text(test), own, rest, named);
        if (holds === keeps) yield item;
      }
    });
}

const map: Filter = (value, args, named) =>
  lazy('map', function* () {
    if (!truth(value)) return;
    if (args.length === 0 && named.has('attribute')) {
      const stray = [...named.keys()].find((name) => name !== 'attribute' && name !== 'default');
      if (stray) throw new TemplateError(`the filter 'map' has no argument '${stray}'`);
      const read = getter(named.get('attribute'), named.get('default'));
      for (const item of iterate(value)) yield read(item);
      return;
    }
    const [name, ...rest] = args;
    for (const item of iterate(value)) yield applyFilter(text(name), item, rest, named);
  });

function batch(value: Value, [size, fill = null]: (Value | undefined)[]): Value {
  const count = intArgument('batch', size);
  return lazy('batch', function* () {
    let group: Value[] = [];
    for (const item of iterate(value)) {
      if (group.length === count) {
        yield group;
        group = [];
      }
      group.push(item);
    }
    if (group.length === 0) return;
    while (fill !== null && group.length < Math.min(count, 1e5)) group.push(fill);
    yield group;
  });
}

function first(value: Value): Value {
  for (const item of iterate(value)) return item;
  return new Undefined('there is no first item: the sequence is empty');
}

/** The items in the other order; undefined for what Python cannot reverse. */
function reversed(value: Value): Value[] | undefined {
  if (value instanceof Lazy || value === null || isNumber(value)) return undefined;
  return listOf(value).reverse();
}

function last(value: Value): Value {
  const items = reversed(value);
  if (!items) throw new TemplateError(`'${typeName(value)}' object is not reversible: use | list first`);
  return items.length > 0 ? items[0] : new Undefined('there is no last item: the sequence is empty');
}

function reverse(value: Value): Value {
  if (typeof value === 'string') return reversedText(value);
  const items = reversed(value);
  if (!items) return listOf(value).reverse();
  return lazy('reverse', function* () {
    yield* items;
  });
}

function unique(value: Value, [caseSensitive, attribute]: (Value | undefined)[]): Value {
  const key = sortKey(attribute, caseSensitive);
  return lazy('unique', function* () {
    const seen = new Dict();
    for (const item of iterate(value)) {
      const own = key(item);
      if (seen.has(own)) continue;
      seen.set(own, true);
      yield item;
    }
  });
}

function sum(value: Value, [attribute, start = 0n]: (Value | undefined)[]): Value {
  if (typeof start === 'string') throw new TemplateError('sum cannot add texts: use join');
  const read = getter(attribute);
  let total: Value = start;
  for (const item of iterate(value)) total = arithmetic('+', total, read(item));
  return total;
}

function indent(value: Value, [width = 4n, withFirst = false, blank = false]: (Value | undefined)[]): Value {
  const space =
    typeof width === 'string' ? width : ' '.repeat(Math.max(0, Math.min(intArgument('indent', width), 1e4)));
  const lines = splitLines(`${text(value)}\n`, false);
  const rest = lines.slice(1).map((line) => (line !== '' || truth(blank) ? space + line : line));
  return (truth(withFirst) ? space : '') + [lines[0], ...rest].join('\n');
}

function truncate(value: Value, [most = 255n, kill = false, end = '...', leeway = 5n]: (Value | undefined)[]): Value {
  const [list, mark] = [characters(text(value)), text(end)];
  const length = intArgument('truncate', most);
  const room = length - characters(mark).length;
  if (room < 0) throw new TemplateError(`truncate needs a length of at least that of '${mark}'`);
  if (list.length <= length + intArgument('truncate', leeway)) return text(value);
  const cut = list.slice(0, room).join('');
  const space = cut.lastIndexOf(' ');
  return (truth(kill) || space < 0 ? cut : cut.slice(0, space)) + mark;
}

/** Jinja's title: words begin after white space, hyphens and opening brackets. */
const WORD = new RegExp(`[-${SPACE}({\\[<]+|[^-${SPACE}({\\[<]+`, 'gu');
const title = (value: Value) => str(value).replace(WORD, (word) => upperWord(word));
const upperWord = (word: string) => {
  const [initial = '', ...rest] = characters(word);
  return initial.toUpperCase() + rest.join('').toLowerCase();
};

export const FILTERS: { readonly [name: string]: Filter } = {
  ...named({
    abs: [
      [],
      (value) => {
        if (!isNumber(value)) throw new TemplateError(`abs needs a number, not '${typeName(value)}'`);
        const number = numberOf(value);
        return number < 0 ? -number : typeof number === 'number' ? Math.abs(number) : number;
      },
    ],
    attr: [['name!'], (value, [name]) => ownAttributeOf(value, text(name))],
    batch: [['linecount!', 'fill_with'], batch],
    capitalize: [[], (value) => upperFirst(str(value))],
    center: [['width'], (value, [width]) => pad(str(value), intArgument('center', width, 80), ' ', 1, 1)],
    dictsort: [['case_sensitive', 'by', 'reverse'], dictsort],
    first: [[], first],
    float: [['default'], (value, [otherwise = 0]) => toFloat(value) ?? otherwise],
    groupby: [['attribute!', 'default', 'case_sensitive'], groupby],
    indent: [['width', 'first', 'blank'], indent],
    int: [
      ['default', 'base'],
      (value, [otherwise = 0n, base]) => toInt(value, intArgument('int', base, 10)) ?? otherwise,
    ],
    items: [
      [],
      (value) => {
        if (value instanceof Undefined) return lazy('items', function* () {});
        if (!(value instanceof Dict)) throw new TemplateError(`items needs a dict, not '${typeName(value)}'`);
        return lazy('items', function* () {
          yield* new DictView(value, 'items').items();
        });
      },
    ],
    join: [
      ['d', 'attribute'],
      (value, [separator = '', attribute]) => {
        const read = getter(attribute);
        return Array.from(iterate(value), (item) => str(read(item))).join(str(separator));
      },
    ],
    last: [[], last],
    list: [[], listOf],
    lower: [[], (value) => str(value).toLowerCase()],
    max: [['case_sensitive', 'attribute'], extreme('largest item', 1)],
    min: [['case_sensitive', 'attribute'], extreme('smallest item', -1)],
    replace: [
      ['old!', 'new!', 'count'],
      (value, [old, other, count = null]) =>
        replaceText(str(value), str(old!), str(other!), count === null ? -1 : intArgument('replace', count)),
    ],
    reverse: [[], reverse],
    round: [
      ['precision', 'method'],
      (value, [precision, method = 'common']) => round(value, intArgument('round', precision, 0), text(method)),
    ],
    sort: [['reverse', 'case_sensitive', 'attribute'], sort],
    string: [[], str],
    sum: [['attribute', 'start'], sum],
    title: [[], title],
    trim: [['chars'], (value, [chars = null]) => strip(str(value), chars === null ? null : text(chars), true, true)],
    truncate: [['length', 'killwords', 'end', 'leeway'], truncate],
    unique: [['case_sensitive', 'attribute'], unique],
    upper: [[], (value) => str(value).toUpperCase()],
    wordcount: [[], (value) => BigInt(str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)],
  }),
  ...Object.fromEntries(
    ['count', 'length'].map((name) => [name, filter(name, [], (value) => BigInt(lengthOf(value)))]),
  ),
  ...Object.fromEntries(
    ['d', 'default'].map((name) => [
      name,
      filter(name, ['default_value', 'boolean'], (value, [otherwise = '', boolean = false]) =>
        value instanceof Undefined || (truth(boolean) && !truth(value)) ? otherwise : value,
      ),
    ]),
  ),
  map,
  reject: selecting('reject', false, false),
  rejectattr: selecting('rejectattr', true, false),
  select: selecting('select', false, true),
  selectattr: selecting('selectattr', true, true),
  tojson: toJson,
};

/** @throws TemplateError for a filter that is unknown or not supported */
export function applyFilter(name: string, value: Value, args: readonly Value[], named: Named): Value {
  if (Object.hasOwn(FILTERS, name)) return FILTERS[name](value, args, named);
  throw new TemplateError(
    `${FILTER_NAMES.has(name) ? `the filter '${name}' is not supported` : `there is no filter '${name}'`}`,
  );
}
