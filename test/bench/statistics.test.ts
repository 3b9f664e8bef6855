import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { quantile, ratio, spread } from '../../bench/statistics.js';

const test = suite('bench: statistics');

test('quantile interpolates between neighbours and leaves its argument unchanged', () => {
  const values = [40, 10, 30, 20, 50];
  assert.is(quantile(values, 0), 10);
  assert.is(quantile(values, 0.5), 30);
  assert.is(quantile(values, 0.1), 14); // 0.4 of the way from 10 to 20
  assert.is(quantile(values, 1), 50);
  assert.is(quantile([3, 1], 0.5), 2);
  assert.is(quantile([7], 0.9), 7);
  assert.ok(Number.isNaN(quantile([], 0.5)));
  assert.equal(values, [40, 10, 30, 20, 50], 'the argument stays as it was');
});

test('quantile sorts numbers as numbers', () => assert.is(quantile([9, 10, 100], 0.5), 10));

test('spread gives the median and the middle 80%', () =>
  assert.equal(spread(Array.from({ length: 21 }, (_, i) => 20 - i)), { median: 10, p10: 2, p90: 18 }));

test('ratio is taken round by round', () => {
  // Both sides three times as slow in one round: the ratio is 2 in each.
  assert.equal(ratio([20, 60, 20], [10, 30, 10]), { median: 2, p10: 2, p90: 2 });
  assert.throws(() => ratio([1, 2], [1]), /2 rounds against 1/);
});

test.run();
