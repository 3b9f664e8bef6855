// Few long sequences. A GPU spreads each over several blocks (native/kernels/sequence_parts.h); the results must be
// those of the CPU, and the same at each run.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  frpoAdvantages,
  type PolicyLossArgs,
  type PrlAdvantagesArgs,
  PrlError,
  policyLoss,
  prlAdvantages,
  splitSteps,
} from '../../lib/index.js';
import { frpoReference, prlReference } from '../reference/advantages.js';
import { lossValue, makeInputs, type OPTIONS, toCase } from '../reference/clipped-loss.js';
import { fails, ON_GPU, place } from '../reference/device.js';
import { near, normals, UNIT_ROUNDOFF } from '../reference/numbers.js';

// Around the 1024 tokens of a part, none, and several parts; the batch ends inside one.
const LENGTHS = [2100, 1, 0, 1024, 1025, 300];
const offsetsOf = (lengths: number[]) =>
  Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
const CU = offsetsOf(LENGTHS);
const T = CU[LENGTHS.length];
/** With so many empty sequences behind them no sequence is spread. */
const NONE = Array.from({ length: 512 }, () => 0);
const ROUNDOFF = UNIT_ROUNDOFF.float32;

const losses = suite('few long sequences: policyLoss');
async function run(args: PolicyLossArgs, onDevice: boolean) {
  const out = policyLoss(onDevice && ON_GPU ? { ...args, logProbs: place(args.logProbs as Float32Array) } : args);
  const [dLogProbs, dEntropy] = await Promise.all([out.dLogProbs.read(), out.dEntropy!.read()]);
  return { loss: out.loss, metrics: out.metrics, dLogProbs, dEntropy };
}
const EVERYTHING = { weights: true, rollout: true, entropyThreshold: 0.3, offPolicyMaskThreshold: 0.02 };
for (const [i, o] of [
  { lossType: 'dapo', perToken: true },
  { lossType: 'grpo', holes: true },
  { lossType: 'grpo', importanceSamplingLevel: 'sequence', holes: true },
  { lossType: 'grpo', importanceSamplingLevel: 'sequence', perToken: true },
  { lossType: 'grpo', delta: 1.3, beta: 0.1, entropyCoef: 0.02, ...EVERYTHING },
  { lossType: 'sapo', beta: 0.3, klEstimator: 'k2', holes: true, ...EVERYTHING },
  { lossType: 'vespo', weights: true, holes: true },
].entries())
  losses(`${JSON.stringify(o)}: the loss, its metrics and gradients are those of the CPU`, async () => {
    const inputs = makeInputs(i + 170, { offPolicy: true, ...o } as (typeof OPTIONS)[number], CU);
    // The first part of a sequence without an active token: another counts what is counted once.
    inputs.batch.mask?.fill(0, 0, 1100);
    const args = { logProbs: inputs.logProbs, entropy: inputs.entropy, ...inputs.batch, ...inputs.options };
    const out = await run(args, true);
    const cpu = await run(args, false);
    near([out.loss], [lossValue(toCase(inputs))], 1e-12 * (1 + Math.abs(out.loss)), 'loss');
    // Of a weighted sum of T terms of about 1, in another order.
    near(out.dLogProbs, cpu.dLogProbs, 1e-12, 'dLogProbs', 4 * ROUNDOFF);
    near(out.dEntropy, cpu.dEntropy, 0, 'dEntropy');
    const [ours, theirs] = [out.metrics, cpu.metrics] as unknown as Record<string, number>[];
    assert.equal(Object.keys(ours), Object.keys(theirs));
    for (const [name, value] of Object.entries(theirs))
      if (typeof value === 'number') near([ours[name]], [value], 1e-12, name, T * 2 ** -53);
    assert.equal(await run(args, true), out, 'the same at each run');

    const whole = { ...args, cuSeqlens: offsetsOf([...LENGTHS, ...NONE]) };
    if (o.lossType === 'dapo') near((await run(whole, true)).dLogProbs, out.dLogProbs, 1e-12, 'whole', 4 * ROUNDOFF);
  });

