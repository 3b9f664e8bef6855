// The protocol of a rollout server. The engine owns servers, retries and versions; a protocol owns paths and shapes.
import { PrlError } from '../base/errors.js';
import type { Completion } from '../policy/types.js';

/** A prompt to complete. */
export interface CompletionRequest {
  prompt: readonly number[];
  n: number;
  seed: number;
  maxNewTokens: number;
  temperature: number;
  /** Ids that end a completion; undefined: the server's own end-of-sequence ids. */
  stop?: readonly number[];
  ignoreEos: boolean;
  /** Name of the served model. */
  model?: string;
}

/** A call to one server: it posts `body`, or sends a GET without one. @throws as send */
export type Call = (path: string, body?: unknown) => Promise<unknown>;

export interface Weights {
  /** Absolute, as the servers see it too. */
  folder: string;
  /** The version that the servers must report. */
  version: string;
}

export interface Protocol {
  /** Name of the engine's class. */
  name: string;
  completions(request: CompletionRequest): { path: string; body: unknown };
  read(answer: unknown, request: CompletionRequest, refuse: Refuse): Sample[];
  /**
   * Makes the server load the weights.
   * @param release a call that is made even if the other calls failed
   */
  update(call: Call, weights: Weights, release: Call): Promise<void>;
  /** The version that the server reports; undefined if it reports none. */
  version(call: Call): Promise<unknown>;
}

/** Throws the refusal of an answer. */
export type Refuse = (expected: string, came: unknown) => never;

/** A completion as a server returned it. */
export interface Sample {
  tokens: unknown;
  logProbs: unknown;
  /** The prompt's ids, if the server repeats them. */
  prompt?: unknown;
  finish: unknown;
  /** The version of the weights that sampled it, if the server reports it. */
  version?: unknown;
}

/** An answer that was cut short by an update of the weights or the end of the server. It may be requested again. */
export class BrokenOff extends Error {}

/** Rounding to float32 may leave the log of a probability of 1 slightly above 0. */
const ROUNDING = 1e-3;

/** Turns samples into completions. Refuses missing, extra and non-numeric values. */
export function checkSamples(
  samples: Sample[],
  request: CompletionRequest,
  vocabSize: number,
  refuse: Refuse,
): Completion[] {
  const { n, prompt, maxNewTokens, stop } = request;
  if (samples.length !== n) refuse(`${n} completions`, samples.length);
  return samples.map(({ tokens, logProbs, prompt: echoed, finish }) => {
    if (finish === 'abort') throw new BrokenOff('the server aborted the completion');
    if (!Array.isArray(tokens)) return refuse('the token ids of each completion', tokens);
    if (!Array.isArray(logProbs)) return refuse('the log-probabilities of each completion', logProbs);
    if (finish !== 'stop' && finish !== 'length') refuse("the finish reason 'stop' or 'length'", finish);
    if (tokens.length < 1 || tokens.length > maxNewTokens) refuse(`1 to ${maxNewTokens} tokens`, tokens.length);
    if (logProbs.length !== tokens.length) refuse(`${tokens.length} log-probabilities, one per token`, logProbs.length);
    if (echoed != null && !equal(echoed, prompt)) refuse('the prompt ids that it was sent', echoed);
    for (const id of tokens)
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize) refuse(`token ids from 0 to ${vocabSize - 1}`, id);
    for (const value of logProbs)
      if (typeof value !== 'number' || !(value <= ROUNDING) || value === -Infinity)
        refuse('finite log-probabilities of at most 0', value);
    const ended = stop?.includes(tokens[tokens.length - 1]) ?? finish === 'stop';
    if (finish === 'stop' && !ended) refuse(`completions that stop at one of ${stop}`, tokens[tokens.length - 1]);
    if (stop && tokens.slice(0, -1).some((id) => stop.includes(id)))
      refuse(`completions that end at the first of ${stop}`, tokens);
    return {
      tokens: Int32Array.from(tokens),
      logProbs: Float32Array.from(logProbs),
      finishReason: ended ? 'stop' : 'length',
    };
  });
}

const equal = (a: unknown, b: readonly number[]) =>
  Array.isArray(a) && a.length === b.length && b.every((id, i) => a[i] === id);

/** The entry of an object from outside. */
export const field = (value: unknown, name: string): unknown =>
  value !== null && typeof value === 'object' ? (value as { [name: string]: unknown })[name] : undefined;

/** The version that GET `path` reports; undefined if the server has no such path. */
export async function reportedVersion(call: Call, path: string): Promise<unknown> {
  try {
    return field(await call(path), 'weight_version') ?? undefined;
  } catch (error) {
    if (error instanceof PrlError && /answered 40[45]/.test(error.message)) return undefined;
    throw error;
  }
}
