// A reader of the safetensors files of test/fixtures: 8 bytes of header length, a JSON header, the data.
import { readFileSync } from 'node:fs';

const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array } as const;

export interface StoredTensor {
  shape: number[];
  data: Float32Array | Float64Array | Int32Array;
}

/** All tensors of a file by name. */
export function readSafetensors(path: URL): Map<string, StoredTensor> {
  const bytes = readFileSync(path);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString());
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries<{ dtype: keyof typeof ARRAYS; shape: number[]; data_offsets: number[] }>(
    header,
  )) {
    if (name === '__metadata__') continue;
    const [from, to] = entry.data_offsets;
    // A copy, so that the array starts on a boundary of its elements.
    const data = Uint8Array.from(bytes.subarray(8 + headerLength + from, 8 + headerLength + to)).buffer;
    tensors.set(name, { shape: entry.shape, data: new ARRAYS[entry.dtype](data) });
  }
  return tensors;
}
