import { invalidArgument } from '../base/errors.js';
import { checkInteger } from '../base/options.js';
import { seedOf } from '../base/random.js';
import { asNumbers } from '../kernels/tensor.js';
import type { PolicyLike } from '../policy/types.js';

/** What answers prompts: the policy itself, or servers that serve its weights. */
export interface RolloutEngine {
  /** As the policy's own: completions with the log-probabilities of the full distribution at the temperature asked for. */
  generate: PolicyLike['generate'];
  /**
   * Makes the engine sample from the weights that `policy` has now; the trainer calls it before every rollout. Absent: the engine
   * follows the policy by itself.
   * @param version steps done: the same number, the same weights within a run
   */
  sync?(policy: PolicyLike, version: number, options?: { signal?: AbortSignal }): Promise<void>;
}

/**
 * One seed per prompt, for servers that are asked prompt by prompt: the same seed for all would give equal random numbers to all of
 * them, and seeds in a row overlap where a server gives the i-th of n samples the seed plus i.
 */
export function promptSeeds(seed: number | ArrayLike<number>, prompts: number): number[] {
  checkInteger('prompts', prompts, 0, 2 ** 24);
  if (typeof seed !== 'object' || seed === null) {
    const base = checkInteger('seed', seed);
    return Array.from({ length: prompts }, (_, i) => seedOf('prompt', base, i));
  }
  const seeds = asNumbers('seed', seed, 'an integer or an array of them');
  if (seeds.length !== prompts) throw invalidArgument(`seed has ${seeds.length} entries for ${prompts} prompts`);
  return seeds.map((each, i) => checkInteger(`seed[${i}]`, each));
}
