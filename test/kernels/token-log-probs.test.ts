import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError, setThreads, Tensor, tokenLogProbs } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/native.js';
import type { DType } from '../../lib/tensor.js';
import { near, normals, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { softmaxRow, softmaxRowGradient } from '../reference/softmax.js';

// One table for values, gradients and thread counts. V around the widths of vectors (4, 8, 16) and the block of 2048.
const VOCABS = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 2047, 2048, 2049, 5000];
const FLOATS = ['float32', 'bfloat16', 'float16'] as const;
const SHAPES: { name: string; scale: number; offset: number; temperature: number }[] = [
  { name: 'plain', scale: 1, offset: 0, temperature: 1 },
  { name: 'peaked', scale: 20, offset: 0, temperature: 1 },
  { name: 'cold', scale: 3, offset: 0, temperature: 0.3 },
  { name: 'hot', scale: 3, offset: 0, temperature: 7 },
  { name: 'common offset 1024', scale: 1, offset: 1024, temperature: 1 },
  { name: 'all negative', scale: 2, offset: -300, temperature: 0.7 },
];

async function makeCase(rows: number, vocab: number, dtype: DType, scale: number, offset: number, seed: number) {
  const logits = Tensor.from(
    normals(rows * vocab, seed, scale).map((x) => x + offset),
    [rows, vocab],
    { dtype },
  );
  const next = random(seed + 1);
  const targets = Int32Array.from({ length: rows }, () => Math.floor(next() * vocab));
  return { logits, values: (await logits.read()) as Float32Array, targets };
}

const values = suite('tokenLogProbs: values');
for (const dtype of FLOATS) {
  for (const { name, scale, offset, temperature } of SHAPES) {
    values(`${dtype}, ${name}`, async () => {
      for (const vocab of VOCABS) {
        const rows = 5;
        const { logits, values, targets } = await makeCase(rows, vocab, dtype, scale, offset, vocab);
        const out = tokenLogProbs(logits, targets, { temperature });
        for (let r = 0; r < rows; r++) {
          const ref = softmaxRow(values.subarray(r * vocab, (r + 1) * vocab), targets[r], temperature);
          // The subtraction of the maximum is exact or rounds once relative to the spread of the row; exp is good to 2 ulp;
          // partial sums hold 2048 / lanes <= 512 terms. 64 roundings of the largest quantity cover it with room to spare.
          const spread = 1 + Math.abs(ref.logProb) + Math.log(vocab);
          const tolerance = 64 * UNIT_ROUNDOFF.float32 * spread;
          near([out.logProbs.data[r]], [ref.logProb], tolerance, `logProb V=${vocab}`);
          near([out.entropy.data[r]], [ref.entropy], tolerance * 4, `entropy V=${vocab}`);
          near(
            [out.logSumExp.data[r]],
            [ref.logSumExp],
            tolerance + 2 * UNIT_ROUNDOFF.float32 * Math.abs(ref.logSumExp),
            `lse V=${vocab}`,
          );
        }
      }
    });
  }
}

values('-inf logits: probability 0, entropy of the others', () => {
  const row = new Float32Array(40).fill(-Infinity);
  row[3] = 1;
  row[37] = 1;
  const out = tokenLogProbs(Tensor.from([...row, ...row], [2, 40]), new Int32Array([3, 5]));
  near(out.logProbs.data, [-Math.log(2), -Infinity], 1e-7);
  near(out.entropy.data, [Math.log(2), Math.log(2)], 1e-6);
});

values('a block of -inf before the first finite logit', () => {
  const vocab = 5000;
  const row = normals(vocab, 3);
  row.fill(-Infinity, 0, 4100);
  const out = tokenLogProbs(Tensor.from(row, [1, vocab]), new Int32Array([4500]));
  const ref = softmaxRow(row, 4500);
  near([out.logProbs.data[0], out.entropy.data[0]], [ref.logProb, ref.entropy], 1e-5);
});

values('empty batch', () => {
  const out = tokenLogProbs(Tensor.zeros([0, 12]), new Int32Array(0));
  assert.is(out.logProbs.size, 0);
});

