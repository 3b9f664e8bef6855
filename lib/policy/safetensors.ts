// Reading and writing safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes, row-major.

import type { FileHandle } from 'node:fs/promises';
import { writeFileAtomic } from '../base/atomic.js';
import { PrlError } from '../base/errors.js';
import { isObject, MAX_JSON_BYTES, openFile, parseObject } from '../base/json.js';
import { isCount } from '../base/options.js';
import { quoted, quotedName } from '../base/text.js';
import { fromBFloat16, fromFloat16 } from '../kernels/tensor.js';

/** Bytes of the types that a file may hold. */
export const DTYPES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;
const READABLE = ['F32', 'BF16', 'F16'];
const MAX_DIMENSIONS = 8;
/** Elements that are read at once. */
const PIECE = 1 << 19;

export interface TensorEntry {
  dtype: string;
  shape: number[];
  /** Place in the file. */
  begin: number;
  bytes: number;
}

/** An open safetensors file whose header has been checked whole: every tensor lies in the file and none overlap. */
export class SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #file: FileHandle;

  private constructor(
    path: string,
    file: FileHandle,
    tensors: Map<string, TensorEntry>,
    metadata: Record<string, string>,
  ) {
    this.path = path;
    this.#file = file;
    this.tensors = tensors;
    this.metadata = metadata;
  }

  static async open(path: string): Promise<SafetensorsFile> {
    const { file, size } = await openFile(path).catch((cause) => {
      throw new PrlError('ERR_PRL_IO', `cannot open ${path}: ${cause.message}`, { cause });
    });
    try {
      const { tensors, metadata } = await readHeader(path, file, size);
      return new SafetensorsFile(path, file, tensors, metadata);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** For the addon, which reads the tensors of large files. */
  get fd(): number {
    return this.#file.fd;
  }

  /** @throws PrlError if the tensor is missing or not of a supported floating-point type */
  checkReadable(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (!entry) throw new PrlError('ERR_PRL_CORRUPT', `${this.path} has no tensor '${name}'`);
    if (!READABLE.includes(entry.dtype))
      throw new PrlError(
        'ERR_PRL_UNSUPPORTED',
        `tensor '${name}' of ${this.path} must be F32, BF16 or F16, not ${entry.dtype}`,
      );
    return entry;
  }

  /** A tensor as float32; bfloat16 and float16 are converted. */
  async read(name: string): Promise<Float32Array> {
    const entry = this.checkReadable(name);
    const bytes = new Uint8Array(entry.bytes);
    await readFully(this.#file, this.path, bytes, entry.begin);
    return toFloats(entry.dtype, bytes);
  }

  /** A tensor in pieces of PIECE elements: its bytes, or those of its values in float32. */
  async *pieces(name: string, inFloat32: boolean): AsyncGenerator<Uint8Array, undefined> {
    const entry = this.checkReadable(name);
    const width = DTYPES[entry.dtype as keyof typeof DTYPES];
    const elements = entry.bytes / width;
    for (let first = 0; first < elements; first += PIECE) {
      const bytes = new Uint8Array(Math.min(PIECE, elements - first) * width);
      await readFully(this.#file, this.path, bytes, entry.begin + first * width);
      yield inFloat32 ? new Uint8Array(toFloats(entry.dtype, bytes).buffer) : bytes;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function toFloats(dtype: string, { buffer }: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (dtype === 'F32') return new Float32Array(buffer);
  return Float32Array.from(new Uint16Array(buffer), dtype === 'BF16' ? fromBFloat16 : fromFloat16);
}

async function readFully(file: FileHandle, path: string, into: Uint8Array, position: number) {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, Math.min(into.length - done, 1 << 30), position + done);
    if (bytesRead === 0) throw new PrlError('ERR_PRL_CORRUPT', `${path} ends too early`);
    done += bytesRead;
  }
}

async function readHeader(path: string, file: FileHandle, size: number) {
  const corrupt = (message: string) => new PrlError('ERR_PRL_CORRUPT', `${path} is not a safetensors file: ${message}`);
  if (size < 10) throw corrupt(`it has ${size} bytes`);
  const prefix = new Uint8Array(8);
  await readFully(file, path, prefix, 0);
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  if (length > MAX_JSON_BYTES || length > size - 8)
    throw corrupt(`its header claims ${length} bytes, but the file has ${size}`);
  const text = new Uint8Array(length);
  await readFully(file, path, text, 8);
  const header = parseObject(text, (what) => corrupt(`its header ${what}`), 4);
  const tensors = new Map<string, TensorEntry>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(value, corrupt);
    else tensors.set(name, checkEntry(name, value, length + 8, corrupt));
  }
  let end = length + 8;
  for (const [name, entry] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.bytes - b.bytes)) {
    if (entry.begin !== end)
      throw corrupt(
        `tensor ${quotedName(name)} must begin at byte ${end}, where the one before it ends, not at ${entry.begin}`,
      );
    end += entry.bytes;
  }
  if (end !== size) throw corrupt(`its tensors end at byte ${end}, but it has ${size} bytes`);
  return { tensors, metadata };
}

function checkMetadata(value: unknown, corrupt: (message: string) => PrlError): Record<string, string> {
  if (!isObject(value) || Object.values(value).some((text) => typeof text !== 'string'))
    throw corrupt('its __metadata__ must be an object of texts');
  return { ...(value as Record<string, string>) };
}

function checkEntry(key: string, value: unknown, base: number, corrupt: (message: string) => PrlError): TensorEntry {
  const name = quotedName(key);
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPES, dtype))
    throw corrupt(`tensor ${name} has the unknown dtype ${quoted(dtype)}`);
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every((n) => isCount(n)))
    throw corrupt(`tensor ${name} has no valid shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every((n) => isCount(n)))
    throw corrupt(`tensor ${name} has no valid data_offsets`);
  const bytes = shape.reduce((a, b) => a * b, DTYPES[dtype as keyof typeof DTYPES]);
  if (offsets[1] - offsets[0] !== bytes)
    throw corrupt(
      `tensor ${name} [${shape}] ${dtype} must have ${bytes} bytes of data, not ${offsets[1] - offsets[0]}`,
    );
  return { dtype, shape, begin: base + offsets[0], bytes };
}

/** A tensor to write. `read` returns its values in the bits of the type, at once or in pieces. */
export interface StorableTensor {
  name: string;
  shape: readonly number[];
  dtype: 'F32' | 'BF16' | 'F16' | 'I32';
  read: () => ArrayBufferView | Iterable<ArrayBufferView>;
}

/**
 * Writes tensors. Each is requested when its turn comes, so only one (or a piece of one) is in memory at a time. The
 * file appears complete or not at all: it is written beside its place, flushed to the disk and moved.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly StorableTensor[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...metadata } };
  let end = 0;
  for (const { name, shape, dtype } of tensors) {
    const begin = end;
    end += shape.reduce((a, b) => a * b, DTYPES[dtype]);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const prefix = new Uint8Array(8 + padded).fill(0x20);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(padded), true);
  prefix.set(json, 8);
  await writeFileAtomic(path, async (write) => {
    await write(prefix);
    for (const { read } of tensors) {
      const data = read();
      for (const { buffer, byteOffset, byteLength } of ArrayBuffer.isView(data) ? [data] : data)
        await write(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength));
    }
  }).catch((cause) => {
    if (cause instanceof PrlError) throw cause;
    throw new PrlError('ERR_PRL_IO', `cannot write ${path}: ${cause.message}`, { cause });
  });
}
