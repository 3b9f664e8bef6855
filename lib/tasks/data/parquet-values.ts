// The values of a Parquet file, as their writer meant them. hyparquet reads what is stored: integers, floats and bytes.
// (Its own conversions put decimals through doubles and replace bytes that are not UTF-8.)
import { types } from 'node:util';
import type { SchemaElement, SchemaTree } from 'hyparquet';
import { parseExact } from './exact-json.js';

/** Turns a stored value into what it means. @throws Error that says what is wrong with it */
type Convert = (stored: unknown) => unknown;

/**
 * Takes the meaning of the columns out of a schema, so that hyparquet leaves their values alone. Returns the function
 * that gives the values of a row their meaning.
 *
 * @throws Error that names the column (the function that is returned)
 */
export function takeMeaning(schema: SchemaTree): (row: Record<string, unknown>) => void {
  const convert = structOf(schema.children, (name, cause) => {
    throw new Error(`column '${name}' ${cause.message}`, { cause });
  });
  return convert as (row: Record<string, unknown>) => void;
}

/** Lists of a column may be nested; what is in them is converted. */
function convertOf(node: SchemaTree): Convert {
  const convert = partOf(node);
  const each: Convert = (value) =>
    Array.isArray(value) ? value.map(each) : value === null || value === undefined ? value : convert(value);
  return each;
}

function partOf({ element, children }: SchemaTree): Convert {
  const type = element.logical_type?.type ?? element.converted_type;
  if (type === 'VARIANT') return (value) => value;
  if (children.length === 0) return leafOf(element);
  const [only, more] = children;
  if (type === 'LIST' && !more) return convertOf(only.children.length === 1 ? only.children[0] : only);
  // Keys are names of properties: hyparquet converts them.
  if ((type === 'MAP' || type === 'MAP_KEY_VALUE') && only.children.length === 2)
    return eachProperty(convertOf(only.children[1]));
  return structOf(children, (name, cause) => {
    throw new Error(`(in '${name}') ${cause.message}`, { cause });
  });
}

function eachProperty(convert: Convert): Convert {
  return (map) => {
    const object = map as Record<string, unknown>;
    for (const name of Object.keys(object)) object[name] = convert(object[name]);
    return object;
  };
}

function structOf(children: readonly SchemaTree[], refuse: (name: string, cause: Error) => never): Convert {
  const fields = children.map((child) => [child.element.name, convertOf(child)] as const);
  return (value) => {
    const struct = value as Record<string, unknown>;
    for (const [name, convert] of fields)
      try {
        if (Object.hasOwn(struct, name)) struct[name] = convert(struct[name]);
      } catch (cause) {
        refuse(name, cause as Error);
      }
    return struct;
  };
}

/** The conversion of a column. Afterwards its element has a physical type only. */
function leafOf(element: SchemaElement): Convert {
  const { type: stored, converted_type: older, logical_type: logical } = element;
  const kind = logical?.type ?? older;
  const scale = (logical?.type === 'DECIMAL' ? logical.scale : undefined) ?? element.scale ?? 0;
  const unit = logical && 'unit' in logical ? logical.unit : undefined;
  const unsigned = logical?.type === 'INTEGER' ? !logical.isSigned : /^UINT_/.test(older ?? '');
  delete element.converted_type;
  delete element.logical_type;
  if (kind === 'DECIMAL') return (value) => decimal(integerOf(value), scale);
  if (kind === 'JSON') return (value) => parseExact(utf8(value));
  if (kind === 'UUID') return (value) => uuid(value as Uint8Array);
  if (kind === 'DATE') return (value) => new Date(Number(value) * 86_400_000);
  if (kind === 'TIMESTAMP' || older?.startsWith('TIMESTAMP_'))
    return (value) => new Date(Number(integerOf(value) / perMillisecond(unit ?? older)));
  if (kind === 'TIME' || older?.startsWith('TIME_'))
    return (value) => timeOfDay(integerOf(value), perMillisecond(unit ?? older));
  if (kind === 'FLOAT16') return (value) => shortest(float16(value as Uint8Array), 10, -14);
  if (stored === 'FLOAT') return (value) => shortest(value as number, 23, -126);
  if (stored === 'INT64' && unsigned) return (value) => BigInt.asUintN(64, value as bigint);
  if (stored === 'INT32' && unsigned) return (value) => (value as number) >>> 0;
  if (stored === 'BYTE_ARRAY' && kind !== 'BSON' && kind !== 'GEOMETRY' && kind !== 'GEOGRAPHY') return utf8;
  return (value) => value;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes without a meaning are text too: older writers do not mark it. */
function utf8(bytes: unknown): string {
  try {
    return UTF8.decode(bytes as Uint8Array);
  } catch {
    throw new Error('is not UTF-8');
  }
}

function integerOf(value: unknown): bigint {
  if (!types.isUint8Array(value)) return BigInt(value as number | bigint);
  const hex = Buffer.from(value).toString('hex');
  return BigInt.asIntN(8 * value.length, BigInt(`0x${hex || 0}`));
}

/** 58459.20 for 5845920 and scale 2. All digits of the scale stay, as the writer declared them. */
function decimal(unscaled: bigint, scale: number): string {
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale));
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function uuid(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const perMillisecond = (unit = 'MILLIS') => (/NANOS/.test(unit) ? 1_000_000n : /MICROS/.test(unit) ? 1000n : 1n);

/** 01:02:03.5 */
function timeOfDay(count: bigint, perMillisecond: bigint): string {
  const perSecond = 1000n * perMillisecond;
  const [seconds, rest] = [count / perSecond, count % perSecond];
  const two = (value: bigint) => String(value).padStart(2, '0');
  const text = `${two(seconds / 3600n)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}`;
  const fraction = String(rest)
    .padStart(String(perSecond).length - 1, '0')
    .replace(/0+$/, '');
  return fraction === '' ? text : `${text}.${fraction}`;
}

function float16(bytes: Uint8Array): number {
  const bits = bytes[0] | (bytes[1] << 8);
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 0x1f, bits & 0x3ff];
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Infinity;
  return sign * 2 ** Math.max(exponent - 15, -14) * ((exponent ? 1 : 0) + fraction / 1024);
}

/** The number with the fewest digits that a float of `bits` bits rounds to `value`: 0.1 for 0.1f. Integers stay. */
function shortest(value: number, bits: number, minExponent: number): number {
  if (!Number.isFinite(value) || Number.isInteger(value)) return value;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), minExponent);
  const half = 2 ** (exponent - bits - 1);
  for (let digits = 1; digits < 17; digits++) {
    const short = Number(value.toPrecision(digits));
    // At a power of two, the next smaller float is half as far.
    if (Math.abs(short - value) < half / 2 || (Math.abs(short - value) < half && Math.abs(value) !== 2 ** exponent))
      return short;
  }
  return value;
}
