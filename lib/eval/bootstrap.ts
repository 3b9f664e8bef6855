import { setImmediate } from 'node:timers/promises';
import { randomInteger, randomStream } from '../base/random.js';

/** Bounds of an interval. */
export type Interval = [low: number, high: number];

const RESAMPLES = 1000;
/** Values drawn between two turns of the event loop: a few milliseconds. */
const TURN = 100_000;

/** 95% percentile interval of the mean over `values`, from resamples with replacement (always the same ones). */
export const bootstrapInterval = (values: readonly number[], resamples = RESAMPLES): Interval =>
  percentiles([...resampledMeans([values], resamples)]);

/**
 * The same for the mean over several lists' means. Each list is resampled by itself. Thousands of values take most of a
 * second, so the event loop gets turns.
 */
export async function stratifiedInterval(lists: readonly (readonly number[])[]): Promise<Interval> {
  const means: number[] = [];
  const each = lists.reduce((sum, { length }) => sum + length, 0);
  let drawn = 0;
  for (const mean of resampledMeans(lists, RESAMPLES)) {
    means.push(mean);
    drawn += each;
    if (drawn < TURN) continue;
    drawn = 0;
    await setImmediate();
  }
  return percentiles(means);
}

function* resampledMeans(lists: readonly (readonly number[])[], resamples: number): Generator<number> {
  const random = randomStream('bootstrap', ...lists.map(({ length }) => length));
  for (let n = 0; n < resamples; n++) {
    let sum = 0;
    for (const values of lists) {
      let own = 0;
      for (let i = 0; i < values.length; i++) own += values[randomInteger(random, 0, values.length - 1)];
      sum += own / values.length;
    }
    yield sum / lists.length;
  }
}

function percentiles(means: number[]): Interval {
  means.sort((a, b) => a - b);
  const at = (share: number) => means[Math.round(share * (means.length - 1))];
  return [at(0.025), at(0.975)];
}
