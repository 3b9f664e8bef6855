// The JSON encoding of the messages with tensors.
import { types } from 'node:util';
import { isObject, type Json } from '../../../base/json.js';
import { quoted } from '../../../base/text.js';
import {
  type Datum,
  ENCODED_TEXT,
  type ForwardBackward,
  type ForwardBackwardOutput,
  MAX_AXES,
  MAX_DATUMS,
  NO_LOG_PROB,
  type SampledSequence,
  type SampleResult,
  type TopK,
  WireError,
  type WireTensor,
} from './messages.js';

/** The body of forward_backward or, if it is forwardOnly, of forward. */
export function forwardBackwardToJson(request: ForwardBackward): Json {
  const { modelId, seqId, forwardOnly, data, lossFn, lossConfig } = request;
  const input = { data: data.map(datumToJson), loss_fn: lossFn, ...(lossConfig && { loss_fn_config: lossConfig }) };
  return {
    model_id: modelId,
    ...(seqId !== undefined && { seq_id: seqId }),
    [forwardOnly ? 'forward_input' : 'forward_backward_input']: input,
  };
}

const datumToJson = ({ tokens, lossInputs }: Datum): Json => ({
  model_input: { chunks: [{ type: ENCODED_TEXT, tokens: Array.from(tokens) }] },
  loss_fn_inputs: recordToJson(lossInputs),
});

const recordToJson = (record: { readonly [name: string]: WireTensor }) =>
  Object.fromEntries(Object.entries(record).map(([name, tensor]) => [name, tensorToJson(tensor)]));

const tensorToJson = ({ data, shape }: WireTensor): Json => ({
  data: Array.from(data),
  dtype: types.isInt32Array(data) ? 'int64' : 'float32',
  shape: shape ?? [data.length],
});

/** Reads the body of forward_backward, or of forward if `forwardOnly`. @throws WireError */
export function forwardBackwardFromJson(body: unknown, forwardOnly: boolean): ForwardBackward {
  const request = object('the request', body);
  const name = forwardOnly ? 'forward_input' : 'forward_backward_input';
  const input = object(name, request[name]);
  const config = input.loss_fn_config ?? undefined;
  const data = list(`${name}.data`, input.data);
  checkDatums(data.length);
  return {
    modelId: text('model_id', request.model_id),
    seqId: request.seq_id == null ? undefined : integer('seq_id', request.seq_id),
    forwardOnly,
    data: data.map((datum, i) => datumFromJson(datum, `data[${i}]`)),
    lossFn: text('loss_fn', input.loss_fn),
    lossConfig: config === undefined ? undefined : lossConfigFromJson(object('loss_fn_config', config)),
  };
}

/** @throws WireError */
export function checkDatums(count: number): void {
  if (count > MAX_DATUMS) throw new WireError(`a request must have at most ${MAX_DATUMS} datums`);
}

function lossConfigFromJson(config: Json): { [name: string]: number | string } {
  for (const [name, value] of Object.entries(config))
    if (typeof value !== 'number' && typeof value !== 'string') refuse(`loss_fn_config.${name}`, 'a number', value);
  return config as { [name: string]: number | string };
}

function datumFromJson(datum: unknown, name: string): Datum {
  const { model_input, loss_fn_inputs } = object(name, datum);
  return {
    tokens: promptFromJson(model_input, `${name}.model_input`),
    lossInputs: recordFromJson(loss_fn_inputs, `${name}.loss_fn_inputs`),
  };
}

/** The token ids of a model_input: its chunks one after the other. @throws WireError, also for an image or a sound */
export function promptFromJson(input: unknown, name: string): Int32Array {
  const chunks = list(`${name}.chunks`, object(name, input).chunks);
  const parts = chunks.map((chunk, i) => {
    const { type = ENCODED_TEXT, tokens } = object(`${name}.chunks[${i}]`, chunk);
    if (type !== ENCODED_TEXT) return refuse(`${name}.chunks[${i}].type`, `'${ENCODED_TEXT}'`, type);
    return list(`${name}.chunks[${i}].tokens`, tokens).map((id) => integer(`${name}.chunks[${i}].tokens`, id));
  });
  return Int32Array.from(parts.flat());
}

function recordFromJson(record: unknown, name: string): { [name: string]: WireTensor } {
  const entries = Object.entries(object(name, record));
  return Object.fromEntries(entries.map(([key, tensor]) => [key, tensorFromJson(tensor, `${name}.${key}`)]));
}

/** Without a dtype, a list of whole numbers is one of integers. */
function tensorFromJson(tensor: unknown, name: string): WireTensor {
  const { data, dtype, shape, sparse_crow_indices } = object(name, tensor);
  if (sparse_crow_indices != null) throw new WireError(`${name} is sparse, which is not supported`);
  const values = list(`${name}.data`, data);
  const whole = dtype === 'int64' || (dtype == null && values.every(isInt32));
  if (dtype != null && dtype !== 'int64' && dtype !== 'float32') refuse(`${name}.dtype`, "'float32' or 'int64'", dtype);
  const read = whole
    ? Int32Array.from(values, (value) => integer(`${name}.data`, value))
    : floats(`${name}.data`, values);
  const axes = shape == null ? undefined : list(`${name}.shape`, shape).map((n) => integer(`${name}.shape`, n));
  return { data: read, shape: checkShape(axes, read.length, name) };
}

