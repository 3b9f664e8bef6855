import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { setThreads, Tensor } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/native.js';
import { near, normals, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';

interface Case {
  m: number;
  n: number;
  k: number;
  transposeA?: boolean;
  transposeB?: boolean;
  accumulate?: boolean;
  pack?: boolean;
}

function run({ m, n, k, transposeA = false, transposeB = false, accumulate = false, pack = false }: Case) {
  const a = normals(m * k, 1);
  const b = normals(k * n, 2);
  const c = normals(m * n, 3);
  const expected = new Float64Array(m * n);
  const bound = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = accumulate ? c[i * n + j] : 0;
      let magnitude = Math.abs(sum);
      for (let p = 0; p < k; p++) {
        const term = a[transposeA ? p * m + i : i * k + p] * b[transposeB ? j * k + p : p * n + j];
        sum += term;
        magnitude += Math.abs(term);
      }
      expected[i * n + j] = sum;
      bound[i * n + j] = magnitude;
    }
  }
  const out = Tensor.from(c.slice(), [m, n]);
  const args = { m, n, k, transposeA, transposeB, accumulate, pack, c: out };
  native().gemm({ ...args, a: Tensor.from(a, [m, k]), b: Tensor.from(b, [k, n]) });
  return { got: out.data as Float32Array, expected, bound };
}

// Sizes around the register tile (6 x 16, 14 x 32, 6 x 8), the blocks (96 and 224 rows, 256 terms) and odd ones.
const SIZES = [1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 31, 33, 95, 97];
const values = suite('gemm: values');
for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    values(`every edge, A${transposeA ? "'" : ''} B${transposeB ? "'" : ''}`, () => {
      for (const m of SIZES) {
        for (const n of SIZES) {
          for (const k of [1, 3, 255, 257]) {
            if ((m + n + k) % 3 !== 0 && m > 1 && n > 1) continue; // a third of the grid
            const accumulate = (m + n) % 2 === 0;
            const { got, expected, bound } = run({ m, n, k, transposeA, transposeB, accumulate, pack: n % 2 === 0 });
            for (let i = 0; i < got.length; i++) {
              // A chain of k roundings: at most k u of the sum of magnitudes (Higham, Accuracy and Stability, 3.5).
              near([got[i]], [expected[i]], (k + 2) * UNIT_ROUNDOFF.float32 * bound[i], `m=${m} n=${n} k=${k} c[${i}]`);
            }
          }
        }
      }
    });
  }
}

values('empty products', () => {
  assert.equal([...run({ m: 2, n: 3, k: 0 }).got], [0, 0, 0, 0, 0, 0]);
  const kept = run({ m: 2, n: 3, k: 0, accumulate: true });
  assert.equal([...kept.got], [...kept.expected]);
  assert.is(run({ m: 0, n: 3, k: 4 }).got.length, 0);
});

values('a row depends neither on the other rows nor on the threads, bit for bit', () => {
  const { threads } = nativeInfo();
  const [m, n, k] = [211, 130, 600];
  const whole = run({ m, n, k }).got;
  for (const t of [1, 2, 5]) {
    setThreads(t);
    assert.equal(run({ m, n, k }).got, whole);
  }
  setThreads(threads);
  const a = normals(m * k, 1);
  const b = normals(k * n, 2);
  for (const [row, rows] of [
    [0, 1],
    [5, 9],
    [100, 111],
  ]) {
    const c = Tensor.zeros([rows, n]);
    const args = { m: rows, n, k, transposeA: false, transposeB: false, accumulate: false, pack: true, c };
    native().gemm({
      ...args,
      a: Tensor.from(a.slice(row * k, (row + rows) * k), [rows, k]),
      b: Tensor.from(b, [k, n]),
    });
    const all = Tensor.zeros([m, n]);
    native().gemm({ ...args, m, pack: false, a: Tensor.from(a, [m, k]), b: Tensor.from(b, [k, n]), c: all });
    assert.equal(c.data, (all.data as Float32Array).slice(row * n, (row + rows) * n));
  }
});

values('wrong lengths are errors', () => {
  const args = { m: 2, n: 2, k: 2, transposeA: false, transposeB: false, accumulate: false, pack: false };
  const t = Tensor.zeros([2, 2]);
  throwsError(
    () => native().gemm({ ...args, a: Tensor.zeros([3]), b: t, c: t }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /a must have 4 elements, not 3/,
  );
  throwsError(
    () => native().gemm({ ...args, m: 2 ** 40, a: t, b: t, c: t }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /m must be an integer/,
  );
});
values.run();
