// The 95% intervals that the project prints: of a rate over problems, and of a mean over seeds. Each is right for small
// samples too, or absent.
import { bootstrapInterval, type Interval, stratifiedInterval } from './bootstrap.js';

/** Quantile of the normal distribution at 97.5%. */
const Z = 1.959963984540054;

/** With fewer problems, and where all problems have the same rate, resamples vary less than the rate does. */
const FEWEST_PROBLEMS = 10;

/** With fewer seeds there is no interval: the seeds themselves say all there is to say. */
export const FEWEST_SEEDS = 5;

/**
 * Wilson's score interval of a rate from n trials (Wilson, JASA 22, 1927). For the mean of n rates from 0 to 1 it is
 * wide enough: such a rate varies most where it is 0 or 1.
 */
export function wilsonInterval(rate: number, n: number): Interval {
  const center = (rate + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((rate * (1 - rate)) / n + (Z * Z) / (4 * n * n));
  return [Math.min(rate, Math.max(0, center - half)), Math.max(rate, Math.min(1, center + half))];
}

const meanOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const resampled = (rates: readonly number[]) =>
  rates.length >= FEWEST_PROBLEMS && rates.some((rate) => rate !== rates[0]);

/**
 * 95% interval of the mean of the problems' rates, each from 0 to 1: 1,000 bootstrap resamples of the problems. With
 * fewer than 10 problems, and if all rates are equal, Wilson's score interval.
 */
export const rateInterval = (rates: readonly number[]): Interval =>
  resampled(rates) ? bootstrapInterval(rates) : wilsonInterval(meanOf(rates), rates.length);

/**
 * The same for the mean over several sets of problems, which are resampled set by set. If a set cannot be resampled,
 * the sets' own intervals are combined by the squares of their arms (Zou & Donner, Statistics in Medicine 27, 2008).
 */
export async function ratesInterval(sets: readonly (readonly number[])[]): Promise<Interval> {
  if (sets.every(resampled)) return stratifiedInterval(sets);
  if (sets.length === 1) return rateInterval(sets[0]);
  const means = sets.map(meanOf);
  const own = sets.map(rateInterval);
  const arm = (end: 0 | 1) => Math.hypot(...own.map((interval, i) => interval[end] - means[i])) / sets.length;
  return [meanOf(means) - arm(0), meanOf(means) + arm(1)];
}

/**
 * 95% t interval of the mean over seeds, within the bounds of the figure. undefined below {@link FEWEST_SEEDS} seeds,
 * and if all seeds are equal.
 */
export function seedInterval(
  values: readonly number[],
  [least, most]: readonly [number, number] = [-Infinity, Infinity],
): Interval | undefined {
  const n = values.length;
  if (n < FEWEST_SEEDS || values.every((value) => value === values[0])) return undefined;
  const mean = meanOf(values);
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const half = tQuantile(n - 1) * Math.sqrt(variance / n);
  return [Math.max(least, mean - half), Math.min(most, mean + half)];
}

/**
 * Quantile of Student's t distribution at 97.5%, by the Cornish-Fisher expansion (Abramowitz & Stegun 26.7.5). From 4
 * degrees of freedom on it is right to 4 parts in 10,000.
 */
export function tQuantile(degrees: number): number {
  const z = Z;
  const terms = [
    (z ** 3 + z) / 4,
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384,
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160,
  ];
  return terms.reduce((sum, term, i) => sum + term / degrees ** (i + 1), z);
}
