import { outOfRange } from '../base/errors.js';
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkInterface,
  checkNumber,
  checkOptions,
  checkSignal,
} from '../base/options.js';
import { asNumbers, Tensor } from '../kernels/tensor.js';
import { packSequences, tokenList, tokenLists } from './batch.js';
import type { Completion, GenerateOptions, PolicyConfig, PolicyLike } from './types.js';

export const GENERATE_OPTIONS = [
  'n',
  'maxNewTokens',
  'temperature',
  'topK',
  'topP',
  'seed',
  'stop',
  'ignoreEos',
  'maxBatch',
  'signal',
  'onProgress',
];

/** What the addon takes for a generation: checked options with their defaults, packed prompts. */
export function generateArguments(config: PolicyConfig, prompts: ArrayLike<number>[], options: GenerateOptions) {
  options = checkOptions('generate', options, GENERATE_OPTIONS);
  checkSignal(options.signal);
  const lists = tokenLists('prompts', prompts);
  const packed = packSequences('prompts', [lists]);
  const { onProgress } = options;
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  const eos = config.eos_token_id ?? [];
  const stop = checkBoolean('ignoreEos', options.ignoreEos ?? false)
    ? []
    : (options.stop ?? (Array.isArray(eos) ? eos : [eos]));
  const stopIds = tokenList('stop', stop);
  for (const id of stopIds) checkInteger('stop', id, 0, config.vocab_size - 1);
  return {
    ...packed,
    n: checkInteger('n', options.n ?? 1, 1, 2 ** 20),
    maxNewTokens: checkInteger('maxNewTokens', options.maxNewTokens, 1),
    temperature: checkNumber('temperature', options.temperature ?? 1, 0),
    topK: checkInteger('topK', options.topK ?? 0, 0, 2 ** 31 - 1),
    topP: checkNumber('topP', options.topP ?? 1, 0, 1, true),
    maxBatch: options.maxBatch === undefined ? 0 : checkInteger('maxBatch', options.maxBatch, 1, 2 ** 20),
    ...seedsOf(options.seed ?? 0, lists.length),
    stop: Tensor.from(stopIds),
    onProgress:
      onProgress && ((finished: number, total: number, tokens: number) => onProgress({ finished, total, tokens })),
  };
}

/**
 * With one seed, prompt i draws from stream i of it. With a seed per prompt, each draws from stream 0 of its own. Then
 * its samples do not depend on its place among the prompts.
 */
function seedsOf(seed: number | ArrayLike<number>, prompts: number) {
  const given =
    typeof seed === 'object' && seed !== null ? asNumbers('seed', seed, 'an integer or an array') : undefined;
  if (given && given.length !== prompts)
    throw outOfRange(`seed must have one entry per prompt, ${prompts}, not ${given.length}`);
  const single = given ? 0 : checkInteger('seed', seed, 0);
  const seeds = new Int32Array(2 * prompts);
  const streams = new Int32Array(prompts);
  for (let p = 0; p < prompts; p++) {
    const value = given ? checkInteger(`seed[${p}]`, given[p], 0) : single;
    seeds[2 * p] = value | 0;
    seeds[2 * p + 1] = Math.floor(value / 2 ** 32);
    streams[p] = given ? 0 : p;
  }
  return { seeds: Tensor.from(seeds), streams: Tensor.from(streams) };
}

/** Checks a policy that a caller passes. `functions`: those that will be called. */
export const checkPolicy = (
  name: string,
  policy: Partial<PolicyLike>,
  functions: readonly (keyof PolicyLike)[],
): void => checkInterface(`${name} must be a Policy, or an object with its functions`, policy, functions);

/** A completion as the addon gives it. */
export interface FlatCompletion {
  tokens: Int32Array;
  logProbs: Float32Array;
  stopped: boolean;
}

/** The addon's flat list, n per prompt, as the public result. */
export function groupCompletions(flat: FlatCompletion[], prompts: number, n: number): { completions: Completion[] }[] {
  return Array.from({ length: prompts }, (_, p) => ({
    completions: flat.slice(p * n, (p + 1) * n).map(({ tokens, logProbs, stopped }) => ({
      tokens,
      logProbs,
      finishReason: stopped ? ('stop' as const) : ('length' as const),
    })),
  }));
}
