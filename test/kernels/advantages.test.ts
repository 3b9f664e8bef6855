import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  frpoAdvantages,
  groupAdvantages,
  outcomeConditionedCenter,
  PrlError,
  prlAdvantages,
  setThreads,
  splitSteps,
  Tensor,
} from '../../lib/index.js';
import { nativeInfo } from '../../lib/native.js';
import { frpoReference, groupAdvantagesReference, prlReference } from '../reference/advantages.js';
import { near, normals, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';

const ROUNDOFF = UNIT_ROUNDOFF.float32;

const groups = suite('groupAdvantages');
groups('equal to the formulas for every kind, deviation, scale and singleton', () => {
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
            const out = groupAdvantages(rewards, ids, options).data;
            near(out, groupAdvantagesReference(rewards, ids, options), 1e-12, JSON.stringify(options), 1.01 * ROUNDOFF);
            cases++;
          }
  assert.is(cases, 108);
});
groups('equal rewards give exactly 0, whatever their value and number', () => {
  const next = random(3);
  for (let n = 2; n <= 33; n++) {
    for (let round = 0; round < 20; round++) {
      const rewards = new Float32Array(n).fill(next());
      for (const options of [
        { epsilon: 1e-6 },
        { epsilon: 0 },
        { kind: 'rloo' },
        { scale: 'batch', epsilon: 0 },
      ] as const) {
        const out = groupAdvantages(rewards, new Int32Array(n), options).data;
        assert.ok(
          out.every((a) => a === 0),
          `${n} rewards of ${rewards[0]}: ${out}`,
        );
      }
    }
  }
});
groups('advantages of a group sum to 0 up to their rounding', () => {
  for (const kind of ['grpo', 'dr_grpo', 'rloo'] as const) {
    for (let seed = 0; seed < 20; seed++) {
      const n = 2 + seed;
      const out = [...groupAdvantages(normals(n, seed), new Int32Array(n), { kind }).data];
      // The double sum of deviations is within n roundings of 0; then each advantage is rounded to float32 once.
      const size = out.reduce((sum, a) => sum + Math.abs(a), 0);
      near([out.reduce((sum, a) => sum + a, 0)], [0], 1.01 * ROUNDOFF * size, `${kind} of ${n}`);
    }
  }
});
groups('an advantage depends on its group alone, not on order or on names of groups', () => {
  const rewards = normals(12, 5);
  const ids = Int32Array.from({ length: 12 }, (_, i) => i % 3);
  const together = groupAdvantages(rewards, ids).data;
  const order = [...rewards.keys()].sort((a, b) => ids[a] - ids[b]);
  const sorted = groupAdvantages(
    Float32Array.from(order, (i) => rewards[i]),
    order.map((i) => 1000 - 7 * ids[i]),
  ).data;
  assert.equal(
    [...sorted],
    order.map((i) => together[i]),
  );
});
groups('errors', () => {
  throwsError(() => groupAdvantages([1, NaN], [0, 0]), PrlError, 'ERR_PRL_NON_FINITE', /rewards\[1\] is nan/);
  throwsError(() => groupAdvantages([1, 2], [0]), RangeError, 'ERR_PRL_OUT_OF_RANGE', /groupIds must have 2 elements/);
  throwsError(() => groupAdvantages([1, 2], [0, 0.5]), RangeError, 'ERR_PRL_OUT_OF_RANGE', /data\[1\] = 0.5/);
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
    () => groupAdvantages(Tensor.from(new Int32Array(1)), [0]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /rewards must be float32/,
  );
  assert.is(groupAdvantages([], []).size, 0);
});
groups.run();

const centers = suite('outcomeConditionedCenter');
centers('incorrect responses lose their mean, correct ones keep their scores', () => {
  const scores = [0.5, 0.25, 1, 0.75, 0.3, 0.9];
  const correct = [false, false, true, true, false, true];
  const ids = [1, 1, 1, 1, 2, 2];
  near(outcomeConditionedCenter(scores, correct, ids).data, [0.125, -0.125, 1, 0.75, 0, 0.9], 1e-7);
  near(
    outcomeConditionedCenter(scores, correct, ids, { center: 'both' }).data,
    [0.125, -0.125, 0.125, -0.125, 0, 0],
    1e-7,
  );
});
centers('equal scores of incorrect responses give exactly 0', () => {
  const out = outcomeConditionedCenter(new Float32Array(7).fill(0.1), new Int32Array(7), new Int32Array(7)).data;
  assert.ok(out.every((x) => x === 0));
});
centers.run();

