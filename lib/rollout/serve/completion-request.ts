// The body of POST /v1/completions: the part of vLLM's format that the policy can do. Unsupported fields that would
// change the samples are refused, not ignored.
import { randomInt } from 'node:crypto';
import { invalidArgument, outOfRange } from '../../base/errors.js';
import type { Json } from '../../base/json.js';
import { checkBoolean, checkInteger, checkNumber, checkOptions } from '../../base/options.js';
import type { PolicyConfig } from '../../policy/types.js';

export interface ServedCompletions {
  prompts: Int32Array[];
  n: number;
  maxNewTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  /** As for policy.generate: one seed, or one per prompt. */
  seed: number;
  stop: number[];
  logProbs: boolean;
  tokenIds: boolean;
  stream: boolean;
  usageInStream: boolean;
}

export interface ServedLimits {
  config: Readonly<PolicyConfig>;
  /** Ids that end a completion, unless ignore_eos is set. */
  eos: readonly number[];
  maxCompletions: number;
  /** Encodes text. undefined: prompts must be token ids. */
  encode?: (text: string, options: { addSpecialTokens: boolean }) => Int32Array;
}

/** Fields that are accepted only with a value that changes nothing. */
const NEUTRAL: { [name: string]: readonly unknown[] } = {
  min_p: [0],
  repetition_penalty: [1],
  presence_penalty: [0],
  frequency_penalty: [0],
  length_penalty: [1],
  min_tokens: [0],
  priority: [0],
  best_of: [1],
  echo: [false],
  suffix: [''],
  use_beam_search: [false],
  prompt_logprobs: [],
  skip_special_tokens: [true],
  spaces_between_special_tokens: [true],
  include_stop_str_in_output: [false],
};
const EMPTY = ['stop', 'logit_bias', 'bad_words'];
const KNOWN = [
  ...['model', 'prompt', 'n', 'max_tokens', 'temperature', 'top_p', 'top_k', 'seed', 'stop_token_ids', 'ignore_eos'],
  ...['add_special_tokens', 'logprobs', 'return_token_ids', 'stream', 'stream_options', 'user', 'request_id'],
  ...Object.keys(NEUTRAL),
  ...EMPTY,
];

const contextOf = (config: Readonly<PolicyConfig>) => config.max_position_embeddings ?? 2048;
/** Most characters of text per token. A longer text is not even encoded. */
const LONGEST_TOKEN = 128;

/** @throws TypeError or RangeError that names the field */
export function readCompletionRequest(given: Json, limits: ServedLimits): ServedCompletions {
  // Finding the nearest name for a very long one would take too long.
  if (Object.keys(given).some((name) => name.length > 100))
    throw invalidArgument('the name of a field must have at most 100 characters');
  given = checkOptions('/v1/completions', given, KNOWN);
  // Clients leave a field out by setting it to null.
  const body = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) as Json;
  checkNeutral(body);
  const { config, eos, maxCompletions } = limits;
  // As in vLLM: a text gets the tokens that begin every text of the model.
  const addSpecialTokens = checkBoolean('add_special_tokens', body.add_special_tokens ?? true);
  const prompts = readPrompts(body.prompt, limits, addSpecialTokens);
  const n = checkInteger('n', body.n ?? 1, 1, 2 ** 20);
  if (prompts.length * n > maxCompletions)
    throw outOfRange(
      `a request must have at most ${maxCompletions} completions, not ${prompts.length} prompts with n = ${n}`,
    );
  const maxNewTokens = checkInteger('max_tokens', body.max_tokens ?? 16, 1);
  const context = contextOf(config);
  for (const { length } of prompts)
    if (length + maxNewTokens > context)
      throw outOfRange(
        `prompt and max_tokens must fit in the model's ${context} positions, but are ${length} and ${maxNewTokens} tokens`,
      );
  const topK = checkInteger('top_k', body.top_k ?? 0, -1, 2 ** 31 - 1);
  const stop = body.stop_token_ids ?? [];
  if (!Array.isArray(stop) || stop.length > 1024)
    throw invalidArgument('stop_token_ids must be an array of at most 1024 token ids');
  for (const id of stop) checkInteger('stop_token_ids', id, 0, config.vocab_size - 1);
  const logprobs = body.logprobs;
  if (logprobs !== undefined && logprobs !== 0)
    throw outOfRange('logprobs must be 0: answers hold only those of the sampled tokens');
  const stream = flag(body, 'stream');
  return {
    prompts,
    n,
    maxNewTokens,
    temperature: checkNumber('temperature', body.temperature ?? 1, 0),
    topK: Math.max(0, topK),
    topP: checkNumber('top_p', body.top_p ?? 1, 0, 1, true),
    seed: body.seed === undefined ? randomInt(2 ** 48 - 1) : checkInteger('seed', body.seed, 0),
    stop: [...new Set([...(flag(body, 'ignore_eos') ? [] : eos), ...stop])],
    logProbs: logprobs === 0,
    tokenIds: flag(body, 'return_token_ids'),
    stream,
    usageInStream: stream && (body.stream_options as Json | undefined)?.include_usage === true,
  };
}

function checkNeutral(body: Json): void {
  for (const [name, values] of Object.entries(NEUTRAL))
    if (body[name] !== undefined && !values.includes(body[name]))
      throw outOfRange(`${name} is not supported here${values.length ? `, except ${JSON.stringify(values[0])}` : ''}`);
  for (const name of EMPTY) {
    const value = body[name];
    if (value !== undefined && (typeof value !== 'object' || Object.keys(value as object).length > 0))
      throw outOfRange(`${name} is not supported here${name === 'stop' ? ': use stop_token_ids' : ''}`);
  }
}

const flag = (body: Json, name: string): boolean => checkBoolean(name, body[name] ?? false);

/** Reads a list of ids, several such lists, a text or several texts. */
function readPrompts(prompt: unknown, limits: ServedLimits, addSpecialTokens: boolean): Int32Array[] {
  const one = typeof prompt === 'string' || (Array.isArray(prompt) && typeof prompt[0] === 'number');
  const list = one ? [prompt] : prompt;
  if (!Array.isArray(list) || list.length === 0)
    throw invalidArgument('prompt must be an array of token ids, an array of such arrays, a text or an array of texts');
  if (list.length > limits.maxCompletions)
    throw outOfRange(`a request must have at most ${limits.maxCompletions} prompts, not ${list.length}`);
  return list.map((each, i) => readPrompt(one ? 'prompt' : `prompt[${i}]`, each, limits, addSpecialTokens));
}

function readPrompt(
  name: string,
  prompt: unknown,
  { config, encode }: ServedLimits,
  addSpecialTokens: boolean,
): Int32Array {
  const context = contextOf(config);
  if ((Array.isArray(prompt) || typeof prompt === 'string') && prompt.length > context * LONGEST_TOKEN)
    throw outOfRange(`${name} must fit in the model's ${context} positions`);
  if (typeof prompt === 'string') {
    if (!encode) throw invalidArgument(`${name} must be token ids, not a text: the model has no tokenizer`);
    const ids = encode(prompt, { addSpecialTokens });
    if (ids.length === 0) throw outOfRange(`${name} must have at least one token`);
    return ids;
  }
  if (!Array.isArray(prompt) || prompt.length === 0) throw invalidArgument(`${name} must be an array of token ids`);
  return Int32Array.from(prompt, (id, i) => checkInteger(`${name}[${i}]`, id, 0, config.vocab_size - 1));
}
