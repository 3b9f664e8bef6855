// The protobuf encoding of the messages with tensors: package tinker_public of Thinking Machines' SDK 0.38. Written by
// hand: these are ten messages, most of their bytes are plain little-endian arrays, and no library is needed.
import { types } from 'node:util';
import { checkDatums, checkShape } from './json.js';
import {
  type Datum,
  type ForwardBackward,
  type ForwardBackwardOutput,
  MAX_AXES,
  type SampledSequence,
  type SampleResult,
  type TopK,
  WireError,
  type WireTensor,
} from './messages.js';
import { ProtoWriter, protoFields } from './proto-format.js';

const FLOAT32 = 1;
const INT64 = 2;
const INT32 = 3;
const BFLOAT16 = 4;
const ITEM_BYTES: { [dtype: number]: number } = { [FLOAT32]: 4, [INT64]: 8, [INT32]: 4, [BFLOAT16]: 2 };

// ForwardBackwardRequest 1 model_id, 2 seq_id, 3 data[], 4 loss_fn, 5 loss_fn_config, 6 forward_only,
// 7 loss_fn_config_v2.

export function forwardBackwardToProto(request: ForwardBackward): Uint8Array {
  const { modelId, seqId, forwardOnly, data, lossFn, lossConfig = {} } = request;
  const message = new ProtoWriter().text(1, modelId);
  if (seqId) message.varint(2, seqId);
  for (const datum of data) message.message(3, datumToProto(datum));
  message.text(4, lossFn);
  if (forwardOnly) message.varint(6, 1);
  for (const [name, value] of Object.entries(lossConfig)) {
    // Twice, for servers that know only the first map, which has no texts.
    if (typeof value === 'number') message.entry(5, name, (entry) => entry.double(2, value));
    const typed = typeof value === 'number' ? new ProtoWriter().double(1, value) : new ProtoWriter().text(2, value);
    message.entry(7, name, (entry) => entry.message(2, typed));
  }
  return message.finish();
}

/** @throws WireError */
export function forwardBackwardFromProto(bytes: Uint8Array): ForwardBackward {
  const request: ForwardBackward = { modelId: '', seqId: undefined, forwardOnly: false, data: [], lossFn: '' };
  const numbers: [string, number][] = [];
  const typed: [string, number | string][] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) request.modelId = field.text();
    else if (field.number === 2) request.seqId = field.varint();
    else if (field.number === 3) {
      checkDatums(request.data.length + 1);
      request.data.push(datumFromProto(field.bytes(), `data[${request.data.length}]`));
    } else if (field.number === 4) request.lossFn = field.text();
    else if (field.number === 5) numbers.push(numberEntry(field.bytes()));
    else if (field.number === 6) request.forwardOnly = field.varint() !== 0;
    else if (field.number === 7) typed.push(entryOf(field.bytes(), configValue));
  }
  const config = [...numbers, ...typed];
  if (config.length > 0) request.lossConfig = Object.fromEntries(config);
  return request;
}

function configValue(bytes: Uint8Array): number | string {
  let value: number | string = 0;
  for (const field of protoFields(bytes)) {
    if (field.number === 1) value = field.double();
    else if (field.number === 2) value = field.text();
  }
  return value;
}

// Datum 1 model_input[] Chunk, 2 loss_fn_inputs. Chunk 1 encoded_text {1 tokens: int32}; 2 image, 3 dmel are refused.

function datumToProto({ tokens, lossInputs }: Datum): ProtoWriter {
  const text = new ProtoWriter().bytes(1, bytesOf(tokens));
  const datum = new ProtoWriter().message(1, new ProtoWriter().message(1, text));
  for (const [name, tensor] of Object.entries(lossInputs))
    datum.entry(2, name, (entry) => entry.message(2, tensorToProto(tensor)));
  return datum;
}

