// Small policies and batches of odd sizes: no width is a multiple of a vector, no length of a tile.
import { Policy, type PolicyBatch, type PolicyConfig } from '../../lib/index.js';
import { normals, random } from '../reference/numbers.js';

export const ARCHITECTURES = ['llama', 'qwen2', 'qwen3'] as const;

export const tinyConfig = (overrides: Partial<PolicyConfig> = {}): PolicyConfig => ({
  model_type: 'llama',
  vocab_size: 23,
  hidden_size: 24,
  intermediate_size: 21,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 10,
  max_position_embeddings: 300,
  tie_word_embeddings: overrides.model_type !== 'qwen2',
  eos_token_id: 0,
  ...overrides,
});

/** A policy whose every parameter matters: embeddings of order 1, norms and biases that are not 1 and 0. */
export function tinyPolicy(overrides: Partial<PolicyConfig> = {}, seed = 1): Policy {
  const policy = Policy.create(tinyConfig(overrides), { seed });
  for (const [index, { name, shape }] of policy.parameters.entries()) {
    const values = policy.readParameter(name).data as Float32Array;
    const noise = normals(values.length, seed + index, name.includes('embed') ? 1 : 0.3);
    if (shape.length === 1 || name.includes('embed'))
      policy.writeParameter(
        name,
        values.map((x, i) => x + noise[i]),
      );
  }
  return policy;
}

export function tokens(n: number, seed: number, vocab = 23): Int32Array {
  const next = random(seed);
  return Int32Array.from({ length: n }, () => Math.floor(next() * vocab));
}

/**
 * Sequences around the sizes of tiles (32 queries, 64 keys) and row blocks (96), with short and one empty completion.
 */
export function tinyBatch(seed = 1): PolicyBatch & { sequences: number[][] } {
  const lengths = [
    [1, 1],
    [5, 31],
    [33, 2],
    [2, 95],
    [64, 64],
    [130, 17],
    [3, 0],
    [7, 9],
  ];
  const prompts = lengths.map(([n], i) => tokens(n, seed + i));
  const completions = lengths.map(([, n], i) => tokens(n, seed + 100 + i));
  return {
    prompts,
    completions,
    advantages: normals(lengths.length, seed + 7),
    sequences: prompts.map((prompt, i) => [...prompt, ...completions[i]]),
  } as PolicyBatch & { sequences: number[][] };
}
