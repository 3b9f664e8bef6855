import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError, quantileLoss, setThreads } from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import { fails, place } from '../reference/device.js';
import { near, normals, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { pinball, quantileLossReference } from '../reference/pinball.js';

const SETS = [[0.5], [0.1, 0.5, 0.9], [0.05, 0.95], Array.from({ length: 16 }, (_, j) => (j + 1) / 17)];
// One row, around a warp and a block, and more than the pieces and blocks that sums are cut in.
const ROWS = [1, 2, 31, 32, 33, 255, 257, 1023, 1025, 5000];

const tests = suite('quantileLoss');
tests('quantileLoss and its gradient agree with the definition for every set of quantiles', async () => {
  for (const quantiles of SETS)
    for (const rows of ROWS) {
      const values = normals(rows * quantiles.length, rows);
      const targets = normals(rows, rows + 1);
      const { loss, dValues } = quantileLoss(place(values, [rows, quantiles.length]), targets, { quantiles });
      // Terms are exact to double rounding; their sum has `rows` additions of them.
      near([loss], [quantileLossReference(values, targets, quantiles)], 1e-12, `${quantiles} ${rows}`);
      const expected = Array.from(values, (value, i) => {
        const [q, target] = [quantiles[i % quantiles.length], targets[Math.floor(i / quantiles.length)]];
        return ((value > target ? 1 : 0) - q) / (rows * quantiles.length);
      });
      near(await dValues.read(), expected, 0, 'gradient', 1.01 * UNIT_ROUNDOFF.float32);
    }
});
tests('the gradient agrees with finite differences of the loss', async () => {
  const [rows, quantiles, h] = [4, [0.2, 0.7], 2 ** -10];
  const values = normals(rows * 2, 1);
  const targets = normals(rows, 2);
  const lossAt = (i: number, by: number) =>
    quantileLoss(
      place(
        Float32Array.from(values, (x, k) => (k === i ? x + by : x)),
        [rows, 2],
      ),
      targets,
      { quantiles },
    ).loss;
  const gradient = await quantileLoss(place(values, [rows, 2]), targets, { quantiles }).dValues.read();
  for (let i = 0; i < values.length; i++) {
    assert.ok(Math.abs(values[i] - targets[i >> 1]) > 2 * h, 'no kink in between');
    // The loss is linear here; the float32 sum value + h is off by 2 ** -24 of a value below 4.
    near([(lossAt(i, h) - lossAt(i, -h)) / (2 * h)], [gradient[i]], (4 * 2 ** -24) / h, `value ${i}`);
  }
});
tests('the constant of least loss is the quantile of the targets', () => {
  const targets = Float32Array.from({ length: 101 }, (_, i) => i / 100);
  const lossOf = (q: number, value: number) =>
    quantileLoss(place(new Float32Array(101).fill(value), [101, 1]), targets, { quantiles: [q] }).loss;
  for (const q of [0.1, 0.5, 0.9]) {
    const best = Math.min(...Array.from(targets, (value) => lossOf(q, value)));
    near([lossOf(q, Math.fround(q))], [best], 1e-12, `${q}`);
    assert.ok(lossOf(q, q + 0.1) > best + 1e-4 && lossOf(q, q - 0.1) > best + 1e-4);
  }
});
tests("a value equal to its target gets half of each side's gradient", async () => {
  const { loss, dValues } = quantileLoss(place([0.25, 0.25], [1, 2]), [0.25], { quantiles: [0.1, 0.5] });
  assert.is(loss, 0);
  near(await dValues.read(), [0.2, 0], 1e-8);
});
tests(
  'the default quantiles are 0.1, 0.5, 0.9, targets may be arrays or tensors, and no rows have loss 0',
  async () => {
    const values = place([0.1, 0.2, 0.9], [1, 3]);
    const expected = [0.1, 0.5, 0.9].reduce((sum, q, j) => sum + pinball(q, 0.4 - [0.1, 0.2, 0.9][j]), 0) / 3;
    for (const targets of [[0.4], Float32Array.of(0.4), place([0.4])])
      near([quantileLoss(values, targets).loss], [expected], 1e-7);
    const none = quantileLoss(place([], [0, 3]), []);
    assert.is(none.loss, 0);
    assert.is((await none.dValues.read()).length, 0);
  },
);
tests('micro-batches with the normalizer of the batch add up to it', async () => {
  const values = normals(12 * 3, 4);
  const targets = normals(12, 5);
  const whole = quantileLoss(place(values, [12, 3]), targets);
  const parts = [
    [0, 5],
    [5, 12],
  ].map(([from, to]) =>
    quantileLoss(place(values.slice(3 * from, 3 * to), [to - from, 3]), targets.slice(from, to), {
      normalizer: { rows: 12 },
    }),
  );
  near([parts[0].loss + parts[1].loss], [whole.loss], 1e-15);
  assert.equal(
    [...(await parts[0].dValues.read()), ...(await parts[1].dValues.read())],
    [...(await whole.dValues.read())],
  );
});
tests('quantileLoss gives the same bits for 1, 2, 3 and 8 threads', async () => {
  const values = place(normals(9000 * 3, 6), [9000, 3]);
  const targets = normals(9000, 7);
  const { threads } = nativeInfo();
  const runs: unknown[] = [];
  for (const n of [1, 2, 3, 8]) {
    setThreads(n);
    const { loss, dValues } = quantileLoss(values, targets);
    runs.push([loss, ...(await dValues.read())]);
  }
  setThreads(threads);
  for (const run of runs) assert.equal(run, runs[0]);
});
tests('values that are not finite, wrong quantiles and wrong shapes are refused by name', async () => {
  const next = random(1);
  const numbers = (n: number, change: Record<number, number> = {}) =>
    Object.assign(Float32Array.from({ length: n }, next), change);
  const run =
    (values: Record<number, number>, targets: Record<number, number> = {}) =>
    () =>
      quantileLoss(place(numbers(2000 * 3, values), [2000, 3]), numbers(2000, targets)).dValues;
  const NON_FINITE = [PrlError, 'ERR_PRL_NON_FINITE'] as const;
  await fails(run({ 1500: NaN }), ...NON_FINITE, /row 500 of values holds nan/);
  await fails(run({ 1501: Infinity }, { 3: -Infinity }), ...NON_FINITE, /targets\[3\] is -inf/);
  await fails(run({ 4: Infinity }, { 1: NaN }), ...NON_FINITE, /row 1 of values holds inf/);

  const RANGE = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;
  const options = (given: object) => () => quantileLoss(place([0.5], [1, 1]), [1], given);
  throwsError(options({ quantiles: [] }), ...RANGE, /1 to 16 numbers, not 0/);
  throwsError(options({ quantiles: new Array(17).fill(0.5) }), ...RANGE, /not 17/);
  throwsError(options({ quantiles: [0] }), ...RANGE, /quantiles\[0\] must be above 0/);
  throwsError(options({ quantiles: [1] }), ...RANGE, /quantiles\[0\] must be below 1/);
  throwsError(options({ quantiles: 0.5 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /an array of numbers/);
  throwsError(options({ quantiles: [0.1, 0.5] }), ...RANGE, /\[rows, 2\]/);
  throwsError(options({ quantiles: [0.5], normalizer: { rows: 0 } }), ...RANGE, /normalizer\.rows must be above 0/);
  throwsError(options({ quantile: [0.5] }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'quantiles'/);
  throwsError(() => quantileLoss(place([0.5], [1, 1]), [1, 2], { quantiles: [0.5] }), ...RANGE, /targets must have 1/);
});
tests.run();
