// Sequences as the server takes them, and its log-probabilities as we take them. Position i of a datum predicts its
// target i: the input is the sequence without its last token, the targets are the sequence without its first. So
// token t of a sequence stands at position t - 1 of all that belongs to targets.
import { cumulative } from '../../base/packed.js';
import type { Datum, ForwardBackwardOutput, WireTensor } from './wire/messages.js';
import { WireError } from './wire/messages.js';

/** Sequences one after the other. Those of a batch are prompts and completions, and the completions are scored. */
export interface Sequences {
  ids: Int32Array;
  /** [B + 1] */
  cuSeqlens: Int32Array;
  /** [B] the first scored token of each sequence, at least 1. */
  start: Int32Array;
}

/** A sequence with tokens to score. */
export interface Scored {
  /** Its tokens, at least two. */
  ids: Int32Array;
  start: number;
  /** Where its scored tokens begin among all scored tokens. */
  offset: number;
  /** Number of its scored tokens, at least one. */
  count: number;
}

/** The sequences that have a token to score; the others teach nothing and are not sent. */
export function scoredSequences({ ids, cuSeqlens, start }: Sequences): Scored[] {
  const counts = Array.from(start, (first, i) => cuSeqlens[i + 1] - cuSeqlens[i] - first);
  const offsets = cumulative(counts);
  return counts.flatMap((count, i) => {
    const own = ids.subarray(cuSeqlens[i], cuSeqlens[i + 1]);
    return count > 0 ? [{ ids: own, start: start[i], offset: offsets[i], count }] : [];
  });
}

/**
 * A datum. `inputs` have one value per scored token of all sequences; prompts get 0.
 *
 * @param factor multiplies the inputs named in `scaled`
 */
export function datumOf({ ids, start, offset, count }: Scored, inputs: { [name: string]: Float32Array }): Datum {
  const spread = (values: Float32Array): WireTensor => {
    const data = new Float32Array(ids.length - 1);
    data.set(values.subarray(offset, offset + count), start - 1);
    return { data };
  };
  return {
    tokens: ids.slice(0, -1),
    lossInputs: {
      target_tokens: { data: ids.slice(1) },
      ...Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, spread(values)])),
    },
  };
}

/**
 * The log-probabilities of all scored tokens, packed. A server may leave out those of the first positions: the last one
 * is always that of the last token.
 *
 * @throws WireError
 */
export function readLogProbs(sequences: readonly Scored[], { outputs }: ForwardBackwardOutput): Float32Array {
  const packed = new Float32Array(sequences.reduce((sum, { count }) => sum + count, 0));
  if (outputs.length !== sequences.length)
    throw new WireError(`it has ${outputs.length} outputs for ${sequences.length} sequences`);
  sequences.forEach(({ ids, count, offset }, i) => {
    const values = outputs[i].logprobs?.data;
    if (!values) throw new WireError(`output ${i} has no logprobs`);
    if (values.length < count || values.length > ids.length - 1)
      throw new WireError(
        `output ${i} has ${values.length} logprobs, not one for each of its ${ids.length - 1} positions`,
      );
    packed.set(values.subarray(values.length - count), offset);
  });
  return packed;
}

/** Most datums and tokens of one request: what Thinking Machines' own client sends at once. */
const MOST_DATUMS = 1024;
const MOST_TOKENS = 128 * 1024;

/** Cuts a batch into requests. */
export function requestsOf(sequences: readonly Scored[]): Scored[][] {
  const requests: Scored[][] = [];
  let tokens = Infinity;
  for (const sequence of sequences) {
    const last = requests.at(-1);
    if (!last || last.length === MOST_DATUMS || tokens + sequence.ids.length > MOST_TOKENS) {
      requests.push([sequence]);
      tokens = sequence.ids.length;
    } else {
      last.push(sequence);
      tokens += sequence.ids.length;
    }
  }
  return requests;
}
