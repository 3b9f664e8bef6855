import { groupAdvantages } from '../kernels/group-advantages.js';

/** What methods make advantages of: B responses in groups, T tokens packed (see Rollout). */
export interface MethodBatch {
  /** [B] */
  rewards: Float32Array;
  /** [B] */
  groupIds: Int32Array;
  /** [B + 1] */
  cuSeqlens: Int32Array;
  /** [S + 1] where each reasoning step begins; every response begins one. */
  cuSteps: Int32Array;
  /** [T] */
  oldLogProbs: Float32Array;
  /** [T] under the frozen reference, for the methods that ask for it. */
  refLogProbs?: Float32Array;
  /** [S] in [0, 1] from a process reward model, for the methods that ask for it. */
  stepScores?: Float32Array;
}

export interface MethodResult {
  /** [T] */
  advantages: Float32Array;
  metrics: Record<string, number>;
}

export interface OutcomeOptions {
  scaleRewards: 'group' | 'batch' | 'none';
  advantageEstimator: 'grpo' | 'dr_grpo' | 'rloo';
  advantageStd: 'sample' | 'population';
  advantageEpsilon: number;
  singleton: 'zero' | 'raw';
}

/** The trainer's options as those of groupAdvantages. */
export const groupOptions = (options: OutcomeOptions) => {
  const { scaleRewards, advantageEstimator: kind, advantageStd, advantageEpsilon: epsilon, singleton } = options;
  const std = scaleRewards === 'none' ? 'none' : advantageStd;
  return { kind, std, scale: scaleRewards === 'batch' ? 'batch' : 'group', epsilon, singleton } as const;
};

/** [B] what each response gets for its reward among the responses to its prompt. */
export const outcomeAdvantages = ({ rewards, groupIds }: MethodBatch, options: OutcomeOptions): Float32Array =>
  groupAdvantages(rewards, groupIds, groupOptions(options)).data as Float32Array;

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