function datumFromProto(bytes: Uint8Array, name: string): Datum {
  const chunks: Int32Array[] = [];
  const inputs: [string, WireTensor][] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) chunks.push(chunkFromProto(field.bytes(), name));
    else if (field.number === 2) inputs.push(entryOf(field.bytes(), (value) => tensorFromProto(value, name)));
  }
  const tokens = new Int32Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    tokens.set(chunk, at);
    at += chunk.length;
  }
  return { tokens, lossInputs: Object.fromEntries(inputs) };
}

function chunkFromProto(bytes: Uint8Array, name: string): Int32Array {
  let tokens = new Int32Array(0);
  for (const field of protoFields(bytes)) {
    if (field.number !== 1) throw new WireError(`${name}.model_input must be text, not an image or a sound`);
    for (const inner of protoFields(field.bytes())) if (inner.number === 1) tokens = ints(inner.bytes(), INT32, name);
  }
  return tokens;
}

// Tensor 1 dense | 2 sparse_csr, 3 dtype, 4 shape[].

function tensorToProto({ data, shape }: WireTensor): ProtoWriter {
  const integers = types.isInt32Array(data);
  return new ProtoWriter()
    .bytes(1, integers ? bytesOf(BigInt64Array.from(data, BigInt)) : bytesOf(data))
    .varint(3, integers ? INT64 : FLOAT32)
    .packed(4, shape ?? [data.length]);
}

function tensorFromProto(bytes: Uint8Array, name: string): WireTensor {
  let dense: Uint8Array = new Uint8Array(0);
  let dtype = 0;
  const shape: number[] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) dense = field.bytes();
    else if (field.number === 2) throw new WireError(`${name} has a sparse tensor, which is not supported`);
    else if (field.number === 3) dtype = field.varint();
    else if (field.number === 4) pushAxes(shape, field.varints());
  }
  const data = numbers(dense, dtype, name);
  return { data, shape: checkShape(shape.length > 0 ? shape : undefined, data.length, name) };
}

function pushAxes(shape: number[], axes: number[]): void {
  if (shape.length + axes.length > MAX_AXES) throw new WireError(`a tensor must have at most ${MAX_AXES} axes`);
  shape.push(...axes);
}

// ForwardBackwardOutput 1 loss_fn_output_type, 2 loss_fn_outputs[] ArrayRecord, 3 metrics. ArrayRecord 1 type_tag,
// 2 fields, 3 num_datums. BatchedTensor 1 data, 2 offsets in bytes (int64), 3 dtype, 4 trailing_shape[].

/** @throws WireError when datums of one field have different dtypes or shapes after the first axis */
export function outputToProto({ type, outputs, metrics }: ForwardBackwardOutput): Uint8Array {
  const message = new ProtoWriter().text(1, type);
  if (outputs.length > 0) {
    const record = new ProtoWriter().text(1, type);
    for (const name of Object.keys(outputs[0]))
      record.entry(2, name, (entry) =>
        entry.message(
          2,
          batchToProto(
            outputs.map((output) => output[name]),
            name,
          ),
        ),
      );
    message.message(2, record.varint(3, outputs.length));
  }
  for (const [name, value] of Object.entries(metrics)) message.entry(3, name, (entry) => entry.double(2, value));
  return message.finish();
}

function batchToProto(tensors: WireTensor[], name: string): ProtoWriter {
  const integers = types.isInt32Array(tensors[0].data);
  const trailing = tensors[0].shape?.slice(1) ?? [];
  const offsets = new BigInt64Array(tensors.length + 1);
  tensors.forEach((tensor, i) => {
    if (types.isInt32Array(tensor.data) !== integers || String(tensor.shape?.slice(1) ?? []) !== String(trailing))
      throw new WireError(`the outputs ${name} have different types or shapes`);
    offsets[i + 1] = offsets[i] + BigInt(4 * tensor.data.length);
  });
  const data = new Uint8Array(Number(offsets[tensors.length]));
  tensors.forEach((tensor, i) => {
    data.set(bytesOf(tensor.data), Number(offsets[i]));
  });
  const dtype = integers ? INT32 : FLOAT32;
  return new ProtoWriter().bytes(1, data).bytes(2, bytesOf(offsets)).varint(3, dtype).packed(4, trailing);
}

