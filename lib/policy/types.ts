// The interface of the native policy. lib/policy/policy.ts implements it.
import type { HubOptions } from '../hub/repo.js';
import type { PolicyLossMetrics } from '../kernels/loss-batch.js';
import type { PolicyLossOptions } from '../kernels/loss-options.js';
import type { TensorLike } from '../kernels/tensor.js';

/**
 * Sequences to learn from. T is the number of completion tokens of all sequences, packed one sequence after the other.
 * Inputs of shape [T] have one value per completion token.
 */
export interface PolicyBatch {
  /** Token ids of each prompt, at least one each. */
  prompts: ArrayLike<number>[];
  /** Token ids of each completion, with the end-of-sequence token if it was sampled. */
  completions: ArrayLike<number>[];
  /**
   * [T] per token, or [B] per sequence; the length decides. T = B means one token per sequence, so both mean the same.
   */
  advantages: TensorLike;
  /** [T] log-probabilities at sampling time. Without it the batch is on-policy. */
  oldLogProbs?: TensorLike | undefined;
  /** [T] log-probabilities under the reference policy. Required when beta is not 0. */
  refLogProbs?: TensorLike | undefined;
  /** [T] weights, 0 or more, that multiply each token's policy term. See importanceWeights. */
  importanceWeights?: TensorLike | undefined;
  /** [T] log-probabilities of the engine that sampled, for offPolicyMaskThreshold. Default: oldLogProbs. */
  rolloutLogProbs?: TensorLike | undefined;
  /** [T] integers. A token with 0 takes no part. */
  mask?: TensorLike | undefined;
}

/** Options of AdamW (arXiv 1711.05101), with TRL's names. */
export interface OptimizerOptions {
  /** Learning rate, at least 0. */
  learningRate: number;
  /**
   * Decoupled weight decay. It applies to matrices only, not to norms, biases and other 1-dimensional tensors. Default
   * 0.
   */
  weightDecay?: number | undefined;
  /** Decay of the mean of the gradients. Default 0.9. */
  adamBeta1?: number | undefined;
  /** Decay of the mean of their squares. Default 0.999. */
  adamBeta2?: number | undefined;
  /** Added to the root of the mean square. Default 1e-8. */
  adamEpsilon?: number | undefined;
  /** Clips the global gradient norm to this value. Default 1; Infinity: no clipping. */
  maxGradNorm?: number | undefined;
}

/** Options of {@link PolicyLike.computeGradients}. */
export interface GradientOptions extends PolicyLossOptions {
  /** Divides the logits. Default 1. */
  temperature?: number | undefined;
  /**
   * Cuts the batch into micro-batches of at most this many tokens, but at least one sequence. Neighbours with the same
   * prompt share it: it passes through the network once per micro-batch. Default 4096.
   */
  microBatchTokens?: number | undefined;
  /**
   * Keeps only the input of each layer and recomputes the rest in the backward pass. It takes a small part of the
   * memory and about a third more time. The bits are the same. Default false.
   */
  gradientCheckpointing?: boolean | undefined;
  /** Stops the call (ERR_PRL_ABORTED). The policy is then unchanged. */
  signal?: AbortSignal | undefined;
}

/** Options of {@link PolicyLike.update}. */
export interface UpdateOptions extends GradientOptions, OptimizerOptions {}

/** Result of {@link PolicyLike.update}. */
export interface UpdateMetrics extends PolicyLossMetrics {
  /**
   * Share of active tokens that are the policy's most likely ones: no other token has a larger logit. The native policy
   * always has it.
   */
  tokenAccuracy?: number;
  /** Global norm of the gradient before clipping. */
  gradNorm: number;
  /** False when the loss or the gradient was not finite. The weights are then unchanged. */
  applied: boolean;
}

/** Options of {@link PolicyLike.generate}. */
export interface GenerateOptions {
  /** Completions per prompt. Default 1. */
  n?: number | undefined;
  /** Longest completion in tokens. */
  maxNewTokens: number;
  /** Divides the logits; 0 is greedy. Default 1. */
  temperature?: number | undefined;
  /** Samples from the k most likely tokens. Default 0: all tokens. */
  topK?: number | undefined;
  /** Samples from the smallest set of most likely tokens whose probability reaches topP. Default 1: all tokens. */
  topP?: number | undefined;
  /**
   * Seed of the samples. The same seed gives the same samples for a prompt, whatever else is in the batch. With one
   * number, the samples also depend on the prompt's index. With one seed per prompt, they do not. Default 0.
   */
  seed?: number | ArrayLike<number> | undefined;
  /** Token ids that end a completion. The token stays as its last one. Default: the config's eos_token_id. */
  stop?: number[] | undefined;
  /** Never stops before maxNewTokens. Default false. */
  ignoreEos?: boolean | undefined;
  /**
   * Sequences decoded at once. It changes speed and memory, not the results. Default: as many as keep their keys and
   * values near the processor, at most 256, at least 32 per thread, and no more than memory allows.
   */
  maxBatch?: number | undefined;
  /** Stops the call (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
  /**
   * Called from time to time with the completions that ended, all completions, and the tokens so far. An error that it
   * throws ends the call.
   */
  onProgress?: ((progress: GenerateProgress) => void) | undefined;
}

