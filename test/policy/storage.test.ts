// The storage of weights and activations must not change a number. A bfloat16 policy computes as the float32 policy
// with its values. Recomputed activations are those that were kept. A bfloat16 policy updates float32 masters.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, type PolicyConfig, setThreads, Tensor } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import { fromBFloat16, toBFloat16 } from '../../lib/kernels/tensor.js';
import { ARENA, readTensor } from '../../lib/policy/optimizer-state.js';
import { adamw } from '../reference/adamw.js';
import { near } from '../reference/numbers.js';
import { ARCHITECTURES, tinyBatch, tinyPolicy, tokens } from './tiny.js';

const THREADS = nativeInfo().threads;
const folder = mkdtempSync(join(tmpdir(), 'prl-storage-'));
const { sequences, ...batch } = tinyBatch();
const values = (policy: Policy) =>
  new Map(policy.parameters.map(({ name }) => [name, policy.readParameter(name).data as Float32Array]));
const gradients = (policy: Policy) => new Map(Array.from(policy.gradients(), ([name, t]) => [name, t.data]));
const completions = (results: Awaited<ReturnType<Policy['generate']>>) =>
  results.map((r) => r.completions.map((c) => [[...c.tokens], [...c.logProbs], c.finishReason]));

/** The same values in both storages: those of `policy`, rounded. */
function twins(policy: Policy): [Policy, Policy] {
  const pair = [
    Policy.create(policy.config, { seed: 1, dtype: 'bfloat16' }),
    Policy.create(policy.config, { seed: 1 }),
  ] as [Policy, Policy];
  for (const [name, of] of values(policy)) {
    pair[0].writeParameter(name, of);
    pair[1].writeParameter(
      name,
      of.map((x) => fromBFloat16(toBFloat16(x))),
    );
  }
  return pair;
}

/**
 * More than the 4 M parameters from which on generation reads weights where they lie; widths that are no multiples of
 * vectors.
 */
const LARGE: PolicyConfig = {
  model_type: 'qwen3',
  vocab_size: 5003,
  hidden_size: 300,
  intermediate_size: 810,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 50,
  max_position_embeddings: 128,
};

const test = suite('Policy in bfloat16');
test.after.each(() => setThreads(THREADS));
test.after(() => rmSync(folder, { recursive: true, force: true }));

for (const model_type of ARCHITECTURES) {
  test(`${model_type}: a bfloat16 policy computes bit for bit as a float32 one with its values`, async () => {
    const [narrow, wide] = twins(tinyPolicy({ model_type }));
    assert.is(narrow.dtype, 'bfloat16');
    assert.equal(values(narrow), values(wide));
    // Few tokens, and so many that the first layer goes by symbols.
    for (const some of [sequences.slice(0, 2), sequences])
      assert.equal(await narrow.logProbs(some, { entropy: true }), await wide.logProbs(some, { entropy: true }));
    assert.equal((await narrow.logits(sequences[3])).data, (await wide.logits(sequences[3])).data);
    const options = { entropyCoef: 0.1, temperature: 0.9 };
    assert.equal(await narrow.computeGradients(batch, options), await wide.computeGradients(batch, options));
    assert.equal(gradients(narrow), gradients(wide));
    const sample = { n: 3, maxNewTokens: 20, seed: 3 };
    const prompts = sequences.slice(0, 4);
    assert.equal(
      completions(await narrow.generate(prompts, sample)),
      completions(await wide.generate(prompts, sample)),
    );
    assert.equal(await narrow.clone().logProbs(sequences), await wide.logProbs(sequences), 'clone');
  });
}

test('a bfloat16 policy is drawn as the float32 one, rounded', () => {
  const wide = values(Policy.create(LARGE, { seed: 4 }));
  const narrow = values(Policy.create(LARGE, { seed: 4, dtype: 'bfloat16' }));
  for (const [name, of] of wide)
    assert.equal(
      narrow.get(name),
      of.map((x) => fromBFloat16(toBFloat16(x))),
    );
});

test('a large bfloat16 policy generates as the float32 one, for any batch and thread count', async () => {
  const [narrow, wide] = twins(Policy.create(LARGE, { seed: 2 }));
  const prompts = [5, 1, 17, 3, 9].map((n, i) => tokens(n, i, LARGE.vocab_size));
  const sample = { n: 2, maxNewTokens: 12, seed: 3 };
  const expected = completions(await wide.generate(prompts, sample));
  for (const [threads, maxBatch] of [
    [1, 10],
    [3, 3],
    [2, 1],
  ]) {
    setThreads(threads);
    assert.equal(completions(await narrow.generate(prompts, { ...sample, maxBatch })), expected);
  }
  // Against scoring, which adds up in another order: logits of order 1, sums of hundreds of terms.
  const [[first]] = expected as [[[number[], number[], string]]];
  const scored = await wide.logProbs([[...prompts[0], ...first[0]]], { start: [prompts[0].length] });
  near(first[1], scored.logProbs, 1e-5);
});

