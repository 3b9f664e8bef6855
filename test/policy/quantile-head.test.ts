import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Policy, setThreads, Tensor } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import { packSequences } from '../../lib/policy/batch.js';
import { adamw } from '../reference/adamw.js';
import { near, normals, random, throwsError } from '../reference/numbers.js';
import { quantileLossReference } from '../reference/pinball.js';
import { quantileHead } from '../reference/quantile-head.js';
import { rejectsWith } from './rejects.js';
import { ARCHITECTURES, tinyBatch, tinyPolicy } from './tiny.js';

const QUANTILES = [0.1, 0.5, 0.9];
const [HIDDEN, FEATURES, WIDTH] = [24, 6, 11];
const TRAINED = ['hidden.weight', 'hidden.bias', 'output.weight', 'output.bias'];
const RANGE = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;

/** A head with random numbers in every parameter. */
function makeHead(seed = 1) {
  const head: object = native().quantileHeadCreate({
    hidden: HIDDEN,
    features: FEATURES,
    width: WIDTH,
    quantiles: QUANTILES,
  });
  const shapes: { name: string; shape: number[] }[] = native().quantileHeadParameters({ head });
  const weights = new Map<string, Float32Array>();
  for (const [i, { name, shape }] of shapes.entries()) {
    const size = shape.reduce((a, b) => a * b, 1);
    const values = normals(size, seed + i, 0.4).map((x) => (name === 'features.deviation' ? 0.5 + Math.abs(x) : x));
    native().quantileHeadWrite({ head, arena: 0, name, data: Tensor.from(values) });
    weights.set(name, values);
  }
  const read = (name: string, arena: number): Float32Array => {
    const out = Tensor.zeros([weights.get(name)!.length]);
    assert.ok(native().quantileHeadRead({ head, arena, name, out }));
    return out.data as Float32Array;
  };
  return { head, weights, read };
}

interface Rows {
  hidden: Float32Array;
  features: Float32Array;
  targets: Float32Array;
}
const rowsOf = (n: number, seed: number): Rows => ({
  hidden: normals(n * HIDDEN, seed),
  features: normals(n * FEATURES, seed + 1, 3),
  targets: Float32Array.from({ length: n }, random(seed + 2)),
});
const tensors = (rows: Rows) =>
  Object.fromEntries(Object.entries(rows).map(([name, values]) => [name, Tensor.from(values)]));

const ADAMW = { step: true, weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.99, adamEpsilon: 1e-8 };

const policy = tinyPolicy();
const on = <T>(args: object, name: string, model: Policy = policy): Promise<T> =>
  model.call(undefined, (handle) => native()[name]({ policy: handle, ...args }));
const score = (head: object, rows: Rows) => on<Float32Array>({ head, ...tensors(rows) }, 'quantileHeadScore');
const update = (head: object, rows: Rows, options: object = { step: false }) =>
  on<{ loss: number; gradNorm: number; applied: boolean }>(
    { head, ...tensors(rows), ...options },
    'quantileHeadUpdate',
  );

function reference(weights: ReadonlyMap<string, ArrayLike<number>>, { hidden, features, targets }: Rows): number[] {
  return Array.from(targets).flatMap((_, r) =>
    quantileHead(
      weights,
      hidden.subarray(r * HIDDEN, (r + 1) * HIDDEN),
      features.subarray(r * FEATURES, (r + 1) * FEATURES),
    ),
  );
}

