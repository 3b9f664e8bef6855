import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  linearLogProbs,
  linearPolicyLoss,
  type PolicyLossArgs,
  type PolicyLossFromLogitsArgs,
  PrlError,
  policyLoss,
  policyLossFromLogits,
  setThreads,
  Tensor,
  topEntropyThreshold,
} from '../../lib/index.js';
import { LOSS_OPTIONS, LOSS_TYPES, lossParams, type PolicyLossOptions } from '../../lib/kernels/loss-options.js';
import { AGGREGATIONS, LOSS_TABLE, SURROGATES } from '../../lib/kernels/loss-table.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import { B, CU, differences, LENGTHS, lossValue, makeInputs, OPTIONS, T, toCase } from '../reference/clipped-loss.js';
import { blank, fails, ON_GPU, place } from '../reference/device.js';
import { near, normals, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { softmaxRow, softmaxRowGradient } from '../reference/softmax.js';

/** The inputs of a call on the device of the tests: one tensor takes the call there. */
const here = <A extends { logProbs: unknown }>(args: A): A =>
  ON_GPU && args.logProbs instanceof Float32Array ? { ...args, logProbs: place(args.logProbs) } : args;
/** policyLoss, its tensors read. */
async function fromArrays(args: PolicyLossArgs) {
  const out = policyLoss(here(args));
  const [dLogProbs, dEntropy] = await Promise.all([out.dLogProbs.read(), out.dEntropy?.read()]);
  return { loss: out.loss, metrics: out.metrics, dLogProbs, dEntropy };
}
/** policyLossFromLogits of logits given as numbers, its tensors read. */
async function fromRows(
  values: Float32Array,
  shape: [number, number],
  args: Omit<PolicyLossFromLogitsArgs, 'logits' | 'gradient'>,
) {
  const out = policyLossFromLogits({ ...args, logits: place(values, shape) });
  const [dLogits, logProbs, entropy] = await Promise.all([
    out.dLogits!.read(),
    out.logProbs.read(),
    out.entropy.read(),
  ]);
  return { loss: out.loss, metrics: out.metrics, dLogits, logProbs, entropy };
}

const fromLogProbs = suite('policyLoss');
fromLogProbs('loss and gradients agree with float64 and finite differences for every loss and level', async () => {
  for (const [i, o] of OPTIONS.entries()) {
    const inputs = makeInputs(10 * i + 1, o);
    const c = toCase(inputs);
    const name = JSON.stringify(o);
    const { logProbs, entropy, batch, options } = inputs;
    const out = await fromArrays({ logProbs, entropy, ...batch, ...options });
    near([out.loss], [lossValue(c)], 1e-12, `loss ${name}`);
    near(out.dLogProbs, differences(c, 'logProbs'), 1e-8, `dLogProbs ${name}`, 4 * UNIT_ROUNDOFF.float32);
    near(out.dEntropy!, differences(c, 'entropy'), 1e-8, `dEntropy ${name}`);
  }
});
// On the CPU tokens are worked on by vectors of up to 8, and 16 of those at a time.
const LONG = [131, 3, 128, 0, 8, 29, 66];
const LONG_CU = Int32Array.from([0, ...LONG.map((_, i) => LONG.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
const LONG_T = LONG_CU[LONG.length];
fromLogProbs('sequences longer than a vector block agree with float64, for any number of threads', async () => {
  const { threads } = nativeInfo();
  const everything = { weights: true, rollout: true, entropyThreshold: 0.3, offPolicyMaskThreshold: 0.02 };
  for (const [i, o] of [
    { perToken: true },
    { holes: true },
    { lossType: 'grpo', importanceSamplingLevel: 'sequence', holes: true },
    { lossType: 'grpo', delta: 1.3, beta: 0.1, entropyCoef: 0.02, ...everything },
    { lossType: 'sapo', beta: 0.3, klEstimator: 'k2', holes: true, ...everything },
    { lossType: 'vespo', weights: true },
  ].entries()) {
    const inputs = makeInputs(i + 70, { lossType: 'dapo', offPolicy: true, ...o } as (typeof OPTIONS)[number], LONG_CU);
    const c = toCase(inputs);
    const args = { logProbs: inputs.logProbs, entropy: inputs.entropy, ...inputs.batch, ...inputs.options };
    const out = await fromArrays(args);
    near([out.loss], [lossValue(c)], 1e-12 * (1 + Math.abs(out.loss)), `loss ${JSON.stringify(o)}`);
    near(out.dLogProbs, differences(c, 'logProbs'), 1e-8, `dLogProbs ${JSON.stringify(o)}`, 4 * UNIT_ROUNDOFF.float32);
    for (const n of [1, 3]) {
      setThreads(n);
      assert.equal(await fromArrays(args), out);
    }
    setThreads(threads);
  }
});
fromLogProbs('the option gradient receives the gradient and must not share memory with logProbs', async () => {
  const { logProbs, batch } = makeInputs(4, { offPolicy: true });
  const args = { ...batch, logProbs: place(logProbs) };
  const expected = await policyLoss(args).dLogProbs.read();
  const gradient = place(new Float32Array(T).fill(NaN));
  assert.is(policyLoss({ ...args, gradient }).dLogProbs, gradient);
  assert.equal(await gradient.read(), expected);
  const bad = (wrong: unknown) => () => policyLoss({ ...args, gradient: wrong } as never);
  throwsError(bad(args.logProbs), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /dLogProbs and logProbs share memory/);
  throwsError(bad(blank([T + 1])), RangeError, 'ERR_PRL_OUT_OF_RANGE', /dLogProbs/);
  throwsError(
    bad('inplace'),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /gradient must be a Tensor, not the string 'inplace'/,
  );
});
fromLogProbs('on-policy the ratio is exactly 1, with absent or with equal old log-probabilities', async () => {
  for (const importanceSamplingLevel of ['token', 'sequence'] as const) {
    const { logProbs, batch } = makeInputs(3, { perToken: true });
    const absent = await fromArrays({ logProbs, ...batch, importanceSamplingLevel, beta: 0.1 });
    const equal = await fromArrays({ logProbs, ...batch, oldLogProbs: logProbs, importanceSamplingLevel, beta: 0.1 });
    for (const { metrics } of [absent, equal]) {
      assert.is(metrics.ratioMean, 1);
      assert.is(metrics.ratioMax, 1);
      assert.is(metrics.ratioMin, 1);
      assert.is(metrics.effectiveSampleSize, 1);
      assert.is(metrics.approxKl, 0);
      assert.is(metrics.clipRatioRegion, 0);
    }
    assert.equal(equal.dLogProbs, absent.dLogProbs);
    assert.is(equal.loss, absent.loss);
  }
});
/** The sequences `chosen` of a batch, alone. */
function choose(chosen: number[], { logProbs, entropy, batch, options, perToken }: ReturnType<typeof makeInputs>) {
  const take = <A extends Float32Array | Int32Array>(x: A | undefined): A | undefined =>
    x && ((x.constructor as Int32ArrayConstructor).from(chosen.flatMap((i) => [...x.subarray(CU[i], CU[i + 1])])) as A);
  return {
    logProbs: take(logProbs)!,
    entropy: take(entropy)!,
    cuSeqlens: Int32Array.from([
      0,
      ...chosen.map((_, k) => chosen.slice(0, k + 1).reduce((n, i) => n + LENGTHS[i], 0)),
    ]),
    advantages: perToken ? take(batch.advantages)! : Float32Array.from(chosen, (i) => batch.advantages[i]),
    oldLogProbs: take(batch.oldLogProbs),
    refLogProbs: take(batch.refLogProbs),
    importanceWeights: take(batch.importanceWeights),
    rolloutLogProbs: take(batch.rolloutLogProbs),
    mask: take(batch.mask),
    ...options,
  };
}
fromLogProbs('micro-batches with the normalizer of the batch add up, in any order of sequences', async () => {
  for (const [i, o] of OPTIONS.filter((o) => o.lossType !== 'bnpo').entries()) {
    const inputs = makeInputs(10 * i + 7, o);
    const whole = await fromArrays(choose([0, 1, 2, 3, 4, 5], inputs));
    const normalizer = { tokens: whole.metrics.tokens, sequences: B };
    for (const parts of [
      [[0], [1], [2], [3], [4], [5]],
      [
        [0, 1, 2],
        [3, 4, 5],
      ],
      [[5, 3, 1, 0, 2, 4]],
    ]) {
      const outs = await Promise.all(parts.map((part) => fromArrays({ ...choose(part, inputs), normalizer })));
      near([outs.reduce((sum, out) => sum + out.loss, 0)], [whole.loss], 1e-14, `loss ${JSON.stringify(o)}`);
      parts.forEach((part, p) => {
        const own = part.flatMap((s) => [...whole.dLogProbs.subarray(CU[s], CU[s + 1])]);
        assert.equal([...outs[p].dLogProbs], own, 'the same gradient, bit for bit');
      });
    }
  }
});
fromLogProbs('masked tokens contribute exactly 0 whatever they hold', async () => {
  for (const [i, o] of OPTIONS.filter((o) => o.holes).entries()) {
    const inputs = makeInputs(i + 40, o);
    const clean = await fromArrays({
      logProbs: inputs.logProbs,
      entropy: inputs.entropy,
      ...inputs.batch,
      ...inputs.options,
    });
    for (const poison of [NaN, Infinity, -Infinity]) {
      const spoil = (x: Float32Array | undefined) => x?.map((v, t) => (inputs.batch.mask![t] === 0 ? poison : v));
      const out = await fromArrays({
        ...inputs.batch,
        ...inputs.options,
        logProbs: spoil(inputs.logProbs)!,
        entropy: spoil(inputs.entropy),
        oldLogProbs: spoil(inputs.batch.oldLogProbs),
        refLogProbs: spoil(inputs.batch.refLogProbs),
        importanceWeights: spoil(inputs.batch.importanceWeights),
        rolloutLogProbs: spoil(inputs.batch.rolloutLogProbs),
        advantages: inputs.perToken ? spoil(inputs.batch.advantages)! : inputs.batch.advantages,
      });
      assert.equal(out.metrics, clean.metrics);
      assert.equal(out.dLogProbs, clean.dLogProbs);
      inputs.batch.mask!.forEach((m, t) => {
        if (m === 0) assert.is(out.dLogProbs[t], 0);
      });
    }
  }
});
fromLogProbs('a batch in which nothing takes part has loss 0 and gradient 0', async () => {
  for (const lossType of Object.values(OPTIONS).map((o) => o.lossType!)) {
    const args = { lossType, maxCompletionLength: 4, advantages: [1, 2].map(Math.fround), cuSeqlens: [0, 2, 3] };
    const advantages = new Float32Array(args.advantages);
    const masked = await fromArrays({ ...args, advantages, logProbs: new Float32Array(3), mask: [0, 0, 0] });
    assert.is(masked.loss, 0);
    assert.ok(masked.dLogProbs.every((g) => g === 0));
    const empty = await fromArrays({
      ...args,
      advantages: new Float32Array(0),
      cuSeqlens: [0],
      logProbs: new Float32Array(0),
    });
    assert.is(empty.loss, 0);
    assert.is(empty.metrics.ratioMean, 1);
  }
});
fromLogProbs('an error names the first bad token of a long sequence, wherever it is', async () => {
  for (const holes of [false, true]) {
    const { logProbs, batch, options } = makeInputs(9, { offPolicy: true, perToken: true, holes }, LONG_CU);
    const spoil = (x: Float32Array, from: number, value: number) => x.map((v, t) => (t >= from ? value : v));
    for (let t = 0; t < LONG_T; t += ON_GPU ? 17 : 1) {
      if (batch.mask?.[t] === 0) continue;
      const own = LONG_CU.findLast((begin) => begin <= t)!;
      const args = { logProbs, ...batch, ...options };
      for (const [change, message] of [
        [{ oldLogProbs: spoil(batch.oldLogProbs!, t, Infinity) }, new RegExp(`oldLogProbs\\[${t}\\] is inf`)],
        [
          { oldLogProbs: spoil(batch.oldLogProbs!, t, -900), advantages: spoil(batch.advantages, own, -1) },
          new RegExp(`the loss of token ${t} overflows: log-ratio 8`),
        ],
      ] as const)
        await fails(() => policyLoss(here({ ...args, ...change })), PrlError, 'ERR_PRL_NON_FINITE', message);
    }
  }
});
fromLogProbs('inputs that are not finite are named by token, and wrong options by name', async () => {
  const { logProbs, entropy, batch } = makeInputs(3, { offPolicy: true, perToken: true, weights: true, rollout: true });
  const args = { logProbs, entropy, ...batch };
  const bad = (change: object) => () => policyLoss(here({ ...args, ...change }) as never);
  const withAt = (x: Float32Array, at: number, value: number) => x.map((v, t) => (t === at ? value : v));
  for (const options of [
    { importanceSamplingLevel: 'token' },
    { importanceSamplingLevel: 'sequence' },
    { lossType: 'vespo' },
    { offPolicyMaskThreshold: 0.1 },
  ])
    for (const [name, x] of Object.entries({ logProbs, entropy, ...batch, cuSeqlens: undefined, mask: undefined })) {
      if (!(x instanceof Float32Array)) continue;
      if (name === 'rolloutLogProbs' && !('offPolicyMaskThreshold' in options)) continue; // not read
      for (const value of [NaN, Infinity, -Infinity])
        await fails(
          bad({ [name]: withAt(x, 8, value), ...options }),
          PrlError,
          'ERR_PRL_NON_FINITE',
          new RegExp(`${name}\\[8\\] is -?(nan|inf)`),
        );
    }
  await fails(
    bad({ oldLogProbs: withAt(batch.oldLogProbs!, 8, -900), advantages: withAt(batch.advantages, 8, -1) }),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /the loss of token 8 overflows: log-ratio 89/,
  );
  await fails(
    bad({ importanceWeights: withAt(batch.importanceWeights!, 8, -0.5) }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /importanceWeights\[8\] is -0.5: a weight must be at least 0/,
  );
  await fails(
    bad({ beta: 0.1, refLogProbs: undefined }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /refLogProbs is needed/,
  );
  await fails(bad({ entropyCoef: 1, entropy: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /entropy is needed/);
  await fails(bad({ lossType: 'dr_grpo' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /needs maxCompletionLength/);
  await fails(bad({ lossType: 'gspo' }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /lossType must be one of.*Did you mean/);
  await fails(bad({ epsilon: 1.5 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /epsilon must be at least 0 and at most 1/);
  await fails(bad({ epsilonLow: 0.1 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'epsilon'/);
  await fails(bad({ delta: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /delta must be above 0/);
  await fails(bad({ beta: NaN }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /beta/);
  await fails(bad({ klRatioCorrection: 1 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /klRatioCorrection/);
  await fails(
    bad({ normalizer: { tokens: 0, sequences: 1 } }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /normalizer.tokens/,
  );
  await fails(bad({ normalizer: { tokens: 1 } }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /normalizer.sequences/);
  const bnpo = { lossType: 'bnpo', normalizer: { tokens: 1, sequences: 1 } };
  await fails(bad(bnpo), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /use 'dapo'/);
  const offsets = (piece: number, end: number) =>
    new RegExp(`cuSeqlens must rise from 0 to ${T}; piece ${piece} ends at ${end}`);
  await fails(
    bad({ advantages: new Float32Array(3), cuSeqlens: [0, 4, 3, T] }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    ON_GPU ? offsets(1, 3) : /cuSeqlens\[2\] = 3 is less than/,
  );
  await fails(
    bad({ advantages: new Float32Array(1), cuSeqlens: [1, T] }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    ON_GPU ? offsets(0, T) : /cuSeqlens must start with 0/,
  );
  await fails(
    bad({ advantages: new Float32Array(1), cuSeqlens: [0, T + 1] }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    ON_GPU ? offsets(0, T + 1) : /cuSeqlens must end at/,
  );
  await fails(bad({ cuSeqlens: [] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /cuSeqlens must start with 0/);
  await fails(bad({ advantages: new Float32Array(3) }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /advantages must have 6/);
  await fails(bad({ mask: [1, 2] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /mask must have 25/);
  await fails(bad({ mask: new Float32Array(T) }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /mask/);
  await fails(
    bad({ oldLogProbs: new Int32Array(T) }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /oldLogProbs must be float32/,
  );
  await fails(bad({ logProbs: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /logProbs must be a Tensor/);
  const gone = place(new Float32Array(T));
  gone.dispose();
  await fails(bad({ refLogProbs: gone }), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
  if (ON_GPU) return; // what follows is about memory of JavaScript that a call on the CPU works on
  const detached = new Float32Array(T);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  await fails(
    bad({ refLogProbs: detached }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /refLogProbs is backed by a detached/,
  );
  const shared = new Float32Array(new SharedArrayBuffer(4 * T));
  await fails(bad({ refLogProbs: shared }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /Shared/);
});
fromLogProbs.run();

// --- from logits, and from hidden states ----------------------------------------------------------------------------

function reference(
  values: ArrayLike<number>,
  vocab: number,
  targets: Int32Array,
  inputs: ReturnType<typeof makeInputs>,
) {
  const temperature = 0.8;
  const rows = Array.from({ length: T }, (_, t) => Array.from({ length: vocab }, (_, j) => values[t * vocab + j]));
  const stats = rows.map((row, t) => softmaxRow(row, targets[t], temperature));
  const c = toCase(inputs);
  c.logProbs = c.base = stats.map((s) => s.logProb);
  c.entropy = stats.map((s) => s.entropy);
  const dLogProbs = differences(c, 'logProbs');
  const dEntropy = differences(c, 'entropy');
  const dLogits = rows.flatMap((row, t) => [
    ...softmaxRowGradient(row, targets[t], dLogProbs[t], dEntropy[t], temperature),
  ]);
  const active = (t: number) => c.mask?.[t] !== 0;
  const masked = (x: ArrayLike<number>) => Array.from(x, (v, t) => (active(t) ? v : 0));
  return { loss: lossValue(c), logProbs: masked(c.logProbs), entropy: masked(c.entropy), dLogits, temperature };
}

/** Logits whose log-probabilities the old and reference ones are near, as in training. */
function nearCurrent(
  inputs: ReturnType<typeof makeInputs>,
  logits: ArrayLike<number>,
  vocab: number,
  targets: Int32Array,
) {
  const clean = reference(logits, vocab, targets, makeInputs(1, {}));
  const shift = (x: Float32Array | undefined) =>
    x && Float32Array.from(x, (v, t) => v - inputs.logProbs[t] + clean.logProbs[t]);
  inputs.batch.oldLogProbs = shift(inputs.batch.oldLogProbs);
  inputs.batch.refLogProbs = shift(inputs.batch.refLogProbs)!;
  inputs.batch.rolloutLogProbs = shift(inputs.batch.rolloutLogProbs);
  return inputs;
}
const makeTargets = (vocab: number, seed: number) => {
  const next = random(seed);
  return Int32Array.from({ length: T }, () => Math.floor(next() * vocab));
};

const OPEN: [string, object, RegExp][] = [
  ['cispo', { epsilon: 0.1 }, /epsilon has no meaning with lossType 'cispo', which takes .*epsilonHigh/],
  ['cispo', { delta: 2 }, /delta has no meaning/],
  ['sapo', { epsilonHigh: 0.3 }, /epsilonHigh has no meaning with lossType 'sapo'/],
  ['dapo', { sapoTemperaturePos: 1 }, /sapoTemperaturePos has no meaning with lossType 'dapo'/],
  ['sapo', { vespoKPos: 1 }, /vespoKPos has no meaning/],
  ['vespo', { importanceSamplingLevel: 'sequence' }, /importanceSamplingLevel has no meaning with lossType 'vespo'/],
  ['raft', { importanceSamplingLevel: 'sequence' }, /importanceSamplingLevel has no meaning with lossType 'raft'/],
  ['raft', { epsilon: 0.1 }, /epsilon has no meaning with lossType 'raft'/],
];
const kinds = suite('policyLoss: loss types');
kinds('options of another loss type are refused', async () => {
  const { logProbs, batch } = makeInputs(3, {});
  for (const [lossType, options, message] of OPEN)
    await fails(
      () => policyLoss({ logProbs, ...batch, lossType, ...options } as never),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      message,
    );
  const out = (options: object, message: RegExp) =>
    fails(() => policyLoss({ logProbs, ...batch, ...options } as never), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  await out({ lossType: 'sapo', sapoTemperatureNeg: 0 }, /sapoTemperatureNeg must be above 0/);
  await out({ lossType: 'vespo', vespoLambdaNeg: 0 }, /vespoLambdaNeg must be above 0/);
  await out({ lossType: 'vespo', vespoKNeg: -1 }, /vespoKNeg must be at least 0/);
  await out({ klEstimator: 'k4' }, /klEstimator must be one of 'k1', 'k2', 'k3'/);
  await out({ offPolicyMaskThreshold: -1 }, /offPolicyMaskThreshold must be at least 0/);
  await out({ topEntropyQuantile: 1.5 }, /topEntropyQuantile must be at least 0 and at most 1/);
  await out({ entropyThreshold: NaN }, /entropyThreshold/);
  const needs = (options: object, message: RegExp) =>
    fails(
      () => policyLoss(here({ logProbs, ...batch, ...options }) as never),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      message,
    );
  await needs({ topEntropyQuantile: 0.5 }, /topEntropyQuantile needs entropy/);
  await needs({ entropyThreshold: 0.5 }, /entropy is needed when there is an entropyThreshold/);
  await needs(
    { topEntropyQuantile: 0.5, entropyThreshold: 0.5, entropy: new Float32Array(T) },
    /pass only one of them/,
  );
});
kinds('every loss type and option occurs in the cases compared with the reference', () => {
  for (const lossType of LOSS_TYPES)
    assert.ok(
      OPTIONS.some((o) => o.lossType === lossType),
      lossType,
    );
  for (const name of LOSS_OPTIONS)
    if (name !== 'topEntropyQuantile' && name !== 'normalizer')
      assert.ok(
        OPTIONS.some((o) => o[name] !== undefined),
        name,
      );
});
kinds('the addon takes every parameter of the loss table and refuses other choices', () => {
  const call = (change: object) => () =>
    native().clippedLoss({
      logProbs: Tensor.from(new Float32Array(1)),
      advantages: Tensor.from(new Float32Array(1)),
      advantagesPerToken: true,
      cuSeqlens: Tensor.from(Int32Array.of(0, 1)),
      dLogProbs: Tensor.empty([1]),
      ...lossParams({}, { tokens: 1, sequences: 1 }),
      ...change,
    });
  call({})();
  for (const name of Object.keys(lossParams({}, { sequences: 1 })))
    throwsError(call({ [name]: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', new RegExp(`^${name} must be`));
  const choices = {
    surrogate: Object.keys(SURROGATES),
    aggregation: Object.keys(AGGREGATIONS),
    importanceSamplingLevel: LOSS_TABLE.importanceSamplingLevel.choices,
    klEstimator: LOSS_TABLE.klEstimator.choices,
  };
  for (const [name, { length }] of Object.entries(choices)) {
    call({ [name]: length - 1 })();
    const message = new RegExp(`^${name} must be an integer from 0 to ${length - 1}, not ${length}`);
    throwsError(call({ [name]: length }), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  }
});
kinds('the defaults are those of the papers and of TRL', async () => {
  const { logProbs, batch } = makeInputs(4, { offPolicy: true });
  const args = { logProbs, ...batch };
  const same = async (a: PolicyLossOptions, b: PolicyLossOptions) =>
    assert.equal(await fromArrays({ ...args, ...a }), await fromArrays({ ...args, ...b }));
  await same({ lossType: 'cispo' }, { lossType: 'cispo', epsilonHigh: 5 });
  await same({ lossType: 'sapo' }, { lossType: 'sapo', sapoTemperaturePos: 1, sapoTemperatureNeg: 1.05 });
  await same(
    { lossType: 'vespo' },
    { lossType: 'vespo', vespoKPos: 2, vespoLambdaPos: 3, vespoKNeg: 3, vespoLambdaNeg: 2 },
  );
  await same({ lossType: 'raft++' }, { lossType: 'grpo', epsilon: 0.2, epsilonHigh: 0.2 });
  await same({ topEntropyQuantile: 1 }, {});
  await same({ offPolicyMaskThreshold: Infinity }, {});
});
kinds('off-policy masking and entropy quantiles drop the policy term and leave the metrics', async () => {
  const { logProbs, entropy, batch } = makeInputs(4, { offPolicy: true });
  const args = { logProbs, entropy, ...batch, lossType: 'luspo' as const };
  const all = await fromArrays(args);
  const kept = await fromArrays({ ...args, offPolicyMaskThreshold: 0 });
  let dropped = 0;
  for (let i = 0; i < B; i++) {
    const own = (x: ArrayLike<number>) => Array.from(x).slice(CU[i], CU[i + 1]);
    const drift = own(batch.oldLogProbs!).reduce((sum, old, j) => sum + old - logProbs[CU[i] + j], 0);
    const drop = batch.advantages[i] < 0 && drift > 0;
    assert.equal(own(kept.dLogProbs), drop ? own(kept.dLogProbs).map(() => 0) : own(all.dLogProbs), `sequence ${i}`);
    if (drop && LENGTHS[i] > 0) dropped++;
  }
  assert.ok(dropped > 0 && dropped < B, `${dropped} dropped`);
  const half = await fromArrays({ ...args, topEntropyQuantile: 0.5 });
  const threshold = topEntropyThreshold(entropy, 0.5);
  half.dLogProbs.forEach((g, t) => {
    assert.is(g, entropy[t] >= threshold ? all.dLogProbs[t] : 0);
  });
  for (const out of [kept, half]) {
    const { loss: _, ...metrics } = out.metrics;
    const { loss: __, ...whole } = all.metrics;
    assert.equal(metrics, whole, 'they stay in the metrics');
  }
});
kinds('topEntropyThreshold is the linear quantile of the active tokens', () => {
  near([topEntropyThreshold([4, 1, 3, 2, 5], 0.5)], [3], 0);
  near([topEntropyThreshold([4, 1, 3, 2], 0.2)], [3.4], 1e-12);
  near([topEntropyThreshold([4, 9, 1, NaN, 3, 2], 0.2, [1, 0, 1, 0, 1, 1])], [3.4], 1e-12);
  assert.is(topEntropyThreshold([4, 1], 1), 1);
  assert.is(topEntropyThreshold([4, 1], 0), 4);
  assert.is(topEntropyThreshold([4, 1], 0.5, [0, 0]), -Infinity);
  throwsError(
    () => topEntropyThreshold([1, NaN], 0.5),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /entropy must be finite for every active token, not NaN/,
  );
});
kinds.run();

const fromLogits = suite('policyLossFromLogits');
for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
  fromLogits(`${dtype}: loss and gradients agree with float64 for every loss, level and kind of gradient`, async () => {
    for (const [i, o] of OPTIONS.entries()) {
      const vocab = i % 7 === 0 ? 2051 : 19;
      const targets = makeTargets(vocab, i);
      const logits = place(normals(T * vocab, i, 2), [T, vocab], dtype);
      const values = await logits.read();
      const inputs = nearCurrent(makeInputs(10 * i + 5, o), values, vocab, targets);
      const ref = reference(values, vocab, targets, inputs);
      const name = JSON.stringify(o);
      const args = { logits, targets, temperature: ref.temperature, ...inputs.batch, ...inputs.options };
      const out = policyLossFromLogits(args);
      // A log-probability is good to 64 roundings of its size (see tokenLogProbs); it enters ratios of up to about 3.
      const tolerance = 64 * UNIT_ROUNDOFF.float32 * (1 + Math.log(vocab));
      near(await out.logProbs.read(), ref.logProbs, 2 * tolerance, `logProbs ${name}`);
      near(await out.entropy.read(), ref.entropy, 4 * tolerance, `entropy ${name}`);
      near([out.loss], [ref.loss], 4 * tolerance, `loss ${name}`);
      const relative = dtype === 'float32' ? 2e-5 : 1.01 * UNIT_ROUNDOFF[dtype];
      const denormal = dtype === 'float16' ? 2 ** -24 : 0;
      const dLogits = await out.dLogits!.read();
      near(dLogits, ref.dLogits, 2e-6 + denormal, `dLogits ${name}`, relative);

      const given = blank([T, vocab], dtype);
      assert.is(policyLossFromLogits({ ...args, gradient: given }).dLogits, given);
      assert.equal(await given.read(), dLogits);
      const none = policyLossFromLogits({ ...args, gradient: false });
      assert.is(none.dLogits, undefined);
      assert.equal(none.metrics, out.metrics);
      assert.equal(policyLossFromLogits({ ...args, gradient: 'inplace' }).metrics, out.metrics);
      assert.equal(await logits.read(), dLogits, 'in place');
    }
  });
}
fromLogits('the gradient of the logits agrees with finite differences of the whole loss', async () => {
  const vocab = 5;
  for (const [i, o] of OPTIONS.entries()) {
    const targets = makeTargets(vocab, i);
    const values = normals(T * vocab, i);
    const inputs = nearCurrent(makeInputs(i, o), values, vocab, targets);
    const c = toCase(inputs);
    const at = (logits: ArrayLike<number>) =>
      Array.from({ length: T }, (_, t) =>
        softmaxRow(
          Array.from({ length: vocab }, (_, j) => logits[t * vocab + j]),
          targets[t],
        ),
      );
    const base = at(values).map((s) => s.logProb);
    const loss = (logits: ArrayLike<number>) => {
      const stats = at(logits);
      return lossValue({ ...c, base, logProbs: stats.map((s) => s.logProb), entropy: stats.map((s) => s.entropy) });
    };
    const h = 1e-6;
    const numeric = Array.from(values, (_, j) => {
      const moved = (d: number) => Float64Array.from(values, (v, k) => (k === j ? v + d : v));
      return (loss(moved(h)) - loss(moved(-h))) / (2 * h);
    });
    const out = await fromRows(values, [T, vocab], { targets, ...inputs.batch, ...inputs.options });
    near(out.dLogits, numeric, 2e-6, JSON.stringify(o), 1e-5);
  }
});
fromLogits('rows of masked tokens are not read: their logits and targets may be anything', async () => {
  const vocab = 19;
  for (const [i, o] of OPTIONS.filter((o) => o.holes).entries()) {
    const { batch, options } = makeInputs(i + 60, o);
    const targets = makeTargets(vocab, i);
    const values = normals(T * vocab, i);
    const run = (logits: Float32Array, own: Int32Array) =>
      fromRows(logits, [T, vocab], { targets: own, ...batch, ...options });
    const clean = await run(values, targets);
    const masked = (t: number) => batch.mask![t] === 0;
    const spoiled = await run(
      values.map((v, at) => (masked(Math.floor(at / vocab)) ? NaN : v)),
      targets.map((y, t) => (masked(t) ? -100 : y)),
    );
    assert.equal(spoiled, clean);
  }
});
fromLogits('topEntropyQuantile is the threshold of all entropies, and the GPU needs entropyThreshold', async () => {
  const vocab = 19;
  const { batch } = makeInputs(5, { offPolicy: true, holes: true });
  const targets = makeTargets(vocab, 5).map((y, t) => (batch.mask![t] ? y : -100));
  const values = normals(T * vocab, 5, 2);
  const args = { targets, ...batch, beta: 0.1 };
  const { entropy } = await fromRows(values, [T, vocab], args);
  const entropyThreshold = topEntropyThreshold(entropy, 0.4, batch.mask);
  const given = await fromRows(values, [T, vocab], { ...args, entropyThreshold });
  if (ON_GPU)
    await fails(
      () => fromRows(values, [T, vocab], { ...args, topEntropyQuantile: 0.4 }),
      PrlError,
      'ERR_PRL_UNSUPPORTED',
      /pass entropyThreshold/,
    );
  else assert.equal(await fromRows(values, [T, vocab], { ...args, topEntropyQuantile: 0.4 }), given);
  const all = await fromRows(values, [T, vocab], { ...args, beta: 0, entropyThreshold: -Infinity });
  const some = await fromRows(values, [T, vocab], { ...args, beta: 0, entropyThreshold });
  for (let t = 0; t < T; t++) {
    const row = (x: ArrayLike<number>) => Array.from({ length: vocab }, (_, j) => x[t * vocab + j]);
    const kept = batch.mask![t] !== 0 && entropy[t] >= entropyThreshold;
    assert.equal(row(some.dLogits), kept ? row(all.dLogits) : new Array(vocab).fill(0), `token ${t}`);
  }
});
fromLogits(
  'policyLossFromLogits gives the same bits for any number of threads and for each sequence alone',
  async () => {
    // On the GPU the order of a row's sums follows its place relative to a 16-byte boundary, which must not differ
    // then.
    const vocab = ON_GPU ? 3008 : 3001;
    const { threads } = nativeInfo();
    for (const o of [...OPTIONS.slice(0, 10), ...OPTIONS.slice(40).filter((_, i) => i % 3 === 0)]) {
      const { batch, options } = makeInputs(77, o);
      const targets = makeTargets(vocab, 1);
      const values = normals(T * vocab, 2);
      const args = { targets, ...batch, ...options, normalizer: { tokens: T, sequences: B } };
      const runs = [];
      for (const n of [1, 2, 3, 8]) {
        setThreads(n);
        runs.push(await fromRows(values, [T, vocab], args));
      }
      setThreads(threads);
      for (const run of runs) assert.equal(run, runs[0]);
      for (let i = 0; i < B; i++) {
        const [from, to] = [CU[i], CU[i + 1]];
        const own = <A extends Float32Array | Int32Array>(x: A | undefined) => x?.slice(from, to) as A | undefined;
        const alone = await fromRows(values.slice(from * vocab, to * vocab), [to - from, vocab], {
          ...args,
          targets: own(targets)!,
          cuSeqlens: [0, to - from],
          advantages: o.perToken ? own(batch.advantages)! : batch.advantages.slice(i, i + 1),
          oldLogProbs: own(batch.oldLogProbs),
          refLogProbs: own(batch.refLogProbs),
          importanceWeights: own(batch.importanceWeights),
          rolloutLogProbs: own(batch.rolloutLogProbs),
          mask: own(batch.mask),
        });
        assert.equal(alone.dLogits, runs[0].dLogits.slice(from * vocab, to * vocab));
      }
    }
  },
);
fromLogits('bad targets, logits, gradients and options are refused by name', async () => {
  const vocab = 19;
  const { batch } = makeInputs(3, { offPolicy: true });
  const values = normals(T * vocab, 4);
  const args = { logits: place(values, [T, vocab]), targets: makeTargets(vocab, 5), ...batch };
  for (const importanceSamplingLevel of ['token', 'sequence']) {
    const bad = (change: object) => () =>
      policyLossFromLogits({ ...args, importanceSamplingLevel, ...change } as never);
    await fails(
      bad({ targets: args.targets.map((y, t) => (t === 7 ? vocab : y)) }),
      RangeError,
      'ERR_PRL_OUT_OF_RANGE',
      /targets\[7\] = 19/,
    );
    const nan = place(
      values.map((v, at) => (at === 9 * vocab + 2 ? NaN : v)),
      [T, vocab],
    );
    await fails(bad({ logits: nan }), PrlError, 'ERR_PRL_NON_FINITE', /logits row 9 holds a NaN/);
    const all = place(
      values.map((v, at) => (Math.floor(at / vocab) === 11 ? -Infinity : v)),
      [T, vocab],
    );
    await fails(bad({ logits: all }), PrlError, 'ERR_PRL_NON_FINITE', /logits row 11 is all -inf/);
    const impossible = place(
      values.map((v, at) => (at === 9 * vocab + args.targets[9] ? -Infinity : v)),
      [T, vocab],
    );
    await fails(bad({ logits: impossible }), PrlError, 'ERR_PRL_NON_FINITE', /logProbs\[9\] is -inf/);
    await fails(
      bad({ oldLogProbs: batch.oldLogProbs!.map((x, t) => (t === 9 ? NaN : x)) }),
      PrlError,
      'ERR_PRL_NON_FINITE',
      /oldLogProbs\[9\] is nan/,
    );
    await fails(bad({ gradient: true }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /gradient must be 'inplace'/);
    await fails(
      bad({ gradient: blank([T * vocab]) }),
      RangeError,
      'ERR_PRL_OUT_OF_RANGE',
      /dLogits must have the shape/,
    );
    const half = blank([T, vocab], 'float16');
    await fails(bad({ gradient: half }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /dLogits must be float32, not float16/);
    await fails(bad({ logits: blank([T]) }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /\[tokens, vocab\]/);
    await fails(
      bad({ logits: blank([T, vocab], 'int32') }),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      /logits must be float32/,
    );
    await fails(bad({ temperature: -1 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /temperature/);
  }
});
fromLogits.run();

const fromHidden = suite('linearPolicyLoss');
fromHidden('linearPolicyLoss agrees with float64 for every loss and level', async () => {
  const width = 6;
  const vocab = 19;
  for (const [i, o] of OPTIONS.entries()) {
    const inputs = makeInputs(10 * i + 5, o);
    const hidden = normals(T * width, i + 50);
    const head = normals(vocab * width, i + 51);
    const targets = makeTargets(vocab, i);
    const logits = Float64Array.from({ length: T * vocab }, (_, at) => {
      const [t, j] = [Math.floor(at / vocab), at % vocab];
      let sum = 0;
      for (let k = 0; k < width; k++) sum += hidden[t * width + k] * head[j * width + k];
      return sum;
    });
    nearCurrent(inputs, logits, vocab, targets);
    const ref = reference(logits, vocab, targets, inputs);
    const out = linearPolicyLoss({
      hidden: place(hidden, [T, width]),
      head: place(head, [vocab, width]),
      targets,
      temperature: ref.temperature,
      ...inputs.batch,
      ...inputs.options,
    });
    const name = JSON.stringify(o);
    // The errors of a sequence's log-probabilities, at most 9, add up in vespo's weight, whose logarithm has slopes up
    // to 3.
    const scale = o.lossType === 'vespo' ? 27 : 1;
    near([out.loss], [ref.loss], 2e-6 * scale, `loss ${name}`);
    near(await out.logProbs.read(), ref.logProbs, 4e-6, `logProbs ${name}`);
    near(await out.entropy.read(), ref.entropy, 4e-6, `entropy ${name}`);
    const dHidden = new Float64Array(T * width);
    const dHead = new Float64Array(vocab * width);
    for (let t = 0; t < T; t++)
      for (let j = 0; j < vocab; j++)
        for (let k = 0; k < width; k++) {
          dHidden[t * width + k] += ref.dLogits[t * vocab + j] * head[j * width + k];
          dHead[j * width + k] += ref.dLogits[t * vocab + j] * hidden[t * width + k];
        }
    near(await out.dHidden.read(), dHidden, 2e-6 * scale, `dHidden ${name}`);
    near(await out.dHead.read(), dHead, 5e-6 * scale, `dHead ${name}`);
  }
});
fromHidden('chunk size and thread count change no number beyond rounding', async () => {
  const [width, vocab] = [33, 301];
  const { threads } = nativeInfo();
  for (const options of [
    { importanceSamplingLevel: 'token' },
    { importanceSamplingLevel: 'sequence' },
    { lossType: 'vespo' },
    { offPolicyMaskThreshold: 0 },
  ] as const) {
    const { batch } = makeInputs(8, { offPolicy: true, holes: true });
    const run = async (chunk: number) => {
      // Logits of a token begin on a 128-byte boundary on the GPU.
      const out = linearPolicyLoss({
        hidden: place(normals(T * width, 1), [T, width]),
        head: place(normals(vocab * width, 2, 0.3), [vocab, width]),
        targets: makeTargets(vocab, 3),
        workspaceBytes: chunk * Math.ceil((vocab * 4) / 128) * 128,
        cuSeqlens: CU,
        advantages: batch.advantages,
        mask: batch.mask,
        lossType: 'grpo',
        entropyCoef: 0.01,
        ...options,
      });
      const { logProbs, entropy, dHidden, dHead, metrics } = out;
      const read = { logProbs: await logProbs.read(), entropy: await entropy.read(), dHidden: await dHidden.read() };
      return { ...read, dHead: await dHead.read(), metrics };
    };
    const whole = await run(1000);
    for (const chunk of [1, 2, 7, T - 1, T]) {
      for (const n of [1, 2, 5]) {
        setThreads(n);
        const out = await run(chunk);
        for (const part of ['logProbs', 'entropy', 'dHidden'] as const) {
          // cuBLAS chooses its method by the sizes: a logit is a sum of `width` products in another order.
          if (ON_GPU) near(out[part], whole[part], 64 * UNIT_ROUNDOFF.float32, part);
          else assert.equal(out[part], whole[part]);
        }
        if (!ON_GPU) assert.equal(out.metrics, whole.metrics);
        // At most T terms, each rounded in another order.
        near(out.dHead, whole.dHead, T * UNIT_ROUNDOFF.float32 * 4, 'dHead');
        if (chunk >= T) assert.equal(out.dHead, whole.dHead);
      }
    }
    setThreads(threads);
  }
});
fromHidden('hidden states of masked tokens may be anything', async () => {
  const [width, vocab] = [6, 19];
  for (const importanceSamplingLevel of ['token', 'sequence'] as const) {
    const { batch } = makeInputs(8, { holes: true });
    const hidden = normals(T * width, 1);
    const run = (h: Float32Array, targets: Int32Array) =>
      linearPolicyLoss({
        hidden: place(h, [T, width]),
        head: place(normals(vocab * width, 2), [vocab, width]),
        targets,
        importanceSamplingLevel,
        ...batch,
        refLogProbs: undefined,
      });
    const targets = makeTargets(vocab, 3);
    const masked = (t: number) => batch.mask![t] === 0;
    const clean = run(hidden, targets);
    const spoiled = run(
      hidden.map((x, at) => (masked(Math.floor(at / width)) ? NaN : x)),
      targets.map((y, t) => (masked(t) ? -100 : y)),
    );
    assert.equal(spoiled.metrics, clean.metrics);
    for (const part of ['dHidden', 'dHead', 'logProbs', 'entropy'] as const)
      assert.equal(await spoiled[part].read(), await clean[part].read());
  }
});
fromHidden('dHidden and dHead receive the gradients, and micro-batches accumulate', async () => {
  const [width, vocab] = [7, 23];
  const hidden = normals(T * width, 1);
  const head = place(normals(vocab * width, 2), [vocab, width]);
  const targets = makeTargets(vocab, 3);
  const { batch } = makeInputs(8, { offPolicy: true });
  const normalizer = { tokens: T, sequences: B };
  const whole = linearPolicyLoss({ hidden: place(hidden, [T, width]), head, targets, ...batch, normalizer });
  const dHead = place(new Float32Array(vocab * width).fill(NaN), [vocab, width]);
  const dHidden: number[] = [];
  for (const [from, to] of [
    [0, 3],
    [3, B],
  ]) {
    const slice = (x: Float32Array) => x.slice(CU[from], CU[to]);
    const part = linearPolicyLoss({
      hidden: place(hidden.slice(CU[from] * width, CU[to] * width), [CU[to] - CU[from], width]),
      head,
      targets: targets.slice(CU[from], CU[to]),
      cuSeqlens: CU.slice(from, to + 1).map((x) => x - CU[from]),
      advantages: batch.advantages.slice(from, to),
      oldLogProbs: slice(batch.oldLogProbs!),
      refLogProbs: slice(batch.refLogProbs),
      normalizer,
      dHidden: blank([CU[to] - CU[from], width]),
      dHead,
      accumulate: from > 0,
    });
    assert.is(part.dHead, dHead);
    dHidden.push(...(await part.dHidden.read()));
  }
  near(dHidden, await whole.dHidden.read(), 64 * UNIT_ROUNDOFF.float32, 'dHidden');
  near(await dHead.read(), await whole.dHead.read(), T * UNIT_ROUNDOFF.float32 * 4, 'dHead');
});
fromHidden('linearLogProbs gives the log-probabilities and entropies of linearPolicyLoss', async () => {
  const [width, vocab] = [6, 37];
  const hidden = place(normals(T * width, 1), [T, width]);
  const head = place(normals(vocab * width, 2), [vocab, width]);
  const targets = makeTargets(vocab, 3);
  const loss = linearPolicyLoss({ hidden, head, targets, cuSeqlens: CU, advantages: normals(B, 4), temperature: 0.7 });
  for (const workspaceBytes of [undefined, 5 * 256]) {
    const { logProbs, entropy } = linearLogProbs({ hidden, head, targets, temperature: 0.7, workspaceBytes });
    near(await logProbs.read(), await loss.logProbs.read(), 64 * UNIT_ROUNDOFF.float32, 'logProbs');
    near(await entropy.read(), await loss.entropy.read(), 64 * UNIT_ROUNDOFF.float32, 'entropy');
  }
  const nothing = linearLogProbs({ hidden: blank([0, width]), head, targets: new Int32Array(0) });
  assert.equal(await nothing.logProbs.read(), new Float32Array(0));
});
fromHidden('16-bit hidden states agree with float32 on the GPU and are refused on the CPU', async () => {
  const [width, vocab] = [16, 45];
  for (const dtype of ['bfloat16', 'float16'] as const) {
    const hidden = place(normals(T * width, 1), [T, width], dtype);
    const head = place(normals(vocab * width, 2, 0.25), [vocab, width], dtype);
    const { batch } = makeInputs(8, { offPolicy: true, holes: true });
    const targets = makeTargets(vocab, 3);
    const run = () => linearPolicyLoss({ hidden, head, targets, ...batch });
    if (!ON_GPU) {
      throwsError(run, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /hidden must be float32 on the CPU/);
      continue;
    }
    const out = run();
    const exact = linearPolicyLoss({
      hidden: place(await hidden.read(), [T, width]),
      head: place(await head.read(), [vocab, width]),
      targets,
      ...batch,
    });
    assert.is(out.dHidden.dtype, dtype);
    assert.is(out.dHead.dtype, 'float32');
    // Logits of about 4 are rounded to the storage type; their gradients again.
    const unit = UNIT_ROUNDOFF[dtype];
    near(await out.logProbs.read(), await exact.logProbs.read(), 8 * unit, `logProbs ${dtype}`);
    near(await out.dHidden.read(), await exact.dHidden.read(), 32 * unit, `dHidden ${dtype}`);
    near(await out.dHead.read(), await exact.dHead.read(), 32 * unit, `dHead ${dtype}`);
  }
});
fromHidden('topEntropyQuantile is the threshold of all entropies, and the GPU needs entropyThreshold', async () => {
  const [width, vocab] = [6, 19];
  const { batch } = makeInputs(8, { offPolicy: true, holes: true });
  const hidden = place(
    normals(T * width, 1).map((x, at) => (batch.mask![Math.floor(at / width)] ? x : NaN)),
    [T, width],
  );
  const head = place(normals(vocab * width, 2), [vocab, width]);
  const targets = makeTargets(vocab, 3).map((y, t) => (batch.mask![t] ? y : -100));
  for (const workspaceBytes of [3 * 256, 2 ** 20]) {
    const run = async (options: PolicyLossOptions) => {
      const out = linearPolicyLoss({ hidden, head, targets, ...batch, workspaceBytes, ...options });
      return { loss: out.loss, entropy: await out.entropy.read(), dHidden: await out.dHidden.read() };
    };
    const all = await run({});
    const given = await run({ entropyThreshold: topEntropyThreshold(all.entropy, 0.4, batch.mask) });
    assert.not.equal(given.loss, all.loss);
    if (!ON_GPU) assert.equal(await run({ topEntropyQuantile: 0.4 }), given);
    else await fails(() => run({ topEntropyQuantile: 0.4 }), PrlError, 'ERR_PRL_UNSUPPORTED', /pass entropyThreshold/);
  }
});
fromHidden('wrong shapes, targets and memory are refused by name, and no tokens have loss 0', async () => {
  const [width, vocab] = [3, 4];
  const args = {
    hidden: place(normals(2 * width, 1), [2, width]),
    head: place(normals(vocab * width, 1), [vocab, width]),
    targets: [0, 1],
    advantages: new Float32Array(1),
    cuSeqlens: [0, 2],
  };
  const bad = (change: object) => () => linearPolicyLoss({ ...args, ...change } as never);
  throwsError(
    bad({ head: blank([vocab, width + 1]) }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /head must have the shape \[vocab, 3\]/,
  );
  throwsError(bad({ hidden: blank([2]) }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /hidden must have the shape/);
  await fails(bad({ targets: [0, 4] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /targets\[1\] = 4/);
  throwsError(
    bad({ head: blank([vocab, width], 'bfloat16') }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /head must be float32/,
  );
  const nan = place([1, 1, 1, NaN, 1, 1], [2, width]);
  await fails(bad({ hidden: nan }), PrlError, 'ERR_PRL_NON_FINITE', /logits row 1/);
  throwsError(bad({ accumulate: true }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /accumulate needs dHead/);
  throwsError(bad({ dHead: args.head }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /dHead and head share memory/);
  throwsError(bad({ dHidden: args.hidden }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /dHidden and hidden share memory/);
  throwsError(bad({ dHead: blank([vocab]) }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /dHead/);
  throwsError(bad({ workspaceBytes: 3 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /workspaceBytes must have room/);
  const none = linearPolicyLoss({
    ...args,
    hidden: blank([0, width]),
    targets: [],
    cuSeqlens: [0],
    advantages: new Float32Array(0),
  });
  assert.is(none.loss, 0);
  assert.equal(await none.dHead.read(), new Float32Array(vocab * width));
});
fromHidden.run();
