import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bootstrapInterval } from '../../lib/eval/bootstrap.js';
import { normals, random } from '../reference/numbers.js';

const bootstrap = suite('bootstrapInterval');
bootstrap('the interval is as wide as the standard error says, around the mean', () => {
  const values = Array.from(normals(400, 3));
  const mean = values.reduce((a, b) => a + b, 0) / 400;
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 400);
  const [low, high] = bootstrapInterval(values);
  const half = (1.96 * deviation) / 20;
  // A quantile of 1,000 resamples at 2.5% lies within about 13% of the half width (its own standard error is 5 to 6%).
  assert.ok(Math.abs(mean - low - half) < 0.2 * half, `${low}`);
  assert.ok(Math.abs(high - mean - half) < 0.2 * half, `${high}`);
});
bootstrap('the interval covers the true mean about 95 times in 100', () => {
  const next = random(9);
  let covered = 0;
  for (let trial = 0; trial < 200; trial++) {
    const [low, high] = bootstrapInterval(
      Array.from({ length: 60 }, () => (next() < 0.4 ? 1 : 0)),
      200,
    );
    if (low <= 0.4 && 0.4 <= high) covered++;
  }
  // Four standard deviations of a binomial with p = .94 (the percentile interval is a little narrow at this size).
  assert.ok(covered > 188 - 4 * Math.sqrt(200 * 0.94 * 0.06), `${covered} of 200`);
});
bootstrap('the interval of equal values is a point', () => {
  assert.equal(bootstrapInterval([0.25, 0.25, 0.25]), [0.25, 0.25]);
});
bootstrap.run();
