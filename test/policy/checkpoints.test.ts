// What real checkpoints have: each kind gives the numbers of transformers, or an error that says why not.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type LoadOptions, Policy, type PolicyConfig, PrlError } from '../../lib/index.js';
import { nativeConfig } from '../../lib/policy/config.js';
import { rotations } from '../../lib/policy/rope.js';
import type { StorableTensor } from '../../lib/policy/safetensors.js';
import { near } from '../reference/numbers.js';
import { CHECKPOINT_CASES } from './checkpoint-cases.js';
import { madeTensor, madeTokens, madeWeights, writeCheckpoint } from './made.js';
import { rejectsWith } from './rejects.js';

interface Case {
  config: PolicyConfig;
  tensors: Record<string, number[]>;
  tokens: number;
  invFreq: number[];
  ropeFactor: number;
  logProbs: number[];
  greedy: number[];
}
interface Training {
  config: PolicyConfig;
  tensors: Record<string, number[]>;
  prompt: number;
  tokens: number;
  gradNorm: number;
  gradients: Record<string, number[]>;
  gradientSums: Record<string, number>;
  after: Record<string, number[]>;
}
const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/checkpoints/${name}.json`, import.meta.url), 'utf8'));
const cases: Record<string, Case> = fixture('cases');
const { optimizer, ...trained }: { optimizer: { learningRate: number } } & Record<string, Training> =
  fixture('training');

const root = mkdtempSync(join(tmpdir(), 'prl-checkpoints-'));
const EMBEDDING = 'model.embed_tokens.weight';

/** The folder of a case, as make.py has it. */
async function folderOf(name: string): Promise<string> {
  const { config, tensors } = cases[name];
  const as = (tensor: string) =>
    name === 'qwen3-tied-same-head' || name === 'qwen3-tied-head-alone' ? EMBEDDING : tensor;
  const list = Object.entries(tensors).map(([tensor, shape]) =>
    madeTensor(
      tensor,
      shape,
      tensor === 'lm_head.weight' ? as(tensor) : tensor,
      name.endsWith('-bf16') ? 'BF16' : 'F32',
    ),
  );
  const folder = join(root, name);
  await writeCheckpoint(folder, config, list);
  return folder;
}

/** The policy and the warnings that loading it gave. */
async function load(folder: string, options?: LoadOptions) {
  const warnings: string[] = [];
  const hear = (warning: Error) => {
    if (warning.name === 'PrlWarning') warnings.push(warning.message);
  };
  process.on('warning', hear);
  const policy = await Policy.load(folder, options);
  await new Promise(setImmediate);
  process.off('warning', hear);
  return { policy, warnings };
}

// transformers computed in float32: its own error and ours, each of at most 2e-5.
const LOG_PROB = 4e-5;

async function gives(policy: Policy, name: string) {
  const { config, tokens, logProbs, greedy } = cases[name];
  const ids = madeTokens(name, tokens, config.vocab_size);
  const out = await policy.logProbs([ids], { start: [tokens - logProbs.length] });
  near(out.logProbs, logProbs, LOG_PROB, name);
  if (greedy.length === 0) return;
  const how = { maxNewTokens: greedy.length, temperature: 0, ignoreEos: true };
  const [{ completions }] = await policy.generate([ids], how);
  assert.equal([...completions[0].tokens], greedy, name);
}

const test = suite('Policy.load against transformers');
test.after(() => rmSync(root, { recursive: true, force: true }));

for (const each of CHECKPOINT_CASES) {
  if (!('made' in each)) continue;
  test(`${each.has}: the numbers of transformers, also after save and load`, async () => {
    for (const name of each.made) {
      const { policy, warnings } = await load(await folderOf(name), each.options);
      if (each.warns) assert.match(warnings.join('\n'), each.warns);
      else assert.equal(warnings, [], name);
      await gives(policy, name);
      const saved = join(root, `${name}-saved`);
      await policy.save(saved);
      const again = await load(saved);
      assert.equal(again.warnings, [], `${name}, saved`);
      const ids = madeTokens(name, 40, 53);
      assert.equal((await again.policy.logits(ids)).data, (await policy.logits(ids)).data, name);
      // Each of the two spellings by itself.
      const {
        rope_parameters,
        rope_scaling,
        rope_theta,
        original_max_position_embeddings: _,
        ...rest
      } = JSON.parse(readFileSync(join(saved, 'config.json'), 'utf8'));
      const whole = nativeConfig(policy.config);
      assert.equal(nativeConfig({ ...rest, rope_parameters }), whole, `${name}: the spelling of transformers 5`);
      assert.equal(nativeConfig({ ...rest, rope_scaling, rope_theta }), whole, `${name}: of transformers 4`);
    }
  });
}

test('every case of the fixtures is tested', () => {
  const named = CHECKPOINT_CASES.flatMap((each) => ('made' in each ? each.made : []));
  const elsewhere = ['llama-long', 'llama-unused-bias'];
  assert.equal([...named, ...elsewhere].sort(), Object.keys(cases).sort());
});

test('rotations have the bits of transformers', () => {
  for (const [name, { config, invFreq, ropeFactor }] of Object.entries(cases)) {
    const got = rotations(config, 2 * invFreq.length);
    near(got.invFreq, invFreq, 0, `${name}: inv_freq`);
    assert.is(got.factor, ropeFactor, name);
  }
});

test('at position 6,000 log-probabilities agree, because angles are rounded to float32', async () => {
  const { policy } = await load(await folderOf('llama-long'));
  await gives(policy, 'llama-long');
});
test.run();

const refused = suite('Policy.load refuses');
refused.after(() => rmSync(root, { recursive: true, force: true }));
for (const each of CHECKPOINT_CASES) {
  if (!('refused' in each)) continue;
  refused(`${each.has}: ${each.code}`, async () => {
    for (const [i, change] of each.refused.entries()) {
      const { config, tensors } = cases.llama;
      const list: StorableTensor[] = Object.entries(tensors)
        .filter(([name]) => name !== change.without)
        .concat((change.with ?? []).map((name) => [name, [3]]))
        .map(([name, shape]) => madeTensor(name, shape));
      const folder = join(root, `refused-${each.has.length}-${i}`);
      if (change.dtype)
        list[0] = {
          ...list[0],
          dtype: 'F64' as 'F32',
          read: () => Float64Array.from(madeWeights(EMBEDDING, [53, 16])),
        };
      await writeCheckpoint(folder, { ...config, ...change.config }, list);
      await rejectsWith(Policy.load(folder, change.options), PrlError, each.code, each.message);
    }
  });
}
refused('an unknown value of extraTensors', async () => {
  const bad = { extraTensors: 'keep' } as unknown as LoadOptions;
  await rejectsWith(
    Policy.load(await folderOf('llama'), bad),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /'refuse', 'ignore'/,
  );
});
refused.run();

const training = suite('Training with biases and YaRN against torch');
training.after(() => rmSync(root, { recursive: true, force: true }));
for (const [name, expected] of Object.entries(trained)) {
  training(`${name}: gradients of every vector, and two steps of AdamW`, async () => {
    const { config, tensors, prompt } = expected;
    const folder = join(root, `trained-${name}`);
    const list = Object.entries(tensors).map(([tensor, shape]) => madeTensor(tensor, shape));
    await writeCheckpoint(folder, config, list);
    const ids = madeTokens(name, expected.tokens, config.vocab_size);
    const batch = {
      prompts: [ids.slice(0, prompt)],
      completions: [ids.slice(prompt)],
      advantages: new Float32Array([1]),
    };
    const policy = await Policy.load(folder);
    for (const gradientCheckpointing of [false, true]) {
      const { gradNorm } = await policy.computeGradients(batch, { gradientCheckpointing });
      near([gradNorm], [expected.gradNorm], 0, 'gradNorm', 1e-5);
      for (const [tensor, gradient] of policy.gradients()) {
        const values = expected.gradients[tensor];
        if (values) {
          const largest = Math.max(...values.map(Math.abs));
          near(gradient.data, values, 1e-4 * largest, tensor);
          continue;
        }
        // A sum of n products, each within 1e-4 of the largest: the errors add up as sqrt(n).
        const hashes = madeWeights(tensor, gradient.shape);
        const products = Array.from(gradient.data as Float32Array, (g, i) => g * hashes[i]);
        const largest = Math.max(...products.map(Math.abs));
        const sum = products.reduce((a, b) => a + b, 0);
        near([sum], [expected.gradientSums[tensor]], 1e-4 * largest * Math.sqrt(products.length), tensor);
      }
    }
    for (let step = 0; step < 2; step++) await policy.update(batch, optimizer);
    // A step is learningRate m / (sqrt(v) + 0.01): an error of 1e-5 in a gradient moves it by 1e-3 of the rate.
    for (const [tensor, values] of Object.entries(expected.after))
      near(policy.readParameter(tensor).data, values, 2 * 1e-3 * optimizer.learningRate, tensor);
  });
}
training.run();
