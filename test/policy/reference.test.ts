// The native policy against transformers and TRL. These libraries made test/fixtures, with gradients in float64.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, type PolicyBatch, type PolicyConfig } from '../../lib/index.js';
import { nativeConfig } from '../../lib/policy/config.js';
import { rotations } from '../../lib/policy/rope.js';
import { near } from '../reference/numbers.js';
import { readSafetensors, type StoredTensor } from '../reference/safetensors.js';

const FIXTURES = new URL('../fixtures/', import.meta.url);
const folderOf = (model: string) => fileURLToPath(new URL(`model/${model}`, FIXTURES));
const configOf = (path: string): PolicyConfig => JSON.parse(readFileSync(new URL(`model/${path}`, FIXTURES), 'utf8'));
const LENGTHS = [37, 20, 5];

/** Rows of a right-padded [3, width] tensor, without the padding. */
const rows = (t: StoredTensor, lengths = LENGTHS) =>
  lengths.map((n, r) => t.data.slice(r * t.shape[1], r * t.shape[1] + n));
const concatenate = (parts: ArrayLike<number>[]) => Float64Array.from(parts.flatMap((p) => Array.from(p)));
const SCORED = LENGTHS.map((n) => n - 1);

/** Every gradient within 1e-4 of the largest entry of its tensor. */
function gradientsMatch(policy: Policy, reference: Map<string, StoredTensor>) {
  const gradients = policy.gradients();
  assert.equal(
    [...gradients.keys()].sort(),
    [...reference.keys()].flatMap((k) => k.match(/^grad\.(.*)/)?.[1] ?? []).sort(),
  );
  for (const [name, gradient] of gradients) {
    const expected = reference.get(`grad.${name}`)!;
    assert.equal([...gradient.shape], expected.shape, name);
    const largest = Array.from(expected.data).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    assert.ok(largest > 0, `${name} has a gradient`);
    near(gradient.data, expected.data, 1e-4 * largest, name);
  }
}

for (const model of ['llama', 'qwen2', 'qwen3']) {
  const test = suite(`Policy against transformers: ${model}`);
  const reference = readSafetensors(new URL(`model/${model}/reference.safetensors`, FIXTURES));
  const get = (name: string) => reference.get(name)!;
  const sequences = rows(get('input_ids')) as Int32Array[];
  let policy: Policy;
  test.before(async () => {
    policy = await Policy.load(folderOf(model));
  });

  test('logits agree with transformers within 1e-4', async () => {
    const logits = await Promise.all(sequences.map((ids) => policy.logits(ids)));
    near(concatenate(logits.map((t) => t.data)), get('logits').data, 1e-4);
  });

  test('log-probabilities and entropies agree with transformers within 2e-5', async () => {
    const out = await policy.logProbs(sequences, { entropy: true });
    assert.equal([...out.cuSeqlens], [0, 36, 55, 59]);
    near(out.logProbs, concatenate(rows(get('logp_next_f64'), SCORED)), 2e-5);
    near(out.entropy!, concatenate(rows(get('entropy_f64'), SCORED)), 2e-5);
  });

  test('logProbs with start returns the log-probabilities of the completions alone', async () => {
    const start = [30, 1, 5];
    const all = rows(get('logp_next_f64'), SCORED);
    const out = await policy.logProbs(sequences, { start });
    near(out.logProbs, concatenate(all.map((row, i) => row.slice(start[i] - 1))), 2e-5);
  });

  test('greedy decoding picks the tokens of transformers with the same log-probabilities', async () => {
    const numbers = (row: number, what: string) => get(`greedy.${row}.${what}`).data;
    const prompts = [0, 1, 2].map((row) => numbers(row, 'prompt') as Int32Array);
    const results = await policy.generate(prompts, { maxNewTokens: 12, temperature: 0, ignoreEos: true });
    for (const [row, { completions }] of results.entries()) {
      assert.equal([...completions[0].tokens], [...numbers(row, 'tokens')], `row ${row}`);
      near(completions[0].logProbs, numbers(row, 'logp'), 2e-5, `row ${row}`);
    }
  });

  test('every gradient agrees with float64 autograd, for any micro-batch size', async () => {
    // loss = -sum advantage * ratio with ratio 1 and gradient through the log-probability: advantages -w give the sum.
    const batch: PolicyBatch = {
      prompts: sequences.map((ids) => ids.slice(0, 1)),
      completions: sequences.map((ids) => ids.slice(1)),
      advantages: Float32Array.from(concatenate(rows(get('w'), SCORED)), (w) => -w),
    };
    for (const microBatchTokens of [8192, 40]) {
      await policy.computeGradients(batch, { normalizer: { tokens: 1, sequences: 1 }, microBatchTokens });
      gradientsMatch(policy, reference);
    }
  });

  test('the current and the legacy spelling of the config give the same policy', () => {
    const [current, legacy] = ['config', 'config.legacy'].map((name) =>
      nativeConfig(configOf(`${model}/${name}.json`)),
    );
    assert.equal(current, legacy);
    near(current.invFreq.data, get('rope.inv_freq').data, 0, 'inv_freq', 2 ** -23);
  });
  test.run();
}

