// The surface of the native policy; lib/policy/policy.ts implements it.
import type { HubOptions } from '../hub/repo.js';
import type { PolicyLossMetrics } from '../kernels/loss-batch.js';
import type { PolicyLossOptions } from '../kernels/loss-options.js';
import type { TensorLike } from '../kernels/tensor.js';

/**
 * Sequences to learn from. T is the number of completion tokens of all sequences, packed one sequence after the other;
 * token-wise inputs have one value per completion token.
 */
export interface PolicyBatch {
  /** Token ids of each prompt, at least one. */
  prompts: ArrayLike<number>[];
  /** Token ids of each completion (with the end-of-sequence token when it was sampled). */
  completions: ArrayLike<number>[];
  /** [T] per token or [B] per sequence. When T = B the shape tells: a 1-token completion per sequence means the same. */
  advantages: TensorLike;
  /** [T]: log-probabilities when the tokens were sampled. Absent: on-policy. */
  oldLogProbs?: TensorLike;
  /** [T]: log-probabilities under the reference policy; needed when beta is not 0. */
  refLogProbs?: TensorLike;
  /** [T], 0 or more: multiply each token's policy term (see importanceWeights). */
  importanceWeights?: TensorLike;
  /** [T]: log-probabilities of the engine that sampled, for offPolicyMaskThreshold. Default: oldLogProbs. */
  rolloutLogProbs?: TensorLike;
  /** [T] integers: tokens with 0 take no part. */
  mask?: TensorLike;
}

/** AdamW (arXiv 1711.05101), named as in TRL. */
export interface OptimizerOptions {
  /** At least 0. */
  learningRate: number;
  /** AdamW; decay on matrices only, not on norms, biases (nor on 1-dimensional tensors). Default 0. */
  weightDecay?: number;
  /** Default 0.9 and 0.999. */
  adamBeta1?: number;
  /** Decay of the squares. Default 0.999. */
  adamBeta2?: number;
  /** Default 1e-8. */
  adamEpsilon?: number;
  /** Global gradient norm is clipped to this. Default 1; Infinity: no clipping. */
  maxGradNorm?: number;
}

export interface GradientOptions extends PolicyLossOptions {
  /** Default 1. */
  temperature?: number;
  /**
   * Sequences are cut in micro-batches of at most this many tokens, at least one sequence. Neighbours in the batch that have the
   * same prompt share it: it goes through the network once per micro-batch. Default 4096. */
  microBatchTokens?: number;
  /**
   * Keeps of each layer only what goes in, and computes the rest again on the way back: a small part of the memory, about a third
   * more time, the same bits. Default false.
   */
  gradientCheckpointing?: boolean;
  /** Stops the call (ERR_PRL_ABORTED); the policy is then as before. */
  signal?: AbortSignal;
}

export interface UpdateOptions extends GradientOptions, OptimizerOptions {}

export interface UpdateMetrics extends PolicyLossMetrics {
  /** Global norm of the gradient before clipping. */
  gradNorm: number;
  /** False when the loss or the gradient was not finite: the weights are then as before. */
  applied: boolean;
}

/** Options of {@link PolicyLike.generate}. */
export interface GenerateOptions {
  /** Completions per prompt. Default 1. */
  n?: number;
  /** Longest completion in tokens. */
  maxNewTokens: number;
  /** Default 1; 0 is greedy. */
  temperature?: number;
  /** Keep the k likeliest. Default 0: all. */
  topK?: number;
  /** Keep the smallest set of likeliest tokens whose probability reaches topP. Default 1: all. */
  topP?: number;
  /**
   * Default 0. The same seed gives the same samples for a prompt whatever else is in the batch: with one number the prompt's
   * index picks its stream, with one seed per prompt its samples do not depend on its index either.
   */
  seed?: number | ArrayLike<number>;
  /** Token ids that end a completion; the token is kept as its last. Default: the config's eos_token_id. */
  stop?: number[];
  /** Never stop before maxNewTokens. Default false. */
  ignoreEos?: boolean;
  /**
   * Sequences decoded at once: speed and memory, not results. Default: as many as keep their keys and values near the processor,
   * up to 256 but at least 32 per thread, and no more than memory is available for.
   */
  maxBatch?: number;
  /** Stops the call (ERR_PRL_ABORTED). */
  signal?: AbortSignal;
  /** Told at times while completions are made: how many have ended, of how many, and tokens so far. What it throws ends the call. */
  onProgress?: (progress: { finished: number; total: number; tokens: number }) => void;
}

/** One sampled completion. */
export interface Completion {
  /** Generated ids, the stop token included. */
  tokens: Int32Array;
  /** Log-probability of each under softmax(logits / temperature), before top-k / top-p; at temperature 1 when greedy. */
  logProbs: Float32Array;
  /** 'stop': ended by a stop token; 'length': at maxNewTokens. */
  finishReason: 'stop' | 'length';
}

/** How a policy stores its weights. Arithmetic is float32 either way. */
export type PolicyDType = 'float32' | 'bfloat16';

/** How the weights are kept. */
export interface StorageOptions {
  /**
   * 'float32' (default), or 'bfloat16': half the memory, and reading it is what generation waits for. The results are those of the
   * float32 policy with the rounded weights, bit for bit; training steps go by float32 values all the same.
   */
  dtype?: PolicyDType;
  /**
   * Whether calls of this policy refuse what does not fit the memory that is available (ERR_PRL_OUT_OF_MEMORY, with the largest setting
   * that does). Default true.
   */
  memoryCheck?: boolean;
}

/** Options of Policy.load: storage, and where a model of the hub is looked for. */
export interface LoadOptions extends StorageOptions, HubOptions {}

