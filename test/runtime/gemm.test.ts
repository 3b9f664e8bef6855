import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { setThreads } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import type { DType } from '../../lib/kernels/tensor.js';
import { blank, ON_GPU, place } from '../reference/device.js';
import { near, normals, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';

interface Case {
  m: number;
  n: number;
  k: number;
  transposeA?: boolean;
  transposeB?: boolean;
  accumulate?: boolean;
  pack?: boolean;
  type?: keyof typeof UNIT_ROUNDOFF;
  result?: keyof typeof UNIT_ROUNDOFF;
}

/** The product, its value in float64, and how far apart the two may be. */
async function run(
  { m, n, k, transposeA = false, transposeB = false, accumulate = false, pack = false, ...types }: Case,
  [first, second] = [normals(m * k, 1), normals(k * n, 2)],
) {
  const { type = 'float32', result = type } = types;
  const [tensorA, tensorB] = [place(first, [m, k], type), place(second, [k, n], type)];
  const out = place(normals(m * n, 3), [m, n], result);
  const [a, b, c] = [await tensorA.read(), await tensorB.read(), await out.read()];
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
      // A chain of k roundings: at most k u of the sum of magnitudes (Higham, Accuracy and Stability, 3.5); then the
      // storage's.
      const storage = result === 'float32' ? 0 : 1.01 * UNIT_ROUNDOFF[result] * Math.abs(sum);
      bound[i * n + j] = (k + 2) * UNIT_ROUNDOFF.float32 * magnitude + storage;
    }
  }
  native().gemm({ m, n, k, transposeA, transposeB, accumulate, pack, a: tensorA, b: tensorB, c: out });
  return { got: (await out.read()) as Float32Array, expected, bound };
}

function check({ got, expected, bound }: Awaited<ReturnType<typeof run>>, name: string) {
  for (let i = 0; i < got.length; i++) near([got[i]], [expected[i]], bound[i], `${name} c[${i}]`);
}

// Sizes around the register tile (6 x 16, 14 x 32, 6 x 8), the blocks (96 and 224 rows, 256 terms) and odd ones.
const SIZES = [1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 31, 33, 95, 97];
const values = suite('native gemm');
for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    values(
      `gemm agrees with float64 at every tile edge, A${transposeA ? "'" : ''} B${transposeB ? "'" : ''}`,
      async () => {
        for (const m of SIZES) {
          for (const n of SIZES) {
            for (const k of [1, 3, 255, 257]) {
              if ((m + n + k) % 3 !== 0 && m > 1 && n > 1) continue; // a third of the grid
              const accumulate = (m + n) % 2 === 0;
              check(
                await run({ m, n, k, transposeA, transposeB, accumulate, pack: n % 2 === 0 }),
                `m=${m} n=${n} k=${k}`,
              );
            }
          }
        }
      },
    );
  }
}

values('gemm packs rows that meet many columns: it agrees with float64 at the edges of the packing', async () => {
  for (const m of [1, 5, 7, 14, 17])
    for (const k of [3, 257, 271]) check(await run({ m, n: 401, k, accumulate: m % 2 > 0 }), `m=${m} k=${k}`);
});

if (ON_GPU) {
  for (const [type, result] of [
    ['bfloat16', 'bfloat16'],
    ['bfloat16', 'float32'],
    ['float16', 'float16'],
    ['float16', 'float32'],
  ] as const)
    values(
      `gemm from ${type} to ${result} agrees with float64, for every transposition, written or added`,
      async () => {
        for (let way = 0; way < 8; way++)
          for (const [m, n, k] of [
            [1, 1, 1],
            [5, 3, 17],
            [3, 8, 64],
            [33, 7, 130],
          ]) {
            const ways = { transposeA: way % 2 > 0, transposeB: way % 4 > 1, accumulate: way > 3 };
            check(await run({ m, n, k, type, result, ...ways }), `${JSON.stringify(ways)} m=${m} n=${n} k=${k}`);
          }
      },
    );
  values('gemm refuses combinations of types that it has no product for', async () => {
    const sizes = { m: 2, n: 2, k: 2, transposeA: false, transposeB: false, accumulate: false, pack: false };
    const of = (dtype: DType) => blank([2, 2], dtype);
    for (const [a, b, c, message] of [
      ['float32', 'bfloat16', 'float32', /b must be float32, not bfloat16/],
      ['float16', 'float16', 'bfloat16', /c must be float16 or float32, not bfloat16/],
    ] as const)
      throwsError(
        () => native().gemm({ ...sizes, a: of(a), b: of(b), c: of(c) }),
        TypeError,
        'ERR_PRL_INVALID_ARGUMENT',
        message,
      );
  });
}

values('gemm with an empty dimension gives zeros, or leaves what it accumulates on', async () => {
  assert.equal([...(await run({ m: 2, n: 3, k: 0 })).got], [0, 0, 0, 0, 0, 0]);
  const kept = await run({ m: 2, n: 3, k: 0, accumulate: true });
  assert.equal([...kept.got], [...kept.expected]);
  assert.is((await run({ m: 0, n: 3, k: 4 })).got.length, 0);
});

values('gemm gives the same bits for any number of threads and in every run', async () => {
  const { threads } = nativeInfo();
  const [m, n, k] = [211, 401, 290]; // so wide that one thread packs the rows, and more share the columns
  const whole = (await run({ m, n, k })).got;
  for (const t of [1, 2, 5]) {
    setThreads(t);
    assert.equal((await run({ m, n, k })).got, whole);
  }
  setThreads(threads);
});

// cuBLAS promises no such thing: it chooses its method by the sizes.
if (!ON_GPU)
  values('a row of gemm does not depend on the other rows, bit for bit', async () => {
    const [m, n, k] = [211, 130, 600];
    const [a, b] = [normals(m * k, 1), normals(k * n, 2)];
    const whole = (await run({ m, n, k })).got;
    for (const [row, rows] of [
      [0, 1],
      [5, 9],
      [100, 111],
    ]) {
      const alone = await run({ m: rows, n, k, pack: true }, [a.slice(row * k, (row + rows) * k), b]);
      assert.equal(alone.got, whole.slice(row * n, (row + rows) * n));
    }
    // B by columns, in place: few rows are multiplied while B streams by.
    const byColumns = Float32Array.from({ length: n * k }, (_, i) => b[(i % k) * n + Math.floor(i / k)]);
    for (const rows of [...Array.from({ length: 17 }, (_, i) => i + 1), 64, 192, 193]) {
      const given: [Float32Array, Float32Array] = [a.slice(0, rows * k), byColumns];
      const streamed = await run({ m: rows, n, k, transposeB: true }, given);
      assert.equal(streamed.got, whole.slice(0, rows * n), `${rows} rows`);
    }
  });

values('gemm refuses arrays of the wrong length', () => {
  const args = { m: 2, n: 2, k: 2, transposeA: false, transposeB: false, accumulate: false, pack: false };
  const t = blank([2, 2]);
  throwsError(
    () => native().gemm({ ...args, a: blank([3]), b: t, c: blank([2, 2]) }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /a must have 4 elements, not 3/,
  );
  throwsError(
    () => native().gemm({ ...args, m: 2 ** 40, a: t, b: t, c: blank([2, 2]) }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /m must be an integer/,
  );
});
values.run();
