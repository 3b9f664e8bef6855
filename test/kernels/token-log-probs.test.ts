import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError, setThreads, Tensor, type TokenLogProbs, tokenLogProbs } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import type { DType } from '../../lib/kernels/tensor.js';
import { blank, fails, place } from '../reference/device.js';
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
  const logits = place(
    normals(rows * vocab, seed, scale).map((x) => x + offset),
    [rows, vocab],
    dtype,
  );
  const next = random(seed + 1);
  const targets = Int32Array.from({ length: rows }, () => Math.floor(next() * vocab));
  return { logits, values: (await logits.read()) as Float32Array, targets };
}

async function readAll({ logProbs, entropy, logSumExp }: TokenLogProbs) {
  return { logProbs: await logProbs.read(), entropy: await entropy.read(), logSumExp: await logSumExp.read() };
}

const values = suite('tokenLogProbs: values');
for (const dtype of FLOATS) {
  for (const { name, scale, offset, temperature } of SHAPES) {
    values(`${dtype}, ${name}: log-probabilities, entropies and log-sum-exps agree with float64`, async () => {
      for (const vocab of VOCABS) {
        const rows = 5;
        const { logits, values, targets } = await makeCase(rows, vocab, dtype, scale, offset, vocab);
        const out = await readAll(tokenLogProbs(logits, targets, { temperature }));
        for (let r = 0; r < rows; r++) {
          const ref = softmaxRow(values.subarray(r * vocab, (r + 1) * vocab), targets[r], temperature);
          // The subtraction of the maximum is exact or rounds once relative to the spread of the row; exp is good to 2
          // ulp; partial sums hold 2048 / lanes <= 512 terms. 64 roundings of the largest quantity cover it with room
          // to spare.
          const spread = 1 + Math.abs(ref.logProb) + Math.log(vocab);
          const tolerance = 64 * UNIT_ROUNDOFF.float32 * spread;
          near([out.logProbs[r]], [ref.logProb], tolerance, `logProb V=${vocab}`);
          near([out.entropy[r]], [ref.entropy], tolerance * 4, `entropy V=${vocab}`);
          near(
            [out.logSumExp[r]],
            [ref.logSumExp],
            tolerance + 2 * UNIT_ROUNDOFF.float32 * Math.abs(ref.logSumExp),
            `lse V=${vocab}`,
          );
        }
      }
    });
  }
}

values('-inf logits have probability 0 and leave the entropy to the others', async () => {
  const row = new Float32Array(40).fill(-Infinity);
  row[3] = 1;
  row[37] = 1;
  const out = await readAll(tokenLogProbs(place([...row, ...row], [2, 40]), new Int32Array([3, 5])));
  near(out.logProbs, [-Math.log(2), -Infinity], 1e-7);
  near(out.entropy, [Math.log(2), Math.log(2)], 1e-6);
});

for (const dtype of FLOATS) {
  values(`${dtype}: top1 is 1 for the targets that no logit of their row is above`, async () => {
    for (const vocab of VOCABS) {
      const rows = 6;
      const { logits, values, targets } = await makeCase(rows, vocab, dtype, 3, -2, 7 * vocab);
      const row = (r: number) => values.subarray(r * vocab, (r + 1) * vocab);
      const largest = (r: number) => row(r).reduce((best, x, i, all) => (x > all[best] ? i : best), 0);
      // Half of them are the largest; the others are as they were drawn.
      for (let r = 0; r < rows; r += 2) targets[r] = largest(r);
      const { top1 } = tokenLogProbs(logits, targets, { temperature: 0.7, top1: true });
      const expected = Array.from(targets, (target, r) => Number(row(r)[target] === row(r)[largest(r)]));
      assert.equal([...(await top1!.read())], expected, `V=${vocab}`);
    }
    assert.is(tokenLogProbs(place([1, 2], [1, 2]), Int32Array.of(0)).top1, undefined);
  });
}

