// policyLossFromLogits row by row: vocabularies around the sizes at which a kernel changes its way, rows that begin
// anywhere. Some tokens' rows are not read, some are read once, and some are read for a gradient.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError, policyLossFromLogits, synchronize, Tensor } from '../../lib/index.js';
import type { DType } from '../../lib/kernels/tensor.js';
import { blank, DEVICE, fails, ON_GPU, place } from '../reference/device.js';
import { near, normals, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { softmaxRow, softmaxRowGradient } from '../reference/softmax.js';

const SIZE = { float32: 4, bfloat16: 2, float16: 2 } as const;

// The tokens of the batch: two sequences, and what becomes of each row.
const TOKENS = ['gradient', 'masked', 'clipped', 'gradient', 'no advantage'] as const;
const T = TOKENS.length;
const CU = [0, 3, T];
const ADVANTAGES = Float32Array.from([0.7, 1, 1.5, -0.9, 0]);
const MASK = TOKENS.map((kind) => (kind === 'masked' ? 0 : 1));
const ACTIVE = TOKENS.filter((kind) => kind !== 'masked').length;
const TEMPERATURE = 0.9;

/**
 * Logits of the five rows, NaN where none is to be read, and old log-probabilities that put the ratios where they
 * belong.
 */
async function makeRows(vocab: number, dtype: DType, seed: number) {
  const plain = normals(T * vocab, seed, 2);
  const rounded = (await Tensor.from(plain, [T, vocab], { dtype }).read()) as Float32Array;
  const targets = Int32Array.from({ length: T }, (_, t) => [0, 0, vocab - 1, vocab >> 1, Math.max(0, vocab - 2)][t]);
  const rows = TOKENS.map((_, t) => rounded.subarray(t * vocab, (t + 1) * vocab));
  const stats = rows.map((row, t) => softmaxRow(row, targets[t], TEMPERATURE));
  const ratios = TOKENS.map((kind) => (kind === 'clipped' ? 1.9 : 1.05));
  const oldLogProbs = Float32Array.from(stats, ({ logProb }, t) => logProb - Math.log(ratios[t]));
  const values = plain.map((x, at) => (MASK[Math.floor(at / vocab)] ? x : NaN));
  return { values, rows, targets, stats, oldLogProbs };
}
type Rows = Awaited<ReturnType<typeof makeRows>>;

/** d loss / d logits at token level, by the formulas. */
function gradientOf({ rows, targets, stats, oldLogProbs }: Rows, entropyCoef: number) {
  return TOKENS.map((kind, t) => {
    const ratio = Math.exp(stats[t].logProb - oldLogProbs[t]);
    const dLogProb = kind === 'gradient' ? (-ADVANTAGES[t] * ratio) / ACTIVE : 0;
    const dEntropy = kind === 'masked' ? 0 : -entropyCoef / ACTIVE;
    return softmaxRowGradient(rows[t], targets[t], dLogProb, dEntropy, TEMPERATURE);
  });
}

async function checkRows(logits: Tensor, made: Rows, dtype: 'float32' | 'bfloat16' | 'float16', what: string) {
  const vocab = logits.shape[1];
  const { targets, stats, oldLogProbs } = made;
  for (const entropyCoef of [0, 0.05]) {
    const args = { logits, targets, advantages: ADVANTAGES, cuSeqlens: CU, mask: MASK, oldLogProbs, entropyCoef };
    const out = policyLossFromLogits({ ...args, temperature: TEMPERATURE });
    const dLogits = await out.dLogits!.read();
    const name = `${what} V=${vocab} entropyCoef=${entropyCoef}`;
    // As in the test of tokenLogProbs: 64 roundings of the largest quantity.
    const tolerance = (x: number) => 64 * UNIT_ROUNDOFF.float32 * (1 + Math.abs(x) + Math.log(vocab));
    const [logProbs, entropy] = [await out.logProbs.read(), await out.entropy.read()];
    const expected = gradientOf(made, entropyCoef);
    for (let t = 0; t < T; t++) {
      const own = dLogits.subarray(t * vocab, (t + 1) * vocab);
      if (TOKENS[t] === 'masked') {
        assert.equal([logProbs[t], entropy[t]], [0, 0], name);
      } else {
        near([logProbs[t]], [stats[t].logProb], tolerance(stats[t].logProb), `logProbs ${name}`);
        near([entropy[t]], [stats[t].entropy], 4 * tolerance(stats[t].logProb), `entropy ${name}`);
      }
      if (TOKENS[t] === 'masked' || (TOKENS[t] !== 'gradient' && entropyCoef === 0))
        assert.ok(
          own.every((g) => g === 0),
          `row ${t} is exactly 0: ${name}`,
        );
      const relative = dtype === 'float32' ? 2e-5 : 1.01 * UNIT_ROUNDOFF[dtype];
      near(own, expected[t], 1e-6, `dLogits[${t}] ${name}`, relative);
    }
    assert.is(out.metrics.tokens, ACTIVE);
    near([out.metrics.clipRatioHigh], [1 / ACTIVE], 1e-12, name);
  }
}

const rows = suite('policyLossFromLogits: rows');
// Packs of 4 or 8 elements, groups of 1024 packs, more than a block keeps, more than a cluster of 8 keeps.
const VOCABS: Record<string, number[]> = {
  float32: [1, 2, 3, 4, 5, 9, 1023, 1024, 1028, 4095, 4096, 4097, 4101, 13001, 24007, 50021, 200003],
  bfloat16: [1, 7, 8, 9, 17, 2049, 8191, 8192, 8201, 23003, 50021],
  float16: [3, 16, 8193, 23003],
};
for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
  rows(
    `${dtype}: values and gradients agree with float64 at every width, also in place, and skip masked rows`,
    async () => {
      for (const [i, vocab] of VOCABS[dtype].entries()) {
        const made = await makeRows(vocab, dtype, i);
        const logits = place(made.values, [T, vocab], dtype);
        await checkRows(logits, made, dtype, dtype);
        const { targets, oldLogProbs } = made;
        const args = { logits, targets, advantages: ADVANTAGES, cuSeqlens: CU, mask: MASK, oldLogProbs };
        const apart = await policyLossFromLogits(args).dLogits!.read();
        const inPlace = policyLossFromLogits({ ...args, gradient: 'inplace' });
        assert.is(inPlace.dLogits, logits);
        assert.equal(await logits.read(), apart, `in place, V=${vocab}`);
      }
    },
  );
}

