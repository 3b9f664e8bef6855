// Turns text into checked values of bounded size and given shape. Errors name the place.
import { constants, existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { PrlError, readError } from './errors.js';
import { quoted } from './text.js';

export type Json = { [name: string]: unknown };

/**
 * Limits in bytes and in parts (names, objects, lists). No config, index or header of a supported model comes near
 * them.
 */
export const MAX_JSON_BYTES = 16 * 2 ** 20;
const MAX_PARTS = 250_000;
/** Limit in bytes of a tokenizer, of the figures of a run, or of a file of rows. */
export const MAX_LARGE_BYTES = 256 << 20;
/** Deepest nesting that is read. Configs and indices of models have a few levels. */
const MAX_DEPTH = 16;

export const isObject = (value: unknown): value is Json =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/**
 * Whether objects and lists are nested at most `depth` deep. A value to be written again or printed must not be
 * endless.
 */
export function isShallow(value: unknown, depth = MAX_DEPTH): boolean {
  if (value === null || typeof value !== 'object') return true;
  return depth > 0 && Object.values(value).every((each) => isShallow(each, depth - 1));
}

const KINDS = {
  number: (value: unknown) => Number.isFinite(value),
  // JSON has no other word for NaN.
  'number or null': (value: unknown) => value === null || Number.isFinite(value),
  text: (value: unknown) => typeof value === 'string',
  boolean: (value: unknown) => typeof value === 'boolean',
};

/**
 * The shape that a value must have: a kind of value; a list of values alike ([shape]); a list with one value per shape;
 * an object with at least these names. Names that end in ? may be absent. * stands for all names.
 */
export type Shape = keyof typeof KINDS | readonly Shape[] | { readonly [name: string]: Shape };

/** The first mismatch of a value with a shape: 'trained.n must be a number, not "x"'. */
export function shapeMismatch(value: unknown, shape: Shape, name = ''): string | undefined {
  const wrong = (what: string) =>
    `${name || 'it'} must be ${what}, not ${value === undefined ? 'absent' : quoted(value)}`;
  if (typeof shape === 'string') return KINDS[shape](value) ? undefined : wrong(`a ${shape}`);
  if (isList(shape)) {
    if (!Array.isArray(value)) return wrong('a list');
    if (shape.length > 1 && value.length !== shape.length) return wrong(`a list of ${shape.length}`);
    return firstMismatch(value.map((each, i) => [each, shape[shape.length > 1 ? i : 0], `${name}[${i}]`]));
  }
  if (!isObject(value)) return wrong('an object');
  const inner = (key: string) => (name === '' ? key : `${name}.${key}`);
  return firstMismatch(
    Object.entries(shape).flatMap(([key, of]): [unknown, Shape, string][] => {
      if (key === '*') return Object.entries(value).map(([own, each]) => [each, of, inner(own)]);
      const own = key.replace(/\?$/, '');
      const there = Object.hasOwn(value, own);
      return there || own === key ? [[there ? value[own] : undefined, of, inner(own)]] : [];
    }),
  );
}

const isList = (shape: Shape): shape is readonly Shape[] => Array.isArray(shape);

function firstMismatch(parts: readonly [unknown, Shape, string][]): string | undefined {
  for (const part of parts) {
    const mismatch = shapeMismatch(...part);
    if (mismatch) return mismatch;
  }
}

/**
 * Refuses what JSON.parse would pass over or choke on: a repeated name in one object, nesting deeper than `depth`,
 * millions of parts.
 */
function checkStrict(text: string, depth: number): void {
  const open: (Set<string> | undefined)[] = []; // names of the enclosing objects, undefined for a list
  let parts = 0;
  const count = () => {
    if (++parts > MAX_PARTS) throw new SyntaxError(`it has more than ${MAX_PARTS} names, objects and lists`);
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '{' || c === '[') {
      count();
      open.push(c === '{' ? new Set() : undefined);
      if (open.length > depth) throw new SyntaxError(`it is nested more than ${depth} deep`);
    } else if (c === '}' || c === ']') {
      open.pop();
    } else if (c === '"') {
      const begin = i;
      for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
      let next = i + 1;
      while (' \t\r\n'.includes(text[next] ?? '-')) next++;
      if (text[next] !== ':') continue;
      count();
      const name: string = JSON.parse(text.slice(begin, i + 1));
      const names = open.at(-1);
      if (names?.has(name)) throw new SyntaxError(`it has the name ${quoted(name)} twice`);
      names?.add(name);
    }
  }
}

/** Makes the error for a text from what is wrong with it: 'is not JSON: ...'. */
type Refuse = (what: string, cause?: unknown) => Error;

/**
 * Parses a text, or the UTF-8 bytes of one. A `depth` asks for a strict check and is the deepest nesting allowed.
 */
export function parseJson(source: string | Uint8Array, refuse: Refuse, depth?: number): unknown {
  try {
    const text = typeof source === 'string' ? source : new TextDecoder('utf-8', { fatal: true }).decode(source);
    if (depth !== undefined) checkStrict(text, depth);
    return JSON.parse(text);
  } catch (cause) {
    throw refuse(`is not JSON: ${(cause as Error).message.slice(0, 200)}`, cause);
  }
}

/** As parseJson, for a text that must hold an object. */
export function parseObject(source: string | Uint8Array, refuse: Refuse, depth?: number): Json {
  const value = parseJson(source, refuse, depth);
  if (!isObject(value)) throw refuse('does not hold an object');
  return value;
}

/** @internal Opens a file for reading. Refuses anything else: a pipe or a device might block forever, or never end. */
export async function openFile(path: string): Promise<{ file: FileHandle; size: number }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new Error('it is not a file');
    return { file, size: status.size };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The text of a file. @throws PrlError ERR_PRL_IO, or ERR_PRL_CORRUPT if it has more than `maxBytes` */
export async function readText(path: string, maxBytes: number): Promise<string> {
  try {
    const { file, size } = await openFile(path);
    try {
      if (size > maxBytes) throw new PrlError('ERR_PRL_CORRUPT', `${path} has ${size} bytes, more than ${maxBytes}`);
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof PrlError) throw cause;
    throw readError(path, cause);
  }
}

/** How to read a JSON file. */
export interface JsonReading {
  /** Allows 256 MiB instead of 16, and skips the check for repeated names. */
  large?: boolean;
  /** The shape that the caller relies on. Such a value may be nested at most 16 levels deep. */
  shape?: Shape;
}

/**
 * The object in a JSON file. @throws PrlError ERR_PRL_IO if it is unreadable, ERR_PRL_CORRUPT if it holds no such
 * object
 */
export async function readJson(path: string, { large = false, shape }: JsonReading = {}): Promise<Json> {
  const corrupt = (message: string, cause?: unknown) => new PrlError('ERR_PRL_CORRUPT', message, { cause });
  const refuse = (what: string, cause?: unknown) => corrupt(`${path} ${what}`, cause);
  const text = await readText(path, large ? MAX_LARGE_BYTES : MAX_JSON_BYTES);
  const value = parseObject(text, refuse, large ? undefined : MAX_DEPTH);
  if (shape === undefined) return value;
  if (!isShallow(value)) throw refuse('is nested too deeply');
  const mismatch = shapeMismatch(value, shape);
  if (mismatch) throw corrupt(`${path}: ${mismatch}`);
  return value;
}

/** As readJson; undefined if there is no file. */
export const readOptionalJson = async (path: string, how?: JsonReading): Promise<Json | undefined> =>
  existsSync(path) ? readJson(path, how) : undefined;