/** @throws WireError for a shape that does not hold `length` values */
export function checkShape(shape: number[] | undefined, length: number, name: string): number[] {
  if (shape === undefined) return [length];
  if (shape.length > MAX_AXES) throw new WireError(`${name} must have at most ${MAX_AXES} axes, not ${shape.length}`);
  if (shape.some((n) => n < 0) || shape.reduce((product, n) => product * n, 1) !== length)
    refuse(`${name}.shape`, `one of ${length} values`, shape);
  return shape;
}

/** The result of a future of forward_backward or forward. */
export const outputToJson = ({ type, outputs, metrics }: ForwardBackwardOutput): Json => ({
  loss_fn_output_type: type,
  loss_fn_outputs: outputs.map(recordToJson),
  metrics,
});

/** @throws WireError */
export function outputFromJson(answer: unknown): ForwardBackwardOutput {
  const { loss_fn_output_type = '', loss_fn_outputs, metrics } = object('the answer', answer);
  const numbers = Object.entries(object('metrics', metrics ?? {})).filter(([, value]) => typeof value === 'number');
  return {
    type: text('loss_fn_output_type', loss_fn_output_type),
    outputs: list('loss_fn_outputs', loss_fn_outputs).map((each, i) => recordFromJson(each, `loss_fn_outputs[${i}]`)),
    metrics: Object.fromEntries(numbers) as { [name: string]: number },
  };
}

/** The result of a future of asample. JSON has no NaN: null stands for a missing log-probability. */
export const sampleToJson = ({ sequences, promptLogProbs, promptTopK }: SampleResult): Json => ({
  type: 'sample',
  sequences: sequences.map(({ tokens, logProbs, topK, stopReason }) => ({
    tokens: Array.from(tokens),
    logprobs: logProbs ? Array.from(logProbs) : null,
    stop_reason: stopReason,
    ...(topK && { topk_logprobs: topKToJson(topK) }),
  })),
  ...(promptTopK && { topk_prompt_logprobs: topKToJson(promptTopK) }),
  prompt_logprobs: promptLogProbs ? Array.from(promptLogProbs, (value) => (Number.isNaN(value) ? null : value)) : null,
});

/** For each position its pairs of token and log-probability; null where there are none. */
const topKToJson = ({ k, ids, logProbs }: TopK) =>
  Array.from({ length: ids.length / k }, (_, i) => {
    const pairs = Array.from(ids.subarray(i * k, (i + 1) * k), (id, j) => [id, logProbs[i * k + j]]);
    const known = pairs.filter(([, logProb]) => logProb > NO_LOG_PROB);
    return known.length > 0 ? known : null;
  });

function topKFromJson(rows: unknown, name: string): TopK | undefined {
  if (rows == null) return undefined;
  const pairs = list(name, rows).map((row) => (row === null ? [] : list(name, row).map((pair) => list(name, pair))));
  const k = pairs.reduce((most, row) => Math.max(most, row.length), 0);
  const top = { k, ids: new Int32Array(k * pairs.length), logProbs: new Float32Array(k * pairs.length) };
  top.logProbs.fill(NO_LOG_PROB);
  pairs.forEach((row, i) => {
    row.forEach(([id, logProb], j) => {
      top.ids[i * k + j] = integer(name, id);
      top.logProbs[i * k + j] = floats(name, [logProb])[0];
    });
  });
  return top;
}

/** @throws WireError */
export function sampleFromJson(answer: unknown): SampleResult {
  const { sequences, prompt_logprobs, topk_prompt_logprobs } = object('the answer', answer);
  const promptTopK = topKFromJson(topk_prompt_logprobs, 'topk_prompt_logprobs');
  return {
    ...(promptTopK && { promptTopK }),
    sequences: list('sequences', sequences).map((each, i) => sequenceFromJson(each, `sequences[${i}]`)),
    promptLogProbs:
      prompt_logprobs == null ? undefined : floats('prompt_logprobs', list('prompt_logprobs', prompt_logprobs)),
  };
}

function sequenceFromJson(sequence: unknown, name: string): SampledSequence {
  const { tokens, logprobs, topk_logprobs, stop_reason } = object(name, sequence);
  if (stop_reason !== 'stop' && stop_reason !== 'length')
    return refuse(`${name}.stop_reason`, "'stop' or 'length'", stop_reason);
  const topK = topKFromJson(topk_logprobs, `${name}.topk_logprobs`);
  return {
    ...(topK && { topK }),
    tokens: Int32Array.from(list(`${name}.tokens`, tokens), (id) => integer(`${name}.tokens`, id)),
    logProbs: logprobs == null ? undefined : floats(`${name}.logprobs`, list(`${name}.logprobs`, logprobs)),
    stopReason: stop_reason,
  };
}

const isInt32 = (value: unknown) => Number.isInteger(value) && (value as number) === ((value as number) | 0);

function refuse(name: string, expected: string, came: unknown): never {
  throw new WireError(`${name} must be ${expected}, not ${came === undefined ? 'absent' : quoted(came)}`);
}

const object = (name: string, value: unknown): Json => (isObject(value) ? value : refuse(name, 'an object', value));
const list = (name: string, value: unknown): unknown[] =>
  Array.isArray(value) ? value : refuse(name, 'a list', value);
const text = (name: string, value: unknown): string =>
  typeof value === 'string' ? value : refuse(name, 'a text', value);
const integer = (name: string, value: unknown): number =>
  isInt32(value) ? (value as number) : refuse(name, 'an integer of 32 bits', value);
const floats = (name: string, values: unknown[]): Float32Array =>
  Float32Array.from(values, (value) =>
    value === null ? Number.NaN : typeof value === 'number' ? value : refuse(name, 'numbers', value),
  );
