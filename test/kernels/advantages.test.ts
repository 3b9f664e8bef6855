import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type FrpoAdvantagesArgs,
  frpoAdvantages,
  groupAdvantages,
  outcomeConditionedCenter,
  type PrlAdvantagesArgs,
  PrlError,
  prlAdvantages,
  setThreads,
  splitSteps,
} from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import { frpoReference, groupAdvantagesReference, prlReference } from '../reference/advantages.js';
import { DEVICE, fails, ON_GPU, place } from '../reference/device.js';
import { near, normals, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';

const ROUNDOFF = UNIT_ROUNDOFF.float32;

/** The first input of a call: on the GPU a tensor, which takes the call there; on the CPU the plain array. */
const here = (data: ArrayLike<number>) => (ON_GPU ? place(data) : data);
const grouped = async (rewards: ArrayLike<number>, ...rest: Rest<typeof groupAdvantages>) =>
  groupAdvantages(here(rewards), ...rest).read();
const centered = async (scores: ArrayLike<number>, ...rest: Rest<typeof outcomeConditionedCenter>) =>
  outcomeConditionedCenter(here(scores), ...rest).read();
const prl = async (args: Arrays<PrlAdvantagesArgs>) =>
  prlAdvantages({ ...args, oldLogProbs: here(args.oldLogProbs) }).read();
const frpo = async (args: Arrays<FrpoAdvantagesArgs>) =>
  frpoAdvantages({ ...args, oldLogProbs: here(args.oldLogProbs) }).read();
type Rest<F extends (...args: never[]) => unknown> = Parameters<F> extends [unknown, ...infer R] ? R : never;
type Arrays<A> = A & { oldLogProbs: ArrayLike<number> };

const groups = suite('groupAdvantages');
groups('groupAdvantages agrees with the formulas for every kind, deviation, scale and singleton', async () => {
  const rewards = normals(23, 1);
  const next = random(2);
  const ids = Int32Array.from({ length: 23 }, (_, i) => (i === 7 ? 99 : Math.floor(next() * 4) - 2));
  let cases = 0;
  for (const kind of ['grpo', 'dr_grpo', 'rloo'] as const)
    for (const std of ['sample', 'population', 'none'] as const)
      for (const scale of ['group', 'batch'] as const)
        for (const singleton of ['zero', 'raw'] as const)
          for (const epsilon of [0, 1e-4, 0.5]) {
            const options = { kind, std, scale, singleton, epsilon };
            const out = await grouped(rewards, ids, options);
            near(out, groupAdvantagesReference(rewards, ids, options), 1e-12, JSON.stringify(options), 1.01 * ROUNDOFF);
            cases++;
          }
  assert.is(cases, 108);
});
groups('equal rewards give exactly 0, whatever their value and number', async () => {
  const next = random(3);
  for (let n = 2; n <= 33; n++) {
    for (let round = 0; round < (ON_GPU ? 2 : 20); round++) {
      const rewards = new Float32Array(n).fill(next());
      for (const options of [
        { epsilon: 1e-6 },
        { epsilon: 0 },
        { kind: 'rloo' },
        { scale: 'batch', epsilon: 0 },
      ] as const) {
        const out = await grouped(rewards, new Int32Array(n), options);
        assert.ok(
          out.every((a) => a === 0),
          `${n} rewards of ${rewards[0]}: ${out}`,
        );
      }
    }
  }
});
groups('advantages of a group sum to 0 up to their rounding', async () => {
  for (const kind of ['grpo', 'dr_grpo', 'rloo'] as const) {
    for (let seed = 0; seed < 20; seed++) {
      const n = 2 + seed;
      const out = [...(await grouped(normals(n, seed), new Int32Array(n), { kind }))];
      // The double sum of deviations is within n roundings of 0; then each advantage is rounded to float32 once.
      const size = out.reduce((sum, a) => sum + Math.abs(a), 0);
      near([out.reduce((sum, a) => sum + a, 0)], [0], 1.01 * ROUNDOFF * size, `${kind} of ${n}`);
    }
  }
});
groups('an advantage depends on its group alone, not on order or on names of groups', async () => {
  const rewards = normals(12, 5);
  const ids = Int32Array.from({ length: 12 }, (_, i) => i % 3);
  const together = await grouped(rewards, ids);
  const order = [...rewards.keys()].sort((a, b) => ids[a] - ids[b]);
  const sorted = await grouped(
    Float32Array.from(order, (i) => rewards[i]),
    order.map((i) => 1000 - 7 * ids[i]),
  );
  assert.equal(
    [...sorted],
    order.map((i) => together[i]),
  );
});
groups('groupAdvantages agrees with the formulas beyond the threads of a block, for any group ids', async () => {
  const rewards = normals(1000, 8);
  const next = random(9);
  const ids = Int32Array.from({ length: 1000 }, () => (Math.floor(next() * 61) - 30) * 71582788);
  for (const options of [{}, { scale: 'batch', std: 'population' }, { kind: 'rloo' }] as const) {
    const out = await grouped(rewards, ids, options);
    // A thousand terms in double, in another order than the reference's.
    near(out, groupAdvantagesReference(rewards, ids, options), 1e-11, JSON.stringify(options), 1.01 * ROUNDOFF);
    assert.equal(await grouped(rewards, ids, options), out, 'the same at each run');
  }
});
groups('tensors are read on their own device, and the result is there too', async () => {
  const [rewards, ids] = [Float32Array.of(1, 0, 1, 1), Int32Array.of(5, 5, -7, -7)];
  const out = groupAdvantages(place(rewards), place(ids));
  assert.is(out.device, DEVICE);
  assert.equal(await out.read(), await grouped(rewards, ids));
  const kept = outcomeConditionedCenter(place(rewards), place(Int32Array.of(1, 0, 0, 0)), place(ids));
  assert.equal([...(await kept.read())], [1, 0, 0, 0]);
});
groups('groupAdvantages refuses NaN, wrong lengths, wrong kinds and unknown options', async () => {
  // Lengths that no array stands behind: nothing is allocated for them, and nothing counted through.
  const endless = new Array(2 ** 32 - 1);
  throwsError(
    () => outcomeConditionedCenter(here([1]), endless, [0]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /correct\[0\] must be true, false or an integer/,
  );
  throwsError(
    () => splitSteps(endless, { kind: 'length', length: 1 }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /responses\[0\] must be an array/,
  );
  throwsError(
    () => splitSteps([endless], { kind: 'length', length: 1 }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /responses\[0\]\[0\] must be a token id or the text of a token, not undefined/,
  );
  await fails(() => groupAdvantages(here([1, NaN]), [0, 0]), PrlError, 'ERR_PRL_NON_FINITE', /rewards\[1\] is nan/);
  throwsError(
    () => groupAdvantages(here([1, 2]), [0]),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /groupIds must have 2 elements/,
  );
  throwsError(() => groupAdvantages(here([1, 2]), [0, 0.5]), RangeError, 'ERR_PRL_OUT_OF_RANGE', /groupIds\[1\] = 0.5/);
  throwsError(
    () => groupAdvantages([1], [0], { kind: 'grp' } as never),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /Did you mean 'grpo'/,
  );
  throwsError(
    () => groupAdvantages([1], [0], { sdt: 'none' } as never),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /Did you mean 'std'/,
  );
  throwsError(() => groupAdvantages([1], [0], { epsilon: -1 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /epsilon/);
  throwsError(
    () => groupAdvantages(place(new Int32Array(1)), [0]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /rewards must be float32/,
  );
  assert.is((await grouped([], [])).length, 0);
});
groups.run();

const centers = suite('outcomeConditionedCenter');
centers('incorrect responses lose their mean, correct ones keep their scores', async () => {
  const scores = [0.5, 0.25, 1, 0.75, 0.3, 0.9];
  const correct = [false, false, true, true, false, true];
  const ids = [1, 1, 1, 1, 2, 2];
  near(await centered(scores, correct, ids), [0.125, -0.125, 1, 0.75, 0, 0.9], 1e-7);
  near(await centered(scores, correct, ids, { center: 'both' }), [0.125, -0.125, 0.125, -0.125, 0, 0], 1e-7);
});
centers('equal scores of incorrect responses give exactly 0', async () => {
  const out = await centered(new Float32Array(7).fill(0.1), new Int32Array(7), new Int32Array(7));
  assert.ok(out.every((x) => x === 0));
});
centers('outcomeConditionedCenter refuses NaN and wrong lengths', async () => {
  const nan = Float32Array.of(0, 1, NaN);
  await fails(
    () => outcomeConditionedCenter(here(nan), [0, 1, 1], [0, 0, 0]),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /scores\[2\] is nan/,
  );
  throwsError(
    () => outcomeConditionedCenter(here([1, 2]), [true], [0, 0]),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /correct must have 2 elements/,
  );
});
centers.run();

// --- PRL and FRPO
// -----------------------------------------------------------------------------------------------------

const LENGTHS = [5, 0, 1, 17, 3];
const CU = Int32Array.from([0, 5, 5, 6, 23, 26]);
const T = 26;
const RESPONSES = LENGTHS.map((n) => new Int32Array(n));
const inputs = (seed: number) => {
  const refLogProbs = normals(T, seed);
  return {
    outcomeAdvantages: normals(LENGTHS.length, seed + 1),
    refLogProbs,
    oldLogProbs: normals(T, seed + 2, 0.4).map((x, t) => refLogProbs[t] + x),
    cuSeqlens: CU,
  };
};

const steps = suite('prlAdvantages and frpoAdvantages');
steps('PRL equals the formula for steps of every length, inclusive and exclusive', async () => {
  for (const length of [1, 2, 3, 5, 16, 100]) {
    const cuSteps = splitSteps(RESPONSES, { kind: 'length', length });
    for (const suffix of ['inclusive', 'exclusive'] as const) {
      const args = inputs(length);
      const out = await prl({ ...args, cuSteps, eta: 0.7, suffix });
      const { outcomeAdvantages, oldLogProbs, refLogProbs } = args;
      const expected = prlReference(outcomeAdvantages, oldLogProbs, refLogProbs, CU, cuSteps, 0.7, suffix);
      near(out, expected, 1e-12, `${suffix} ${length}`, 1.01 * ROUNDOFF);
    }
  }
});
steps('FRPO equals the formula for every generator, with and without baseline', async () => {
  for (const estimator of ['k1', 'k3'] as const)
    for (const direction of ['reverse', 'forward'] as const)
      for (const baseline of estimator === 'k3' ? [false, true] : [false]) {
        const args = inputs(11);
        const { outcomeAdvantages, oldLogProbs, refLogProbs } = args;
        const options = { estimator, direction, baseline };
        const out = await frpo({ ...args, beta: 0.3, ...options });
        const expected = frpoReference(outcomeAdvantages, oldLogProbs, refLogProbs, CU, 0.3, options);
        near(out, expected, 1e-12, JSON.stringify(options), 1.01 * ROUNDOFF);
      }
});
steps('PRL and FRPO agree with the formulas around and beyond the 256 tokens of a block', async () => {
  const lengths = [255, 0, 256, 257, 513, 1030];
  const cuSeqlens = Int32Array.from([0, 255, 255, 511, 768, 1281, 2311]);
  const next = random(41);
  const refLogProbs = normals(2311, 42);
  const args = {
    outcomeAdvantages: normals(lengths.length, 43),
    refLogProbs,
    oldLogProbs: normals(2311, 44, 0.4).map((x, t) => refLogProbs[t] + x),
    cuSeqlens,
  };
  const { outcomeAdvantages, oldLogProbs } = args;
  const responses = lengths.map((n) => new Int32Array(n));
  const irregular = Array.from({ length: 60 }, () => Math.floor(next() * 2311));
  const splits = [1, 7, 100, 256, 300, 5000].map((length) => splitSteps(responses, { kind: 'length', length }));
  splits.push(Int32Array.from([...cuSeqlens, ...irregular]).sort());
  for (const [k, cuSteps] of splits.entries())
    for (const suffix of ['inclusive', 'exclusive'] as const) {
      const out = await prl({ ...args, cuSteps, eta: 3, suffix });
      const expected = prlReference(outcomeAdvantages, oldLogProbs, refLogProbs, cuSeqlens, cuSteps, 3, suffix);
      near(out, expected, 1e-11, `split ${k}, ${suffix}`, 1.01 * ROUNDOFF);
    }
  const out = await frpo({ ...args, beta: 0.3, estimator: 'k3', baseline: true });
  const options = { estimator: 'k3', baseline: true } as const;
  const expected = frpoReference(outcomeAdvantages, oldLogProbs, refLogProbs, cuSeqlens, 0.3, options);
  near(out, expected, 1e-10, 'FRPO', 1.01 * ROUNDOFF);
  assert.equal(await frpo({ ...args, beta: 0.3, ...options }), out, 'the same at each run');
});
steps('PRL with steps of one token is FRPO with beta = 1 / eta and k1, bit for bit', async () => {
  const args = inputs(21);
  for (const eta of [1, 64, 200]) {
    const cuSteps = splitSteps(RESPONSES, { kind: 'length', length: 1 });
    assert.equal(await prl({ ...args, cuSteps, eta }), await frpo({ ...args, beta: 1 / eta }));
  }
});
steps('a step end of exactly 0 is a value like any other', async () => {
  const out = await prl({
    outcomeAdvantages: [0],
    oldLogProbs: [-1, -2, -1, -3],
    refLogProbs: [-1, -2.5, -1.5, -2.5],
    cuSeqlens: [0, 4],
    cuSteps: [0, 1, 3, 4],
    eta: 1,
  });
  assert.equal([...out], [-0.5, 0, 0, 0.5]);
});
steps('packed sequences get the same bits as each one alone, for 1, 2, 3 and 8 threads', async () => {
  const many = 1500; // several tasks
  const lengths = Array.from({ length: many }, (_, i) => (i * 7) % 41);
  const cuSeqlens = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))]);
  const total = cuSeqlens[many];
  const args = { outcomeAdvantages: normals(many, 1), oldLogProbs: normals(total, 2), refLogProbs: normals(total, 3) };
  const cuSteps = splitSteps(
    lengths.map((n) => new Int32Array(n)),
    { kind: 'length', length: 4 },
  );
  const { threads } = nativeInfo();
  const runs: ArrayLike<number>[] = [];
  for (const n of [1, 2, 3, 8]) {
    setThreads(n);
    runs.push(await prl({ ...args, cuSeqlens, cuSteps, eta: 2 }));
  }
  setThreads(threads);
  for (const run of runs) assert.equal(run, runs[0]);
  for (let i = 0; i < many; i += ON_GPU ? 101 : 7) {
    const [from, to] = [cuSeqlens[i], cuSeqlens[i + 1]];
    const alone = await prl({
      outcomeAdvantages: args.outcomeAdvantages.subarray(i, i + 1),
      oldLogProbs: args.oldLogProbs.subarray(from, to),
      refLogProbs: args.refLogProbs.subarray(from, to),
      cuSeqlens: [0, to - from],
      cuSteps: splitSteps([new Int32Array(to - from)], { kind: 'length', length: 4 }),
      eta: 2,
    });
    assert.equal([...alone], Array.prototype.slice.call(runs[0], from, to));
  }
});
steps('a step without tokens changes nothing', async () => {
  const args = { ...inputs(31), eta: 3 };
  const doubled = [0, 0, 5, 5, 5, 6, 10, 10, 23, T, T];
  assert.equal(await prl({ ...args, cuSteps: doubled }), await prl({ ...args, cuSteps: [...new Set(doubled)] }));
});
steps('the first input that is not finite is named, whatever the sums come to', async () => {
  const lengths = Array.from({ length: 400 }, () => 100);
  const cuSeqlens = Int32Array.from({ length: 401 }, (_, i) => 100 * i);
  const cuSteps = splitSteps(
    lengths.map((n) => new Int32Array(n)),
    { kind: 'length', length: 30 },
  );
  const failing = async (old: Record<number, number>, ref: Record<number, number>, message: RegExp) => {
    const args = {
      outcomeAdvantages: new Float32Array(400),
      oldLogProbs: Object.assign(new Float32Array(40000), old),
      refLogProbs: Object.assign(new Float32Array(40000), ref),
      cuSeqlens,
    };
    const oldLogProbs = here(args.oldLogProbs);
    await fails(
      () => prlAdvantages({ ...args, oldLogProbs, cuSteps, eta: 1 }),
      PrlError,
      'ERR_PRL_NON_FINITE',
      message,
    );
    await fails(() => frpoAdvantages({ ...args, oldLogProbs, beta: 0 }), PrlError, 'ERR_PRL_NON_FINITE', message);
  };
  await failing({ 39999: NaN, 20000: Infinity }, { 20001: NaN }, /oldLogProbs\[20000\] is inf/);
  await failing({ 30000: Infinity }, { 30000: Infinity, 29999: -Infinity }, /refLogProbs\[29999\] is -inf/);
  await failing({ 70: Infinity, 71: -Infinity }, {}, /oldLogProbs\[70\] is inf/);
  await failing({}, { 39999: NaN }, /refLogProbs\[39999\] is -?nan/);
});
steps('tensors are read on their own device, and the result is there too', async () => {
  const args = inputs(51);
  const cuSteps = splitSteps(RESPONSES, { kind: 'length', length: 3 });
  const out = prlAdvantages({
    outcomeAdvantages: place(args.outcomeAdvantages),
    oldLogProbs: place(args.oldLogProbs),
    refLogProbs: place(args.refLogProbs),
    cuSeqlens: place(args.cuSeqlens),
    cuSteps: place(cuSteps),
    eta: 2,
  });
  assert.is(out.device, DEVICE);
  assert.equal(await out.read(), await prl({ ...args, cuSteps, eta: 2 }));
});
steps('wrong offsets, wrong lengths, overflow and unknown options are refused by name', async () => {
  const args = { ...inputs(1), cuSteps: splitSteps(RESPONSES, { kind: 'length', length: 2 }), eta: 1 };
  const bad = (change: object) => () => {
    const all = { ...args, ...change };
    prlAdvantages({ ...all, oldLogProbs: here(all.oldLogProbs) });
  };
  const offsets = (onCpu: RegExp, onGpu: RegExp) => (ON_GPU ? onGpu : onCpu);
  const RANGE = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;
  throwsError(bad({ eta: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /eta must be above 0/);
  await fails(
    bad({ cuSteps: [0, 3, T] }),
    ...RANGE,
    /cuSteps must hold the start of every sequence, but cuSeqlens\[1\] = 5 is inside/,
  );
  await fails(
    bad({ cuSteps: [0, 5, 4, T] }),
    ...RANGE,
    offsets(/cuSteps\[2\] = 4 is less than/, /cuSteps must rise from 0 to 26; piece 1 ends at 4/),
  );
  await fails(
    bad({ cuSteps: [0, 5, 6, 23, 25] }),
    ...RANGE,
    offsets(/cuSteps must end at 26/, /cuSteps must rise from 0 to 26; piece 3 ends at 25/),
  );
  throwsError(bad({ cuSteps: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /needs cuSteps/);
  await fails(
    bad({ outcomeAdvantages: [1, 2, 3], cuSeqlens: [0, 5, 3, T] }),
    ...RANGE,
    offsets(/cuSeqlens\[2\] = 3 is less than/, /cuSeqlens must rise from 0 to 26; piece 1 ends at 3/),
  );
  await fails(
    bad({ cuSteps: [0, 5, 6, -2_000_000] }),
    ...RANGE,
    offsets(/cuSteps\[3\] = -2000000 is less than/, /cuSteps must rise from 0 to 26; piece 2 ends at -2000000/),
  );
  throwsError(
    bad({ outcomeAdvantages: [1] }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /outcomeAdvantages must have 5 elements/,
  );
  throwsError(bad({ refLogProbs: [1] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /refLogProbs must have 26 elements/);
  throwsError(bad({ etta: 1 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'eta'/);
  const nan = inputs(1);
  nan.oldLogProbs[9] = NaN;
  await fails(bad(nan), PrlError, 'ERR_PRL_NON_FINITE', /oldLogProbs\[9\] is nan/);
  const far = inputs(1);
  far.oldLogProbs[9] = far.refLogProbs[9] - 1000;
  await fails(
    () => frpoAdvantages({ ...far, oldLogProbs: here(far.oldLogProbs), beta: 1, estimator: 'k3' }),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /the advantage of token 9 overflows: its log-ratio old - ref is -1000/,
  );
  throwsError(
    () => frpoAdvantages({ ...inputs(1), beta: 1, baseline: true }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /baseline needs estimator 'k3'/,
  );
  const empty = { outcomeAdvantages: [], oldLogProbs: [], refLogProbs: [], cuSeqlens: [0] };
  assert.is((await prl({ ...empty, cuSteps: [0], eta: 1 })).length, 0);
  const none = {
    ...empty,
    outcomeAdvantages: [1, 2],
    cuSeqlens: [0, 0, 0],
    beta: 1,
    estimator: 'k3',
    baseline: true,
  } as const;
  assert.is((await frpo(none)).length, 0, 'sequences without tokens have no mean');
});
steps('the option out receives the result and must not share memory with an input', async () => {
  const oldLogProbs = place(normals(6, 1));
  const refLogProbs = place(normals(6, 2));
  const args = { outcomeAdvantages: [1, -1], oldLogProbs, refLogProbs, cuSeqlens: [0, 2, 6] };
  const out = place(new Float32Array(6).fill(NaN));
  const prlArgs = { ...args, cuSteps: [0, 2, 4, 6], eta: 2 };
  assert.is(prlAdvantages({ ...prlArgs, out }), out);
  assert.equal(await out.read(), await prlAdvantages(prlArgs).read());
  assert.is(frpoAdvantages({ ...args, beta: 0.5, out }), out);
  assert.equal(await out.read(), await frpoAdvantages({ ...args, beta: 0.5 }).read());
  const bad = (it: typeof out, kind: typeof TypeError, code: string, message: RegExp) =>
    throwsError(() => prlAdvantages({ ...prlArgs, out: it }), kind, code, message);
  bad(oldLogProbs, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /out and oldLogProbs share memory/);
  bad(refLogProbs, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /out and refLogProbs share memory/);
  bad(place(new Float32Array(5)), RangeError, 'ERR_PRL_OUT_OF_RANGE', /out/);
  bad(place([1, 2, 3, 4, 5, 6], [6], 'int32'), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /out must be float32/);
});
steps.run();

const splits = suite('splitSteps');
const list = (...args: Parameters<typeof splitSteps>) => [...splitSteps(...args)];
splits('splitSteps splits by length, by token ids and by offsets', () => {
  assert.equal(
    list(RESPONSES, { kind: 'length', length: 2 }),
    [0, 2, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 22, 23, 25, 26],
  );
  assert.equal(list([[9, 1, 9, 9], [], [1, 9], [9]], { kind: 'tokens', tokens: [9] }), [0, 1, 3, 4, 6, 7]);
  assert.equal(
    list(
      [
        [9, 9, 9],
        [9, 9],
      ],
      { kind: 'offsets', offsets: [[1, 2], []] },
    ),
    [0, 1, 2, 3, 5],
  );
  assert.equal(list([], { kind: 'length', length: 2 }), [0]);
});
splits('splitSteps finds newlines in tokens that merge them with their neighbours', () => {
  const line = { kind: 'newline' } as const;
  assert.equal(list([['a', '\n', 'b', '\n', 'c']], line), [0, 2, 4, 5]);
  assert.equal(list([['a', '.\n\n', 'b', ')\n', 'c\nd', 'e']], line), [0, 2, 4, 5, 6]);
  assert.equal(list([['a', '\n', '\n', 'b']], line), [0, 3, 4], 'newlines in a row end one step');
  assert.equal(
    list(
      [
        ['a', '', '\n', '', 'b'],
        ['', ''],
      ],
      line,
    ),
    [0, 3, 5, 7],
  );
  assert.equal(list([['a', '\n']], line), [0, 2], 'a newline at the end begins no step');
});
splits('splitSteps finds blank lines and strings across tokens', () => {
  const blank = { kind: 'blankLine' } as const;
  assert.equal(list([['a\n', 'b', '\n', '\n', 'c', '.\n\n', 'd']], blank), [0, 4, 6, 7]);
  const strings = { kind: 'strings', strings: ['Step', '; '] } as const;
  assert.equal(list([['St', 'ep', ' 1', ';', ' ', 'x', 'Step; ', 'y']], strings), [0, 2, 5, 7, 8]);
});
splits('splitSteps refuses wrong kinds, options and responses', () => {
  const bad =
    (split: object, response: unknown = ['a']) =>
    () =>
      splitSteps([response] as never, split as never);
  throwsError(bad({ kind: 'lines' }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /kind must be one of/);
  throwsError(bad({ kind: 'length' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /length must be an integer/);
  throwsError(bad({ kind: 'length', length: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /length/);
  throwsError(bad({ kind: 'newline', length: 3 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /no option 'length'/);
  throwsError(bad({ kind: 'newline' }, [1, 2]), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /text of each token/);
  throwsError(
    bad({ kind: 'newline' }, 'text'),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /responses\[0\] must be an array/,
  );
  throwsError(bad({ kind: 'strings', strings: [''] }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /non-empty/);
  throwsError(
    bad({ kind: 'tokens' }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /tokens must be an array of token ids, not undefined/,
  );
  throwsError(bad({ kind: 'offsets', offsets: [[1]] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /offsets\[0\]\[0\] = 1/);
  throwsError(
    bad({ kind: 'offsets', offsets: [] }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /offsets\[0\] must be the positions for each response.* not undefined/,
  );
});
splits.run();
