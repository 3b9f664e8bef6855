// Numbers from texts and other numbers, as Python's int(), float() and round() make them.
import { isNumber, limitedInt, numberOf, SPACE, TemplateError, typeName, Undefined, type Value } from './values.js';

const FLOAT =
  /^[-+]?(?:(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[-+]?\d+(?:_\d+)*)?|inf(?:inity)?|nan)$/i;
const AROUND = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, 'g');

/** undefined: not a number. */
export function toFloat(value: Value): number | undefined {
  if (isNumber(value)) return Number(numberOf(value));
  if (value instanceof Undefined) throw new TemplateError(value.message);
  if (typeof value !== 'string') return undefined;
  const text = value.replace(AROUND, '').replaceAll('_', '').toLowerCase();
  if (!FLOAT.test(value.replace(AROUND, ''))) return undefined;
  const named = /^([-+]?)(inf|nan)/.exec(text);
  if (!named) return Number(text);
  return named[2] === 'nan' ? Number.NaN : named[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** The integer part. undefined: not a number. */
export function toInt(value: Value, base: number): bigint | undefined {
  if (typeof value === 'string') {
    const own = integerText(value.replace(AROUND, ''), base);
    if (own !== undefined) return own;
  }
  const number = isNumber(value) ? numberOf(value) : toFloat(value);
  if (typeof number === 'bigint' || number === undefined) return number;
  if (!Number.isFinite(number)) return undefined;
  return limitedInt(BigInt(Math.trunc(number)));
}

const PREFIXES: { [base: number]: string } = { 2: 'b', 8: 'o', 16: 'x' };

function integerText(text: string, base: number): bigint | undefined {
  if (base !== 10 && PREFIXES[base] === undefined) throw new TemplateError(`int with base ${base} is not supported`);
  const digits = { 2: '01', 8: '0-7', 10: '\\d', 16: '\\da-f' }[base]!;
  const prefix = base === 10 ? '' : `(?:0${PREFIXES[base]}_?)?`;
  const found = new RegExp(`^([-+]?)${prefix}([${digits}]+(?:_[${digits}]+)*)$`, 'i').exec(text);
  if (!found) return undefined;
  const value = BigInt(`${base === 10 ? '' : `0${PREFIXES[base]}`}${found[2].replaceAll('_', '')}`);
  return limitedInt(found[1] === '-' ? -value : value);
}

/** Halves go to the even digit. */
export function round(value: Value, precision: number, method: string): Value {
  if (!isNumber(value)) throw new TemplateError(`round needs a number, not '${typeName(value)}'`);
  if (Math.abs(precision) > 20) throw new TemplateError('round with a precision beyond 20 is not supported');
  const number = numberOf(value);
  if (method === 'ceil' || method === 'floor') {
    const scale = 10 ** precision;
    return Math[method](Number(number) * scale) / scale;
  }
  if (method !== 'common') throw new TemplateError('the method of round must be common, ceil or floor');
  if (typeof number === 'number') return roundFloat(number, precision);
  if (precision >= 0) return number;
  const scale = 10n ** BigInt(-precision);
  const low = number - (((number % scale) + scale) % scale);
  const twice = 2n * (number - low);
  const up = twice > scale || (twice === scale && (low / scale) % 2n !== 0n);
  return up ? low + scale : low;
}

function roundFloat(value: number, precision: number): number {
  if (!Number.isFinite(value)) return value;
  if (precision < 0) throw new TemplateError('round of a float with a negative precision is not supported');
  if (Math.abs(value) >= 1e20) return value;
  // toFixed has the exact digits; only an exact half needs care, because it rounds those up.
  const exact = Math.abs(value).toFixed(Math.min(100, precision + 60));
  const cut = exact.length - (Math.min(100, precision + 60) - precision);
  const [kept, rest] = [exact.slice(0, cut), exact.slice(cut)];
  const isHalf = /^50*$/.test(rest.replace('.', ''));
  const isEven = /[02468]\.?$/.test(kept);
  const result = isHalf && isEven ? Number(kept) : Number(Math.abs(value).toFixed(precision));
  return value < 0 || Object.is(value, -0) ? -result : result;
}
