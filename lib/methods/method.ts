// What a method is, and what it gets from the trainer. docs/adding-a-method.md shows one in full.
import type { OptionTable, ResolvedOptions } from '../base/options.js';
import type { PolicyLossOptions } from '../kernels/loss-options.js';
import type { OutcomeOptions } from './outcome.js';

/** What the trainer finds out about a rollout before the method runs. A new field per token or per step is declared here, once. */
export interface StepData {
  /** [S + 1] where the reasoning steps begin among the T tokens; every response begins one. */
  cuSteps: Int32Array;
  /** [T] log-probabilities under the frozen reference, where one is needed. */
  refLogProbs?: Float32Array;
  /** [S] in [0, 1] what the process reward model gave each step, for the methods that ask one. */
  stepScores?: Float32Array;
}

/** What methods make advantages of: B responses in groups, T tokens packed (see Rollout), S reasoning steps. */
export interface MethodBatch extends StepData {
  /** [B] */
  rewards: Float32Array;
  /** [B] */
  groupIds: Int32Array;
  /** [B + 1] */
  cuSeqlens: Int32Array;
  /** [T] log-probabilities under the policy that sampled. */
  oldLogProbs: Float32Array;
}

export interface MethodResult {
  /** [T] */
  advantages: Float32Array;
  /** They join the step's row of metrics.jsonl under these names. */
  metrics: Record<string, number>;
}

export type Need = 'reference' | 'processRewardModel';

/** Its own options with their defaults, and those of the outcome advantage. */
export type MethodOptions<Table extends OptionTable> = ResolvedOptions<Table> & OutcomeOptions;

/** A method: how the rewards of a rollout become an advantage for each token. Its name is its key in METHODS. */
export interface Method<Table extends OptionTable> {
  /** What it gives credit for, in a few words for the help of `method`. */
  readonly doc: string;
  /** Options that no other method has. */
  readonly options: Table;
  /** What the trainer must have: `reference` fills refLogProbs, `processRewardModel` fills stepScores. */
  readonly needs: readonly Need[];
  /** The default lossType with this method, where it is not that of the loss. */
  readonly lossType?: PolicyLossOptions['lossType'];
  /** Throws for options that cannot go together, before anything is spent. */
  check?(options: MethodOptions<Table>): void;
  /** The formula. It does not write into the batch. */
  run(batch: MethodBatch, options: MethodOptions<Table>): MethodResult;
}

/** Infers the type of the options from their table. */
export const defineMethod = <const Table extends OptionTable>(method: Method<Table>): Method<Table> => method;

/** [T] each response's value on all of its tokens. */
export function spread(values: Float32Array, cuSeqlens: Int32Array): Float32Array {
  const tokens = new Float32Array(cuSeqlens[values.length]);
  values.forEach((value, i) => {
    tokens.fill(value, cuSeqlens[i], cuSeqlens[i + 1]);
  });
  return tokens;
}

/** Responses with a reward above 0 are right, as in evaluations. */
export const isRight = (reward: number): boolean => reward > 0;

export const mean = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((a, b) => a + b, 0) / values.length;

/** Sample standard deviation; 0 for fewer than two values. */
export function deviation(values: ArrayLike<number>): number {
  const n = values.length;
  if (n < 2) return 0;
  const center = mean(values);
  return Math.sqrt(Array.from(values).reduce((sum, x) => sum + (x - center) ** 2, 0) / (n - 1));
}