const rope = suite('Policy against transformers: rope scaling');
rope('llama3 rope scaling gives the frequencies and logits of transformers', async () => {
  const reference = readSafetensors(new URL('model/llama/reference.safetensors', FIXTURES));
  const config = configOf('llama/alt_rope/config.json');
  near(rotations(config, 16).invFreq, reference.get('alt_rope.inv_freq')!.data, 0, 'inv_freq', 2 ** -23);
  const weights = await Policy.load(folderOf('llama'));
  const policy = Policy.create(config, { seed: 0 });
  for (const { name } of weights.parameters) policy.writeParameter(name, weights.readParameter(name));
  const sequences = rows(reference.get('input_ids')!) as Int32Array[];
  const logits = await Promise.all(sequences.map((ids) => policy.logits(ids)));
  near(concatenate(logits.map((t) => t.data)), reference.get('alt_rope.logits')!.data, 1e-4);
});
rope('linear rope scaling divides every frequency by the factor', () => {
  const plain = configOf('qwen3/config.json');
  const scaled = { ...plain, rope_parameters: { ...plain.rope_parameters, rope_type: 'linear', factor: 4 } };
  assert.equal(
    rotations(scaled, 32).invFreq,
    rotations(plain, 32).invFreq.map((x) => x / 4),
  );
});
rope.run();

const step = suite('Policy against TRL');
step('a whole GRPO step gives the loss, metrics and gradients of TRL', async () => {
  const reference = readSafetensors(new URL('e2e/llama_step.safetensors', FIXTURES));
  const expected = JSON.parse(readFileSync(new URL('e2e/llama_step.json', FIXTURES), 'utf8'));
  const { prompt_lengths, completion_lengths, params, metrics } = expected;
  const completion = (name: string) => rows(reference.get(name)!, completion_lengths);
  const packed = (name: string) => Float32Array.from(concatenate(completion(name)));
  const prompts = (prompt_lengths as number[]).map((n, r) =>
    reference.get('prompt_ids')!.data.slice(9 * r + 9 - n, 9 * r + 9),
  );
  const completions = completion('completion_ids');

  const policy = await Policy.load(folderOf('llama'));
  const out = await policy.logProbs(
    prompts.map((prompt, i) => [...prompt, ...completions[i]]),
    { start: prompt_lengths, temperature: params.temperature, entropy: true },
  );
  near(out.logProbs, packed('logp'), 2e-5);
  near(out.entropy!, packed('entropy'), 2e-5);

  // TRL's own metric is that of the corrected term, k3 times the ratio; ours is k3.
  const k3 = Array.from(
    packed('ref_logp'),
    (ref, t) => Math.exp(ref - packed('logp')[t]) - (ref - packed('logp')[t]) - 1,
  );
  for (const microBatchTokens of [8192, 20]) {
    const result = await policy.computeGradients(
      {
        prompts,
        completions,
        advantages: reference.get('advantages')!.data as Float32Array,
        oldLogProbs: packed('old_logp'),
        refLogProbs: packed('ref_logp'),
      },
      {
        lossType: 'dapo',
        epsilon: params.epsilon_low,
        epsilonHigh: params.epsilon_high,
        beta: params.beta,
        entropyCoef: params.entropy_coef,
        temperature: params.temperature,
        microBatchTokens,
      },
    );
    // TRL computed in float32: sums of 38 terms of order 1.
    near([result.loss], [reference.get('loss')!.data[0]], 1e-5, 'loss');
    near([result.loss], [expected.loss], 1e-5, 'loss');
    near([result.kl], [k3.reduce((a, b) => a + b) / 38], 1e-5, 'kl');
    near([result.entropy], [metrics.entropy], 2e-5, 'entropy');
    near([result.clipRatioLow], [metrics['clip_ratio/low_mean']], 1e-6, 'clipRatioLow');
    near([result.clipRatioHigh], [metrics['clip_ratio/high_mean']], 1e-6, 'clipRatioHigh');
    near([result.clipRatioRegion], [metrics['clip_ratio/region_mean']], 1e-6, 'clipRatioRegion');
    near([result.gradNorm], [expected.grad_norm], 1e-4, 'gradNorm');
    assert.is(result.tokens, 38);
    gradientsMatch(policy, reference);
  }
});
step.run();