/** @throws WireError */
export function outputFromProto(bytes: Uint8Array): ForwardBackwardOutput {
  let type = '';
  const outputs: { [name: string]: WireTensor }[] = [];
  const metrics: [string, number][] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) type = field.text();
    else if (field.number === 2) outputs.push(...recordFromProto(field.bytes()));
    else if (field.number === 3) metrics.push(numberEntry(field.bytes()));
  }
  return { type, outputs, metrics: Object.fromEntries(metrics) };
}

function recordFromProto(bytes: Uint8Array): { [name: string]: WireTensor }[] {
  const fields: [string, WireTensor[]][] = [];
  let count = 0;
  for (const field of protoFields(bytes)) {
    if (field.number === 2) fields.push(entryOf(field.bytes(), batchFromProto));
    else if (field.number === 3) count = field.varint();
  }
  count ||= fields[0]?.[1].length ?? 0;
  for (const [name, tensors] of fields)
    if (tensors.length !== count) throw new WireError(`${name} has ${tensors.length} entries for ${count} datums`);
  return Array.from({ length: count }, (_, i) => Object.fromEntries(fields.map(([name, each]) => [name, each[i]])));
}

function batchFromProto(bytes: Uint8Array): WireTensor[] {
  let data: Uint8Array = new Uint8Array(0);
  let offsets = new Int32Array(1);
  let dtype = 0;
  const trailing: number[] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) data = field.bytes();
    else if (field.number === 2) offsets = ints(field.bytes(), INT64, 'offsets');
    else if (field.number === 3) dtype = field.varint();
    else if (field.number === 4) pushAxes(trailing, field.varints());
  }
  const row = trailing.reduce((product, n) => product * n, 1);
  return Array.from({ length: Math.max(0, offsets.length - 1) }, (_, i) => {
    const [begin, end] = [offsets[i], offsets[i + 1]];
    if (begin < 0 || end < begin || end > data.length) throw new WireError('the offsets of an output are out of range');
    const values = numbers(data.subarray(begin, end), dtype, 'an output');
    const shape = [row > 0 ? Math.floor(values.length / row) : 0, ...trailing];
    return { data: values, shape: checkShape(shape, values.length, 'an output') };
  });
}

// SampleResponse 1 sequences[] {1 stop_reason (0 stop, 1 length), 2 tokens int32, 3 logprobs float32, 4 TopkLogprobs},
// 2 prompt_logprobs float32, 3 TopkLogprobs. TopkLogprobs 1 token_ids int32, 2 logprobs float32, 3 k, 4 length.

const STOP_REASONS = ['stop', 'length'] as const;

export function sampleToProto({ sequences, promptLogProbs, promptTopK }: SampleResult): Uint8Array {
  const message = new ProtoWriter();
  for (const { tokens, logProbs, topK, stopReason } of sequences) {
    const sequence = new ProtoWriter();
    if (stopReason === 'length') sequence.varint(1, 1);
    sequence.bytes(2, bytesOf(tokens));
    if (logProbs) sequence.bytes(3, bytesOf(logProbs));
    if (topK) sequence.message(4, topKToProto(topK));
    message.message(1, sequence);
  }
  if (promptLogProbs) message.bytes(2, bytesOf(promptLogProbs));
  if (promptTopK) message.message(3, topKToProto(promptTopK));
  return message.finish();
}

const topKToProto = ({ k, ids, logProbs }: TopK): ProtoWriter =>
  new ProtoWriter()
    .bytes(1, bytesOf(ids))
    .bytes(2, bytesOf(logProbs))
    .varint(3, k)
    .varint(4, k > 0 ? ids.length / k : 0);