const head = suite('native quantile head');
head("the head's outputs agree with the formula in float64, for any number of rows", async () => {
  const { head, weights } = makeHead();
  for (const n of [1, 7, 1025]) {
    const rows = rowsOf(n, n);
    // Two products of 30 and 11 terms of order 1 and the slope 1/4 of the sigmoid: some tens of roundings.
    near(await score(head, rows), reference(weights, rows), 40 * 2 ** -24, `${n} rows`);
  }
  assert.is((await score(head, rowsOf(0, 1))).length, 0);
});
head("the head's loss and gradients agree with the float64 reference", async () => {
  const { head, weights, read } = makeHead(2);
  const rows = rowsOf(9, 3);
  const { loss, gradNorm, applied } = await update(head, rows);
  const lossAt = (at: ReadonlyMap<string, ArrayLike<number>>) =>
    quantileLossReference(reference(at, rows), rows.targets, QUANTILES);
  assert.is(applied, false);
  near([loss], [lossAt(weights)], 1e-6);
  let squares = 0;
  for (const name of TRAINED) {
    const gradient = read(name, 1);
    const expected = Array.from(gradient, (_, i) => {
      const moved = (by: number) =>
        lossAt(
          new Map(
            [...weights].map(([key, v]) => [
              key,
              Float64Array.from(v, (x, j) => (key === name && j === i ? x + by : x)),
            ]),
          ),
        );
      return (moved(1e-5) - moved(-1e-5)) / 2e-5;
    });
    // Gradients are sums of 9 rows, each about 0.05 or less; a difference of float64 losses is good to 1e-10.
    near(gradient, expected, 1e-6, name);
    assert.ok(
      gradient.some((g) => Math.abs(g) > 1e-4),
      `${name} takes part`,
    );
    squares += gradient.reduce((sum, g) => sum + g * g, 0);
  }
  near([gradNorm], [Math.sqrt(squares)], 0, 'gradNorm', 1e-6);
});
head("the head's AdamW with clipping and weight decay agrees with float64", async () => {
  const { head, weights, read } = makeHead(3);
  const start = new Map(TRAINED.map((name) => [name, weights.get(name)!]));
  const gradients: Map<string, ArrayLike<number>>[] = [];
  const options = {
    learningRate: 0.01,
    weightDecay: 0.1,
    adamBeta1: 0.8,
    adamBeta2: 0.95,
    adamEpsilon: 1e-6,
    maxGradNorm: 0.02,
  };
  for (let step = 0; step < 4; step++) {
    const { applied, gradNorm } = await update(head, rowsOf(12, 10 + step), { step: true, ...options });
    assert.ok(applied && gradNorm > 0.02, 'the bound clips');
    gradients.push(new Map(TRAINED.map((name) => [name, read(name, 1)])));
  }
  const { adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon, ...rest } = options;
  const expected = adamw(start, gradients, (name) => name.endsWith('weight'), { beta1, beta2, epsilon, ...rest });
  for (const name of TRAINED) near(read(name, 0), expected.get(name)!, 2e-6, name);
  for (const name of ['features.mean', 'features.deviation']) assert.equal(read(name, 0), weights.get(name)!);
});
head('a row scores the same bits alone, and the number of threads changes no bit', async () => {
  const { head, read } = makeHead(4);
  const rows = rowsOf(1500, 5);
  const all = await score(head, rows);
  for (const k of [0, 777, 1499]) {
    const hidden = rows.hidden.slice(k * HIDDEN, (k + 1) * HIDDEN);
    const features = rows.features.slice(k * FEATURES, (k + 1) * FEATURES);
    const alone = await score(head, { hidden, features, targets: rows.targets.slice(k, k + 1) });
    assert.equal(alone, all.slice(3 * k, 3 * k + 3));
  }
  const { threads } = nativeInfo();
  const { loss } = await update(head, rows);
  const gradients = TRAINED.map((name) => read(name, 1));
  for (const n of [1, 2, 3, 8]) {
    setThreads(n);
    assert.equal(await score(head, rows), all);
    assert.is((await update(head, rows)).loss, loss);
    assert.equal(
      TRAINED.map((name) => read(name, 1)),
      gradients,
    );
  }
  setThreads(threads);
});
head('a loss or step that is not finite is reported and changes nothing', async () => {
  const { head, read } = makeHead(5);
  const rows = rowsOf(4, 6);
  const values = () => TRAINED.map((name) => read(name, 0));
  const before = values();
  const options = { ...ADAMW, learningRate: 0.1 };
  const { loss, applied } = await update(head, { ...rows, targets: rows.targets.fill(Number.NaN, 2, 3) }, options);
  assert.ok(Number.isNaN(loss) && !applied);
  assert.equal(values(), before);
  // Loss and gradients that are finite, and a step that would leave weights that are not.
  const steep = await update(head, rowsOf(4, 6), { ...ADAMW, learningRate: 1e39 });
  assert.ok(Number.isFinite(steep.loss) && Number.isFinite(steep.gradNorm) && !steep.applied);
  assert.equal(values(), before);
  // Step count and moments too are what they were.
  const { head: other, read: readOther } = makeHead(5);
  for (const each of [head, other]) assert.ok((await update(each, rowsOf(4, 6), options)).applied);
  assert.equal(
    values(),
    TRAINED.map((name) => readOther(name, 0)),
  );
});
head('the garbage collector learns how much memory a head holds', () => {
  const external = (): number => native().externalMemory({});
  const before = external();
  native().quantileHeadCreate({ hidden: 4000, features: 0, width: 1000, quantiles: [0.5] });
  const grown = external() - before;
  assert.ok(grown >= 16e6 && grown < 17e6, `${grown} bytes for 4 million weights`);
});
head('the head refuses arrays of the wrong size and unknown parameters by name', async () => {
  const { head } = makeHead(6);
  const rows = rowsOf(3, 7);
  await rejectsWith(score(head, { ...rows, hidden: normals(71, 1) }), ...RANGE, /hidden must have rows of 24/);
  await rejectsWith(score(head, { ...rows, features: normals(17, 1) }), ...RANGE, /features must have 18 elements/);
  await rejectsWith(update(head, { ...rows, targets: normals(2, 1) }), ...RANGE, /targets must have 3/);
  await rejectsWith(score({}, rows), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /quantileHeadCreate made/);
  const access = (name: string, size: number) => () =>
    native().quantileHeadRead({ head, arena: 0, name, out: Tensor.zeros([size]) });
  throwsError(access('hidden.weigth', 1), ...RANGE, /no parameter 'hidden\.weigth'/);
  throwsError(access('hidden.bias', 3), ...RANGE, /out must have 11/);
});
head.run();