values('a block of -inf before the first finite logit changes no value', async () => {
  const vocab = 5000;
  const row = normals(vocab, 3);
  row.fill(-Infinity, 0, 4100);
  const out = await readAll(tokenLogProbs(place(row, [1, vocab]), new Int32Array([4500])));
  const ref = softmaxRow(row, 4500);
  near([out.logProbs[0], out.entropy[0]], [ref.logProb, ref.entropy], 1e-5);
});

values('an empty batch gives empty results', () => {
  const out = tokenLogProbs(blank([0, 12]), new Int32Array(0));
  assert.is(out.logProbs.size, 0);
});

values('tokenLogProbs gives the same bits for any number of threads', async () => {
  const { threads } = nativeInfo();
  const { logits, targets } = await makeCase(67, 5000, 'float32', 3, 0, 9);
  const runs: number[][] = [];
  for (const n of [1, 2, 3, 8]) {
    setThreads(n);
    const out = await readAll(tokenLogProbs(logits, targets));
    runs.push([...out.logProbs, ...out.entropy, ...out.logSumExp]);
  }
  setThreads(threads);
  for (const run of runs) assert.equal(run, runs[0]);
});
values.run();

const gradients = suite('tokenLogProbs: gradients');
for (const dtype of FLOATS) {
  gradients(`${dtype}: the gradient agrees with float64, into a new tensor and in place`, async () => {
    for (const vocab of VOCABS) {
      const rows = 4;
      const temperature = 0.8;
      const { logits, values, targets } = await makeCase(rows, vocab, dtype, 2, 0, 100 + vocab);
      const dLogProbs = new Float32Array([0.5, -1.25, 0, 2]);
      const dEntropy = new Float32Array([0, 0.3, 0, -0.7]);
      const dLogits = blank([rows, vocab], dtype);
      const args = {
        logits,
        targets: place(targets),
        temperature,
        dLogProbs: place(dLogProbs),
        dEntropy: place(dEntropy),
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
      assert.equal(await logits.read(), got, 'in place gives the same bits');
    }
  });
}

gradients('in-place gradients of very wide rows agree with float64, and masked rows are not read', async () => {
  for (const { vocab, dtype } of [
    { vocab: 33_001, dtype: 'float32' },
    { vocab: 40_003, dtype: 'bfloat16' },
    { vocab: 151_936, dtype: 'bfloat16' },
    { vocab: 170_001, dtype: 'float32' },
  ] as const) {
    const rows = 3;
    const { logits, values, targets } = await makeCase(rows, vocab, dtype, 2, 0, vocab);
    const raw = dtype === 'float32' ? values.slice() : values;
    raw.fill(Number.NaN, vocab, 2 * vocab);
    const holed = place(raw, [rows, vocab], dtype);
    targets[1] = -100;
    const dLogProbs = new Float32Array([0.5, 7, -2]);
    native().tokenLogprobBackward({
      logits: holed,
      targets: place(targets),
      mask: place(new Int32Array([1, 0, 1])),
      temperature: 1.1,
      dLogProbs: place(dLogProbs),
      dEntropy: place(new Float32Array([0, 1, 0.25])),
      dLogits: holed,
    });
    const got = await holed.read();
    for (const r of [0, 2]) {
      const row = values.subarray(r * vocab, (r + 1) * vocab);
      const ref = softmaxRowGradient(row, targets[r], dLogProbs[r], r === 2 ? 0.25 : 0, 1.1);
      const relative = dtype === 'float32' ? 1e-5 : 1.01 * UNIT_ROUNDOFF[dtype];
      near(got.subarray(r * vocab, (r + 1) * vocab), ref, 1e-7, `dLogits V=${vocab} row ${r}`, relative);
    }
    assert.ok(got.subarray(vocab, 2 * vocab).every((x) => x === 0));
    logits.dispose();
    holed.dispose();
  }
});

gradients('the gradient agrees with finite differences', async () => {
  const vocab = 11;
  const row = normals(vocab, 4);
  const objective = (x: Float64Array) => {
    const ref = softmaxRow(x, 6, 1.3);
    return 0.7 * ref.logProb - 0.4 * ref.entropy;
  };
  const dLogits = blank([1, vocab]);
  native().tokenLogprobBackward({
    logits: place(row, [1, vocab]),
    targets: place(new Int32Array([6])),
    temperature: 1.3,
    dLogProbs: place([0.7]),
    dEntropy: place([-0.4]),
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
  near(await dLogits.read(), numeric, 1e-6);
});

gradients('-inf logits get gradient 0', async () => {
  const row = new Float32Array([0, -Infinity, 1, -Infinity, 2]);
  const dLogits = place(new Float32Array(5).fill(9), [1, 5]);
  native().tokenLogprobBackward({
    logits: place(row, [1, 5]),
    targets: place(new Int32Array([2])),
    temperature: 1,
    dLogProbs: place([1]),
    dEntropy: place([1]),
    dLogits,
  });
  const got = await dLogits.read();
  near(got, softmaxRowGradient(row, 2, 1, 1), 1e-6);
  assert.is(got[1], 0);
});
gradients.run();

const errors = suite('tokenLogProbs: errors');
const ok = place(normals(12, 1), [3, 4]);
errors('a target outside the vocabulary is named with its position', async () => {
  await fails(
    () => tokenLogProbs(ok, new Int32Array([0, 4, 1])),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /targets\[1\] = 4 is outside the vocabulary \[0, 4\)/,
  );
  await fails(
    () => tokenLogProbs(ok, new Int32Array([0, 1, -1])),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /targets\[2\] = -1/,
  );
});
errors('a row with NaN, +inf or only -inf is ERR_PRL_NON_FINITE and named', async () => {
  for (const [bad, message] of [
    [Number.NaN, /row 1 holds a NaN or \+inf/],
    [Infinity, /row 1 holds a NaN or \+inf/],
  ] as const) {
    for (const dtype of FLOATS) {
      for (const vocab of [5, 8, 3000]) {
        const data = normals(3 * vocab, 2);
        data[2 * vocab - 1] = bad;
        const logits = place(data, [3, vocab], dtype);
        await fails(() => tokenLogProbs(logits, new Int32Array(3)), PrlError, 'ERR_PRL_NON_FINITE', message);
      }
    }
  }
  const masked = place(new Float32Array(24).fill(-Infinity), [2, 12]);
  await fails(() => tokenLogProbs(masked, new Int32Array(2)), PrlError, 'ERR_PRL_NON_FINITE', /row 0 is all -inf/);
  const maskedNaN = new Float32Array(12).fill(-Infinity);
  maskedNaN[7] = Number.NaN;
  await fails(
    () => tokenLogProbs(place(maskedNaN, [1, 12]), new Int32Array(1)),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /row 0 holds a NaN/,
  );
});
errors('a NaN of any bits is found, wherever it is', async () => {
  for (const bits of [0x7fc00000, 0x7fc00001, 0x7f800001, 0x7fffffff, 0xffc12345, 0xffffffff]) {
    for (const at of [0, 5, 2049, 2999]) {
      const data = normals(3000, 2);
      new Uint32Array(data.buffer)[at] = bits;
      for (const fill of [undefined, -Infinity]) {
        if (fill !== undefined) for (let i = 0; i < 3000; i++) if (i !== at) data[i] = fill;
        await fails(
          () => tokenLogProbs(place(data, [1, 3000]), new Int32Array(1)),
          PrlError,
          'ERR_PRL_NON_FINITE',
          /row 0 holds a NaN/,
        );
      }
    }
  }
});
errors('wrong dtypes, shapes and options are refused by name', () => {
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
errors('disposed, detached and shared memory is refused', () => {
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
