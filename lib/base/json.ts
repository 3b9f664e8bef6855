// Reading files that others wrote: of bounded size, and with errors that name the file.
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { PrlError } from './errors.js';
import { shorten } from './shorten.js';

/** No config, index or header of a model that the policy can be comes near these: bytes; names, objects and lists. */
export const MAX_JSON_BYTES = 16 * 2 ** 20;
const MAX_PARTS = 250_000;
/** Of a config or an index; those of models have a few levels. */
const MAX_DEPTH = 16;

/** A value from a file, as it goes into a message; and a tensor's name. */
export function quoted(value: unknown): string {
  try {
    return shorten(JSON.stringify(value) ?? String(value));
  } catch {
    return 'a value that is nested too deep';
  }
}
export const quotedName = (name: string) => `'${shorten(JSON.stringify(name).slice(1, -1))}'`;

/** Whether objects and lists lie at most `depth` deep in one another: what is to be written again, or told, must not be endless. */
export function isShallow(value: unknown, depth = MAX_DEPTH): boolean {
  if (value === null || typeof value !== 'object') return true;
  return depth > 0 && Object.values(value).every((each) => isShallow(each, depth - 1));
}

/** JSON.parse that refuses what it would pass over, or choke on: a name twice in one object, nesting deeper than `depth`, millions of parts. */
export function parseStrictJson(text: string, depth: number): unknown {
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
  return JSON.parse(text);
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

/** The object in a JSON file. */
export async function readJson(path: string) {
  let text: string;
  try {
    const { file, size } = await openFile(path);
    try {
      if (size > MAX_JSON_BYTES) throw new PrlError('ERR_PRL_CORRUPT', `${path} has ${size} bytes: it is no such file`);
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof PrlError) throw cause;
    throw new PrlError('ERR_PRL_IO', `cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
  let value: unknown;
  try {
    value = parseStrictJson(text, MAX_DEPTH);
  } catch (cause) {
    throw new PrlError('ERR_PRL_CORRUPT', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new PrlError('ERR_PRL_CORRUPT', `${path} does not hold an object`);
  return value as Record<string, unknown>;
}
