// Weights that sample and score: the base model, or a copy of a model in training.
import type { Policy } from '../../../policy/policy.js';
import type { SampledSequence, SampleResult } from '../../../policy/tinker/wire/messages.js';
import type { Tokenizer } from '../../../policy/tokenizer.js';
import type { Completion } from '../../../policy/types.js';
import { Batcher } from '../batcher.js';
import type { ServedSample } from './sample-request.js';
import { topLogProbs } from './top-log-probs.js';

export class Sampler {
  readonly #batcher: Batcher;
  /** Calls of the policy in progress. */
  readonly #calls = new Set<Promise<unknown>>();
  /** Set while calls must wait. */
  #gate: Promise<void> | undefined;

  constructor(
    readonly policy: Policy,
    readonly tokenizer: Tokenizer | undefined,
  ) {
    this.#batcher = new Batcher(policy, 'weights');
  }

  get isIdle(): boolean {
    return this.#calls.size === 0 && !this.#gate;
  }

  async sample(asked: ServedSample, signal: AbortSignal): Promise<SampleResult> {
    const { prompt, n, maxNewTokens, temperature, topK, topP, seed, stop, promptTopK, sampleTopK } = asked;
    const options = { n, maxNewTokens, temperature, topK, topP, stop };
    const { groups } = await this.#call(() => this.#batcher.submit({ prompts: [prompt], options, seed }, signal));
    const completions = groups![0].completions.map((completion) => this.#cut(completion, asked.stopTexts));
    const sequences: SampledSequence[] = [];
    for (const { tokens, logProbs, finishReason } of completions) {
      const place = { from: prompt.length, first: prompt.length, k: sampleTopK, temperature: temperature || 1 };
      const likely = sampleTopK > 0 ? await this.#top([...prompt, ...tokens], place) : undefined;
      sequences.push({ tokens, logProbs, stopReason: finishReason, topK: likely });
    }
    const first = Math.max(1, prompt.length - asked.lastN);
    return {
      sequences,
      promptLogProbs: asked.promptLogProbs ? await this.#promptLogProbs(prompt, first, signal) : undefined,
      promptTopK:
        promptTopK > 0
          ? await this.#top(Array.from(prompt), { from: 0, first, k: promptTopK, temperature: 1 })
          : undefined,
    };
  }

  /** A copy of the weights, made when no call is in progress. */
  async clone(): Promise<Policy> {
    while (this.#gate) await this.#gate;
    let open = () => {};
    this.#gate = new Promise((resolve) => {
      open = resolve;
    });
    try {
      await Promise.allSettled(this.#calls);
      // A batch whose clients have left may still be running.
      await this.policy.call(undefined, async () => {});
      return this.policy.clone();
    } finally {
      this.#gate = undefined;
      open();
    }
  }

  dispose(): void {
    this.policy.dispose();
  }

  async #call<T>(start: () => Promise<T>): Promise<T> {
    while (this.#gate) await this.#gate;
    const call = start();
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }

  /** Log-probabilities at temperature 1. Tokens before `first` have none, which NaN stands for. */
  async #promptLogProbs(prompt: Int32Array, first: number, signal: AbortSignal): Promise<Float32Array> {
    const all = new Float32Array(prompt.length).fill(Number.NaN);
    if (first === prompt.length) return all;
    const { logProbs } = await this.#call(() => this.policy.logProbs([prompt], { start: [first], signal }));
    all.set(logProbs, first);
    return all;
  }

  async #top(ids: number[], place: Record<'from' | 'first' | 'k' | 'temperature', number>) {
    const { data } = await this.#call(() => this.policy.logits(ids));
    return topLogProbs(data as Float32Array, { length: ids.length, ...place });
  }

  /** The tokens up to the one that completes a stop text. */
  #cut(completion: Completion, texts: readonly string[]): Completion {
    if (texts.length === 0) return completion;
    const { tokens, logProbs } = completion;
    const stops = (count: number) => {
      const text = this.tokenizer!.decode(tokens.subarray(0, count), { skipSpecialTokens: false });
      return texts.some((stop) => text.includes(stop));
    };
    if (!stops(tokens.length)) return completion;
    let [without, end] = [0, tokens.length];
    while (end - without > 1) {
      const middle = (without + end) >> 1;
      if (stops(middle)) end = middle;
      else without = middle;
    }
    return { tokens: tokens.slice(0, end), logProbs: logProbs.slice(0, end), finishReason: 'stop' };
  }
}