function topKFromProto(bytes: Uint8Array): TopK {
  const top: TopK = { k: 0, ids: new Int32Array(0), logProbs: new Float32Array(0) };
  for (const field of protoFields(bytes)) {
    if (field.number === 1) top.ids = ints(field.bytes(), INT32, 'token_ids');
    else if (field.number === 2) top.logProbs = floats(field.bytes(), 'logprobs');
    else if (field.number === 3) top.k = field.varint();
  }
  if (top.ids.length !== top.logProbs.length || !(top.k >= 0) || top.ids.length % Math.max(1, top.k) !== 0)
    throw new WireError('the most likely tokens and their log-probabilities must be rows of k');
  return top;
}

/** @throws WireError */
export function sampleFromProto(bytes: Uint8Array): SampleResult {
  const result: SampleResult = { sequences: [] };
  for (const field of protoFields(bytes)) {
    if (field.number === 1) result.sequences.push(sequenceFromProto(field.bytes()));
    else if (field.number === 2) result.promptLogProbs = floats(field.bytes(), 'prompt_logprobs');
    else if (field.number === 3) result.promptTopK = topKFromProto(field.bytes());
  }
  return result;
}

function sequenceFromProto(bytes: Uint8Array): SampledSequence {
  const sequence: SampledSequence = { tokens: new Int32Array(0), stopReason: 'stop' };
  for (const field of protoFields(bytes)) {
    if (field.number === 1) {
      const reason = STOP_REASONS[field.varint()];
      if (!reason) throw new WireError(`the stop reason ${field.varint()} is unknown`);
      sequence.stopReason = reason;
    } else if (field.number === 2) sequence.tokens = ints(field.bytes(), INT32, 'tokens');
    else if (field.number === 3) sequence.logProbs = floats(field.bytes(), 'logprobs');
    else if (field.number === 4) sequence.topK = topKFromProto(field.bytes());
  }
  return sequence;
}

/** Key and value of a map's entry. The value is a message. */
function entryOf<T>(bytes: Uint8Array, read: (value: Uint8Array) => T): [string, T] {
  let key = '';
  let value: Uint8Array = new Uint8Array(0);
  for (const field of protoFields(bytes)) {
    if (field.number === 1) key = field.text();
    else if (field.number === 2) value = field.bytes();
  }
  return [key, read(value)];
}

function numberEntry(bytes: Uint8Array): [string, number] {
  let key = '';
  let value = 0;
  for (const field of protoFields(bytes)) {
    if (field.number === 1) key = field.text();
    else if (field.number === 2) value = field.double();
  }
  return [key, value];
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

const floats = (bytes: Uint8Array, name: string) => numbers(bytes, FLOAT32, name) as Float32Array;
const ints = (bytes: Uint8Array, dtype: number, name: string) => numbers(bytes, dtype, name) as Int32Array<ArrayBuffer>;

/** The numbers in little-endian bytes, copied: the bytes of a field need not be aligned. */
function numbers(bytes: Uint8Array, dtype: number, name: string): Float32Array | Int32Array {
  const size = ITEM_BYTES[dtype];
  if (!size) throw new WireError(`${name} has the dtype ${dtype}, which is unknown`);
  if (bytes.length % size !== 0) throw new WireError(`${name} has ${bytes.length} bytes, no multiple of ${size}`);
  // Not bytes.slice(): that of a Buffer copies nothing.
  const { buffer } = new Uint8Array(bytes);
  if (dtype === FLOAT32) return new Float32Array(buffer);
  if (dtype === INT32) return new Int32Array(buffer);
  // A bfloat16 is the upper half of a float32.
  if (dtype === BFLOAT16)
    return new Float32Array(Uint32Array.from(new Uint16Array(buffer), (half) => half << 16).buffer);
  return Int32Array.from(new BigInt64Array(buffer), (value) => {
    if (value !== BigInt.asIntN(32, value)) throw new WireError(`${name} has ${value}, which has more than 32 bits`);
    return Number(value);
  });
}