/** How far generate is. */
export interface GenerateProgress {
  /** Completions that have ended. */
  finished: number;
  /** Completions in all. */
  total: number;
  /** Tokens so far. */
  tokens: number;
}

/** Options of {@link Policy.create}. */
export interface CreateOptions extends StorageOptions {
  /** Seed of the weights. */
  seed: number;
}

/** Options of {@link PolicyLike.logProbs}. */
export interface LogProbsOptions {
  /** Divides the logits. Default 1. */
  temperature?: number | undefined;
  /** Also return the entropy of each distribution, in nats. Default false. */
  entropy?: boolean | undefined;
  /** Also tell of each token whether no other is more likely: 1 or 0. Default false. */
  top1?: boolean | undefined;
  /** For each sequence the first token that is scored, at least 1. Default: 1. */
  start?: ArrayLike<number> | undefined;
  /** Tokens of one forward pass. It affects memory and rounding. Default: the policy's. */
  microBatchTokens?: number | undefined;
  /** Aborts the call (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
}

/** One sampled completion. */
export interface Completion {
  /** Generated ids, with the stop token. */
  tokens: Int32Array;
  /**
   * Log-probability of each token under softmax(logits / temperature), before top-k and top-p. Greedy completions use
   * temperature 1.
   */
  logProbs: Float32Array;
  /** 'stop': a stop token ended it. 'length': maxNewTokens did. */
  finishReason: 'stop' | 'length';
}

/** How a policy stores its weights. Arithmetic is float32 either way. */
export type PolicyDType = 'float32' | 'bfloat16';

/** How a policy stores its weights. */
export interface StorageOptions {
  /**
   * 'float32' (default) or 'bfloat16'. bfloat16 takes half the memory, and generation reads half as much. Its results
   * are those of the float32 policy with the rounded weights, bit for bit. Training still updates float32 values.
   */
  dtype?: PolicyDType | undefined;
  /**
   * Calls of this policy refuse work that does not fit in the available memory. The error is ERR_PRL_OUT_OF_MEMORY and
   * names the largest setting that fits. Default true.
   */
  memoryCheck?: boolean | undefined;
}

/** Options of Policy.load: storage, what the files may hold, and access to the hub. */
export interface LoadOptions extends StorageOptions, HubOptions {
  /**
   * Tensors that the config does not know. 'refuse' (default) is an error; 'ignore' leaves out those that change
   * nothing for the policy, such as a value head. A tensor of the policy's own modules is an error either way.
   */
  extraTensors?: 'refuse' | 'ignore' | undefined;
}

/** Options of {@link PolicyLike.save}. */
export interface SaveOptions {
  /** Type of the weights in the files. Default: the policy's own. */
  dtype?: 'float32' | 'bfloat16' | 'float16' | undefined;
  /** Bytes. A larger checkpoint is split into several files with an index. Default 5e9. */
  maxShardSize?: number | undefined;
}

/** The configuration of a causal language model, with Hugging Face's names. */
export interface PolicyConfig {
  /** The architecture. */
  model_type: 'llama' | 'mistral' | 'qwen2' | 'qwen3';
  /** Number of tokens in the vocabulary. */
  vocab_size: number;
  /** Width of the hidden states. */
  hidden_size: number;
  /** Width of the feed-forward layers. */
  intermediate_size: number;
  /** Number of layers. */
  num_hidden_layers: number;
  /** Number of query heads. */
  num_attention_heads: number;
  /** Number of key and value heads. Default: num_attention_heads. */
  num_key_value_heads?: number;
  /** Width of a head. Default: hidden_size / num_attention_heads. */
  head_dim?: number;
  /** Epsilon of the norms. Default 1e-6. */
  rms_norm_eps?: number;
  /** Base of the rotary frequencies. Also read from rope_parameters. Default 10000. */
  rope_theta?: number;
  /**
   * Scaling of the rotary embedding, in the older spelling: 'linear', 'dynamic', 'llama3' or 'yarn'. Where it is given,
   * rope_parameters is not read, as in transformers.
   */
  rope_scaling?: null | { rope_type?: string; [key: string]: unknown };
  /** Scaling of the rotary embedding, in the newer spelling. */
  rope_parameters?: { rope_type?: string; rope_theta?: number; [key: string]: unknown };
  /** Longest sequence in tokens. Default 2048. */
  max_position_embeddings?: number;
  /** The output head is the embedding. Default false. */
  tie_word_embeddings?: boolean;
  /** llama, qwen3: biases of q, k, v and o. Default false. qwen2 always has those of q, k and v, and none of o. */
  attention_bias?: boolean;
  /** llama: biases of gate, up and down. Default false. */
  mlp_bias?: boolean;
  /**
   * A window of attention. It must be null or at least max_position_embeddings, so that no sequence feels it. mistral:
   * default 4096. qwen2, qwen3: read only with use_sliding_window, and where layer_types or max_window_layers say so.
   */
  sliding_window?: number | null;
  /** Tokens that end a completion, unless `stop` is given. */
  eos_token_id?: number | number[];
  /** Kept for the files. Not used. */
  bos_token_id?: number;
  /** Kept for the files. Not used. */
  pad_token_id?: number;
  [key: string]: unknown;
}

/** The planned use of a policy, for estimateMemory and checkMemory. */
export interface MemoryOptions {
  /** Storage of the weights. Default 'float32'. */
  dtype?: PolicyDType | undefined;
  /** Counts gradients, moments and activations of update. False: scoring and generation only. Default true. */
  training?: boolean | undefined;
  /** Counts a frozen copy of the policy, as FRPO, PRL or a KL term needs it. Default false. */
  reference?: boolean | undefined;
  /** Tokens of a micro-batch, or the longest sequence if that is longer. Default 4096. */
  microBatchTokens?: number | undefined;
  /** Recomputes activations in the backward pass, as in update. Default false. */
  gradientCheckpointing?: boolean | undefined;
  /** Generation: sequences decoded at once. Default 1. */
  maxBatch?: number | undefined;
  /** Generation: longest prompt in tokens. Default 0. */
  promptTokens?: number | undefined;
  /** Generation: longest completion in tokens. Default 0: no generation. */
  maxNewTokens?: number | undefined;
}

/** Memory of a policy, in bytes. */
export interface MemoryEstimate {
  /** Weights, with those of the reference. */
  weights: number;
  /** Gradients. 0 without training. */
  gradients: number;
  /** AdamW's moments. In bfloat16 also the other half of the masters. */
  optimizer: number;
  /** Activations of a micro-batch, with the workspaces of a forward and backward pass. */
  activations: number;
  /** Keys and values of the sequences that are decoded at once. */
  kvCache: number;
  /** Logits of one chunk of tokens, and of one step of generation. */
  logits: number;
  /** Sum of all of the above. */
  total: number;
}

/** The policy network. Long calls run off the event loop, one after the other per policy. */
export interface PolicyLike {
  /** The config as it was created or loaded, with defaults filled in. */
  readonly config: Readonly<PolicyConfig>;
  /** Number of weights. */
  readonly parameterCount: number;
  /** Storage of the weights. Without it: 'float32'. */
  readonly dtype?: PolicyDType;
  /**
   * False: logProbs gives no entropies. The trainer then estimates the entropy of the first token by the mean of -log
   * p. Default true.
   */
  readonly hasEntropy?: boolean;
  /**
   * Samples n completions of each prompt (token ids, at least one), in the order of the prompts.
   *
   * @throws PrlError ERR_PRL_ABORTED when `signal` is aborted
   */
  generate(prompts: ArrayLike<number>[], options: GenerateOptions): Promise<{ completions: Completion[] }[]>;
  /**
   * Log-probabilities of every token after the first of each sequence, packed. With `start`, those of the tokens from
   * index start[i] >= 1: set it to the prompt's length to score the completion. With `top1`, also 1 for each token that
   * no other token is more likely than, and 0 for the others.
   */
  logProbs(
    sequences: ArrayLike<number>[],
    options?: LogProbsOptions,
  ): Promise<{ logProbs: Float32Array; entropy?: Float32Array; top1?: Int32Array; cuSeqlens: Int32Array }>;
  /**
   * One optimizer step on the whole batch. A batch without a completion token that the mask leaves in is refused: the
   * optimizer's momentum would move the weights.
   */
  update(batch: PolicyBatch, options: UpdateOptions): Promise<UpdateMetrics>;
  /** Computes the gradients that `update` would use (not clipped), without a step. Read them with gradients(). */
  computeGradients(batch: PolicyBatch, options?: GradientOptions): Promise<PolicyLossMetrics & { gradNorm: number }>;
  /** Throws for options of an update that this policy refuses whatever the batch. The trainer asks before it begins. */
  checkUpdate?(options: GradientOptions): void;
  /** A policy like this one with the weights that save() wrote to a folder. Without it: Policy.load. */
  restore?(folder: string): Promise<PolicyLike>;
  /** A copy with its own weights and no optimizer state, for use as the frozen reference. */
  clone(): PolicyLike;
  /** Writes a checkpoint folder in Hugging Face's layout: config.json and safetensors. */
  save(folder: string, options?: SaveOptions): Promise<void>;
  /** Throws ERR_PRL_OUT_OF_MEMORY if a run with these settings would not fit in memory. */
  checkMemory?(options: Omit<MemoryOptions, 'dtype'>): void;
  /** Writes the optimizer's moments and step count to one file. A policy that loads it continues bit for bit. */
  saveOptimizer(file: string): Promise<void>;
  /** Loads a file of {@link saveOptimizer} from a policy of the same shape. Any other file is ERR_PRL_CORRUPT. */
  loadOptimizer(file: string): Promise<void>;
  /** Clears the optimizer's moments and step count. */
  resetOptimizer(): void;
  /** Frees the memory. Later calls fail with ERR_PRL_DISPOSED. */
  dispose(): void;
}
