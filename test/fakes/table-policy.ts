// A policy small enough to check the trainer without the network: a table of logits by (place in the completion, last
// token), trained by gradient descent with momentum. It keeps the contract of PolicyLike, sampling by seed included.
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { randomStream } from '../../lib/base/random.js';
import type {
  Completion,
  GenerateOptions,
  PolicyBatch,
  PolicyLike,
  UpdateMetrics,
  UpdateOptions,
} from '../../lib/policy/types.js';
import { softmaxRow } from '../reference/softmax.js';

const PLACES = 3;

export class TablePolicy implements PolicyLike {
  readonly config;
  readonly parameterCount: number;
  table: Float64Array;
  momentum: Float64Array;
  /** Calls of update so far that must pretend to be not finite. */
  failNext = 0;

  constructor(
    readonly vocab: number,
    table?: Float64Array,
  ) {
    this.config = {
      model_type: 'llama' as const,
      vocab_size: vocab,
      hidden_size: 1,
      intermediate_size: 1,
      num_hidden_layers: 1,
      num_attention_heads: 1,
    };
    this.parameterCount = PLACES * vocab * vocab;
    this.table = table ?? new Float64Array(this.parameterCount);
    this.momentum = new Float64Array(this.parameterCount);
  }

  static load(folder: string): TablePolicy {
    const { vocab, table } = JSON.parse(readFileSync(join(folder, 'table.json'), 'utf8'));
    return new TablePolicy(vocab, Float64Array.from(table));
  }

  #row(place: number, last: number): number {
    return (Math.min(place, PLACES - 1) * this.vocab + last) * this.vocab;
  }

  #softmax(place: number, last: number, target: number, temperature: number) {
    const at = this.#row(place, last);
    return softmaxRow(this.table.subarray(at, at + this.vocab), target, temperature);
  }

  async generate(
    prompts: ArrayLike<number>[],
    { n = 1, maxNewTokens, temperature = 1, seed = 0, stop = [] }: GenerateOptions,
  ) {
    return prompts.map((prompt, p) => ({
      completions: Array.from({ length: n }, (_, i): Completion => {
        const random = randomStream('table', typeof seed === 'number' ? seed : seed[p], p, i);
        const tokens: number[] = [];
        const logProbs: number[] = [];
        let last = prompt[prompt.length - 1];
        while (tokens.length < maxNewTokens && !stop.includes(tokens[tokens.length - 1])) {
          const { probabilities } = this.#softmax(tokens.length, last, 0, temperature);
          let rest = random();
          last = probabilities.findIndex((probability) => (rest -= probability) < 0);
          if (last < 0) last = this.vocab - 1;
          logProbs.push(Math.log(probabilities[last]));
          tokens.push(last);
        }
        const finishReason = stop.includes(last) ? 'stop' : 'length';
        return { tokens: Int32Array.from(tokens), logProbs: Float32Array.from(logProbs), finishReason };
      }),
    }));
  }

  async logProbs(
    sequences: ArrayLike<number>[],
    { temperature = 1, start }: { temperature?: number; start?: ArrayLike<number> } = {},
  ) {
    const cuSeqlens = [0];
    const rows = sequences.flatMap((sequence, i) => {
      const from = start?.[i] ?? 1;
      cuSeqlens.push(cuSeqlens[i] + sequence.length - from);
      return Array.from({ length: sequence.length - from }, (_, t) =>
        this.#softmax(t, sequence[from + t - 1], sequence[from + t], temperature),
      );
    });
    return {
      logProbs: Float32Array.from(rows, ({ logProb }) => logProb),
      entropy: Float32Array.from(rows, ({ entropy }) => entropy),
      cuSeqlens: Int32Array.from(cuSeqlens),
    };
  }

  async computeGradients(): Promise<never> {
    throw new Error('the table has no separate gradients');
  }

  async update(batch: PolicyBatch, options: UpdateOptions): Promise<UpdateMetrics> {
    const { temperature = 1, epsilon = 0.2, learningRate } = options;
    const gradient = new Float64Array(this.parameterCount);
    const total = batch.completions.reduce((sum, { length }) => sum + length, 0);
    const advantages = batch.advantages as Float32Array;
    const old = batch.oldLogProbs as Float32Array | undefined;
    const norm = options.normalizer?.tokens ?? total;
    let t = 0;
    let loss = 0;
    let entropySum = 0;
    batch.completions.forEach((completion, i) => {
      for (let place = 0; place < completion.length; place++, t++) {
        const last = place === 0 ? batch.prompts[i][batch.prompts[i].length - 1] : completion[place - 1];
        const { logProb, entropy, probabilities } = this.#softmax(place, last, completion[place], temperature);
        const advantage = advantages[advantages.length === total ? t : i];
        const ratio = Math.exp(logProb - (old ? old[t] : logProb));
        const clipped = advantage > 0 ? ratio > 1 + epsilon : ratio < 1 - epsilon;
        loss -= ((options.lossType === 'nll' ? logProb : ratio) * advantage) / norm;
        entropySum += entropy;
        if (clipped) continue;
        const at = this.#row(place, last);
        for (let v = 0; v < this.vocab; v++)
          gradient[at + v] -=
            (ratio * advantage * ((v === completion[place] ? 1 : 0) - probabilities[v])) / norm / temperature;
      }
    });
    const applied = this.failNext-- <= 0;
    for (let j = 0; applied && j < gradient.length; j++) {
      this.momentum[j] = 0.9 * this.momentum[j] + gradient[j];
      this.table[j] -= learningRate * this.momentum[j];
    }
    const gradNorm = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
    return {
      loss,
      tokens: total,
      entropy: entropySum / total,
      kl: 0,
      approxKl: 0,
      approxKlK3: 0,
      ratioMean: 1,
      ratioMax: 1,
      ratioMin: 1,
      clipRatioLow: 0,
      clipRatioHigh: 0,
      clipRatioRegion: 0,
      phiMean: 0,
      effectiveSampleSize: 1,
      gradNorm,
      applied,
    };
  }

  clone(): TablePolicy {
    return new TablePolicy(this.vocab, this.table.slice());
  }

  async save(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    writeFileSync(join(folder, 'table.json'), JSON.stringify({ vocab: this.vocab, table: Array.from(this.table) }));
  }

  async saveOptimizer(file: string): Promise<void> {
    writeFileSync(file, JSON.stringify(Array.from(this.momentum)));
  }

  async loadOptimizer(file: string): Promise<void> {
    this.momentum = Float64Array.from(JSON.parse(readFileSync(file, 'utf8')));
  }

  resetOptimizer(): void {
    this.momentum.fill(0);
  }

  dispose(): void {}
}
