// The interface of a method, and its inputs from the trainer. docs/adding-a-method.md has a full example.
import type { OptionTable, ResolvedOptions } from '../base/options.js';
import type { PolicyLossOptions } from '../kernels/loss-options.js';
import type { OutcomeOptions } from './outcome.js';

/**
 * What the trainer computes from a rollout before the method runs. Declare new fields per token or per step here only.
 */
export interface StepData {
  /** [S + 1] indices among the T tokens where reasoning steps begin, then T. Every response begins a step. */
  cuSteps: Int32Array;
  /** [T] log-probabilities under the frozen reference, if one is needed. */
  refLogProbs?: Float32Array;
  /** [S] scores in [0, 1] of the process reward model, for methods that need one. */
  stepScores?: Float32Array;
}

/** Input of a method: B responses in groups, T packed tokens (see Rollout), S reasoning steps. */
export interface MethodBatch extends StepData {
  /** [B] rewards; above 0 is right. */
  rewards: Float32Array;
  /** [B] index of each response's prompt. */
  groupIds: Int32Array;
  /** [B + 1] offsets of the responses among the T tokens. */
  cuSeqlens: Int32Array;
  /** [T] log-probabilities under the policy that sampled. */
  oldLogProbs: Float32Array;
}

export interface MethodResult {
  /** [T] advantage of each token. */
  advantages: Float32Array;
  /** Metrics by name, for the step's row of metrics.jsonl. */
  metrics: Record<string, number>;
}

export type Need = 'reference' | 'processRewardModel';

/** The method's own options, and those of the outcome advantage, with defaults. */
export type MethodOptions<Table extends OptionTable> = ResolvedOptions<Table> & OutcomeOptions;

/** A method turns the rewards of a rollout into an advantage for each token. Its name is its key in METHODS. */
export interface Method<Table extends OptionTable> {
  /** What it gives credit for, in a few words. The help of `method` shows it. */
  readonly doc: string;
  /** Options of this method only. */
  readonly options: Table;
  /** What the trainer must provide: `reference` fills refLogProbs, `processRewardModel` fills stepScores. */
  readonly needs: readonly Need[];
  /** Default lossType with this method. Default: the loss's own. */
  readonly lossType?: PolicyLossOptions['lossType'];
  /** Throws for options that exclude each other, before training begins. */
  check?(options: MethodOptions<Table>): void;
  /** Computes the formula. It must not write into the batch. */
  run(batch: MethodBatch, options: MethodOptions<Table>): MethodResult;
}

/** Infers the type of the options from their table. */
export const defineMethod = <const Table extends OptionTable>(method: Method<Table>): Method<Table> => method;

/** [T] copies the value of each response to all of its tokens. */
export function spread(values: Float32Array, cuSeqlens: Int32Array): Float32Array {
  const tokens = new Float32Array(cuSeqlens[values.length]);
  values.forEach((value, i) => {
    tokens.fill(value, cuSeqlens[i], cuSeqlens[i + 1]);
  });
  return tokens;
}

/** Whether a reward means a right response: above 0, as in evaluations. */
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
