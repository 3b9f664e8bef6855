// Growing files of results: lines of JSON, the first of which says how the rest was made. After a crash they can be
// resumed.
import { constants, existsSync } from 'node:fs';
import { open, rmdir, stat, truncate } from 'node:fs/promises';
import { makeFolder, writeError, writeFileAtomic } from './atomic.js';
import { invalidArgument, readError } from './errors.js';
import { isObject, type Json } from './json.js';
import { corruptLine, readJsonLines } from './lines.js';
import { lockFolder } from './lock.js';
import { quoted, shorten } from './text.js';

export interface RecordKind {
  format: string;
  version: number;
  /** Its name in messages: 'data of prl prm collect'. */
  title: string;
}

/** Longest line in bytes: all responses to one problem. */
const MAX_BYTES = 256 << 20;

/** The objects in lines of JSON. @throws PrlError ERR_PRL_CORRUPT that names the line */
export async function* readObjects(
  file: string,
  reading: { bytes?: number; skipBlank?: boolean } = {},
): AsyncGenerator<{ line: number; value: Json }, void, void> {
  for await (const each of readJsonLines(file, { maxBytes: MAX_BYTES, ...reading })) {
    if ('error' in each) throw each.error;
    const { number: line, value } = each;
    if (!isObject(value)) throw corruptLine(file, line, 'it does not hold an object');
    yield { line, value };
  }
}

/** The complete lines of a file, header included. A crash tore whatever follows the last line break. */
export async function* readRecords(
  file: string,
  { format, version, title }: RecordKind,
): AsyncGenerator<{ line: number; value: Json }, void, void> {
  const { whole } = await measure(file);
  let line = 0;
  for await (const each of readObjects(file, { bytes: whole })) {
    line = each.line;
    if (line === 1) checkHeader(each.value);
    yield each;
  }
  if (line === 0) checkHeader({});

  function checkHeader(header: Json): void {
    if (header.format !== format)
      throw corruptLine(file, 1, `the format must be '${format}' (${title}), not ${quoted(header.format)}`);
    if (header.version !== version)
      throw corruptLine(file, 1, `the version must be ${version}, not ${quoted(header.version)}`);
  }
}

/** The header of a file, and when the file was made. undefined: there is no such file. */
export async function readHeader(path: string, kind: RecordKind): Promise<{ header: Json; made: Date } | undefined> {
  if (!existsSync(path)) return undefined;
  const { birthtime, mtime } = await stat(path);
  // Some file systems know no time of birth.
  const made = birthtime.getTime() > 0 ? birthtime : mtime;
  for await (const { value: header } of readRecords(path, kind)) return { header, made };
}

/** Counts the bytes of a file, and the bytes of its complete lines. */
async function measure(file: string): Promise<{ size: number; whole: number }> {
  try {
    const handle = await open(file, 'r');
    try {
      const { size } = await handle.stat();
      const buffer = new Uint8Array(1 << 16);
      for (let end = size; end > 0; ) {
        const begin = Math.max(0, end - buffer.length);
        const { bytesRead } = await handle.read(buffer, 0, end - begin, begin);
        const at = buffer.subarray(0, bytesRead).lastIndexOf(10);
        if (at >= 0) return { size, whole: begin + at + 1 };
        end = begin;
      }
      return { size, whole: 0 };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw readError(file, cause);
  }
}

/** A file to which only this process appends. */
export class RecordFile {
  readonly path: string;
  readonly #kind: RecordKind;
  readonly #unlock: () => Promise<void>;

  private constructor(path: string, kind: RecordKind, unlock: () => Promise<void>) {
    this.path = path;
    this.#kind = kind;
    this.#unlock = unlock;
  }

  /**
   * Prepares a file for appending. A new file gets its header; an existing file loses a torn last line.
   * @param settings everything that determines the contents
   * @throws TypeError if the file has other settings; it names the first difference
   * @throws PrlError ERR_PRL_BUSY if another process works on it
   */
  static async open(path: string, kind: RecordKind, settings: object): Promise<RecordFile> {
    const folder = `${path}.lock`;
    await makeFolder(folder);
    const unlockFolder = await lockFolder(folder);
    const unlock = async () => {
      await unlockFolder();
      await rmdir(folder).catch(() => {}); // not empty: another process waits for the lock
    };
    const file = new RecordFile(path, kind, unlock);
    try {
      await file.#begin(settings);
    } catch (error) {
      await unlock();
      throw error;
    }
    return file;
  }

  async #begin(settings: object): Promise<void> {
    const { format, version } = this.#kind;
    if (!existsSync(this.path)) {
      await writeFileAtomic(this.path, `${JSON.stringify({ format, version, ...settings })}\n`);
      return;
    }
    for await (const { value } of readRecords(this.path, this.#kind)) {
      const difference = differenceOf(value, settings);
      if (difference) throw invalidArgument(`${this.path} was collected with ${difference}: choose another file`);
      break;
    }
    const { size, whole } = await measure(this.path);
    if (whole < size)
      await truncate(this.path, whole).catch((error) => {
        throw writeError(this.path, error);
      });
  }

  /** Returns once the lines are on the disk. */
  async append(records: readonly object[]): Promise<void> {
    try {
      // The file must exist: a new one would have no header.
      const handle = await open(this.path, constants.O_WRONLY | constants.O_APPEND);
      try {
        await handle.writeFile(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw writeError(this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.#unlock();
  }
}

function differenceOf(there: Json, given: object): string | undefined {
  try {
    return firstDifference(there, given);
  } catch (error) {
    if ((error as Error).name === 'RangeError') return 'settings that are nested too deeply';
    throw error;
  }
}

/** 'seed 3, not 4' */
function firstDifference(there: unknown, given: unknown, name = ''): string | undefined {
  // A list of plain values is shown whole.
  const isParent = (value: unknown): value is Json =>
    typeof value === 'object' && value !== null && !(Array.isArray(value) && !value.every(isParent));
  if (!isParent(there) || !isParent(given)) {
    const [a, b] = [there, given].map((value) => JSON.stringify(value) ?? 'unset');
    return a === b ? undefined : `${name} ${shorten(a)}, not ${shorten(b)}`;
  }
  // The header holds more than the settings.
  const names = name === '' ? Object.keys(given) : Object.keys({ ...there, ...given });
  for (const key of names) {
    const path = Array.isArray(given) ? `${name}[${key}]` : name === '' ? key : `${name}.${key}`;
    const difference = firstDifference(there[key], given[key], path);
    if (difference) return difference;
  }
}