if (ON_GPU)
  rows('logits may begin anywhere, and the gradient must be aligned as they are', async () => {
    for (const dtype of ['float32', 'bfloat16'] as const)
      for (const by of [1, 3])
        for (const vocab of [5, 4096, 12345]) {
          const made = await makeRows(vocab, dtype, by);
          const memory = place(Float32Array.from([...new Float32Array(by), ...made.values]), undefined, dtype);
          const at = (tensor: Tensor) =>
            Tensor.fromDevicePointer(tensor.devicePointer + BigInt(by * SIZE[dtype]), [T, vocab], dtype);
          const logits = at(memory);
          // A new tensor begins on a boundary: only the same offset, or the logits themselves, will do.
          const args = { logits, targets: made.targets, advantages: ADVANTAGES, cuSeqlens: CU, mask: MASK };
          await fails(
            () => policyLossFromLogits(args),
            TypeError,
            'ERR_PRL_INVALID_ARGUMENT',
            /the gradient must lie as far from a 16-byte boundary as the logits/,
          );
          const room = blank([by + T * vocab], dtype);
          const gradient = at(room);
          const out = policyLossFromLogits({
            ...args,
            oldLogProbs: made.oldLogProbs,
            temperature: TEMPERATURE,
            gradient,
          });
          const dLogits = await out.dLogits!.read();
          const expected = gradientOf(made, 0);
          for (let t = 0; t < T; t++)
            near(
              dLogits.subarray(t * vocab, (t + 1) * vocab),
              expected[t],
              1e-6,
              `dLogits[${t}] V=${vocab} by ${by}`,
              dtype === 'float32' ? 2e-5 : 1.01 * UNIT_ROUNDOFF[dtype],
            );
          assert.ok(
            (await room.read()).subarray(0, by).every((x) => x === 0),
            'nothing is written in front of it',
          );
          await synchronize();
          // Until here: views do not keep their memory from being collected.
          for (const owner of [memory, room]) owner.dispose();
        }
  });