values('the same bits for any number of threads', async () => {
  const { threads } = nativeInfo();
  const { logits, targets } = await makeCase(67, 5000, 'float32', 3, 0, 9);
  const runs = [1, 2, 3, 8].map((n) => {
    setThreads(n);
    const out = tokenLogProbs(logits, targets);
    return [...out.logProbs.data, ...out.entropy.data, ...out.logSumExp.data];
  });
  setThreads(threads);
  for (const run of runs) assert.equal(run, runs[0]);
});
values.run();

const gradients = suite('tokenLogProbs: gradients');
for (const dtype of FLOATS) {
  gradients(`${dtype}: logits' gradient of log-prob and entropy, into a new tensor and in place`, async () => {
    for (const vocab of VOCABS) {
      const rows = 4;
      const temperature = 0.8;
      const { logits, values, targets } = await makeCase(rows, vocab, dtype, 2, 0, 100 + vocab);
      const dLogProbs = new Float32Array([0.5, -1.25, 0, 2]);
      const dEntropy = new Float32Array([0, 0.3, 0, -0.7]);
      const dLogits = Tensor.zeros([rows, vocab], { dtype });
      const args = {
        logits,
        targets: Tensor.from(targets),
        temperature,
        dLogProbs: Tensor.from(dLogProbs),
        dEntropy: Tensor.from(dEntropy),
      };
      native().tokenLogprobBackward({ ...args, dLogits });
      const got = await dLogits.read();
      for (let r = 0; r < rows; r++) {
        const ref = softmaxRowGradient(
          values.subarray(r * vocab, (r + 1) * vocab),
          targets[r],
          dLogProbs[r],
          dEntropy[r],
          temperature,
        );
        near(
          got.subarray(r * vocab, (r + 1) * vocab),
          ref,
          2e-6,
          `dLogits V=${vocab} row ${r}`,
          dtype === 'float32' ? 1e-5 : 1.01 * UNIT_ROUNDOFF[dtype],
        );
      }
      native().tokenLogprobBackward({ ...args, dLogits: logits });
      assert.equal(logits.data, dLogits.data, 'in place gives the same bits');
    }
  });
}

gradients('finite differences', () => {
  const vocab = 11;
  const row = normals(vocab, 4);
  const objective = (x: Float64Array) => {
    const ref = softmaxRow(x, 6, 1.3);
    return 0.7 * ref.logProb - 0.4 * ref.entropy;
  };
  const dLogits = Tensor.zeros([1, vocab]);
  native().tokenLogprobBackward({
    logits: Tensor.from(row, [1, vocab]),
    targets: Tensor.from(new Int32Array([6])),
    temperature: 1.3,
    dLogProbs: Tensor.from([0.7]),
    dEntropy: Tensor.from([-0.4]),
    dLogits,
  });
  const numeric = Array.from(row, (_, j) => {
    const h = 1e-5;
    const up = Float64Array.from(row);
    const down = Float64Array.from(row);
    up[j] += h;
    down[j] -= h;
    return (objective(up) - objective(down)) / (2 * h);
  });
  near(dLogits.data, numeric, 1e-6);
});

gradients('-inf logits get gradient 0, also as the target of a masked-out token', () => {
  const row = new Float32Array([0, -Infinity, 1, -Infinity, 2]);
  const dLogits = Tensor.from(new Float32Array(5).fill(9), [1, 5]);
  native().tokenLogprobBackward({
    logits: Tensor.from(row, [1, 5]),
    targets: Tensor.from(new Int32Array([2])),
    temperature: 1,
    dLogProbs: Tensor.from([1]),
    dEntropy: Tensor.from([1]),
    dLogits,
  });
  near(dLogits.data, softmaxRowGradient(row, 2, 1, 1), 1e-6);
  assert.is(dLogits.data[1], 0);
});
gradients.run();

