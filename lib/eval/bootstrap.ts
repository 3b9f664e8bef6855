import { randomInteger, randomStream } from '../random.js';

/** 95% percentile interval of the mean over `values`, from resamples with replacement (always the same ones). */
export const bootstrapInterval = (values: readonly number[], resamples = 1000): [number, number] =>
  stratifiedInterval([values], resamples);

/** The same of the mean over several lists' means: each is resampled by itself. */
export function stratifiedInterval(lists: readonly (readonly number[])[], resamples = 1000): [number, number] {
  const random = randomStream('bootstrap', ...lists.map(({ length }) => length));
  const means = Array.from({ length: resamples }, () => {
    let sum = 0;
    for (const values of lists) {
      let own = 0;
      for (let i = 0; i < values.length; i++) own += values[randomInteger(random, 0, values.length - 1)];
      sum += own / values.length;
    }
    return sum / lists.length;
  }).sort((a, b) => a - b);
  const at = (share: number) => means[Math.round(share * (resamples - 1))];
  return [at(0.025), at(0.975)];
}
