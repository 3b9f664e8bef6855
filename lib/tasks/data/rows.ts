import { readFile, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { parse } from 'csv-parse';
import { PrlError } from '../../base/errors.js';
import { badRow, MAX_LINE_BYTES, readLines } from '../../base/lines.js';
import { parquetRows } from './parquet.js';
import type { RawRow, SelectColumns } from './raw-row.js';
import type { DataFile, Format } from './source.js';

/** A row and its place ('train.jsonl:12'); or its error, if the rows after it can still be read. */
export type Item = { where: string; row: RawRow } | { where: string; error: PrlError };

/** A file of one JSON value is parsed at once. */
const MAX_JSON_BYTES = 256 << 20;

const READERS: Record<Format, (file: string, select: SelectColumns) => AsyncGenerator<Item, void, void>> = {
  jsonl: jsonLines,
  json: jsonArray,
  csv: (file, select) => delimited(file, select, ','),
  tsv: (file, select) => delimited(file, select, '\t'),
  parquet,
};

/** The rows of a file, one after the other. Formats with columns give only those that `select` returns. */
export const readRows = ({ path, format }: DataFile, select: SelectColumns) => READERS[format](path, select);

async function* jsonLines(file: string, select: SelectColumns): AsyncGenerator<Item, void, void> {
  let first = true;
  for await (const line of readLines(file)) {
    const where = `${file}:${line.number}`;
    if ('error' in line) {
      yield { where, error: line.error };
      continue;
    }
    if (line.text.trim() === '') continue;
    let row: unknown;
    try {
      row = JSON.parse(line.text);
    } catch (cause) {
      yield { where, error: badRow(where, `not JSON: ${(cause as Error).message}`, cause) };
      continue;
    }
    const item = asItem(where, row);
    if (first && 'row' in item) {
      select(Object.keys(item.row));
      first = false;
    }
    yield item;
  }
}

async function* jsonArray(file: string, select: SelectColumns): AsyncGenerator<Item, void, void> {
  const { size } = await stat(file);
  if (size > MAX_JSON_BYTES)
    throw badRow(
      file,
      `${size} bytes are too many for one JSON value (${MAX_JSON_BYTES}): write a row per line, as .jsonl`,
    );
  let value: unknown;
  try {
    value = JSON.parse(
      new TextDecoder('utf-8', { fatal: true }).decode((await readFile(file)) as unknown as Uint8Array),
    );
  } catch (cause) {
    throw badRow(file, `not JSON in UTF-8: ${(cause as Error).message}`, cause);
  }
  const data = isRow(value) && Object.hasOwn(value, 'data') ? value.data : value;
  if (!Array.isArray(data)) throw badRow(file, `expected an array of rows, or an object whose 'data' is one`);
  let first = true;
  for (const [index, row] of data.entries()) {
    const item = asItem(`${file} row ${index + 1}`, row);
    if (first && 'row' in item) {
      select(Object.keys(item.row));
      first = false;
    }
    yield item;
  }
}

async function* delimited(file: string, select: SelectColumns, delimiter: string): AsyncGenerator<Item, void, void> {
  // Lines are decoded here, so that an error in UTF-8 has a line number. A quoted field may span several lines.
  const source = Readable.from(
    (async function* () {
      for await (const line of readLines(file)) {
        if ('error' in line) throw line.error;
        yield `${line.text}\n`;
      }
    })(),
  );
  const parser = parse({
    delimiter,
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: MAX_LINE_BYTES,
  });
  source.on('error', (error) => parser.destroy(error)).pipe(parser);
  let names: string[] | undefined;
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      const where = `${file}:${info.lines}`;
      if (names === undefined) {
        names = record;
        const twice = names.find((name, i) => names!.indexOf(name) < i);
        if (twice !== undefined) throw badRow(where, `two columns are named ${JSON.stringify(twice)}`);
        select(names);
      } else if (record.length !== names.length) {
        const error = badRow(where, `${record.length} columns where the first line names ${names.length}`);
        yield { where, error };
      } else yield { where, row: Object.fromEntries(names.map((name, i) => [name, record[i]])) };
    }
  } catch (cause) {
    if (cause instanceof PrlError) throw cause;
    const { lines } = cause as { lines?: number };
    throw badRow(lines === undefined ? file : `${file}:${lines}`, (cause as Error).message, cause);
  } finally {
    source.destroy();
    parser.destroy();
  }
}

async function* parquet(file: string, select: SelectColumns): AsyncGenerator<Item, void, void> {
  let number = 0;
  for await (const row of parquetRows(file, select)) yield asItem(`${file} row ${++number}`, row);
}

const isRow = (value: unknown): value is RawRow => typeof value === 'object' && value !== null && !Array.isArray(value);

function asItem(where: string, value: unknown): Item {
  if (isRow(value)) return { where, row: value };
  const kind = Array.isArray(value) ? 'an array' : value === null ? 'null' : `a ${typeof value}`;
  return { where, error: badRow(where, `a row must be an object with named fields, not ${kind}`) };
}
