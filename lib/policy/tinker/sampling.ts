// Samples and scores of a Tinker server.
import { types } from 'node:util';
import { mapConcurrently } from '../../base/concurrency.js';
import { outOfRange } from '../../base/errors.js';
import { seedOf } from '../../base/random.js';
import { asNumbers } from '../../kernels/tensor.js';
import type { Completion, GenerateProgress } from '../types.js';
import type { Ask, Connection } from './connection.js';
import type { Scored } from './datums.js';
import type { Source } from './model.js';
import { sampleFromJson } from './wire/json.js';
import {
  ENCODED_TEXT,
  type Sample,
  type SampledSequence,
  type SampleResult,
  type SamplingParams,
  WireError,
} from './wire/messages.js';
import { sampleFromProto } from './wire/protobuf.js';

/** Prompts that wait for their samples at once. */
const AT_ONCE = 256;
/** Rounding to float32 may leave the log of a probability of 1 slightly above 0. */
const ROUNDING = 1e-3;

/** Samples from one set of weights. Requests of a sampling session are numbered. */
export class Sampler {
  readonly #connection: Connection;
  readonly #source: Source;
  #seq = 0;

  constructor(connection: Connection, source: Source) {
    this.#connection = connection;
    this.#source = source;
  }

  /** The completions of each prompt. */
  async generate(
    prompts: readonly Int32Array[],
    { n, seeds, params, vocabSize }: { n: number; seeds: readonly number[]; params: SamplingParams; vocabSize: number },
    signal?: AbortSignal,
    onProgress?: (progress: GenerateProgress) => void,
  ): Promise<{ completions: Completion[] }[]> {
    const progress = { finished: 0, total: n * prompts.length, tokens: 0 };
    const work = async (prompt: Int32Array, i: number, stop: AbortSignal) => {
      const request = { num_samples: n, sampling_params: { ...params, seed: seeds[i] } };
      const { sequences } = await this.#ask(prompt, request, stop);
      if (sequences.length !== n) throw this.#unusable(`it has ${sequences.length} sequences, not ${n}`);
      const completions = sequences.map((sequence) => this.#completion(sequence, params, vocabSize));
      progress.finished += n;
      progress.tokens += completions.reduce((sum, { tokens }) => sum + tokens.length, 0);
      onProgress?.({ ...progress });
      return { completions };
    };
    const places = prompts.map((prompt, i) => [prompt, i] as const);
    return mapConcurrently(places, AT_ONCE, ([prompt, i], stop) => work(prompt, i, stop), signal);
  }

  /** Log-probabilities of the scored tokens, packed, at temperature 1. */
  async logProbs(sequences: readonly Scored[], signal?: AbortSignal): Promise<Float32Array> {
    const packed = new Float32Array(sequences.reduce((sum, { count }) => sum + count, 0));
    await mapConcurrently(
      sequences,
      AT_ONCE,
      async ({ ids, offset, count }, stop) => {
        // A server that samples must sample something.
        const request = { num_samples: 1, sampling_params: { max_tokens: 1, temperature: 1 }, prompt_logprobs: true };
        const { promptLogProbs: scores } = await this.#ask(ids, request, stop);
        // Thinking Machines gives an entry for the first token as well, which has none; SkyRL begins with the second.
        if (!scores || (scores.length !== ids.length && scores.length !== ids.length - 1))
          throw this.#unusable(`it has ${scores?.length ?? 'no'} prompt_logprobs for a prompt of ${ids.length} tokens`);
        packed.set(scores.subarray(scores.length - count), offset);
      },
      signal,
    );
    return packed;
  }

  async #ask(prompt: Int32Array, request: Omit<Sample, 'prompt'>, signal: AbortSignal): Promise<SampleResult> {
    const body = {
      ...request,
      ...this.#source,
      ...('sampling_session_id' in this.#source && { seq_id: ++this.#seq }),
      prompt: { chunks: [{ type: ENCODED_TEXT, tokens: Array.from(prompt) }] },
      type: 'sample',
    } satisfies Sample & { type: string };
    const ask: Ask = { what: 'asample', signal };
    const result = await this.#connection.result(await this.#connection.submit('asample', body, ask), ask);
    try {
      return types.isUint8Array(result) ? sampleFromProto(result) : sampleFromJson(result);
    } catch (error) {
      if (error instanceof WireError) throw this.#unusable(error.message);
      throw error;
    }
  }

  #completion(
    { tokens, logProbs, stopReason }: SampledSequence,
    params: SamplingParams,
    vocabSize: number,
  ): Completion {
    const { max_tokens, temperature } = params;
    const stop = params.stop as readonly number[];
    if (tokens.length < 1 || tokens.length > max_tokens)
      throw this.#unusable(`a completion has ${tokens.length} tokens, not 1 to ${max_tokens}`);
    const strange = tokens.find((id) => id < 0 || id >= vocabSize);
    if (strange !== undefined) throw this.#unusable(`it has the token ${strange}, not one from 0 to ${vocabSize - 1}`);
    if (logProbs?.length !== tokens.length)
      throw this.#unusable(`a completion has ${logProbs?.length ?? 'no'} logprobs for ${tokens.length} tokens`);
    const last = tokens[tokens.length - 1];
    if (stopReason === 'stop' && !stop.includes(last)) throw this.#unusable(`a completion stops at the token ${last}`);
    if (tokens.subarray(0, -1).some((id) => stop.includes(id)))
      throw this.#unusable('a completion continues after a stop token');
    if (!logProbs.every((value) => value <= ROUNDING && value > -Infinity))
      throw this.#unusable('it has a log-probability that is not finite, or above 0');
    // The protocol's log-probabilities are those of temperature 1.
    const known = temperature === 1 || temperature === 0;
    return {
      tokens,
      logProbs: known ? logProbs : new Float32Array(tokens.length).fill(Number.NaN),
      finishReason: stop.includes(last) ? 'stop' : 'length',
    };
  }

  #unusable(problem: string) {
    return this.#connection.unusable('asample', problem);
  }
}

/**
 * A seed for each prompt, of 31 bits as servers take it. A server may give sample k the seed plus k, so the seeds of
 * neighbours must be far apart.
 */
export function sampleSeeds(seed: number | ArrayLike<number>, prompts: number): number[] {
  if (typeof seed === 'number') return Array.from({ length: prompts }, (_, i) => seedOf('prompt', seed, i) >>> 1);
  const seeds = asNumbers('seed', seed, 'an integer or an array');
  if (seeds.length !== prompts)
    throw outOfRange(`seed must have one entry per prompt, ${prompts}, not ${seeds.length}`);
  return Array.from(seeds, (each) => seedOf('prompt', each) >>> 1);
}
