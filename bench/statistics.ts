/** The middle of a set of measurements, and where the middle 80% of them lie. */
export interface Spread {
  median: number;
  p10: number;
  p90: number;
}

/** The q-th quantile (0 to 1), interpolated linearly between neighbours; NaN for an empty list. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.ceil(at);
  return below === above ? sorted[below] : sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

export const spread = (values: readonly number[]): Spread => ({
  median: quantile(values, 0.5),
  p10: quantile(values, 0.1),
  p90: quantile(values, 0.9),
});

/**
 * How many times as long `slow` takes as `fast`, round by round: both runs of a round see the same state of the
 * machine.
 */
export function ratio(slow: readonly number[], fast: readonly number[]): Spread {
  if (slow.length !== fast.length) throw new RangeError(`${slow.length} rounds against ${fast.length}`);
  return spread(slow.map((ms, round) => ms / fast[round]));
}
