// PRL's published code departs from its intent in a few places. Each test holds the code's stored values, its rule as
// described, and our values, which follow the intent. The values are in test/fixtures/advantages.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { groupAdvantages, prlAdvantages, splitSteps } from '../../lib/index.js';
import { prl } from '../../lib/methods/prl.js';
import { near } from '../reference/numbers.js';
import { readSafetensors } from '../reference/safetensors.js';

const stored = readSafetensors(new URL('../fixtures/advantages/edge.safetensors', import.meta.url));
const COLUMNS = 12;
const row = (name: string, i: number) => Array.from(stored.get(name)!.data).slice(i * COLUMNS, (i + 1) * COLUMNS);
/** Row 1 and row 4 are in a group of equal rewards: nothing but the process term. */
const processTerm = (i: number) => {
  const [old, ref, mask] = [row('old_logp', i), row('ref_logp', i), row('mask', i)];
  return old.map((_, t) => -old.reduce((sum, value, j) => sum + (j >= t && mask[j] ? value - ref[j] : 0), 0));
};

/** Values at step ends, spread leftward "to the next non-zero value", then masked: the published way. */
function published(i: number, isEnd: (t: number) => boolean): number[] {
  const mask = row('mask', i);
  const length = mask.reduce((a, b) => a + b, 0);
  const marked = processTerm(i).map((value, t) => (isEnd(t) || t === length - 1 ? value : 0));
  return marked.map((_, t) => (mask[t] ? (marked.slice(t).find((value) => value !== 0) ?? 0) : 0));
}

function ours(i: number, length: number): number[] {
  const mask = row('mask', i);
  const present = [...mask.keys()].filter((t) => mask[t]);
  const begins = [...present.keys()].filter((k) => k > 0 && (present[k - 1] + 1) % length === 0);
  const out = prlAdvantages({
    outcomeAdvantages: [0],
    oldLogProbs: present.map((t) => row('old_logp', i)[t]),
    refLogProbs: present.map((t) => row('ref_logp', i)[t]),
    cuSeqlens: [0, present.length],
    cuSteps: splitSteps([present], { kind: 'offsets', offsets: [begins] }),
    eta: 1,
  }).data;
  const values = new Array(COLUMNS).fill(0);
  present.forEach((t, k) => {
    values[t] = out[k];
  });
  return values;
}

const differences = suite('PRL: differences from the published code');
differences("a step whose value is exactly 0 keeps it, where the published code takes the next step's", () => {
  for (const length of [1, 4]) {
    const key = `length${length}.eta1`;
    const isEnd = (t: number) => (t + 1) % length === 0;
    near(published(1, isEnd), row(`ref.${key}`, 1), 1e-6, `published, ${key}`);
    near(ours(1, length), row(`exact.${key}`, 1), 1e-6, `ours, ${key}`);
  }
  // Column 3: the suffix sum is 0. One token per step: it gets its right neighbour's -1.
  assert.is(ours(1, 1)[3], 0);
  assert.is(row('ref.length1.eta1', 1)[3], -1);
  // Four tokens per step: the whole first step gets the second one's value.
  assert.equal(ours(1, 4).slice(0, 4), [0, 0, 0, 0]);
  assert.equal(row('ref.length4.eta1', 1).slice(0, 4), [-0.25, -0.25, -0.25, -0.25]);
});
differences('a response with a hole ends at its last token, where the published code ends too early', () => {
  // Columns 5 to 7 are not the policy's (a tool's output): 9 tokens, so column 8 is taken for the last one.
  assert.equal(row('mask', 4), [1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1]);
  const key = 'length16.eta1';
  near(row(`ref.${key}`, 4).slice(8), [-0.5, 0, 0, 0], 1e-6, 'published');
  near(ours(4, 16), row(`exact.${key}`, 4), 1e-6, 'ours');
  near(ours(4, 16).slice(8), [-0.125, -0.125, -0.125, -0.125], 1e-6, 'ours');
});
differences('equal rewards give 0, where the published float32 mean leaves a remainder', () => {
  const reward = Math.fround(0.9528849124908447); // the worst of many that were tried
  const sum = Array.from({ length: 16 }).reduce((total: number) => Math.fround(total + reward), 0);
  const remainder = Math.fround(reward - Math.fround(sum / 16));
  assert.not.equal(remainder, 0);
  assert.ok(Math.abs(remainder) / (Math.abs(remainder) * Math.sqrt(16 / 15) + 1e-6) > 0.01, 'not a small advantage');
  const out = groupAdvantages(new Float32Array(16).fill(reward), new Int32Array(16), { epsilon: 1e-6 }).data;
  assert.ok(out.every((advantage) => advantage === 0));
});
differences('the only response of a group has advantage 0 unless asked for its raw reward', () => {
  assert.equal([...groupAdvantages([0.75], [1]).data], [0]);
  assert.equal([...groupAdvantages([0.75], [1], { singleton: 'raw' }).data], [0.75]);
});
differences("prlAdvantage 'process' normalises within the group, which the published prm.adv does not", () => {
  const batch = {
    groupIds: Int32Array.of(1, 1),
    cuSeqlens: Int32Array.of(0, 2, 4),
    cuSteps: Int32Array.of(0, 2, 4),
    oldLogProbs: Float32Array.of(-1, -2, -0.5, -0.25),
    refLogProbs: Float32Array.of(-1, -2, -0.75, -0.25),
  };
  const ways = (rewards: Float32Array, eta: number) => {
    // Every token its own reward - suffix / eta, and no more: the estimator takes what it is given.
    const theirs = batch.oldLogProbs.map((_, t) => {
      const end = t < 2 ? 2 : 4;
      let suffix = 0;
      for (let j = t; j < end; j++) suffix += batch.oldLogProbs[j] - batch.refLogProbs[j];
      return rewards[t < 2 ? 0 : 1] - suffix / eta;
    });
    const options = {
      scaleRewards: 'none',
      advantageEstimator: 'grpo',
      advantageStd: 'sample',
      advantageEpsilon: 1e-6,
    } as const;
    const process = { ...options, singleton: 'zero', eta, suffix: 'inclusive', prlAdvantage: 'process' } as const;
    return { theirs: [...theirs], ours: [...prl.run({ ...batch, rewards }, process).advantages] };
  };
  const both = ways(Float32Array.of(1, 1), 1);
  assert.equal(both.theirs, [1, 1, 0.75, 1], 'all are right, and all are pushed up');
  // Sums 2 and 1.75.
  assert.equal(both.ours, [0.125, 0.125, -0.125, -0.125]);
  const none = ways(Float32Array.of(0, 0), 1);
  assert.equal(none.theirs, [0, 0, -0.25, 0]);
  assert.equal(none.ours, both.ours);
});
differences('a newline is found in the decoded text, where the published code looks for one token id', () => {
  const response = ['f(x', ')\n', 'y', '.\n\n', 'z'];
  const ids = [10, 11, 12, 13, 14];
  assert.equal([...splitSteps([ids], { kind: 'tokens', tokens: [198] })], [0, 5], 'no step end is found');
  assert.equal([...splitSteps([response], { kind: 'newline' })], [0, 2, 4, 5]);
});
differences.run();
