// Reading JSON files that others wrote: of bounded size, and with errors that name the file.
import { open } from 'node:fs/promises';
import { PrlError } from '../errors.js';

/** No config, index or header of a model that the policy can be comes near it. */
export const MAX_JSON_BYTES = 16 * 2 ** 20;

const cut = (text: string) => (text.length > 200 ? `${text.slice(0, 200)}...` : text);
/** A value from a file, as it goes into a message; and a tensor's name. */
export const quoted = (value: unknown) => cut(JSON.stringify(value) ?? String(value));
export const quotedName = (name: string) => `'${cut(JSON.stringify(name).slice(1, -1))}'`;

/** JSON.parse that refuses what it would pass over: a name twice in one object, and nesting deeper than `depth`. */
export function parseStrictJson(text: string, depth: number): unknown {
  const open: (Set<string> | undefined)[] = []; // names of the objects around, undefined for a list
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '{' || c === '[') {
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
      const name: string = JSON.parse(text.slice(begin, i + 1));
      const names = open.at(-1);
      if (names?.has(name)) throw new SyntaxError(`it has the name ${quoted(name)} twice`);
      names?.add(name);
    }
  }
  return JSON.parse(text);
}

/** The object in a JSON file. */
export async function readJson(path: string, parse: (text: string) => unknown = JSON.parse) {
  let text: string;
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
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
    value = parse(text);
  } catch (cause) {
    throw new PrlError('ERR_PRL_CORRUPT', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new PrlError('ERR_PRL_CORRUPT', `${path} does not hold an object`);
  return value as Record<string, unknown>;
}
