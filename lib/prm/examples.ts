import { seedOf } from '../base/random.js';
import type { PrmData } from './data.js';
import type { EncodedSteps } from './quantile-prm.js';

/** A response with the targets of its steps. */
export interface PrmExample {
  prompt: Int32Array;
  completion: Int32Array;
  steps: readonly number[];
  /** Per step: the share of continuations that ended right. */
  targets: readonly number[];
}

export interface ExampleBatch {
  prompts: Int32Array[];
  completions: Int32Array[];
  cuSteps: Int32Array;
  /** [S] */
  targets: Float32Array;
}

/**
 * Responses for training, and held-out ones. They are split by problem, so that no problem is on both sides, whatever
 * else is in the data.
 */
export function splitExamples({ settings, problems }: PrmData, share: number, seed: number) {
  const sides: { train: PrmExample[]; heldOut: PrmExample[] } = { train: [], heldOut: [] };
  for (const { prompt, responses } of problems) {
    const side = seedOf(seed, 'prm held out', prompt.join()) / 2 ** 32 < share ? sides.heldOut : sides.train;
    for (const { tokens, steps, right } of responses)
      side.push({
        prompt: Int32Array.from(prompt),
        completion: Int32Array.from(tokens),
        steps,
        targets: right.map((count) => count / settings.continuations),
      });
  }
  return sides;
}

export function batchOf(examples: readonly PrmExample[]): ExampleBatch {
  const cuSteps: number[] = [];
  let total = 0;
  for (const { completion, steps } of examples) {
    for (const at of steps) cuSteps.push(total + at);
    total += completion.length;
  }
  return {
    prompts: examples.map(({ prompt }) => prompt),
    completions: examples.map(({ completion }) => completion),
    cuSteps: Int32Array.from([...cuSteps, total]),
    targets: Float32Array.from(examples.flatMap(({ targets }) => targets)),
  };
}

/** Picks steps by their indices. */
export function pickSteps({ steps, hidden, features }: EncodedSteps, which: Int32Array): EncodedSteps {
  const rows = (values: Float32Array) => {
    const width = values.length / steps;
    const picked = new Float32Array(which.length * width);
    which.forEach((k, i) => {
      picked.set(values.subarray(k * width, (k + 1) * width), i * width);
    });
    return picked;
  };
  return { steps: which.length, hidden: rows(hidden), features: rows(features), tokens: 0 };
}