// Steps of tinyBatch, each a few tokens; the empty completion has none.
const { prompts, completions, sequences } = tinyBatch() as ReturnType<typeof tinyBatch> & {
  prompts: Int32Array[];
  completions: Int32Array[];
};
const start = Int32Array.from(prompts, ({ length }) => length);
const ends = (() => {
  const list: number[] = [];
  let total = 0;
  for (const { length } of completions) {
    for (let at = 4; at < length; at += 5) list.push(total + at);
    if (length > 0 && list[list.length - 1] !== total + length - 1) list.push(total + length - 1);
    total += length;
  }
  return Int32Array.from(list);
})();
const batch = (microBatchTokens = 4096) => ({
  ...packSequences('sequences', [prompts, completions]),
  start: Tensor.from(start),
  stepEnds: Tensor.from(ends),
  temperature: 1,
  microBatchTokens,
});
type States = { hidden: Float32Array; logProbs: Float32Array; tokens: number };
const statesOf = (model: Policy, args: object = {}) =>
  on<States>({ ...batch(), hidden: true, logProbs: true, ...args }, 'policyStepStates', model);

const steps = suite('native steps of a policy');
for (const model_type of ARCHITECTURES) {
  const model = tinyPolicy({ model_type });
  steps(
    `${model_type}: the hidden states of steps give the policy's logits, and logProbs are the same bits`,
    async () => {
      const { hidden, logProbs, tokens } = await statesOf(model);
      assert.equal(logProbs, (await model.logProbs(sequences, { start })).logProbs);
      assert.is(
        tokens,
        sequences.reduce((sum, ids, i) => sum + (ids.length > start[i] ? ids.length : 0), 0),
      );
      const tied = model.config.tie_word_embeddings;
      const head = model.readParameter(tied ? 'model.embed_tokens.weight' : 'lm_head.weight').data;
      let [first, k] = [0, 0];
      for (const [i, { length }] of completions.entries()) {
        const logits = (await model.logits(sequences[i])).data;
        for (; k < ends.length && ends[k] < first + length; k++) {
          const at = start[i] + ends[k] - first;
          const expected = logits.subarray(at * 23, (at + 1) * 23);
          const own = Array.from({ length: 23 }, (_, v) =>
            Array.from({ length: HIDDEN }, (_, h) => hidden[k * HIDDEN + h] * head[v * HIDDEN + h]).reduce(
              (a, b) => a + b,
              0,
            ),
          );
          near(own, expected, 1e-5, `step ${k}`);
        }
        first += length;
      }
      assert.is(k, ends.length);
    },
  );
  steps(`${model_type}: finetuning the backbone agrees with finite differences, and micro-batches add up`, async () => {
    const { head, weights } = makeHead(8);
    const targets = Float32Array.from({ length: ends.length }, random(9));
    const features = normals(ends.length * FEATURES, 10);
    const args = { head, features: Tensor.from(features), targets: Tensor.from(targets), step: false };
    const run = (microBatchTokens?: number) =>
      on<{ loss: number; gradNorm: number }>({ ...batch(microBatchTokens), ...args }, 'quantileHeadFinetune', model);
    const { loss, gradNorm } = await run();
    const gradients = model.gradients();
    const lossNow = async () => {
      const rows = { hidden: (await statesOf(model)).hidden, features, targets };
      return quantileLossReference(reference(weights, rows), targets, QUANTILES);
    };
    near([loss], [await lossNow()], 1e-6);
    let checked = 0;
    for (const [name, gradient] of gradients) {
      const values = model.readParameter(name).data as Float32Array;
      const norm = Math.hypot(...gradient.data);
      if (norm < 1e-4) continue; // lost in the float32 rounding of the loss
      const step = 2e-3 / norm;
      const at = async (by: number) => {
        model.writeParameter(
          name,
          values.map((x, i) => x + by * gradient.data[i]),
        );
        return lossNow();
      };
      const slope = ((await at(step)) - (await at(-step))) / (2 * step * norm * norm);
      model.writeParameter(name, values);
      // A kink of the pinball loss on the way, or curvature, costs a few per cent at most with this step.
      near([slope], [1], 0.05, name);
      checked++;
    }
    assert.ok(checked > 10, `${checked} parameters checked`);
    for (const microBatchTokens of [1, 100]) {
      const parts = await run(microBatchTokens);
      near([parts.loss, parts.gradNorm], [loss, gradNorm], 1e-5);
      for (const [name, tensor] of model.gradients())
        near(tensor.data, gradients.get(name)!.data, 1e-5 * Math.max(...gradients.get(name)!.data.map(Math.abs)), name);
    }
  });
}
steps('neither the number of threads nor the rest of the batch changes a bit of the steps', async () => {
  const { threads } = nativeInfo();
  const all = await statesOf(policy);
  for (const n of [1, 2, 3]) {
    setThreads(n);
    assert.equal(await statesOf(policy), all);
  }
  setThreads(threads);
  assert.equal((await statesOf(policy, { microBatchTokens: 1 })).hidden, all.hidden);
});
steps('a step of head and backbone is applied to both or to none', async () => {
  const model = tinyPolicy();
  const { head, read } = makeHead(11);
  const targets = Tensor.from(Float32Array.from({ length: ends.length }, random(12)));
  const features = Tensor.from(normals(ends.length * FEATURES, 13));
  const run = (learningRate: number, backboneLearningRate: number) =>
    on<{ loss: number; applied: boolean }>(
      { ...batch(), ...ADAMW, head, targets, features, learningRate, backboneLearningRate },
      'quantileHeadFinetune',
      model,
    );
  const all = () => [
    ...TRAINED.map((name) => read(name, 0)),
    ...model.parameters.map(({ name }) => model.readParameter(name).data),
  ];
  const before = all();
  for (const [own, backbone] of [
    [1e39, 1e-3],
    [1e-3, 1e39],
  ]) {
    const { loss, applied } = await run(own, backbone);
    assert.ok(Number.isFinite(loss) && !applied);
    assert.equal(all(), before);
  }
  assert.ok((await run(1e-3, 1e-3)).applied);
  assert.not.equal(all(), before);
});
steps('stepEnds that do not rise or lie outside the tokens are refused', async () => {
  const wrong = (stepEnds: number[]) => statesOf(policy, { stepEnds: Tensor.from(Int32Array.from(stepEnds)) });
  await rejectsWith(wrong([3, 3]), ...RANGE, /stepEnds\[1\] = 3 must rise/);
  await rejectsWith(wrong([-1]), ...RANGE, /stepEnds\[0\] = -1/);
  await rejectsWith(wrong([100000]), ...RANGE, /stepEnds\[0\] = 100000 must rise and be below 219/);
});
steps.run();
