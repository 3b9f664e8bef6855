import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { rateInterval, ratesInterval, seedInterval, tQuantile, wilsonInterval } from '../../lib/eval/interval.js';
import { near } from '../reference/numbers.js';

const rates = suite('rateInterval');
rates('few problems, and problems that are all alike, have intervals of Wilson, not points', () => {
  // Wilson: (p + z²/2n -+ z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z² = 3.8414588: one of one is 1 / (1 + z²).
  near(rateInterval([1]), [1 / 4.8414588207, 1], 1e-9);
  near(rateInterval([0]), [0, 3.8414588207 / 4.8414588207], 1e-9);
  near(rateInterval(Array(30).fill(0)), [0, 3.8414588207 / 33.8414588207], 1e-9);
  // As in Newcombe, Statistics in Medicine 17, 1998, table I: 15 of 148 is .0624 to .1605.
  near(wilsonInterval(15 / 148, 148), [0.0624, 0.1605], 5e-5);
});
rates('the interval covers the rate in over 92% of samples on average, and never in less than 79%', () => {
  const choose = (n: number, k: number) =>
    Array.from({ length: k }, (_, i) => (n - i) / (i + 1)).reduce((a, b) => a * b, 1);
  for (const n of [1, 2, 5, 9, 10, 15]) {
    const intervals = Array.from({ length: n + 1 }, (_, k) =>
      rateInterval(Array.from({ length: n }, (_, i) => Number(i < k))),
    );
    const covers = [0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 0.95].map((p) =>
      intervals.reduce(
        (sum, [low, high], k) => sum + (low <= p && p <= high ? choose(n, k) * p ** k * (1 - p) ** (n - k) : 0),
        0,
      ),
    );
    // Exact, over all samples. Bootstrap alone covers p = .05 of 9 problems in 37% at most.
    assert.ok(Math.min(...covers) >= 0.79, `${n}: ${covers}`);
    assert.ok(covers.reduce((a, b) => a + b, 0) / covers.length >= 0.92, `${n}: ${covers}`);
  }
});
rates('a set of few problems widens the interval of the mean of sets', async () => {
  const large = Array.from({ length: 400 }, (_, i) => i % 2);
  const [low, high] = await ratesInterval([large, [1]]);
  const [from, to] = rateInterval(large);
  // The arms add by their squares: that of the set of one problem, 1 - .2065, counts below and 0 above.
  near([low, high], [0.75 - Math.hypot(0.5 - from, 1 - 1 / 4.8414588207) / 2, 0.75 + (to - 0.5) / 2], 1e-9);
});
rates.run();

const seeds = suite('seedInterval');
seeds('the quantiles of the t distribution are those of its table', () => {
  const table = [
    [4, 2.776445],
    [5, 2.570582],
    [7, 2.364624],
    [9, 2.262157],
    [29, 2.04523],
  ];
  for (const [degrees, quantile] of table) near([tQuantile(degrees)], [quantile], 4e-4 * quantile);
});
seeds('there is none below 5 seeds, nor of equal ones', () => {
  assert.is(seedInterval([0.1, 0.2, 0.3, 0.4]), undefined);
  assert.is(seedInterval([1, 1, 1, 1, 1]), undefined);
  // 3 -+ 2.776445 sqrt(2.5 / 5)
  near(seedInterval([1, 2, 3, 4, 5])!, [1.036757, 4.963243], 4e-4 * 1.963243);
  assert.equal(seedInterval([1, 2, 3, 4, 5], [2, 4]), [2, 4], 'it stays within the bounds of the figure');
});
seeds.run();
