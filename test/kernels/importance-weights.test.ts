import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ImportanceWeightsArgs, importanceWeights, PrlError, policyLoss, setThreads } from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import { fails, ON_GPU, place } from '../reference/device.js';
import { near, normals, random, UNIT_ROUNDOFF } from '../reference/numbers.js';

const LENGTHS = [5, 0, 1, 9, 700, 3];
const B = LENGTHS.length;
const CU = Int32Array.from([0, ...LENGTHS.map((_, i) => LENGTHS.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
const T = CU[B];
const MODES = ['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask'] as const;

function makeInputs(seed: number, scale: number) {
  const rolloutLogProbs = normals(T, seed).map((x) => -Math.abs(x));
  const difference = normals(T, seed + 1, scale);
  const next = random(seed);
  return {
    rolloutLogProbs,
    oldLogProbs: rolloutLogProbs.map((x, t) => x + difference[t]),
    cuSeqlens: CU,
    mask: Int32Array.from({ length: T }, () => (next() < 0.8 ? 1 : 0)),
  };
}

/** The first input on the device of the tests takes the call there. */
const run = (args: ImportanceWeightsArgs) =>
  importanceWeights(ON_GPU ? { ...args, oldLogProbs: place(args.oldLogProbs as Float32Array) } : args).read();

function reference(args: ReturnType<typeof makeInputs>, mode: string, clipMin: number, clipMax: number): number[] {
  const { oldLogProbs: old, rolloutLogProbs: rollout, mask } = args;
  return Array.from({ length: T }, (_, t) => {
    if (mask[t] === 0) return 1;
    const i = LENGTHS.findIndex((_, s) => t < CU[s + 1]);
    let log = 0;
    for (let s = CU[i]; s < CU[i + 1]; s++)
      if (mask[s] !== 0 && (mode.startsWith('sequence') || s === t)) log += old[s] - rollout[s];
    const ratio = Math.exp(log);
    if (mode.endsWith('mask')) return ratio < clipMin || ratio > clipMax ? 0 : ratio;
    return Math.min(Math.max(ratio, clipMin), clipMax);
  });
}

const tests = suite('importanceWeights');
tests('importanceWeights agrees with the formula in every mode, with and without bounds', async () => {
  for (const mode of MODES)
    for (const [clipMin, clipMax] of [
      [0, 3],
      [0.5, 2],
      [0.999, 1.001],
      [0, Infinity],
    ])
      for (const scale of [0.001, 0.2]) {
        const inputs = makeInputs(3, scale);
        const out = await run({ ...inputs, mode, clipMin, clipMax });
        // A sum of T differences in double, then one rounding.
        const expected = reference(inputs, mode, clipMin, clipMax);
        near(out, expected, 0, `${mode} ${clipMin} ${clipMax} ${scale}`, 1.01 * UNIT_ROUNDOFF.float32);
      }
});
tests('the defaults are those of TRL: sequence_mask, at most 3', async () => {
  const inputs = makeInputs(4, 0.2);
  assert.equal(await run(inputs), await run({ ...inputs, mode: 'sequence_mask', clipMin: 0, clipMax: 3 }));
});
tests('ratios equal to a bound are kept, and equal log-probabilities give exactly 1', async () => {
  const oldLogProbs = Float32Array.of(Math.log(2), -1);
  const [ratio] = await run({
    ...{ oldLogProbs, rolloutLogProbs: new Float32Array(2), cuSeqlens: [0, 2] },
    ...{ mode: 'token_truncate', clipMax: Infinity },
  });
  const mask = (clipMin: number, clipMax: number) =>
    run({ oldLogProbs: [-1, 0], rolloutLogProbs: [-1, -1], cuSeqlens: [0, 2], mode: 'token_mask', clipMin, clipMax });
  assert.equal([...(await mask(1, 2))], [1, 0]);
  assert.equal([...(await mask(0, 1))], [1, 0]);
  near([ratio], [2], 1e-6);
});
tests('importanceWeights gives the same bits for any number of threads', async () => {
  const { threads } = nativeInfo();
  for (const mode of MODES) {
    const inputs = makeInputs(5, 0.1);
    const runs = [];
    for (const n of [1, 2, 5]) {
      setThreads(n);
      runs.push(await run({ ...inputs, mode }));
    }
    setThreads(threads);
    for (const out of runs) assert.equal(out, runs[0]);
  }
});
tests('masked tokens get 1 whatever they hold', async () => {
  for (const mode of MODES) {
    const inputs = makeInputs(6, 0.1);
    const spoil = (x: Float32Array) => x.map((v, t) => (inputs.mask[t] === 0 ? NaN : v));
    const { oldLogProbs, rolloutLogProbs } = inputs;
    const out = await run({
      ...inputs,
      mode,
      oldLogProbs: spoil(oldLogProbs),
      rolloutLogProbs: spoil(rolloutLogProbs),
    });
    assert.equal(out, await run({ ...inputs, mode }));
    inputs.mask.forEach((m, t) => {
      if (m === 0) assert.is(out[t], 1);
    });
  }
});
tests('the weights scale the gradient of policyLoss token by token', async () => {
  const inputs = makeInputs(7, 0.1);
  const { oldLogProbs, cuSeqlens, mask } = inputs;
  const weights = await run({ ...inputs, mode: 'token_truncate' });
  const args = { oldLogProbs, cuSeqlens, mask, advantages: normals(B, 8) };
  const logProbs = () => (ON_GPU ? place(oldLogProbs) : oldLogProbs);
  const plain = await policyLoss({ ...args, logProbs: logProbs() }).dLogProbs.read();
  const corrected = await policyLoss({
    ...args,
    logProbs: logProbs(),
    importanceWeights: weights as Float32Array,
  }).dLogProbs.read();
  near(
    corrected,
    Array.from(plain, (g, t) => g * weights[t]),
    0,
    'gradient',
    2.02 * UNIT_ROUNDOFF.float32,
  );
});
tests('inputs that are not finite, overflow and wrong options are refused by name', async () => {
  const inputs = makeInputs(8, 0.1);
  inputs.mask[8] = 1;
  const withAt = (x: Float32Array, value: number) => x.map((v, t) => (t === 8 ? value : v));
  for (const mode of MODES)
    for (const name of ['oldLogProbs', 'rolloutLogProbs'] as const)
      for (const value of [NaN, Infinity, -Infinity])
        await fails(
          () => run({ ...inputs, mode, [name]: withAt(inputs[name], value) }),
          PrlError,
          'ERR_PRL_NON_FINITE',
          new RegExp(`${name}\\[8\\] is -?(nan|inf)`),
        );
  await fails(
    () => run({ ...inputs, mode: 'token_truncate', clipMax: Infinity, oldLogProbs: withAt(inputs.oldLogProbs, 90) }),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /importanceWeights\[8\] is inf/,
  );
  const bad = (change: object, message: RegExp) =>
    fails(() => run({ ...inputs, ...change }), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  await bad({ mode: 'token' }, /mode must be one of .*Did you mean/);
  await bad({ clipMin: -1 }, /clipMin must be at least 0/);
  await bad({ clipMin: 3 }, /clipMax must be above 3/);
  await bad({ rolloutLogProbs: [1] }, new RegExp(`rolloutLogProbs must have ${T}`));
  await bad({ cuSeqlens: [0, 1] }, ON_GPU ? /cuSeqlens must rise/ : /cuSeqlens must end at/);
  await fails(() => run({ ...inputs, cap: 2 } as never), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /has no option 'cap'/);
});
tests.run();
