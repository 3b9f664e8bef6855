// The texts of values: Python's str() and repr().
import {
  Attributes,
  Callable,
  characters,
  Dict,
  DictView,
  Lazy,
  Namespace,
  Range,
  TemplateError,
  Tuple,
  Undefined,
  type Value,
} from './values.js';

/** What {{ value }} prints. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  return value instanceof Undefined ? '' : repr(value);
}

export function repr(value: Value): string {
  if (typeof value === 'string') return textRepr(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return floatRepr(value);
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value === null) return 'None';
  if (value instanceof Undefined) return 'Undefined';
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  if (value instanceof Tuple) return `(${value.items.map(repr).join(', ')}${value.items.length === 1 ? ',' : ''})`;
  if (value instanceof Dict)
    return `{${value
      .entries()
      .map(([key, item]) => `${repr(key)}: ${repr(item)}`)
      .join(', ')}}`;
  if (value instanceof DictView) return `dict_${value.kind}(${repr(value.items())})`;
  if (value instanceof Range) return value.shown;
  if (value instanceof Namespace) return `<Namespace ${repr(value.attributes)}>`;
  if (value instanceof Attributes) return value.shown;
  if (value instanceof Callable && value.shown !== undefined) return value.shown;
  const what = value instanceof Lazy ? `the items of ${value.name} need '| list' or '| join'` : `${value.name} is code`;
  throw new TemplateError(`${what}: the text that Python prints for it differs from run to run`);
}

/** The shortest text that reads as the same number. */
export function floatRepr(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const [, sign, digits, exponent] = /^(-?)([\d.]+)e([+-]\d+)$/.exec(value.toExponential())!;
  const power = Number(exponent);
  if (value !== 0 && (power < -4 || power >= 16))
    return `${sign}${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  const minus = Object.is(value, -0) ? '-' : '';
  const text = Math.abs(value) < 1e-4 || Math.abs(value) >= 1e21 ? String(value) : plain(sign, digits, power);
  return `${minus}${text}${text.includes('.') ? '' : '.0'}`;
}

/** Digits with a point, without an exponent. */
function plain(sign: string, digits: string, power: number): string {
  const all = digits.replace('.', '');
  if (power < 0) return `${sign}0.${'0'.repeat(-power - 1)}${all}`;
  const whole = all.slice(0, power + 1).padEnd(power + 1, '0');
  const rest = all.slice(power + 1);
  return `${sign}${whole}${rest && `.${rest}`}`;
}

const ESCAPES: { [character: string]: string } = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };
const HIDDEN = /[\p{C}\p{Z}]/u;

function textRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = characters(text).map((c) => {
    if (c === quote) return `\\${c}`;
    if (ESCAPES[c]) return ESCAPES[c];
    return c !== ' ' && HIDDEN.test(c) ? escaped(c) : c;
  });
  return `${quote}${body.join('')}${quote}`;
}

/** A character as \xhh, \uhhhh or \Uhhhhhhhh. */
export function escaped(character: string): string {
  const code = character.codePointAt(0)!;
  const [letter, width] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8];
  return `\\${letter}${code.toString(16).padStart(width as number, '0')}`;
}