losses('the first token that is not finite is named, also at sequence level', async () => {
  const failing = async (change: object, at: Record<number, number>, message: RegExp) => {
    const { logProbs, batch } = makeInputs(7, { offPolicy: true } as (typeof OPTIONS)[number], CU);
    Object.assign(batch.oldLogProbs!, at);
    const args = { ...batch, ...change, logProbs: ON_GPU ? place(logProbs) : logProbs };
    await fails(() => policyLoss(args as PolicyLossArgs).loss, PrlError, 'ERR_PRL_NON_FINITE', message);
  };
  const sequence = { importanceSamplingLevel: 'sequence' };
  for (const level of [{}, sequence]) {
    await failing(level, { 2050: NaN, 2090: Infinity, 4000: NaN }, /oldLogProbs\[2050\] is -?nan/);
    await failing(level, { 4140: -Infinity }, /oldLogProbs\[4140\] is -inf/);
  }
  const negative = { advantages: new Float32Array(LENGTHS.length).fill(-1) };
  await failing(negative, { 2000: -200, 4000: -200 }, /the loss of token 2000 overflows/);
});

losses('wrong offsets are refused', async () => {
  const { logProbs, batch } = makeInputs(7, { offPolicy: true } as (typeof OPTIONS)[number], CU);
  const cuSeqlens = Int32Array.from(CU);
  cuSeqlens[4] = 100;
  await fails(
    () => policyLoss({ ...batch, cuSeqlens, logProbs: ON_GPU ? place(logProbs) : logProbs }).loss,
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    ON_GPU ? /cuSeqlens must rise from 0 to 4450; piece 3 ends at 100/ : /cuSeqlens\[4\] = 100 is less than/,
  );
});
losses.run();

const advantages = suite('few long sequences: prlAdvantages, frpoAdvantages');
const refLogProbs = normals(T, 42);
const outcomeAdvantages = normals(LENGTHS.length, 43);
const oldLogProbs = normals(T, 44, 0.4).map((x, t) => refLogProbs[t] + x);
const inputs = () => ({
  outcomeAdvantages,
  refLogProbs,
  oldLogProbs: ON_GPU ? place(oldLogProbs) : oldLogProbs,
  cuSeqlens: CU,
});
/** The same batch, its sequences not spread. */
const whole = () => ({
  ...inputs(),
  outcomeAdvantages: Float32Array.from([...outcomeAdvantages, ...NONE]),
  cuSeqlens: offsetsOf([...LENGTHS, ...NONE]),
});
const prl = async (args: PrlAdvantagesArgs) => (await prlAdvantages(args)).read();

advantages('steps of any length, within a part and over several, get the advantage of the formula', async () => {
  const responses = LENGTHS.map((n) => new Int32Array(n));
  for (const [length, suffix] of [
    [1, 'inclusive'],
    [100, 'exclusive'],
    [1024, 'inclusive'],
    [1500, 'exclusive'],
    [5000, 'inclusive'],
  ] as const) {
    const cuSteps = splitSteps(responses, { kind: 'length', length });
    const out = await prl({ ...inputs(), cuSteps, eta: 3, suffix });
    const expected = prlReference(outcomeAdvantages, oldLogProbs, refLogProbs, CU, cuSteps, 3, suffix);
    near(out, expected, 1e-11, `steps of ${length}, ${suffix}`, 1.01 * ROUNDOFF);
    for (let k = 0; k + 1 < cuSteps.length; k++)
      assert.ok(new Set(out.subarray(cuSteps[k], cuSteps[k + 1])).size <= 1, `one advantage in step ${k}`);
    assert.equal(await prl({ ...whole(), cuSteps, eta: 3, suffix }), out, 'the same bits as by one block');
  }
});

advantages('single tokens, with and without baseline', async () => {
  for (const [estimator, baseline] of [
    ['k1', false],
    ['k3', false],
    ['k3', true],
  ] as const) {
    const options = { beta: 0.3, estimator, baseline };
    const out = await (await frpoAdvantages({ ...inputs(), ...options })).read();
    const expected = frpoReference(outcomeAdvantages, oldLogProbs, refLogProbs, CU, 0.3, options);
    near(out, expected, 1e-10, `${estimator}, ${baseline}`, 1.01 * ROUNDOFF);
    assert.equal(await (await frpoAdvantages({ ...inputs(), ...options })).read(), out, 'the same at each run');
    const one = await (await frpoAdvantages({ ...whole(), ...options })).read();
    if (baseline) near(one, out, 1e-10, 'by one block', ROUNDOFF);
    else assert.equal(one, out, 'the same bits as by one block');
  }
});
advantages.run();
