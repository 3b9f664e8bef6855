// Policy.create: initial weights, and the configs that it refuses.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, type PolicyConfig, PrlError } from '../../lib/index.js';
import { throwsError } from '../reference/numbers.js';
import { tinyConfig } from './tiny.js';

const create = suite('Policy.create');
create('the same seed gives the same weights, and another seed gives others', () => {
  const name = 'model.layers.1.self_attn.q_proj.weight';
  const weights = (seed: number) => Policy.create(tinyConfig(), { seed }).readParameter(name).data;
  assert.equal(weights(3), weights(3));
  assert.not.equal(weights(3), weights(4));
  assert.not.equal(weights(3), weights(3 + 2 ** 32));
});

create('initial weights have mean 0 and the documented deviations', () => {
  const policy = Policy.create(tinyConfig({ hidden_size: 100, intermediate_size: 150, vocab_size: 300 }), { seed: 5 });
  for (const { name, shape } of policy.parameters) {
    const values = policy.readParameter(name).data as Float32Array;
    if (shape.length === 1) {
      assert.ok(
        values.every((x) => x === (name.endsWith('bias') ? 0 : 1)),
        name,
      );
      continue;
    }
    let deviation = name.includes('embed') ? 0.02 : 1 / Math.sqrt(shape[1]);
    if (/o_proj|down_proj/.test(name)) deviation /= Math.sqrt(4);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const found = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
    // Five standard errors of a mean and of a deviation.
    assert.ok(Math.abs(mean) < (5 * deviation) / Math.sqrt(values.length), `${name}: mean ${mean}`);
    assert.ok(
      Math.abs(found / deviation - 1) < 5 / Math.sqrt(2 * values.length),
      `${name}: deviation ${found} of ${deviation}`,
    );
  }
});

create('parameters have the names, shapes and count of the architecture', () => {
  const policy = Policy.create(tinyConfig({ model_type: 'qwen2' }), { seed: 0 });
  const names = policy.parameters.map((p) => p.name);
  assert.is(names.length, 2 + 2 * 12 + 1);
  assert.ok(names.includes('lm_head.weight') && names.includes('model.layers.0.self_attn.v_proj.bias'));
  assert.equal(policy.parameters.find((p) => p.name.endsWith('0.self_attn.k_proj.weight'))!.shape, [20, 24]);
  assert.is(policy.parameterCount, 2 * 23 * 24 + 24 + 2 * (2 * 24 + 24 * (60 + 20 + 20) + 100 + 60 * 24 + 3 * 21 * 24));
  // The count that recipes quote for the embedded task's model.
  const task = {
    model_type: 'llama',
    vocab_size: 18,
    hidden_size: 128,
    intermediate_size: 320,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    tie_word_embeddings: true,
  } as const;
  assert.is(Policy.create(task, { seed: 0 }).parameterCount, 379776);
});

create('a config that is invalid or unsupported is refused by the name of its field', () => {
  const bad = (change: object, kind: new (...a: never[]) => Error, code: string, message: RegExp) =>
    throwsError(() => Policy.create({ ...tinyConfig(), ...change } as PolicyConfig, { seed: 0 }), kind, code, message);
  bad({ model_type: 'llamma' }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /Did you mean 'llama'/);
  bad({ hidden_size: undefined }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /hidden_size/);
  bad({ num_hidden_layers: 0 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /num_hidden_layers/);
  bad({ num_key_value_heads: 4 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /multiple of num_key_value_heads/);
  bad({ head_dim: 7 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /head_dim must be even/);
  bad(
    { head_dim: undefined, num_attention_heads: 5, num_key_value_heads: 5 },
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /head_dim/,
  );
  bad({ rms_norm_eps: -1 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /rms_norm_eps/);
  bad({ tie_word_embeddings: 1 }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /tie_word_embeddings/);
  bad({ rope_theta: 0 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /rope_theta/);
  bad({ rope_scaling: { rope_type: 'linear' } }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /rope factor/);
  bad({ num_local_experts: 8 }, PrlError, 'ERR_PRL_UNSUPPORTED', /num_local_experts 8/);
  bad({ rope_scaling: { rope_type: 'longrope', factor: 2 } }, PrlError, 'ERR_PRL_UNSUPPORTED', /rope_type "longrope"/);
  bad({ rope_scaling: { rope_type: 'llama3', factor: 2 } }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /low_freq_factor/);
  bad({ hidden_act: 'gelu' }, PrlError, 'ERR_PRL_UNSUPPORTED', /hidden_act "gelu"/);
  bad({ model_type: 'mistral', attention_bias: true }, PrlError, 'ERR_PRL_UNSUPPORTED', /attention_bias/);
  bad({ model_type: 'qwen2', mlp_bias: true }, PrlError, 'ERR_PRL_UNSUPPORTED', /mlp_bias/);
  bad({ attention_bias: 1 }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /attention_bias/);
  bad({ model_type: 'mistral', sliding_window: 299 }, PrlError, 'ERR_PRL_UNSUPPORTED', /sliding_window 299/);
  bad({ layer_types: ['sliding_attention'] }, PrlError, 'ERR_PRL_UNSUPPORTED', /layer_types/);
  bad({ layer_types: ['chunked_attention'] }, PrlError, 'ERR_PRL_UNSUPPORTED', /layer_types/);
  bad({ quantization_config: {} }, PrlError, 'ERR_PRL_UNSUPPORTED', /quantization/);
  throwsError(() => Policy.create(tinyConfig(), { seed: -1 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /seed/);
  throwsError(() => Policy.create(tinyConfig(), { sead: 1 } as never), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'seed'/);
  throwsError(() => Policy.create(null as never, { seed: 1 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /config/);
});

create('a config too large for memory is ERR_PRL_OUT_OF_MEMORY and does not crash', () => {
  const huge = tinyConfig({ vocab_size: 2 ** 31 - 1, hidden_size: 2 ** 20 });
  throwsError(() => Policy.create(huge, { seed: 0 }), PrlError, 'ERR_PRL_OUT_OF_MEMORY', /memory/);
});
create.run();
