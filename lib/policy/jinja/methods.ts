// The methods of texts, dicts and lists. Those of Python that are missing here are refused by name.
import { bind, intArgument, textArgument } from './signature.js';
import {
  caseFold,
  find,
  isTitle,
  pad,
  splitLines,
  splitText,
  strip,
  swapCase,
  titleCase,
  upperFirst,
} from './strings.js';
import {
  Callable,
  characters,
  Dict,
  DictView,
  equals,
  iterate,
  listOf,
  TemplateError,
  Tuple,
  type Value,
} from './values.js';

/** The public attributes of Python's types. A dict's item of such a name is reached with d['name'] only. */
export const ATTRIBUTES: { readonly [type: string]: readonly string[] } = {
  str: [
    ...[
      'capitalize',
      'casefold',
      'center',
      'count',
      'encode',
      'endswith',
      'expandtabs',
      'find',
      'format',
      'format_map',
    ],
    ...['index', 'isalnum', 'isalpha', 'isascii', 'isdecimal', 'isdigit', 'isidentifier', 'islower', 'isnumeric'],
    ...['isprintable', 'isspace', 'istitle', 'isupper', 'join', 'ljust', 'lower', 'lstrip', 'maketrans', 'partition'],
    ...['removeprefix', 'removesuffix', 'replace', 'rfind', 'rindex', 'rjust', 'rpartition', 'rsplit', 'rstrip'],
    ...['split', 'splitlines', 'startswith', 'strip', 'swapcase', 'title', 'translate', 'upper', 'zfill'],
  ],
  dict: [...['clear', 'copy', 'fromkeys', 'get', 'items', 'keys', 'pop', 'popitem', 'setdefault', 'update', 'values']],
  list: [...['append', 'clear', 'copy', 'count', 'extend', 'index', 'insert', 'pop', 'remove', 'reverse', 'sort']],
  tuple: ['count', 'index'],
  int: [
    ...['as_integer_ratio', 'bit_count', 'bit_length', 'conjugate', 'denominator', 'from_bytes', 'imag'],
    ...['is_integer', 'numerator', 'real', 'to_bytes'],
  ],
  float: ['as_integer_ratio', 'conjugate', 'fromhex', 'hex', 'imag', 'is_integer', 'real'],
};

type Given = (Value | undefined)[];
interface Method<T> {
  /** See bind. Methods of texts take no names, unless `named` is set. */
  parameters: readonly string[];
  named?: boolean;
  run(self: T, given: Given): Value;
}

const method = <T>(parameters: readonly string[], run: Method<T>['run'], named = false): Method<T> => ({
  parameters,
  run,
  named,
});
const plain = (run: (text: string) => Value) => method<string>([], (text) => run(text));

const text = (value: Value | undefined) => textArgument('the method', value);
const int = (value: Value | undefined, otherwise?: number) => intArgument('the method', value, otherwise);
const isEvery = (pattern: RegExp) => plain((text) => pattern.test(text));

/** startswith and endswith: one text, or a tuple of them. */
const edge = (holds: (text: string, part: string) => boolean) =>
  method<string>(['prefix!', 'start', 'end'], (whole, [part, start, end]) => {
    const from = start ?? null;
    const inside = from === null && end === undefined ? whole : slice(whole, from, end ?? null);
    const parts = part instanceof Tuple ? part.items : [part];
    return parts.some((each) => holds(inside, text(each)));
  });

function slice(whole: string, start: Value, end: Value): string {
  const list = characters(whole);
  return list.slice(start === null ? 0 : int(start), end === null ? undefined : int(end)).join('');
}

const finding = (name: string, last: boolean, raises: boolean) =>
  method<string>(['sub!', 'start', 'end'], (whole, [part, start, end]) => {
    if (start !== undefined || end !== undefined) throw new TemplateError(`str.${name} with a start is not supported`);
    const at = find(whole, text(part), last);
    if (at < 0 && raises) throw new TemplateError('substring not found');
    return BigInt(at);
  });

const partition = (last: boolean) =>
  method<string>(['sep!'], (whole, [separator]) => {
    const sep = text(separator);
    if (sep === '') throw new TemplateError('empty separator');
    const at = last ? whole.lastIndexOf(sep) : whole.indexOf(sep);
    if (at < 0) return new Tuple(last ? ['', '', whole] : [whole, '', '']);
    return new Tuple([whole.slice(0, at), sep, whole.slice(at + sep.length)]);
  });

const splitting = (last: boolean) =>
  method<string>(
    ['sep', 'maxsplit'],
    (whole, [sep = null, most]) => splitText(whole, sep === null ? null : text(sep), int(most, -1), last),
    true,
  );
const stripping = (left: boolean, right: boolean) =>
  method<string>(['chars'], (whole, [chars = null]) => strip(whole, chars === null ? null : text(chars), left, right));
const padding = (left: number, right: number) =>
  method<string>(['width!', 'fill'], (whole, [width, fill = ' ']) => pad(whole, int(width), text(fill), left, right));

