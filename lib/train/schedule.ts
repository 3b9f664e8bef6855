export interface Schedule {
  learningRate: number;
  type: 'constant' | 'linear' | 'cosine';
  warmupSteps: number;
  /** Updates of the whole run. 'constant' ignores it. */
  totalSteps: number;
  /** Final rate of 'linear' and 'cosine', as a share of learningRate. Default 0. */
  minRate?: number;
}

/**
 * The learning rate of update number `update`, from 0. It rises linearly to `learningRate` at update warmupSteps - 1,
 * so that no update has a rate of 0. Then it follows the schedule, and is lowest in the last update.
 */
export function learningRateAt(
  update: number,
  { learningRate, type, warmupSteps, totalSteps, minRate = 0 }: Schedule,
): number {
  if (update < warmupSteps) return (learningRate * (update + 1)) / warmupSteps;
  if (type === 'constant') return learningRate;
  const progress = Math.min(1, (update + 1 - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
  const shape = type === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
  return learningRate * (minRate + (1 - minRate) * shape);
}
