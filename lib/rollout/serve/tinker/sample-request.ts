// The body of asample: the part of the protocol that the policy can do. Fields that would change the samples and are
// not supported are refused, not ignored.
import { randomInt } from 'node:crypto';
import { invalidArgument, outOfRange } from '../../../base/errors.js';
import { isObject, type Json } from '../../../base/json.js';
import { checkBoolean, checkInteger, checkNumber } from '../../../base/options.js';
import { promptFromJson } from '../../../policy/tinker/wire/json.js';
import type { Tokenizer } from '../../../policy/tokenizer.js';

export interface ServedSample {
  prompt: Int32Array;
  n: number;
  maxNewTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  seed: number;
  /** Token ids that end a completion. */
  stop: number[];
  /** Texts that end a completion. */
  stopTexts: string[];
  promptLogProbs: boolean;
  /** Prompt tokens that are scored, from the end. */
  lastN: number;
  /** The most likely tokens of each position of the prompt and of the completions; 0: none. */
  promptTopK: number;
  sampleTopK: number;
}

export interface SampleLimits {
  vocab: number;
  /** Longest sequence in tokens. */
  context: number;
  /** Ids that end a completion where the request does not say. */
  eos: readonly number[];
  maxCompletions: number;
  tokenizer: Tokenizer | undefined;
}

const MOST_TOP = 1024;
const MOST_STOPS = 64;

/** @throws TypeError, RangeError or WireError that names the field */
export function readSample(body: Json, limits: SampleLimits): ServedSample {
  for (const name of ['target_prompt_logprobs', 'prompt_alt_tokens_k', 'record_stability_info'])
    if (body[name]) throw invalidArgument(`${name} is not supported here`);
  const params = body.sampling_params ?? {};
  if (!isObject(params)) throw invalidArgument('sampling_params must be an object');
  const prompt = promptFromJson(body.prompt, 'prompt');
  const room = limits.context - prompt.length;
  if (prompt.length === 0 || room < 1)
    throw outOfRange(`prompt must have 1 to ${limits.context - 1} tokens, not ${prompt.length}`);
  const integer = (name: string, given: Json, usual: number, low: number, high: number) =>
    checkInteger(name, given[name] ?? usual, low, high);
  const topK = integer('top_k', params, -1, -1, 2 ** 31 - 1);
  return {
    prompt,
    n: integer('num_samples', body, 1, 1, limits.maxCompletions),
    maxNewTokens: Math.min(room, integer('max_tokens', params, room, 1, 2 ** 31 - 1)),
    temperature: checkNumber('temperature', params.temperature ?? 1, 0),
    topK: Math.max(0, topK),
    topP: checkNumber('top_p', params.top_p ?? 1, 0, 1, true),
    seed: params.seed == null ? randomInt(2 ** 48 - 1) : checkInteger('seed', params.seed),
    ...readStops(params.stop, limits),
    promptLogProbs: checkBoolean('prompt_logprobs', body.prompt_logprobs ?? false),
    lastN: integer('prompt_logprobs_last_n', body, prompt.length, 1, prompt.length),
    promptTopK: integer('topk_prompt_logprobs', body, 0, 0, Math.min(MOST_TOP, limits.vocab)),
    sampleTopK: integer('topk_sample_logprobs', body, 0, 0, Math.min(MOST_TOP, limits.vocab)),
  };
}

/** Ids or texts. Absent: the model's own ids. An empty list: none. */
function readStops(given: unknown, { eos, vocab, tokenizer }: SampleLimits): { stop: number[]; stopTexts: string[] } {
  if (given == null) return { stop: [...eos], stopTexts: [] };
  const stops: unknown[] = typeof given === 'string' ? [given] : Array.isArray(given) ? given : [undefined];
  if (stops.length > MOST_STOPS) throw outOfRange(`stop must have at most ${MOST_STOPS} entries, not ${stops.length}`);
  if (stops.every((stop) => typeof stop === 'number'))
    return { stop: stops.map((id) => checkInteger('stop', id, 0, vocab - 1)), stopTexts: [] };
  const texts = stops.map((stop) => {
    if (typeof stop !== 'string' || stop === '' || stop.length > 1000)
      throw invalidArgument('stop must be a text, a list of texts of 1 to 1000 characters, or a list of token ids');
    return stop;
  });
  if (!tokenizer) throw invalidArgument('stop must be token ids: the model has no tokenizer here');
  // A token of that spelling ends the completion at once. Others that hold the text are found afterwards.
  const ids = texts.map((text) => tokenizer.tokenId(text)).filter((id) => id !== undefined && id < vocab);
  return { stop: ids as number[], stopTexts: texts };
}
