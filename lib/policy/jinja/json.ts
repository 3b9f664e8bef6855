// Python's json.dumps, which transformers puts in place of Jinja's filter tojson.
import { bind, textArgument } from './signature.js';
import { floatRepr } from './text.js';
import { characters, Dict, order, TemplateError, Tuple, truth, typeName, type Value } from './values.js';

interface Style {
  ascii: boolean;
  /** undefined: all in one line. */
  indent?: string;
  itemSeparator: string;
  keySeparator: string;
  sorted: boolean;
}

export function toJson(value: Value, args: readonly Value[], named: ReadonlyMap<string, Value>): string {
  const parameters = ['ensure_ascii', 'indent', 'separators', 'sort_keys'];
  const [ascii = false, indent = null, separators = null, sorted = false] = bind('tojson', parameters, args, named);
  const space = typeof indent === 'string' ? indent : indent === null ? undefined : ' '.repeat(widthOf(indent));
  return dump(
    value,
    { ascii: truth(ascii), indent: space, ...separatorsOf(separators, space), sorted: truth(sorted) },
    0,
  );
}

function widthOf(indent: Value): number {
  if (typeof indent !== 'bigint' && typeof indent !== 'boolean')
    throw new TemplateError(`tojson needs an int or a text as indent, not '${typeName(indent)}'`);
  return Math.max(0, Math.min(Number(indent), 1000));
}

function separatorsOf(separators: Value, indent: string | undefined) {
  if (separators === null) return { itemSeparator: indent === undefined ? ', ' : ',', keySeparator: ': ' };
  const pair = separators instanceof Tuple ? separators.items : separators;
  if (!Array.isArray(pair) || pair.length !== 2) throw new TemplateError('tojson needs two separators');
  const [itemSeparator, keySeparator] = pair.map((each: Value) => textArgument('tojson', each));
  return { itemSeparator, keySeparator };
}

function dump(value: Value, style: Style, depth: number): string {
  if (depth > 500) throw new TemplateError('tojson: the value is nested too deep');
  if (value === null) return 'null';
  if (typeof value === 'string') return textOf(value, style);
  if (typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return numberText(value);
  if (Array.isArray(value) || value instanceof Tuple) {
    const items = value instanceof Tuple ? value.items : value;
    return enclosed(
      '[',
      ']',
      items.map((item) => dump(item, style, depth + 1)),
      style,
      depth,
    );
  }
  if (value instanceof Dict) {
    const entries = [...value.entries()];
    if (style.sorted) entries.sort(([a], [b]) => order(a, b));
    const items = entries.map(
      ([key, item]) => `${textOf(keyText(key), style)}${style.keySeparator}${dump(item, style, depth + 1)}`,
    );
    return enclosed('{', '}', items, style, depth);
  }
  throw new TemplateError(`Object of type ${typeName(value)} is not JSON serializable`);
}

function enclosed(open: string, close: string, items: string[], { indent, itemSeparator }: Style, depth: number) {
  if (items.length === 0) return open + close;
  if (indent === undefined) return open + items.join(itemSeparator) + close;
  const line = `\n${indent.repeat(depth)}`;
  return `${open}${line}${indent}${items.join(`${itemSeparator}${line}${indent}`)}${line}${close}`;
}

function keyText(key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null) return 'null';
  if (typeof key === 'boolean' || typeof key === 'bigint') return String(key);
  if (typeof key === 'number') return numberText(key);
  throw new TemplateError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  return Number.isFinite(value) ? floatRepr(value) : value > 0 ? 'Infinity' : '-Infinity';
}

const SHORT: { [character: string]: string } = {
  ...{ '"': '\\"', '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\f': '\\f', '\b': '\\b' },
};

function textOf(text: string, { ascii }: Style): string {
  const body = characters(text).map((c) => {
    if (SHORT[c]) return SHORT[c];
    if (c >= ' ' && (!ascii || (c <= '~' && c.length === 1))) return c;
    return Array.from({ length: c.length }, (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`).join('');
  });
  return `"${body.join('')}"`;
}
