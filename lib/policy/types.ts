// The surface of the native policy; lib/policy/policy.ts implements it.
import type { HubOptions } from '../hub/repo.js';
import type { TensorLike } from '../tensor.js';
import type { MemoryOptions } from './memory.js';

/** Options of the policy loss, named as in TRL's GRPOConfig. The formulas: native/kernels/clipped_loss/clipped_loss.h. */
export interface PolicyLossOptions {
  /**
   * The term of a token, and how terms are averaged.
   *
   * The clipped ratio: 'dapo' (default, arXiv 2503.14476), mean over the active tokens of the optimizer batch; 'grpo' (2402.03300),
   * mean over sequences of token means; 'bnpo', mean over the active tokens of what is given in this call; 'dr_grpo' (2503.20783),
   * sum over tokens divided by sequences times maxCompletionLength; 'luspo' (2602.05261, made for sequence-level ratios), mean over
   * sequences of token sums; 'raft++' (2504.11343), as grpo, for advantages of 1 on right responses and 0 on wrong ones.
   *
   * The log-probability with a weight: 'cispo' (2506.13585), the ratio bounded by epsilonHigh, averaged as dapo; 'vespo'
   * (2602.10693), a smooth function of the sequence's ratio, averaged as dapo; 'raft' (2304.06767), 1, averaged as grpo, for the
   * advantages of raft++.
   *
   * 'sapo' (2511.20347): a sigmoid in place of the clip, averaged as grpo.
   */
  lossType?: 'grpo' | 'dapo' | 'bnpo' | 'dr_grpo' | 'luspo' | 'cispo' | 'sapo' | 'vespo' | 'raft' | 'raft++';
  /** 'token' (default), or 'sequence': GSPO's exp of the mean log-ratio (2507.18071). Not with vespo or raft. */
  importanceSamplingLevel?: 'token' | 'sequence';
  /** Lower clip: ratios below 1 - epsilon. Default 0.2. Clipped losses only. */
  epsilon?: number;
  /** Upper clip: ratios above 1 + epsilonHigh. Default: epsilon. With cispo the bound itself; default 5. */
  epsilonHigh?: number;
  /** Two-sided clip: an upper bound of the ratio where the advantage is negative (2505.07291). Default: none. Clipped losses only. */
  delta?: number;
  /** Steepness of sapo's sigmoid where the advantage is positive, and elsewhere. Default 1 and 1.05. */
  sapoTemperaturePos?: number;
  /** The same where it is not positive. Default 1.05. */
  sapoTemperatureNeg?: number;
  /** vespo weighs a sequence of ratio w by w^k e^(lambda (1 - w)). Defaults: 2 and 3 where the advantage is not negative, else 3 and 2. */
  vespoKPos?: number;
  /** lambda where the advantage is not negative. Default 3. */
  vespoLambdaPos?: number;
  /** k where the advantage is negative. Default 3. */
  vespoKNeg?: number;
  /** lambda where the advantage is negative. Default 2. */
  vespoLambdaNeg?: number;
  /** Weight of the KL term to refLogProbs. Default 0. */
  beta?: number;
  /** Schulman's estimators; with d = logProbs - refLogProbs: k1 d, k2 d^2 / 2, k3 exp(-d) + d - 1 (default). */
  klEstimator?: 'k1' | 'k2' | 'k3';
  /** Multiplies the KL term by the ratio, as TRL does by default. Default true. */
  klRatioCorrection?: boolean;
  /** Weight of the entropy bonus: the mean entropy of the active tokens, whatever the lossType. Default 0. */
  entropyCoef?: number;
  /**
   * Leaves all but this share of the active tokens, those with the highest entropies, out of the policy term (2506.01939); their KL
   * term, the entropy bonus (TRL limits that too) and the divisors stay. Default 1: all take part. From logits the entropies cost a
   * look more at them.
   */
  topEntropyQuantile?: number;
  /** The same with the entropy given that a token must reach: where this call gets a part of the optimizer batch. */
  entropyThreshold?: number;
  /**
   * Leaves sequences out of the policy term where the advantage is negative and the policy has drifted: the mean of rolloutLogProbs
   * - logProbs is above this (DeepSeek-V3.2, 2512.02556). Default: none.
   */
  offPolicyMaskThreshold?: number;
  /** Needed by 'dr_grpo'. */
  maxCompletionLength?: number;
  /** Active tokens and sequences of the whole optimizer batch, when this call gets a part of it. Default: what is given. */
  normalizer?: { tokens: number; sequences: number };
}

/** What a policy loss reports. Means are over active tokens unless said otherwise. */
export interface PolicyLossMetrics {
  /** The loss, with KL term and entropy bonus. */
  loss: number;
  /** Active tokens. */
  tokens: number;
  /** Nats; 0 where no entropies were given. */
  entropy: number;
  /** k3 estimate of the KL to the reference; 0 without one. */
  kl: number;
  /** Estimates of the KL to the policy that sampled: mean of old - new, and the nonnegative k3. */
  approxKl: number;
  /** Its k3 estimate, never negative. */
  approxKlK3: number;
  /** Of new to old probability, over tokens (over sequences, at sequence level); 1 when on-policy. */
  ratioMean: number;
  /** The largest of them. */
  ratioMax: number;
  /** The smallest of them. */
  ratioMin: number;
  /** Share of tokens (of sequences, at sequence level) with A < 0 and ratio < 1 - epsilon; A > 0 and ratio > 1 + epsilonHigh (cispo: epsilonHigh); either. */
  clipRatioLow: number;
  /** A > 0 and ratio > 1 + epsilonHigh. */
  clipRatioHigh: number;
  /** Either of the two. */
  clipRatioRegion: number;
  /** lossType vespo: mean of the sequences' weights; else 0. */
  phiMean: number;
  /** Effective sample size of the ratios as a share: (sum rho)^2 / (n sum rho^2). */
  effectiveSampleSize: number;
}

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