const errors = suite('tokenLogProbs: errors');
const ok = Tensor.from(normals(12, 1), [3, 4]);
errors('a target outside the vocabulary names itself', () => {
  throwsError(
    () => tokenLogProbs(ok, new Int32Array([0, 4, 1])),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /targets\[1\] = 4 is outside the vocabulary \[0, 4\)/,
  );
  throwsError(
    () => tokenLogProbs(ok, new Int32Array([0, 1, -1])),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /targets\[2\] = -1/,
  );
});
errors('rows without a softmax are named', () => {
  for (const [bad, message] of [
    [Number.NaN, /row 1 holds a NaN or \+inf/],
    [Infinity, /row 1 holds a NaN or \+inf/],
  ] as const) {
    for (const dtype of FLOATS) {
      for (const vocab of [5, 8, 3000]) {
        const data = normals(3 * vocab, 2);
        data[2 * vocab - 1] = bad;
        const logits = Tensor.from(data, [3, vocab], { dtype });
        throwsError(() => tokenLogProbs(logits, new Int32Array(3)), PrlError, 'ERR_PRL_NON_FINITE', message);
      }
    }
  }
  const masked = Tensor.from(new Float32Array(24).fill(-Infinity), [2, 12]);
  throwsError(() => tokenLogProbs(masked, new Int32Array(2)), PrlError, 'ERR_PRL_NON_FINITE', /row 0 is all -inf/);
  const maskedNaN = new Float32Array(12).fill(-Infinity);
  maskedNaN[7] = Number.NaN;
  throwsError(
    () => tokenLogProbs(Tensor.from(maskedNaN, [1, 12]), new Int32Array(1)),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /row 0 holds a NaN/,
  );
});
errors('a NaN of any bits is seen, wherever it is', () => {
  for (const bits of [0x7fc00000, 0x7fc00001, 0x7f800001, 0x7fffffff, 0xffc12345, 0xffffffff]) {
    for (const at of [0, 5, 2049, 2999]) {
      const data = normals(3000, 2);
      new Uint32Array(data.buffer)[at] = bits;
      for (const fill of [undefined, -Infinity]) {
        if (fill !== undefined) for (let i = 0; i < 3000; i++) if (i !== at) data[i] = fill;
        throwsError(
          () => tokenLogProbs(Tensor.from(data, [1, 3000]), new Int32Array(1)),
          PrlError,
          'ERR_PRL_NON_FINITE',
          /row 0 holds a NaN/,
        );
      }
    }
  }
});
errors('wrong kinds, shapes and options', () => {
  throwsError(
    () => tokenLogProbs(Tensor.from(new Int32Array(4), [2, 2]), new Int32Array(2)),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /logits must be float32 or bfloat16 or float16, not int32/,
  );
  throwsError(
    () => tokenLogProbs(Tensor.zeros([4]), new Int32Array(4)),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /\[tokens, vocab\]/,
  );
  throwsError(
    () => tokenLogProbs(ok, new Int32Array(2)),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /targets must have 3 elements, not 2/,
  );
  throwsError(() => tokenLogProbs(ok, new Float32Array(3)), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /targets/);
  throwsError(
    () => tokenLogProbs(ok, new Int32Array(3), { temperature: 0 }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /temperature/,
  );
  throwsError(
    () => tokenLogProbs(ok, new Int32Array(3), { temprature: 1 } as object),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /Did you mean 'temperature'/,
  );
  throwsError(() => tokenLogProbs(null as never, new Int32Array(3)), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /logits/);
});
errors('disposed, detached and shared memory', () => {
  const gone = Tensor.zeros([1, 2]);
  gone.dispose();
  throwsError(() => tokenLogProbs(gone, new Int32Array(1)), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
  const data = new Float32Array(2);
  const detached = Tensor.from(data, [1, 2]);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  throwsError(() => tokenLogProbs(detached, new Int32Array(1)), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /detached/);
  throwsError(
    () => Tensor.from(new Float32Array(new SharedArrayBuffer(8)), [1, 2]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /Shared/,
  );
  const shared = { dtype: 'int32', device: 'cpu', shape: [1], data: new Int32Array(new SharedArrayBuffer(4)) };
  throwsError(
    () =>
      native().tokenLogprob({
        logits: Tensor.zeros([1, 2]),
        targets: shared,
        temperature: 1,
        logProbs: Tensor.zeros([1]),
      }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /Shared/,
  );
});
errors.run();
