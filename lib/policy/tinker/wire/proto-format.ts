// Protocol Buffers' wire format, as far as the Tinker messages need it: varints, doubles and runs of bytes.
// https://protobuf.dev/programming-guides/encoding/
import { WireError } from './messages.js';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true });

/** Collects the fields of a message. Values that equal proto3's default are left out by the caller. */
export class ProtoWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** A whole number of at least 0. */
  varint(field: number, value: number): this {
    return this.#head(field, VARINT).#varint(value);
  }

  double(field: number, value: number): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    return this.#head(field, FIXED64).#push(bytes);
  }

  bytes(field: number, bytes: Uint8Array): this {
    return this.#head(field, BYTES).#varint(bytes.length).#push(bytes);
  }

  text(field: number, text: string): this {
    return this.bytes(field, utf8.encode(text));
  }

  /** A message in this one. */
  message(field: number, inner: ProtoWriter): this {
    this.#head(field, BYTES).#varint(inner.#length);
    for (const part of inner.#parts) this.#push(part);
    return this;
  }

  /** One entry of a map with texts as keys. */
  entry(field: number, key: string, value: (entry: ProtoWriter) => ProtoWriter): this {
    return this.message(field, value(new ProtoWriter().text(1, key)));
  }

  /** Packed whole numbers of at least 0. */
  packed(field: number, values: readonly number[]): this {
    if (values.length === 0) return this;
    const inner = new ProtoWriter();
    for (const value of values) inner.#varint(value);
    return this.message(field, inner);
  }

  finish(): Uint8Array {
    const bytes = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  #head(field: number, type: number): this {
    return this.#varint(8 * field + type);
  }

  #varint(value: number): this {
    const bytes: number[] = [];
    for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
    bytes.push(value);
    return this.#push(Uint8Array.from(bytes));
  }

  #push(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return this;
  }
}

/** One field of a message. A reader of another kind than the field's is a WireError. */
export interface ProtoField {
  number: number;
  varint(): number;
  double(): number;
  bytes(): Uint8Array;
  text(): string;
  /** Whole numbers, packed or one by one. */
  varints(): number[];
}

/** The fields of a message in their order. Bytes are views of `bytes`. @throws WireError */
export function* protoFields(bytes: Uint8Array): Generator<ProtoField> {
  const cursor = new Cursor(bytes);
  while (!cursor.done) {
    const head = cursor.varint();
    const number = Math.floor(head / 8);
    const type = head % 8;
    if (number < 1) throw new WireError('a protobuf field has the number 0');
    const number64 = type === VARINT ? cursor.varint() : undefined;
    const content = type === VARINT ? undefined : cursor.take(sizeOf(type, cursor));
    const need = <T>(value: T | undefined, kind: number): T => {
      if (value === undefined || type !== kind)
        throw new WireError(`protobuf field ${number} has the wire type ${type}, not ${kind}`);
      return value;
    };
    yield {
      number,
      varint: () => need(number64, VARINT),
      double: () => {
        const { buffer, byteOffset } = need(content, FIXED64);
        return new DataView(buffer, byteOffset).getFloat64(0, true);
      },
      bytes: () => need(content, BYTES),
      text: () => decode(need(content, BYTES)),
      varints: () => (type === VARINT ? [number64!] : [...new Cursor(need(content, BYTES)).varints()]),
    };
  }
}

function sizeOf(type: number, cursor: Cursor): number {
  if (type === BYTES) return cursor.varint();
  if (type === FIXED64) return 8;
  if (type === FIXED32) return 4;
  throw new WireError(`a protobuf field has the wire type ${type}, which is unknown`);
}

function decode(bytes: Uint8Array): string {
  try {
    return fromUtf8.decode(bytes);
  } catch {
    throw new WireError('a protobuf text is not UTF-8');
  }
}

class Cursor {
  #at = 0;
  constructor(readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.#at === this.bytes.length;
  }

  /** Exact up to 2^53; larger values, and negative ones, keep their sign and lose low bits. */
  varint(): number {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.done) throw new WireError('the protobuf message ends in a number');
      const byte = this.bytes[this.#at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
    throw new WireError('a protobuf number has more than 10 bytes');
  }

  *varints(): Generator<number> {
    while (!this.done) yield this.varint();
  }

  take(size: number): Uint8Array {
    const end = this.#at + size;
    if (!(size >= 0 && end <= this.bytes.length)) throw new WireError('the protobuf message ends in a field');
    const part = this.bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }
}
