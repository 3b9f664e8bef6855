// Where text becomes a checked value: of bounded size, of a shape, with errors that say where.
import { constants, existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { PrlError } from './errors.js';
import { quoted } from './text.js';

export type Json = { [name: string]: unknown };

/** No config, index or header of a model that the policy can be comes near these: bytes; names, objects and lists. */
export const MAX_JSON_BYTES = 16 * 2 ** 20;
const MAX_PARTS = 250_000;
/** Of a tokenizer, of the figures of a run, of a file of rows. */
export const MAX_LARGE_BYTES = 256 << 20;
/** Of what we read; configs and indices of models have a few levels. */
const MAX_DEPTH = 16;

export const isObject = (value: unknown): value is Json =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** Whether objects and lists lie at most `depth` deep in one another: what is to be written again, or told, must not be endless. */
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
 * What a value must look like: a kind of value; a list of values alike ([shape]); one of a value for each of several shapes; an
 * object with at least these names, of which those that end in ? may be absent and * stands for all.
 */
export type Shape = keyof typeof KINDS | readonly Shape[] | { readonly [name: string]: Shape };

/** The first thing in which a value is not of a shape: 'trained.n must be a number, not "x"'. */
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

/** Refuses what JSON.parse would pass over, or choke on: a name twice in one object, nesting deeper than `depth`, millions of parts. */
function checkStrict(text: string, depth: number): void {
  const open: (Set<string> | undefined)[] = []; // names of the objects around, undefined for a list
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

/** Makes the error of a text from what is wrong with it: 'is not JSON: ...'. */
type Refuse = (what: string, cause?: unknown) => Error;

/**
 * The value of a text, or of the bytes of one in UTF-8. `depth`: how deep it may be nested, where a strict check of the text is
 * wanted.
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

/** The object of a text; otherwise as parseJson. */
export function parseObject(source: string | Uint8Array, refuse: Refuse, depth?: number): Json {
  const value = parseJson(source, refuse, depth);
  if (!isObject(value)) throw refuse('does not hold an object');
  return value;
}

/** @internal Opens a file to read. What is none is refused: a pipe or a device could be waited for, or read, for ever. */
export async function openFile(path: string): Promise<{ file: FileHandle; size: number }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new Error('it is no file');
    return { file, size: status.size };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The text of a file. @throws PrlError ERR_PRL_IO, or ERR_PRL_CORRUPT for one of more than `maxBytes` */
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
    throw new PrlError('ERR_PRL_IO', `cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** How a JSON file is read. */
export interface JsonReading {
  /** It may have 256 MiB instead of 16, and is not looked through for names that are there twice. */
  large?: boolean;
  /** What the caller counts on; such a value is at most 16 levels deep. */
  shape?: Shape;
}

/** The object in a JSON file. @throws PrlError ERR_PRL_IO for what cannot be read, ERR_PRL_CORRUPT for what is no such object */
export async function readJson(path: string, { large = false, shape }: JsonReading = {}): Promise<Json> {
  const corrupt = (message: string, cause?: unknown) => new PrlError('ERR_PRL_CORRUPT', message, { cause });
  const refuse = (what: string, cause?: unknown) => corrupt(`${path} ${what}`, cause);
  const text = await readText(path, large ? MAX_LARGE_BYTES : MAX_JSON_BYTES);
  const value = parseObject(text, refuse, large ? undefined : MAX_DEPTH);
  if (shape === undefined) return value;
  if (!isShallow(value)) throw refuse('is nested too deep');
  const mismatch = shapeMismatch(value, shape);
  if (mismatch) throw corrupt(`${path}: ${mismatch}`);
  return value;
}

/** As readJson; undefined where there is no file. */
export const readOptionalJson = async (path: string, how?: JsonReading): Promise<Json | undefined> =>
  existsSync(path) ? readJson(path, how) : undefined;