rows('-inf logits have gradient 0, also a whole group of them before the first finite one', async () => {
  for (const entropyCoef of [0, 0.1])
    for (const vocab of [40, 9000, 60001]) {
      const row = normals(vocab, 3);
      row.fill(-Infinity, 0, Math.floor(0.9 * vocab));
      const target = vocab - 1;
      const out = policyLossFromLogits({
        logits: place(row, [1, vocab]),
        targets: [target],
        advantages: Float32Array.of(1),
        cuSeqlens: [0, 1],
        entropyCoef,
      });
      const stats = softmaxRow(row, target);
      near([(await out.logProbs.read())[0]], [stats.logProb], 1e-5);
      near(await out.dLogits!.read(), softmaxRowGradient(row, target, -1, -entropyCoef), 1e-6, 'dLogits', 1e-5);
    }
});

const NON_FINITE = [PrlError, 'ERR_PRL_NON_FINITE'] as const;
rows('the first bad row of a wide vocabulary is named', async () => {
  const vocab = 50021;
  const made = await makeRows(vocab, 'bfloat16', 1);
  const args = {
    targets: made.targets,
    advantages: ADVANTAGES,
    cuSeqlens: CU,
    oldLogProbs: made.oldLogProbs,
    mask: MASK,
  };
  for (const [at, value, kind] of [
    [3 * vocab + 45000, NaN, /logits row 3 holds a NaN/],
    [2 * vocab, Infinity, /logits row 2 holds a NaN or \+inf/],
    [5 * vocab - 1, NaN, /logits row 4/],
  ] as const) {
    const spoiled = made.values.slice();
    spoiled[at] = value;
    spoiled[5 * vocab - 3] = NaN;
    const logits = place(spoiled, [T, vocab], 'bfloat16');
    for (const gradient of ['inplace', false] as const)
      await fails(
        () => policyLossFromLogits({ ...args, logits, gradient: gradient && blank([T, vocab], 'bfloat16') }),
        ...NON_FINITE,
        kind,
      );
  }
});

rows('a failed call reports once: at its loss, else at the next read or synchronize', async () => {
  const args = { targets: [0, 1], advantages: Float32Array.of(1), cuSeqlens: [0, 2] };
  const call = () => policyLossFromLogits({ ...args, logits: place([0, NaN, 0, 0], [2, 2]) });
  const said = /logits row 0 holds a NaN/;
  if (!ON_GPU) return fails(call, ...NON_FINITE, said);
  const out = call();
  for (let i = 0; i < 2; i++) await fails(() => out.loss, ...NON_FINITE, said);
  await fails(() => out.metrics, ...NON_FINITE, said);
  call();
  await fails(() => place([1]).read(), ...NON_FINITE, said);
  call();
  await fails(synchronize, ...NON_FINITE, said);
  const good = policyLossFromLogits({ ...args, logits: place([0, 0, 0, 0], [2, 2]) });
  near([good.loss], [-1], 1e-12);
  assert.is(good.metrics, good.metrics);
});

rows('tensors and arrays mix, and tensors on two devices are refused', async () => {
  const args = { targets: place([0, 1], undefined, 'int32'), advantages: place([1, 2]), cuSeqlens: [0, 1, 2] };
  const out = policyLossFromLogits({ ...args, logits: place([0, 1, 2, 3], [2, 2]) });
  for (const tensor of [out.dLogits!, out.logProbs, out.entropy]) assert.is(tensor.device, DEVICE);
  assert.ok(Number.isFinite(out.loss));
  if (!ON_GPU) return;
  await fails(
    () => policyLossFromLogits({ logits: Tensor.from([0, 1, 2, 3], [2, 2]), ...args }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /logits is on 'cpu' but targets is on 'cuda'/,
  );
});
rows.run();
