import { randomInteger, randomStream } from '../random.js';

/** 95% percentile interval of the mean over `values`, from resamples with replacement (always the same ones). */
export function bootstrapInterval(values: readonly number[], resamples = 1000): [number, number] {
  const random = randomStream('bootstrap', values.length);
  const means = Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[randomInteger(random, 0, values.length - 1)];
    return sum / values.length;
  }).sort((a, b) => a - b);
  const at = (share: number) => means[Math.round(share * (resamples - 1))];
  return [at(0.025), at(0.975)];
}
