// What forward_backward leaves for optim_step. A gradient of any loss is the gradient of a sum of log-probabilities,
// each times the derivative of the loss with respect to it. So the sequences are kept with these factors, and
// optim_step makes one update on all of them: the same bits as one update on the whole batch, however it was cut.
import { outOfRange, PrlError } from '../../../base/errors.js';
import type { PolicyBatch } from '../../../policy/types.js';
import type { Sequence } from './data.js';
import type { TINKER_LOSSES } from './losses.js';

/** Tokens that may wait for an optim_step. */
const MOST_TOKENS = 2 ** 24;

export class Gradients {
  #batch = emptyBatch();
  #tokens = 0;
  /** A sequence without any gradient: an update needs a token, even if all gradients are 0. */
  #spare: { prompt: Int32Array; completion: Int32Array } | undefined;
  #broken: string | undefined;

  /**
   * Adds the gradient of a loss at these log-probabilities, packed as policy.logProbs gives them.
   *
   * @returns the loss
   * @throws PrlError ERR_PRL_NON_FINITE; nothing is added then
   */
  add(
    sequences: readonly Sequence[],
    logProbs: Float32Array,
    { loss, config }: { loss: (typeof TINKER_LOSSES)[string]; config: { readonly [name: string]: number } },
  ): number {
    let sum = 0;
    let at = 0;
    const added = sequences.map((sequence, i) => {
      const { ids, weights, logprobs, advantages } = sequence;
      const factors = new Float32Array(ids.length - 1);
      for (let t = 0; t < factors.length; t++) {
        const weight = weights?.[t] ?? 1;
        const A = advantages?.[t] ?? 0;
        const p = logProbs[at++];
        // Before exp: the log-probability of a token that takes no part may be anything.
        if (weight === 0 || (A === 0 && advantages !== undefined && config.beta === undefined)) continue;
        const { loss: value, slope } = loss.term({ p, q: logprobs?.[t] ?? p, A }, config);
        sum += weight * value;
        factors[t] = -weight * slope;
        if (!Number.isFinite(factors[t]) || !Number.isFinite(value))
          throw new PrlError(
            'ERR_PRL_NON_FINITE',
            `the loss of token ${t} of data[${i}] is not finite: it is ${value}`,
          );
      }
      return { ids, factors };
    });
    const tokens = sequences.reduce((n, { ids }) => n + ids.length, 0);
    if (this.#tokens + tokens > MOST_TOKENS)
      throw outOfRange(`at most ${MOST_TOKENS} tokens may wait for an optim_step, not ${this.#tokens + tokens}`);
    this.#tokens += tokens;
    for (const { ids, factors } of added) this.#push(ids, factors);
    return sum;
  }

  /** Makes the next batch() fail: a part of its gradient is missing. */
  breakOff(reason: string): void {
    this.#broken ??= reason;
  }

  /**
   * The sequences so far, with the factors as advantages.
   *
   * @throws RangeError where there are none; where a part is missing, and then the rest is dropped
   */
  batch(): PolicyBatch {
    const broken = this.#broken;
    if (broken !== undefined) {
      this.clear();
      throw outOfRange(`a forward_backward before this optim_step failed, so that there is no step: ${broken}`);
    }
    if (this.#batch.prompts.length === 0 && this.#spare) {
      const { prompt, completion } = this.#spare;
      return { prompts: [prompt], completions: [completion], advantages: new Float32Array(1) };
    }
    const batch = this.#batch;
    if (batch.prompts.length === 0) throw outOfRange('optim_step needs a forward_backward since the last optim_step');
    const advantages = new Float32Array(batch.completions.reduce((n, { length }) => n + length, 0));
    let at = 0;
    for (const factors of batch.advantages) {
      advantages.set(factors, at);
      at += factors.length;
    }
    return { prompts: batch.prompts, completions: batch.completions, advantages };
  }

  clear(): void {
    this.#batch = emptyBatch();
    this.#tokens = 0;
    this.#spare = this.#broken = undefined;
  }

  /** Tokens after the last factor change nothing, and those before the first are a prompt. */
  #push(ids: Int32Array, factors: Float32Array): void {
    const first = factors.findIndex((factor) => factor !== 0);
    if (first < 0) {
      this.#spare ??= { prompt: ids.slice(0, -1), completion: ids.slice(-1) };
      return;
    }
    const end = factors.findLastIndex((factor) => factor !== 0) + 1;
    this.#batch.prompts.push(ids.slice(0, first + 1));
    this.#batch.completions.push(ids.slice(first + 1, end + 1));
    this.#batch.advantages.push(factors.slice(first, end));
  }
}

const emptyBatch = () => ({
  prompts: [] as Int32Array[],
  completions: [] as Int32Array[],
  advantages: [] as Float32Array[],
});
