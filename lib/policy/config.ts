// A Hugging Face config.json, checked, as the native policy takes it.
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { checkBoolean, checkChoice, checkInteger, checkNumber, describe } from '../base/options.js';
import { quoted } from '../base/text.js';
import { Tensor } from '../kernels/tensor.js';
import type { PolicyConfig } from './types.js';

/** Arguments of policyCreate in native/binding/policy.cc. */
export interface NativeConfig {
  vocab: number;
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  maxPositions: number;
  normEps: number;
  qkvBias: boolean;
  qkNorm: boolean;
  tied: boolean;
  invFreq: Tensor;
}

type Rope = { rope_type?: unknown; type?: unknown; rope_theta?: unknown; [key: string]: unknown };

/** A copy of a config that a caller passes. */
export function ownConfig(config: PolicyConfig): PolicyConfig {
  try {
    return structuredClone(config);
  } catch (cause) {
    throw invalidArgument(`the config must hold what a config.json can hold: ${(cause as Error).message}`, { cause });
  }
}

/** Checks a config and fills in its defaults. Anything that the native policy cannot do is an error. */
export function nativeConfig(config: PolicyConfig): NativeConfig {
  if (config === null || typeof config !== 'object')
    throw invalidArgument(`the config must be an object, not ${describe(config)}`);
  const type = checkChoice('model_type', config.model_type, ['llama', 'qwen2', 'qwen3']);
  const size = (name: string, high = 2 ** 31 - 1) => checkInteger(name, config[name], 1, high);
  const hidden = size('hidden_size', 2 ** 20);
  const heads = size('num_attention_heads', 4096);
  const kvHeads = checkInteger('num_key_value_heads', config.num_key_value_heads ?? heads, 1, heads);
  if (heads % kvHeads !== 0)
    throw outOfRange(`num_attention_heads (${heads}) must be a multiple of num_key_value_heads (${kvHeads})`);
  const headDim = checkInteger('head_dim', config.head_dim ?? hidden / heads, 2, 4096);
  if (headDim % 2 !== 0) throw outOfRange(`head_dim must be even, not ${headDim}`);
  refuseUnsupported(config, type);
  return {
    vocab: size('vocab_size'),
    hidden,
    intermediate: size('intermediate_size', 2 ** 22),
    layers: size('num_hidden_layers', 4096),
    heads,
    kvHeads,
    headDim,
    maxPositions: checkInteger('max_position_embeddings', config.max_position_embeddings ?? 2048, 1, 2 ** 31 - 1),
    normEps: checkNumber('rms_norm_eps', config.rms_norm_eps ?? 1e-6, 0, 1),
    qkvBias: type === 'qwen2',
    qkNorm: type === 'qwen3',
    tied: checkBoolean('tie_word_embeddings', config.tie_word_embeddings ?? false),
    invFreq: Tensor.from(ropeFrequencies(config, headDim)),
  };
}

const ARCHITECTURES = { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM' } as const;

/** Checks that a checkpoint's config describes a supported model. */
export function checkArchitecture(folder: string, config: Record<string, unknown>): void {
  const { model_type: type, architectures } = config;
  const expected =
    typeof type === 'string' && Object.hasOwn(ARCHITECTURES, type) && ARCHITECTURES[type as PolicyConfig['model_type']];
  if (expected && (architectures == null || (Array.isArray(architectures) && architectures.includes(expected)))) return;
  const known = Object.entries(ARCHITECTURES).map(([name, architecture]) => `${name} (${architecture})`);
  throw new PrlError(
    'ERR_PRL_UNSUPPORTED',
    `${folder} holds a model of type ${quoted(type)}, architectures ${quoted(architectures)}. Supported are ${known.join(', ')}`,
  );
}

function refuseUnsupported(config: PolicyConfig, type: string) {
  const refuse = (name: string, can: string) => {
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `${name} ${quoted(config[name])} of the config is not supported: the policy has ${can}`,
    );
  };
  if ((config.hidden_act ?? 'silu') !== 'silu') refuse('hidden_act', "'silu'");
  // attention_bias of Llama and Qwen3 also adds a bias to o_proj. Qwen2 always has its three biases.
  if ((config.attention_bias ?? type === 'qwen2') !== (type === 'qwen2'))
    refuse('attention_bias', 'biases of q, k and v in qwen2 and none in llama and qwen3');
  if (config.mlp_bias) refuse('mlp_bias', 'no biases in the MLP');
  if (config.use_sliding_window) refuse('use_sliding_window', 'full attention');
  const { layer_types: layers } = config;
  if (layers != null && !(Array.isArray(layers) && layers.every((type) => type === 'full_attention')))
    refuse('layer_types', 'full attention');
  for (const experts of ['num_experts', 'num_local_experts'])
    if (config[experts] != null) refuse(experts, 'one dense MLP per layer, no experts');
  if (config.quantization_config != null) refuse('quantization_config', 'weights in floating point');
}

