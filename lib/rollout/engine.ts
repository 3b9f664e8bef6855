import { invalidArgument } from '../base/errors.js';
import { checkInteger } from '../base/options.js';
import { seedOf } from '../base/random.js';
import { asNumbers } from '../kernels/tensor.js';
import type { PolicyLike } from '../policy/types.js';

/** Options of {@link RolloutEngine.sync}. */
export interface SyncOptions {
  /** Aborts the call (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
}

/** Answers prompts: the policy itself, or servers with its weights. */
export interface RolloutEngine {
  /**
   * As PolicyLike.generate: completions with the log-probabilities of the full distribution at the requested
   * temperature.
   */
  generate: PolicyLike['generate'];
  /**
   * Gives the engine the policy's current weights. The trainer calls it before every rollout. Without it the engine
   * must follow the policy by itself.
   *
   * @param policy the policy that is trained
   * @param version steps done; within a run the same number means the same weights
   */
  sync?(policy: PolicyLike, version: number, options?: SyncOptions): Promise<void>;
}

/**
 * One seed per prompt, for servers that get one prompt per request. The same seed for all would give them equal random
 * numbers. Consecutive seeds overlap if a server gives the i-th of n samples the seed plus i.
 *
 * @param seed an integer, or one integer per prompt
 * @param prompts number of prompts
 * @returns one seed per prompt
 * @throws TypeError or RangeError for a seed that is not an integer, or a wrong number of them
 */
export function promptSeeds(seed: number | ArrayLike<number>, prompts: number): number[] {
  checkInteger('prompts', prompts, 0, 2 ** 24);
  if (typeof seed !== 'object' || seed === null) {
    const base = checkInteger('seed', seed);
    return Array.from({ length: prompts }, (_, i) => seedOf('prompt', base, i));
  }
  const seeds = asNumbers('seed', seed, 'an integer or an array of them');
  if (seeds.length !== prompts)
    throw invalidArgument(`seed must have one entry per prompt, ${prompts}, not ${seeds.length}`);
  return seeds.map((each, i) => checkInteger(`seed[${i}]`, each));
}