// --- PRL and FRPO -----------------------------------------------------------------------------------------------------

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

const steps = suite('prlAdvantages, frpoAdvantages');
steps('PRL equals the formula for steps of every length, inclusive and exclusive', () => {
  for (const length of [1, 2, 3, 5, 16, 100]) {
    const cuSteps = splitSteps(RESPONSES, { kind: 'length', length });
    for (const suffix of ['inclusive', 'exclusive'] as const) {
      const args = inputs(length);
      const out = prlAdvantages({ ...args, cuSteps, eta: 0.7, suffix }).data;
      const { outcomeAdvantages, oldLogProbs, refLogProbs } = args;
      const expected = prlReference(outcomeAdvantages, oldLogProbs, refLogProbs, CU, cuSteps, 0.7, suffix);
      near(out, expected, 1e-12, `${suffix} ${length}`, 1.01 * ROUNDOFF);
    }
  }
});
steps('FRPO equals the formula for every generator, with and without baseline', () => {
  for (const estimator of ['k1', 'k3'] as const)
    for (const direction of ['reverse', 'forward'] as const)
      for (const baseline of estimator === 'k3' ? [false, true] : [false]) {
        const args = inputs(11);
        const { outcomeAdvantages, oldLogProbs, refLogProbs } = args;
        const options = { estimator, direction, baseline };
        const out = frpoAdvantages({ ...args, beta: 0.3, ...options }).data;
        const expected = frpoReference(outcomeAdvantages, oldLogProbs, refLogProbs, CU, 0.3, options);
        near(out, expected, 1e-12, JSON.stringify(options), 1.01 * ROUNDOFF);
      }
});
steps('PRL with steps of one token is FRPO with beta = 1 / eta and k1, bit for bit', () => {
  const args = inputs(21);
  for (const eta of [1, 64, 200]) {
    const prl = prlAdvantages({ ...args, cuSteps: splitSteps(RESPONSES, { kind: 'length', length: 1 }), eta }).data;
    assert.equal(prl, frpoAdvantages({ ...args, beta: 1 / eta }).data);
  }
});
steps('a step end of exactly 0 is a value like any other', () => {
  const out = prlAdvantages({
    outcomeAdvantages: [0],
    oldLogProbs: [-1, -2, -1, -3],
    refLogProbs: [-1, -2.5, -1.5, -2.5],
    cuSeqlens: [0, 4],
    cuSteps: [0, 1, 3, 4],
    eta: 1,
  });
  assert.equal([...out.data], [-0.5, 0, 0, 0.5]);
});
steps('packed equals one by one, for 1, 2, 3 and 8 threads', () => {
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
  const runs = [1, 2, 3, 8].map((n) => {
    setThreads(n);
    return prlAdvantages({ ...args, cuSeqlens, cuSteps, eta: 2 }).data;
  });
  setThreads(threads);
  for (const run of runs) assert.equal(run, runs[0]);
  for (let i = 0; i < many; i += 7) {
    const [from, to] = [cuSeqlens[i], cuSeqlens[i + 1]];
    const alone = prlAdvantages({
      outcomeAdvantages: args.outcomeAdvantages.subarray(i, i + 1),
      oldLogProbs: args.oldLogProbs.subarray(from, to),
      refLogProbs: args.refLogProbs.subarray(from, to),
      cuSeqlens: [0, to - from],
      cuSteps: splitSteps([new Int32Array(to - from)], { kind: 'length', length: 4 }),
      eta: 2,
    });
    assert.equal(alone.data, runs[0].slice(from, to));
  }
});
steps('a step without tokens changes nothing', () => {
  const args = { ...inputs(31), eta: 3 };
  const doubled = [0, 0, 5, 5, 5, 6, 10, 10, 23, T, T];
  assert.equal(
    prlAdvantages({ ...args, cuSteps: doubled }).data,
    prlAdvantages({ ...args, cuSteps: [...new Set(doubled)] }).data,
  );
});
steps('inputs that are not finite: the first one is named, whatever they add up to', () => {
  const lengths = Array.from({ length: 400 }, () => 100);
  const cuSeqlens = Int32Array.from({ length: 401 }, (_, i) => 100 * i);
  const cuSteps = splitSteps(
    lengths.map((n) => new Int32Array(n)),
    { kind: 'length', length: 30 },
  );
  const failing = (old: Record<number, number>, ref: Record<number, number>, message: RegExp) => {
    const args = {
      outcomeAdvantages: new Float32Array(400),
      oldLogProbs: Object.assign(new Float32Array(40000), old),
      refLogProbs: Object.assign(new Float32Array(40000), ref),
      cuSeqlens,
    };
    throwsError(() => prlAdvantages({ ...args, cuSteps, eta: 1 }), PrlError, 'ERR_PRL_NON_FINITE', message);
    throwsError(() => frpoAdvantages({ ...args, beta: 0 }), PrlError, 'ERR_PRL_NON_FINITE', message);
  };
  failing({ 39999: NaN, 20000: Infinity }, { 20001: NaN }, /oldLogProbs\[20000\] is inf/);
  failing({ 30000: Infinity }, { 30000: Infinity, 29999: -Infinity }, /refLogProbs\[29999\] is -inf/);
  failing({ 70: Infinity, 71: -Infinity }, {}, /oldLogProbs\[70\] is inf/);
  failing({}, { 39999: NaN }, /refLogProbs\[39999\] is -?nan/);
});
steps('errors', () => {
  const args = { ...inputs(1), cuSteps: splitSteps(RESPONSES, { kind: 'length', length: 2 }), eta: 1 };
  const bad = (change: object) => () => prlAdvantages({ ...args, ...change } as never);
  throwsError(bad({ eta: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /eta must be above 0/);
  throwsError(bad({ cuSteps: [0, 3, T] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /cuSeqlens\[1\] = 5 is inside a step/);
  throwsError(bad({ cuSteps: [0, 5, 4, T] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /cuSteps\[2\] = 4 is less than/);
  throwsError(bad({ cuSteps: [0, 5, 6, 23, 25] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /cuSteps must end at 26/);
  throwsError(bad({ cuSteps: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /needs cuSteps/);
  throwsError(bad({ cuSeqlens: [0, 5, 3, T] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /cuSeqlens\[2\] = 3 is less than/);
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
  throwsError(bad(nan), PrlError, 'ERR_PRL_NON_FINITE', /oldLogProbs\[9\] is nan/);
  const far = inputs(1);
  far.oldLogProbs[9] = far.refLogProbs[9] - 1000;
  throwsError(
    () => frpoAdvantages({ ...far, beta: 1, estimator: 'k3' }),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /the advantage of token \d+ overflows/,
  );
  throwsError(
    () => frpoAdvantages({ ...inputs(1), beta: 1, baseline: true }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /baseline needs estimator 'k3'/,
  );
  assert.is(
    prlAdvantages({ outcomeAdvantages: [], oldLogProbs: [], refLogProbs: [], cuSeqlens: [0], cuSteps: [0], eta: 1 })
      .size,
    0,
  );
});
steps.run();

const splits = suite('splitSteps');
const list = (...args: Parameters<typeof splitSteps>) => [...splitSteps(...args)];
splits('by length, token ids and offsets', () => {
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
splits('by newline: where tokens merge newlines with their neighbours', () => {
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
splits('by blank line and by strings: matched across tokens', () => {
  const blank = { kind: 'blankLine' } as const;
  assert.equal(list([['a\n', 'b', '\n', '\n', 'c', '.\n\n', 'd']], blank), [0, 4, 6, 7]);
  const strings = { kind: 'strings', strings: ['Step', '; '] } as const;
  assert.equal(list([['St', 'ep', ' 1', ';', ' ', 'x', 'Step; ', 'y']], strings), [0, 2, 5, 7, 8]);
});
splits('errors', () => {
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
  throwsError(bad({ kind: 'strings', strings: [''] }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /not empty/);
  throwsError(bad({ kind: 'tokens' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /at least one token id/);
  throwsError(bad({ kind: 'offsets', offsets: [[1]] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /offsets\[0\]\[0\] = 1/);
  throwsError(bad({ kind: 'offsets', offsets: [] }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /offsets\[0\] is missing/);
});
splits.run();