/** Options of {@link PolicyLike.save}. */
export interface SaveOptions {
  /** Of the files. Default: the policy's own. */
  dtype?: 'float32' | 'bfloat16' | 'float16';
  /** Bytes; a larger checkpoint is saved in several files with an index. Default 5e9. */
  maxShardSize?: number;
}

/** A causal language model's configuration, in Hugging Face's names. */
export interface PolicyConfig {
  /** The architecture. */
  model_type: 'llama' | 'qwen2' | 'qwen3';
  /** Symbols. */
  vocab_size: number;
  /** Width of the hidden states. */
  hidden_size: number;
  /** Width of the feed-forward layers. */
  intermediate_size: number;
  /** Layers. */
  num_hidden_layers: number;
  /** Heads of the queries. */
  num_attention_heads: number;
  /** Default: num_attention_heads. */
  num_key_value_heads?: number;
  /** Default: hidden_size / num_attention_heads. */
  head_dim?: number;
  /** Default 1e-6. */
  rms_norm_eps?: number;
  /** Default 10000. Also read from rope_parameters. */
  rope_theta?: number;
  /** Scaling of the rotations, in the older spelling. */
  rope_scaling?: null | { rope_type: string; [key: string]: unknown };
  /** The same in the newer spelling. */
  rope_parameters?: { rope_type?: string; rope_theta?: number; [key: string]: unknown };
  /** Default 2048. */
  max_position_embeddings?: number;
  /** Default false. */
  tie_word_embeddings?: boolean;
  /** Biases of q, k and v. Default: true for qwen2, false otherwise. */
  attention_bias?: boolean;
  /** What ends a completion, unless stop is given. */
  eos_token_id?: number | number[];
  /** Kept for the files; not used. */
  bos_token_id?: number;
  /** Kept for the files; not used. */
  pad_token_id?: number;
  [key: string]: unknown;
}

/** What a policy is to be used for. */
export interface MemoryOptions {
  /** Default 'float32'. */
  dtype?: PolicyDType;
  /** Gradients, moments and activations of update. Default true; false: scoring and generation. */
  training?: boolean;
  /** A frozen copy of the policy beside it, as a KL term or PRL's process rewards need it. Default false. */
  reference?: boolean;
  /** Tokens of a micro-batch; the longest sequence, should that be longer. Default 4096. */
  microBatchTokens?: number;
  /** As in update: activations are made again on the way back. Default false. */
  gradientCheckpointing?: boolean;
  /** Generation: sequences decoded at once, their longest prompt and completion. Default: none are generated. */
  maxBatch?: number;
  /** Longest prompt in tokens. */
  promptTokens?: number;
  /** Longest completion in tokens; 0, the default: nothing is generated. */
  maxNewTokens?: number;
}

/** Bytes. */
export interface MemoryEstimate {
  /** With those of the reference. */
  weights: number;
  /** 0 without training. */
  gradients: number;
  /** AdamW's moments; in bfloat16 the rest of the masters too. */
  optimizer: number;
  /** Of a micro-batch, with everything that a forward and backward pass work in. */
  activations: number;
  /** Keys and values of the sequences that are decoded at once. */
  kvCache: number;
  /** Of the chunk of tokens whose logits exist at a time, and of a step of generation. */
  logits: number;
  /** All of the above. */
  total: number;
}

/** The policy network. Long calls run off the event loop, one after the other per policy. */
export interface PolicyLike {
  /** As it was created or loaded, defaults filled in. */
  readonly config: Readonly<PolicyConfig>;
  /** Number of weights. */
  readonly parameterCount: number;
  /** Absent: 'float32'. */
  readonly dtype?: PolicyDType;
  /** Samples n completions of each prompt (token ids, at least one), in the order of the prompts. Aborted: ERR_PRL_ABORTED. */
  generate(prompts: ArrayLike<number>[], options: GenerateOptions): Promise<{ completions: Completion[] }[]>;
  /**
   * Log-probabilities of every token after the first of each sequence, packed; or, with `start`, of the tokens from index
   * start[i] >= 1 on (the completion's, when start is the prompt's length).
   */
  logProbs(
    sequences: ArrayLike<number>[],
    options?: {
      temperature?: number;
      entropy?: boolean;
      start?: ArrayLike<number>;
      microBatchTokens?: number;
      signal?: AbortSignal;
    },
  ): Promise<{ logProbs: Float32Array; entropy?: Float32Array; cuSeqlens: Int32Array }>;
  /** One optimizer step on the whole batch. */
  update(batch: PolicyBatch, options: UpdateOptions): Promise<UpdateMetrics>;
  /** The gradients that `update` would use (not clipped), without a step. Read them with gradients(). */
  computeGradients(batch: PolicyBatch, options?: GradientOptions): Promise<PolicyLossMetrics & { gradNorm: number }>;
  /** A copy with its own weights and no optimizer state: the frozen reference. */
  clone(): PolicyLike;
  /** Writes a Hugging Face checkpoint folder: config.json and safetensors. */
  save(folder: string, options?: SaveOptions): Promise<void>;
  /** Throws ERR_PRL_OUT_OF_MEMORY where a run with these settings would not fit. */
  checkMemory?(options: Omit<MemoryOptions, 'dtype'>): void;
  /** Optimizer moments and step count, in one file; loaded they continue bit for bit. */
  saveOptimizer(file: string): Promise<void>;
  /** Loads what {@link saveOptimizer} wrote of a policy of this shape; another file is ERR_PRL_CORRUPT. */
  loadOptimizer(file: string): Promise<void>;
  /** Forgets the optimizer's moments and step count. */
  resetOptimizer(): void;
  /** Lets go of the memory; what is called afterwards is an error (ERR_PRL_DISPOSED). */
  dispose(): void;
}