/** Rotary settings in either spelling: rope_parameters (transformers 5), or rope_theta and rope_scaling. */
function ropeOf(config: PolicyConfig): Rope {
  const rope = (config.rope_parameters ?? config.rope_scaling ?? {}) as Rope;
  if (typeof rope !== 'object' || Array.isArray(rope)) throw invalidArgument('rope_parameters must be an object');
  return { ...rope, rope_theta: rope.rope_theta ?? config.rope_theta ?? 10000 };
}

/**
 * Rotation per position of each pair of a head's elements: theta^(-2i / headDim). If the config says so, it is slowed
 * for long contexts as in Llama 3. It is rounded to float32 at the steps where transformers rounds.
 */
export function ropeFrequencies(config: PolicyConfig, headDim: number): Float32Array {
  const frequencies = scaledFrequencies(config, headDim);
  if (!frequencies.every(Number.isFinite))
    throw outOfRange(`rope_theta and the rope scaling of the config give rotations that are not finite`);
  return frequencies;
}

function scaledFrequencies(config: PolicyConfig, headDim: number): Float32Array {
  const rope = ropeOf(config);
  const theta = checkNumber('rope_theta', rope.rope_theta, 0, Infinity, true);
  const type = rope.rope_type ?? rope.type ?? 'default';
  const plain = Float32Array.from(
    { length: headDim / 2 },
    (_, i) => 1 / Math.fround(theta ** Math.fround((2 * i) / headDim)),
  );
  const partial = rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1)
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `partial_rotary_factor ${quoted(partial)} is not supported: the policy rotates the whole head`,
    );
  if (type === 'default') return plain;
  const setting = (name: string) => checkNumber(`rope ${name}`, rope[name], 0, Infinity, true);
  if (type === 'linear') return plain.map((frequency) => frequency / setting('factor'));
  if (type !== 'llama3')
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `rope_type ${quoted(type)} is not supported: the policy has "default", "linear" and "llama3"`,
    );
  const factor = setting('factor');
  const low = setting('low_freq_factor');
  const high = setting('high_freq_factor');
  const original = setting('original_max_position_embeddings');
  if (high <= low) throw outOfRange(`rope high_freq_factor (${high}) must be above low_freq_factor (${low})`);
  return plain.map((frequency) => {
    const turns = (original * frequency) / (2 * Math.PI); // in the original context
    if (turns > high) return frequency;
    if (turns < low) return frequency / factor;
    const smooth = (turns - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

/** A config as it is saved: readable by transformers 4 and 5 alike. */
export function savedConfig(config: PolicyConfig, dtype: string): Record<string, unknown> {
  const { rope_theta, ...scaling } = ropeOf(config);
  const type = String(scaling.rope_type ?? scaling.type ?? 'default');
  return {
    ...config,
    architectures: [ARCHITECTURES[config.model_type]],
    num_key_value_heads: config.num_key_value_heads ?? config.num_attention_heads,
    head_dim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    hidden_act: 'silu',
    rms_norm_eps: config.rms_norm_eps ?? 1e-6,
    max_position_embeddings: config.max_position_embeddings ?? 2048,
    tie_word_embeddings: config.tie_word_embeddings ?? false,
    rope_theta,
    rope_scaling: type === 'default' ? null : { ...scaling, rope_type: type },
    rope_parameters: { ...scaling, rope_type: type, rope_theta },
    dtype,
    torch_dtype: dtype,
  };
}
