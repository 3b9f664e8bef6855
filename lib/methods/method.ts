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
}

export interface MethodResult {
  /** [T] */
  advantages: Float32Array;
  metrics: Record<string, number>;
}

export interface OutcomeOptions {
  scaleRewards: 'group' | 'batch' | 'none';
}

/** Centred in the group, then divided by the group's deviation, by the batch's, or by nothing (algorithms: GRPO, Dr. GRPO). */
export function outcomeAdvantages({ rewards, groupIds }: MethodBatch, { scaleRewards }: OutcomeOptions): Float32Array {
  const kind = scaleRewards === 'none' ? 'dr_grpo' : 'grpo';
  const scale = scaleRewards === 'batch' ? 'batch' : 'group';
  return groupAdvantages(rewards, groupIds, { kind, scale }).data as Float32Array;
}

/** Sample standard deviation; 0 for fewer than two values. */
export function deviation(values: ArrayLike<number>): number {
  const n = values.length;
  if (n < 2) return 0;
  const mean = Array.from(values).reduce((a, b) => a + b, 0) / n;
  return Math.sqrt(Array.from(values).reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1));
}
