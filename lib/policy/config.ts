// A Hugging Face config.json, checked, as the native policy takes it.
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { checkBoolean, checkChoice, checkInteger, checkNumber, describe } from '../base/options.js';
import { quoted } from '../base/text.js';
import { Tensor } from '../kernels/tensor.js';
import { rotations, savedRope } from './rope.js';
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
  oBias: boolean;
  mlpBias: boolean;
  qkNorm: boolean;
  tied: boolean;
  invFreq: Tensor;
  ropeFactor: number;
}

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
  const type = checkChoice('model_type', config.model_type, MODEL_TYPES);
  const size = (name: string, high = 2 ** 31 - 1) => checkInteger(name, config[name], 1, high);
  const hidden = size('hidden_size', 2 ** 20);
  const heads = size('num_attention_heads', 4096);
  const kvHeads = checkInteger('num_key_value_heads', config.num_key_value_heads ?? heads, 1, heads);
  if (heads % kvHeads !== 0)
    throw outOfRange(`num_attention_heads (${heads}) must be a multiple of num_key_value_heads (${kvHeads})`);
  const headDim = checkInteger('head_dim', config.head_dim ?? hidden / heads, 2, 4096);
  if (headDim % 2 !== 0) throw outOfRange(`head_dim must be even, not ${headDim}`);
  const maxPositions = checkInteger('max_position_embeddings', config.max_position_embeddings ?? 2048, 1, 2 ** 31 - 1);
  const attentionBias = checkBoolean('attention_bias', config.attention_bias ?? false);
  const mlpBias = checkBoolean('mlp_bias', config.mlp_bias ?? false);
  refuseUnsupported(config, type);
  refuseWindow(config, type, maxPositions);
  const { invFreq, factor } = rotations(config, headDim);
  return {
    vocab: size('vocab_size'),
    hidden,
    intermediate: size('intermediate_size', 2 ** 22),
    layers: size('num_hidden_layers', 4096),
    heads,
    kvHeads,
    headDim,
    maxPositions,
    normEps: checkNumber('rms_norm_eps', config.rms_norm_eps ?? 1e-6, 0, 1),
    // Qwen2 has these three, whatever attention_bias says. In Llama and Qwen3 o_proj has one too.
    qkvBias: type === 'qwen2' || attentionBias,
    oBias: type !== 'qwen2' && attentionBias,
    mlpBias,
    qkNorm: type === 'qwen3',
    tied: checkBoolean('tie_word_embeddings', config.tie_word_embeddings ?? false),
    invFreq: Tensor.from(invFreq),
    ropeFactor: factor,
  };
}

const ARCHITECTURES = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
} as const;
const MODEL_TYPES = Object.keys(ARCHITECTURES) as (keyof typeof ARCHITECTURES)[];

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

function refuse(config: PolicyConfig, name: string, can: string): never {
  throw new PrlError(
    'ERR_PRL_UNSUPPORTED',
    `${name} ${quoted(config[name])} of the config is not supported: the policy has ${can}`,
  );
}

function refuseUnsupported(config: PolicyConfig, type: PolicyConfig['model_type']) {
  if ((config.hidden_act ?? 'silu') !== 'silu') refuse(config, 'hidden_act', "'silu'");
  if (config.attention_bias && type === 'mistral') refuse(config, 'attention_bias', 'no biases in mistral');
  if (config.mlp_bias && type !== 'llama') refuse(config, 'mlp_bias', 'biases in the MLP of llama alone');
  for (const experts of ['num_experts', 'num_local_experts'])
    if (config[experts] != null) refuse(config, experts, 'one dense MLP per layer, no experts');
  if (config.quantization_config != null) refuse(config, 'quantization_config', 'weights in floating point');
}

/** Defaults of transformers. */
const SLIDING_WINDOW = 4096;
const MAX_WINDOW_LAYERS = 28;

/** Refuses a sliding window, unless no sequence is long enough to feel it. Llama's code has none to go by. */
function refuseWindow(config: PolicyConfig, type: PolicyConfig['model_type'], maxPositions: number) {
  const { layer_types: layers, sliding_window: window = type === 'llama' ? null : SLIDING_WINDOW } = config;
  const isFull = (layer: unknown) => layer === 'full_attention';
  if (
    layers != null &&
    !(Array.isArray(layers) && layers.every((layer) => isFull(layer) || layer === 'sliding_attention'))
  )
    refuse(config, 'layer_types', 'full attention');
  const listed = layers == null || type === 'mistral' ? undefined : (layers as unknown[]);
  const sliding = listed ? !listed.every(isFull) : slidesByDefault(config, type);
  if (!sliding || (typeof window === 'number' && window >= maxPositions)) return;
  const absent = config.sliding_window === undefined;
  const set = `${absent ? `${window} (the default)` : quoted(window)}${listed ? ' with sliding layer_types' : ''}`;
  throw new PrlError(
    'ERR_PRL_UNSUPPORTED',
    `sliding_window ${set} is not supported: the policy has full attention, which is the same only where the window is at least max_position_embeddings (${maxPositions})`,
  );
}

/** Whether a layer has a window in a config without layer_types, which Mistral does not read. */
function slidesByDefault(config: PolicyConfig, type: PolicyConfig['model_type']): boolean {
  if (config.sliding_window === null) return false;
  if (type === 'mistral') return true;
  const { use_sliding_window: use, max_window_layers: full } = config;
  return (
    checkBoolean('use_sliding_window', use ?? false) &&
    checkInteger('max_window_layers', full ?? MAX_WINDOW_LAYERS) < config.num_hidden_layers
  );
}

/** A config as it is saved: readable by transformers 4 and 5 alike. */
export function savedConfig(config: PolicyConfig, dtype: string): Record<string, unknown> {
  return {
    ...config,
    architectures: [ARCHITECTURES[config.model_type]],
    num_key_value_heads: config.num_key_value_heads ?? config.num_attention_heads,
    head_dim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    hidden_act: 'silu',
    rms_norm_eps: config.rms_norm_eps ?? 1e-6,
    max_position_embeddings: config.max_position_embeddings ?? 2048,
    tie_word_embeddings: config.tie_word_embeddings ?? false,
    ...savedRope(config),
    dtype,
    torch_dtype: dtype,
  };
}
