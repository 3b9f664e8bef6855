import { readFile, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { parse } from 'csv-parse';
import { PrlError } from '../../base/errors.js';
import { isObject, MAX_LARGE_BYTES } from '../../base/json.js';
import { badRow, MAX_LINE_BYTES, readLines } from '../../base/lines.js';
import { parseExact } from './exact-json.js';
import { parquetRows } from './parquet.js';
import type { RawRow, SelectColumns } from './raw-row.js';
import type { DataFile, Format } from './source.js';

/** A row and its place ('train.jsonl:12'); or its error, if the rows after it can still be read. */
export type Item = { where: string; row: RawRow } | { where: string; error: PrlError };

/** The error of a row that cannot be used, with the option that leaves it out. */
export const unusableRow = (error: PrlError): PrlError =>
  new PrlError(error.code, `${error.message}. onInvalid 'drop' leaves such rows out`, { cause: error });

const READERS: Record<Format, (file: string, select: SelectColumns) => AsyncGenerator<Item, void, void>> = {
  jsonl: (file, select) => selecting(jsonLines(file), select),
  json: (file, select) => selecting(jsonArray(file), select),
  csv: (file, select) => delimited(file, select, ','),
  tsv: (file, select) => delimited(file, select, '\t'),
  parquet,
};

/** The rows of a file, one after the other. Formats with columns give only those that `select` returns. */
export const readRows = ({ path, format }: DataFile, select: SelectColumns) => READERS[format](path, select);

/** The names in the first row are the columns. */
async function* selecting(items: AsyncIterable<Item>, select: SelectColumns): AsyncGenerator<Item, void, void> {
  let first = true;
  for await (const item of items) {
    if (first && 'row' in item) {
      select(Object.keys(item.row));
      first = false;
    }
    yield item;
  }
}

async function* jsonLines(file: string): AsyncGenerator<Item, void, void> {
  for await (const line of readLines(file)) {
    const where = `${file}:${line.number}`;
    if ('error' in line) yield { where, error: line.error };
    else if (line.text.trim() !== '') yield jsonItem(where, line.text);
  }
}

function jsonItem(where: string, text: string): Item {
  let value: unknown;
  try {
    value = parseExact(text);
  } catch (cause) {
    return { where, error: notJson(where, cause) };
  }
  return asItem(where, value);
}

const notJson = (where: string, cause: unknown) =>
  badRow(where, `it is not JSON: ${(cause as Error).message.slice(0, 200)}`, cause);

async function* jsonArray(file: string): AsyncGenerator<Item, void, void> {
  const { size } = await stat(file);
  if (size > MAX_LARGE_BYTES)
    throw badRow(
      file,
      `one JSON value must have at most ${MAX_LARGE_BYTES} bytes, not ${size}: write one row per line, as .jsonl`,
    );
  const bytes = (await readFile(file)) as unknown as Uint8Array;
  let value: unknown;
  try {
    value = parseExact(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw notJson(file, cause);
  }
  const data = isObject(value) && Object.hasOwn(value, 'data') ? value.data : value;
  if (!Array.isArray(data)) throw badRow(file, `expected an array of rows, or an object whose 'data' is one`);
  for (const [index, row] of data.entries()) yield asItem(`${file} row ${index + 1}`, row);
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
        const error = badRow(
          where,
          `there must be ${names.length} columns, as in the first line, not ${record.length}`,
        );
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
  for await (const row of parquetRows(file, select)) {
    const where = `${file} row ${++number}`;
    yield typeof row === 'string' ? { where, error: badRow(where, row) } : asItem(where, row);
  }
}

function asItem(where: string, value: unknown): Item {
  if (isObject(value)) return { where, row: value };
  const kind = Array.isArray(value) ? 'an array' : value === null ? 'null' : `a ${typeof value}`;
  return { where, error: badRow(where, `a row must be an object with named fields, not ${kind}`) };
}