test('bfloat16 steps update float32 masters, and the weights are their roundings', async () => {
  const policy = twins(tinyPolicy({ model_type: 'qwen2' }))[0];
  const start = values(policy);
  const taken: Map<string, ArrayLike<number>>[] = [];
  // So small that a single step is lost in rounding to bfloat16 nearly everywhere.
  const options = { learningRate: 1e-4, weightDecay: 0.1, maxGradNorm: Infinity };
  for (let step = 0; step < 5; step++) {
    assert.ok((await policy.update(batch, options)).applied);
    taken.push(gradients(policy));
  }
  const decays = (name: string) => policy.parameters.find((p) => p.name === name)!.shape.length > 1;
  const expected = adamw(start, taken, decays, {
    learningRate: 1e-4,
    weightDecay: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    maxGradNorm: Infinity,
  });
  await policy.call(undefined, async (handle) => {
    for (const parameter of policy.parameters) {
      const master = readTensor(handle, parameter, 'master')!.data as Float32Array;
      // Two roundings of the weight in each of the five steps, besides those of its small changes.
      near(master, expected.get(parameter.name)!, 1e-8, parameter.name, 10 * 2 ** -24);
      const bits = new Uint32Array(master.buffer).map((b) => ((b + 0x8000) >>> 16) << 16);
      assert.equal(values_(handle, parameter), new Float32Array(bits.buffer), parameter.name);
      assert.not.equal(master, new Float32Array(bits.buffer), 'masters are finer');
    }
  });
});
const values_ = (handle: object, parameter: { name: string; shape: number[] }) =>
  readTensor(handle, parameter, 'value')!.data;

test('a saved bfloat16 policy resumes bit for bit, and a clone starts from its rounded weights', async () => {
  const options = { learningRate: 1e-3, weightDecay: 0.01 };
  const [one] = twins(tinyPolicy());
  await one.update(batch, options);
  await one.update(batch, options);
  const file = join(folder, 'optimizer.safetensors');
  await one.save(join(folder, 'one'));
  await one.saveOptimizer(file);
  const two = await Policy.load(join(folder, 'one'), { dtype: 'bfloat16' });
  assert.equal(values(two), values(one));
  await two.loadOptimizer(file);
  const three = one.clone();
  await Promise.all([one, two, three].map((policy) => policy.update(batch, options)));
  await Promise.all([one, two, three].map((policy) => policy.update(batch, options)));
  assert.equal(values(two), values(one));
  assert.not.equal(values(three), values(one));
});

test('writeParameter rounds the value and its master', async () => {
  const [policy] = twins(tinyPolicy());
  await policy.update(batch, { learningRate: 1e-3 });
  const { name, shape } = policy.parameters[0];
  const third = new Float32Array(shape[0] * shape[1]).fill(1 / 3);
  policy.writeParameter(name, third);
  const rounded = third.map((x) => fromBFloat16(toBFloat16(x)));
  assert.equal(policy.readParameter(name).data, rounded);
  await policy.call(undefined, async (handle) => {
    assert.equal(readTensor(handle, { name, shape }, 'master')!.data, rounded);
    native().policyWrite({ policy: handle, arena: ARENA.master, name, data: Tensor.from(third) });
    assert.equal(readTensor(handle, { name, shape }, 'master')!.data, third);
  });
  assert.equal(policy.readParameter(name).data, rounded);
});
test.run();

const recompute = suite('Policy with gradientCheckpointing');
recompute.after.each(() => setThreads(THREADS));
for (const model_type of ARCHITECTURES) {
  recompute(`${model_type}: recomputing activations changes no bit of metrics and gradients`, async () => {
    const policy = tinyPolicy({ model_type, num_hidden_layers: 3 });
    // With and without a vocabulary so large that the first layer goes by positions; whole sequences, completions only.
    const wide = tinyPolicy({ model_type, num_hidden_layers: 3, vocab_size: 701 });
    const whole = {
      ...batch,
      prompts: sequences.map((s) => s.slice(0, 1)),
      completions: sequences.map((s) => s.slice(1)),
    };
    for (const [network, data] of [
      [policy, batch],
      [wide, batch],
      [wide, whole],
    ] as const) {
      for (const microBatchTokens of [4096, 60]) {
        const options = { entropyCoef: 0.1, beta: 0, microBatchTokens };
        const expected = await network.computeGradients(data, options);
        const kept = gradients(network);
        for (const threads of [THREADS, 3]) {
          setThreads(threads);
          const metrics = await network.computeGradients(data, { ...options, gradientCheckpointing: true });
          assert.equal(metrics, expected);
          assert.equal(gradients(network), kept);
        }
      }
    }
  });
}
recompute.run();
