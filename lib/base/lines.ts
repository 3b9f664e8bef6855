// Lines of files, and lines of JSON (JSONL).
import { createReadStream } from 'node:fs';
import { PrlError, readError } from './errors.js';
import { parseJson } from './json.js';

/** Longest line that is read. A longer one is not a row of a dataset, and must not fill the memory. */
export const MAX_LINE_BYTES = 4 << 20;

/** A line of a file without its line break, numbered from 1; or what is wrong with it. */
export type Line = { number: number; text: string } | { number: number; error: PrlError };
/** The same for the parsed value of a line. */
export type JsonLine = { number: number; value: unknown } | { number: number; error: PrlError };

interface Reading {
  /** Longest line in bytes. */
  maxBytes?: number;
  /** Number of bytes to read. */
  bytes?: number;
}

/** An error that names a place in a file. */
export const badRow = (where: string, what: string, cause?: unknown): PrlError =>
  new PrlError('ERR_PRL_CORRUPT', `${where}: ${what}`, { cause });
export const corruptLine = (file: string, number: number, what: string, cause?: unknown): PrlError =>
  badRow(`${file}:${number}`, what, cause);

function join(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/**
 * The lines of a file, read piece by piece. Each is decoded by itself, so invalid UTF-8 is an error of its line only. A
 * byte order mark at the beginning and the \r of an \r\n are removed.
 */
export async function* readLines(
  file: string,
  { maxBytes = MAX_LINE_BYTES, bytes = Infinity }: Reading = {},
): AsyncGenerator<Line, void, void> {
  if (bytes === 0) return;
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let number = 0;
  // Pieces of the unfinished line, and how many bytes it has. Pieces of a line that is too long are dropped.
  let pieces: Uint8Array[] = [];
  let size = 0;
  const add = (piece: Uint8Array) => {
    size += piece.length;
    if (size <= maxBytes) pieces.push(piece);
    else pieces = [];
  };
  const take = (): Line => {
    number++;
    const [bytes, length] = [join(pieces), size];
    pieces = [];
    size = 0;
    if (length > maxBytes)
      return { number, error: corruptLine(file, number, `the line has ${length} bytes, more than ${maxBytes}`) };
    try {
      const text = decoder.decode(bytes);
      const begin = number === 1 && text.startsWith('\ufeff') ? 1 : 0;
      return { number, text: text.slice(begin, text.endsWith('\r') ? -1 : undefined) };
    } catch (cause) {
      return { number, error: corruptLine(file, number, 'the line is not UTF-8', cause) };
    }
  };
  const stream = createReadStream(file, { end: bytes - 1 });
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      let from = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
        add(chunk.subarray(from, end));
        yield take();
        from = end + 1;
      }
      if (from < chunk.length) add(chunk.subarray(from));
    }
  } catch (cause) {
    if (cause instanceof PrlError) throw cause;
    throw readError(file, cause);
  } finally {
    stream.destroy();
  }
  if (size > 0) yield take();
}

/** The values in lines of JSON. `skipBlank` skips blank lines. */
export async function* readJsonLines(
  file: string,
  { skipBlank = false, ...reading }: Reading & { skipBlank?: boolean } = {},
): AsyncGenerator<JsonLine, void, void> {
  for await (const line of readLines(file, reading)) {
    if ('error' in line) yield line;
    else if (!skipBlank || line.text.trim() !== '') yield parseLine(file, line.number, line.text);
  }
}

function parseLine(file: string, number: number, text: string): JsonLine {
  try {
    return { number, value: parseJson(text, (what, cause) => corruptLine(file, number, `it ${what}`, cause)) };
  } catch (error) {
    return { number, error: error as PrlError };
  }
}
