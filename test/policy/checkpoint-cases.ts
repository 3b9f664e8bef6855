// What checkpoints have, and what Policy.load makes of it. The table of docs/models.md is made from this one (npm run
// docs); checkpoints.test.ts tests every line. `made`: cases of test/fixtures/checkpoints, whose numbers transformers
// gives. `refused`: changes of the config or the tensors of a Llama that are an error.
import type { LoadOptions } from '../../lib/index.js';

interface Made {
  has: string;
  made: readonly string[];
  /** What the table says besides 'yes'. */
  note?: string;
  options?: LoadOptions;
  /** A warning that must be given. */
  warns?: RegExp;
}
interface Refused {
  has: string;
  refused: readonly {
    config?: object;
    without?: string;
    with?: readonly string[];
    dtype?: 'F64';
    options?: LoadOptions;
  }[];
  code: 'ERR_PRL_UNSUPPORTED' | 'ERR_PRL_CORRUPT';
  message: RegExp;
  note: string;
}

const q = 'model.layers.0.self_attn.q_proj';

export const CHECKPOINT_CASES: readonly (Made | Refused)[] = [
  { has: 'Llama, Qwen2, Qwen3', made: ['llama', 'llama-headdim', 'qwen2', 'qwen3'] },
  {
    has: 'Mistral without a window (`sliding_window` null)',
    made: ['mistral', 'mistral-head-dim-null'],
  },
  {
    has: '`attention_bias`, `mlp_bias` of Llama',
    made: ['llama-attention-bias', 'llama-mlp-bias', 'llama-biases-tied', 'llama-biases-bf16', 'llama-yarn-biases'],
  },
  { has: '`attention_bias` of Qwen3', made: ['qwen3-attention-bias'] },
  {
    has: '`attention_bias` of Qwen2',
    made: ['qwen2-attention-bias-false'],
    note: 'not read: q, k and v always have biases',
  },
  {
    has: '`attention_bias` of Mistral, `mlp_bias` of others than Llama',
    refused: [
      { config: { model_type: 'mistral', architectures: null, sliding_window: null, attention_bias: true } },
      { config: { model_type: 'qwen3', architectures: null, mlp_bias: true } },
    ],
    code: 'ERR_PRL_UNSUPPORTED',
    message: /(attention|mlp)_bias true of the config is not supported/,
    note: 'transformers does not read it',
  },
  { has: 'rope `default`, in either spelling', made: ['llama-tf5', 'llama-theta'] },
  { has: 'rope `linear`', made: ['llama-linear'] },
  {
    has: 'rope `dynamic`',
    made: ['llama-dynamic'],
    note: 'the same as `default` up to `max_position_embeddings`, where sequences end',
  },
  {
    has: 'rope `llama3`, with or without `original_max_position_embeddings`',
    made: ['llama-llama3', 'llama-llama3-no-original'],
  },
  {
    has: 'rope `yarn` with all its settings',
    made: [
      'llama-yarn',
      'llama-yarn-tf5',
      'llama-yarn-no-original',
      'llama-yarn-original-beside',
      'llama-yarn-attention-factor',
      'llama-yarn-mscale',
      'llama-yarn-mscale-alone',
      'llama-yarn-betas',
      'llama-yarn-not-truncated',
      'llama-yarn-null-factor',
      'qwen2-yarn',
      'qwen3-yarn',
    ],
  },
  {
    has: '`rope_parameters` and `rope_scaling`',
    made: ['llama-tf5-plus-llama3', 'qwen2-tf5-plus-yarn'],
    note: '`rope_scaling` replaces the other',
  },
  {
    has: 'the same, with a `rope_theta` in `rope_parameters` alone',
    made: ['qwen2-tf5-plus-yarn-theta-lost'],
    note: 'the base is 10000, as in transformers, with a warning',
    warns: /rope_scaling replaces rope_parameters, and with it rope_theta 1000000: rope_theta is 10000/,
  },
  {
    has: 'rope `longrope`, others, settings per layer',
    refused: [
      { config: { rope_scaling: { rope_type: 'longrope', short_factor: [1], long_factor: [1] } } },
      { config: { rope_scaling: { type: 'su' } } },
      { config: { rope_scaling: { rope_type: 'constructor' } } },
      { config: { rope_parameters: { full_attention: { rope_type: 'default' } } } },
      { config: { partial_rotary_factor: 0.5 } },
    ],
    code: 'ERR_PRL_UNSUPPORTED',
    message:
      /rope_type "(longrope|su|constructor)" is not supported|per kind of layer \('full_attention'\)|partial_rotary_factor 0.5/,
    note: '',
  },
  {
    has: 'rope settings that the type needs and that are absent',
    refused: [
      { config: { rope_scaling: { type: 'linear' } } },
      { config: { rope_scaling: { type: 'dynamic' } } },
      { config: { rope_scaling: { rope_type: 'yarn' } } },
      { config: { rope_scaling: { rope_type: 'llama3', factor: 8 } } },
    ],
    code: 'ERR_PRL_CORRUPT',
    message: /rope (factor|low_freq_factor) must be a number, not undefined/,
    note: '',
  },
  {
    has: 'a sliding window that no layer uses',
    made: ['qwen2-window-off', 'qwen2-window-null', 'qwen2-window-above-layers', 'qwen2-window-listed-full'],
  },
  {
    has: 'a sliding window of at least `max_position_embeddings`',
    made: ['mistral-wide-window', 'mistral-default-window', 'qwen2-window-wide'],
  },
  {
    has: 'any other sliding window',
    refused: [
      { config: { model_type: 'mistral', architectures: null, sliding_window: 127 } },
      { config: { model_type: 'mistral', architectures: null, max_position_embeddings: 8192 } },
      ...['qwen2', 'qwen3'].flatMap((model_type) =>
        [
          { use_sliding_window: true, sliding_window: 127, max_window_layers: 1 },
          { use_sliding_window: true, max_position_embeddings: 8192, max_window_layers: 0 },
          { sliding_window: 16, layer_types: ['full_attention', 'sliding_attention'] },
          { sliding_window: null, layer_types: ['full_attention', 'sliding_attention'] },
        ].map((window) => ({ config: { model_type, architectures: null, ...window } })),
      ),
      { config: { use_sliding_window: true, sliding_window: 16, max_window_layers: 0 } },
    ],
    code: 'ERR_PRL_UNSUPPORTED',
    message: /sliding_window (127|16|null|4096 \(the default\))( with sliding layer_types)? is not supported/,
    note: '',
  },
  {
    has: 'attention of other kinds, experts, quantized weights, other activations',
    refused: [
      { config: { layer_types: ['full_attention', 'linear_attention'] } },
      { config: { num_experts: 8 } },
      { config: { quantization_config: { bits: 4 } } },
      { config: { hidden_act: 'gelu' } },
    ],
    code: 'ERR_PRL_UNSUPPORTED',
    message: /(layer_types|num_experts|quantization_config|hidden_act) .* of the config is not supported/,
    note: '',
  },
  {
    has: 'other architectures',
    refused: [{ config: { architectures: ['LlamaForSequenceClassification'] } }, { config: { model_type: 'gemma3' } }],
    code: 'ERR_PRL_UNSUPPORTED',
    message: /Supported are llama \(LlamaForCausalLM\), mistral/,
    note: '',
  },
  {
    has: 'a tied head, also as a copy, or in place of the embedding',
    made: ['qwen3-tied', 'qwen3-tied-same-head', 'qwen3-tied-head-alone'],
  },
  {
    has: '`tie_word_embeddings` true and another head',
    made: ['qwen3-tied-other-head'],
    note: 'the head is used and saved, with a warning',
    warns: /has an output head \(lm_head\.weight\) that differs from its embedding/,
  },
  {
    has: '`tie_word_embeddings` false and no head',
    refused: [{ without: 'lm_head.weight' }],
    code: 'ERR_PRL_CORRUPT',
    message: /has no tensor 'lm_head\.weight', and its config does not say tie_word_embeddings true/,
    note: 'transformers draws a head at random',
  },
  {
    has: 'tensors that change nothing, such as `score.weight`',
    refused: [{ with: ['score.weight'] }, { with: ['v_head.summary.bias'] }, { with: ['model.mtp.fc.weight'] }],
    code: 'ERR_PRL_CORRUPT',
    message: /which its config does not know; extraTensors 'ignore' leaves/,
    note: "`extraTensors: 'ignore'` leaves them out",
  },
  {
    has: "the same with `extraTensors: 'ignore'`",
    made: ['llama-score'],
    options: { extraTensors: 'ignore' },
  },
  {
    has: 'tensors that the policy would have to use: a bias, a layer, an adapter',
    refused: [
      { with: [`${q}.bias`] },
      { with: ['model.layers.2.mlp.up_proj.weight'] },
      { with: [`base_model.model.${q}.lora_A.weight`] },
      { with: ['lm_head.bias'] },
    ].map((change) => ({ ...change, options: { extraTensors: 'ignore' as const } })),
    code: 'ERR_PRL_CORRUPT',
    message: /which its config does not know: without it the policy would give other numbers/,
    note: 'with any `extraTensors`',
  },
  {
    has: 'weights in float64',
    refused: [{ dtype: 'F64' }],
    code: 'ERR_PRL_UNSUPPORTED',
    message: /must be F32, BF16 or F16, not F64/,
    note: 'save them as float32',
  },
];
