// The thread that reads a Parquet file. If a damaged file breaks the decoders, the thread ends, not the process.
import { open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import type { ParquetAnswer, ParquetJob } from './parquet-messages.js';
import { takeMeaning } from './parquet-values.js';

/** Most bytes that one column of a row group, or one of its pages, may unpack to. */
const MAX_COLUMN_BYTES = 1 << 30;
const MAX_PAGE_BYTES = 256 << 20;
/** Rows sent at once. */
const BATCH = 1024;

const { file } = workerData as ParquetJob;
const port = parentPort!;
/** Sends something and waits until the other side asks for more. */
const ask = <T>(answer: ParquetAnswer): Promise<T> => {
  port.postMessage(answer);
  return new Promise((resolve) => port.once('message', resolve));
};

/** Refuses to unpack a page that claims to be larger than any real one. */
const limited = Object.fromEntries(
  Object.entries(compressors).map(([codec, unpack]) => [
    codec,
    (input: Uint8Array, outputLength: number) => {
      if (!(outputLength >= 0 && outputLength <= MAX_PAGE_BYTES))
        throw new RangeError(`a page claims ${outputLength} bytes, more than ${MAX_PAGE_BYTES}`);
      return unpack!(input, outputLength);
    },
  ]),
);

async function read(): Promise<void> {
  await ask({ ready: true });
  const handle = await open(file);
  const { size } = await handle.stat();
  if (size < 12) throw new RangeError(`a Parquet file must have at least 12 bytes, not ${size}`);
  const buffer = {
    byteLength: size,
    async slice(start: number, end = size): Promise<ArrayBuffer> {
      if (!(start >= 0 && start <= end && end <= size && end - start <= MAX_COLUMN_BYTES))
        throw new RangeError(`bytes ${start} to ${end} of ${size} cannot be read`);
      const bytes = new Uint8Array(end - start);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
      if (bytesRead < bytes.length) throw new RangeError(`the file ends at ${start + bytesRead}`);
      return bytes.buffer;
    },
  };
  const metadata = await parquetMetadataAsync(buffer);
  const schema = parquetSchema(metadata);
  const names = schema.children.map(({ element }) => element.name);
  const mean = takeMeaning(schema);
  const meant = (row: Record<string, unknown>) => {
    try {
      mean(row);
      return row;
    } catch (error) {
      return (error as Error).message;
    }
  };
  const columns = await ask<string[] | null>({ names });
  let rowStart = 0;
  for (const [group, { num_rows, columns: chunks }] of metadata.row_groups.entries()) {
    const rows = Number(num_rows);
    for (const { meta_data: chunk } of chunks) {
      if (columns && !columns.includes(chunk?.path_in_schema[0] ?? '')) continue;
      const bytes = Math.max(Number(chunk?.total_uncompressed_size), Number(chunk?.total_compressed_size));
      if (!(rows >= 0 && bytes >= 0 && bytes <= MAX_COLUMN_BYTES))
        throw new RangeError(`row group ${group + 1} claims ${rows} rows and a column of ${bytes} bytes`);
    }
    const range = { rowStart, rowEnd: rowStart + rows };
    const objects = await parquetReadObjects({
      ...{ file: buffer, metadata, columns: columns ?? undefined, compressors: limited, utf8: false },
      ...range,
    });
    if (objects.length !== rows)
      throw new RangeError(`row group ${group + 1} must have ${rows} rows, as the footer says, not ${objects.length}`);
    for (let i = 0; i < rows; i += BATCH) await ask({ rows: objects.slice(i, i + BATCH).map(meant) });
    rowStart += rows;
  }
  await handle.close();
}

await read().then(
  () => port.postMessage({ done: true } satisfies ParquetAnswer),
  (error: Error) => port.postMessage({ error: error.message } satisfies ParquetAnswer),
);
port.close();