const TEXT: { [name: string]: Method<string> } = {
  capitalize: plain(upperFirst),
  casefold: plain(caseFold),
  center: padding(1, 1),
  count: method(['sub!'], (whole, [part]) =>
    BigInt(text(part) === '' ? characters(whole).length + 1 : whole.split(text(part)).length - 1),
  ),
  endswith: edge((whole, part) => whole.endsWith(part)),
  find: finding('find', false, false),
  index: finding('index', false, true),
  isalnum: isEvery(/^[\p{L}\p{N}]+$/u),
  isalpha: isEvery(/^\p{L}+$/u),
  isascii: plain((whole) => characters(whole).every((c) => c.codePointAt(0)! < 128)),
  isdecimal: isEvery(/^\p{Nd}+$/u),
  isdigit: isEvery(/^[\p{Nd}²³¹⁰⁴-⁹₀-₉①-⑨]+$/u),
  isidentifier: isEvery(/^[\p{L}_][\p{L}\p{N}\p{M}_]*$/u),
  islower: plain((whole) => whole !== whole.toUpperCase() && whole === whole.toLowerCase()),
  isnumeric: isEvery(/^\p{N}+$/u),
  isspace: plain((whole) => whole !== '' && strip(whole, null, true, true) === ''),
  istitle: plain(isTitle),
  isupper: plain((whole) => whole !== whole.toLowerCase() && whole === whole.toUpperCase()),
  join: method(['iterable!'], (whole, [items]) => listOf(items!).map(text).join(whole)),
  ljust: padding(0, 1),
  lower: plain((whole) => whole.toLowerCase()),
  lstrip: stripping(true, false),
  partition: partition(false),
  removeprefix: method(['prefix!'], (whole, [part]) =>
    whole.startsWith(text(part)) ? whole.slice(text(part).length) : whole,
  ),
  removesuffix: method(['suffix!'], (whole, [part]) =>
    text(part) !== '' && whole.endsWith(text(part)) ? whole.slice(0, -text(part).length) : whole,
  ),
  replace: method(['old!', 'new!', 'count'], (whole, [old, other, count]) =>
    replaceText(whole, text(old), text(other), int(count, -1)),
  ),
  rfind: finding('rfind', true, false),
  rindex: finding('rindex', true, true),
  rjust: padding(1, 0),
  rpartition: partition(true),
  rsplit: splitting(true),
  rstrip: stripping(false, true),
  split: splitting(false),
  splitlines: method(['keepends'], (whole, [keep = false]) => splitLines(whole, int(keep) !== 0), true),
  startswith: edge((whole, part) => whole.startsWith(part)),
  strip: stripping(true, true),
  swapcase: plain(swapCase),
  title: plain(titleCase),
  upper: plain((whole) => whole.toUpperCase()),
  zfill: method(['width!'], (whole, [width]) => {
    const [, sign, digits] = /^([-+]?)(.*)$/s.exec(whole)!;
    return sign + pad(digits, int(width) - sign.length, '0', 1, 0);
  }),
};

/** The text with the first `count` places replaced; all if it is below 0. */
export function replaceText(whole: string, old: string, other: string, count: number): string {
  const parts = old === '' ? ['', ...characters(whole), ''] : whole.split(old);
  const most = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1);
  return (
    parts.slice(0, most + 1).join(other) +
    parts
      .slice(most + 1)
      .map((part) => old + part)
      .join('')
  );
}

const DICT: { [name: string]: Method<Dict> } = {
  copy: method([], (dict) => new Dict(dict.entries())),
  get: method(['key!', 'default'], (dict, [key, otherwise = null]) => (dict.has(key!) ? dict.get(key!)! : otherwise)),
  items: method([], (dict) => new DictView(dict, 'items')),
  keys: method([], (dict) => new DictView(dict, 'keys')),
  values: method([], (dict) => new DictView(dict, 'values')),
};

const LIST: { [name: string]: Method<Value> } = {
  count: method(['value!'], (list, [value]) => BigInt(listOf(list).filter((item) => equals(item, value!)).length)),
  index: method(['value!'], (list, [value]) => {
    const at = listOf(list).findIndex((item) => equals(item, value!));
    if (at < 0) throw new TemplateError('the value is not in the list');
    return BigInt(at);
  }),
};

// biome-ignore lint/suspicious/noExplicitAny: each type has its own methods
const METHODS: { [type: string]: { [name: string]: Method<any> } } = {
  ...{ str: TEXT, dict: DICT, list: { ...LIST, copy: method([], (list: Value) => [...iterate(list)]) }, tuple: LIST },
  float: { is_integer: method<number>([], (value) => Number.isInteger(value)) },
  int: {},
};
/** Those that the sandbox of transformers forbids. */
const CHANGING = [
  ...['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort', 'popitem', 'setdefault', 'update'],
];

export function methodOf(self: Value, type: string, name: string): Value {
  const known = Object.hasOwn(METHODS[type], name) ? METHODS[type][name] : undefined;
  const what = `${type}.${name}`;
  if (!known)
    throw new TemplateError(
      (type === 'list' || type === 'dict') && CHANGING.includes(name)
        ? `${what} changes its object, which a template must not do`
        : `${what} is not supported`,
    );
  return new Callable(what, (args, named) => {
    if (!known.named && named.size > 0) throw new TemplateError(`${what} takes no keyword arguments`);
    return known.run(self, bind(what, known.parameters, args, named));
  });
}
