// The messages of the Tinker protocol that both ends read and write. json.ts and protobuf.ts are their two encodings.
// All other messages are small JSON objects: the types at the end name their fields as the wire does.

/** Where the protocol's paths begin. */
export const API = '/api/v1';
export const PROTOBUF_TYPE = 'application/x-protobuf';
/** The values of `type` in a datum's chunk and in an unfinished future. */
export const ENCODED_TEXT = 'encoded_text';
export const TRY_AGAIN = 'try_again';

/** Numbers with a shape. Integers are int64 on the wire and must fit into 32 bits; the rest is float32. */
export interface WireTensor {
  data: Float32Array | Int32Array;
  /** Default: one axis. */
  shape?: readonly number[] | undefined;
}

/** One sequence: position i of `tokens` predicts entry i of each input of the loss. */
export interface Datum {
  tokens: Int32Array;
  /** target_tokens, and by loss: weights, logprobs, advantages. */
  lossInputs: { readonly [name: string]: WireTensor };
}

/** forward_backward, or forward if `forwardOnly`. */
export interface ForwardBackward {
  modelId: string;
  /** At least 1, one more with each request of a model. A repeated number means the same request. */
  seqId?: number | undefined;
  forwardOnly: boolean;
  data: Datum[];
  lossFn: string;
  lossConfig?: { readonly [name: string]: number | string } | undefined;
}

/** The result of forward_backward and forward. */
export interface ForwardBackwardOutput {
  /** The class of the outputs, such as ArrayRecord. */
  type: string;
  /** For each datum the tensors by name, such as logprobs. */
  outputs: { readonly [name: string]: WireTensor }[];
  metrics: { readonly [name: string]: number };
}

/** The k most likely tokens of each position, row by row: [positions, k]. A missing entry is token 0 with -99999. */
export interface TopK {
  k: number;
  ids: Int32Array;
  logProbs: Float32Array;
}

export const NO_LOG_PROB = -99999;

export interface SampledSequence {
  tokens: Int32Array;
  /** One per token; absent if the server gives none. */
  logProbs?: Float32Array | undefined;
  /** Of each token. */
  topK?: TopK | undefined;
  stopReason: 'stop' | 'length';
}

/** The result of asample. */
export interface SampleResult {
  sequences: SampledSequence[];
  /** One per prompt token, NaN where there is none, such as for the first. Absent if not asked for. */
  promptLogProbs?: Float32Array | undefined;
  /** Of each prompt token. */
  promptTopK?: TopK | undefined;
}

/** Most datums of one request. Beyond it, a small message of empty datums takes gigabytes. */
export const MAX_DATUMS = 65_536;
/** Most axes of a tensor. */
export const MAX_AXES = 8;

/** A message that does not have the protocol's form. The server answers 400; the client names the server. */
export class WireError extends Error {}

// Messages that are JSON in both dialects.

export interface CreateSession {
  tags: readonly string[];
  user_metadata: { [name: string]: unknown } | null;
  sdk_version: string;
}

export interface CreateModel {
  session_id: string;
  /** Number of the model in its session, from 0. */
  model_seq_id: number;
  base_model: string;
  lora_config: { rank: number; seed?: number; train_mlp?: boolean; train_attn?: boolean; train_unembed?: boolean };
}

export interface AdamParams {
  learning_rate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weight_decay: number;
  /** 0: no clipping. Old servers do not know it. */
  grad_clip_norm?: number;
}

/** optim_step. */
export interface OptimStep {
  model_id: string;
  seq_id?: number;
  adam_params: AdamParams;
}

/** save_weights: weights and optimizer by name. */
export interface SaveWeights {
  model_id: string;
  seq_id?: number;
  path: string;
}

/** load_weights. `path` is the tinker:// address that save_weights gave. */
export interface LoadWeights {
  model_id: string;
  seq_id?: number;
  path: string;
  optimizer: boolean;
}

/** save_weights_for_sampler: by name, or as a new sampling session. */
export interface SaveWeightsForSampler {
  model_id: string;
  seq_id?: number;
  path?: string;
  sampling_session_seq_id?: number;
}

export interface SamplingParams {
  max_tokens: number;
  seed?: number;
  /** Ids or texts. null: the model's own ids. []: none. */
  stop?: readonly number[] | readonly string[] | string | null;
  temperature?: number;
  /** -1: all. */
  top_k?: number;
  top_p?: number;
}

/** asample. One of base_model, model_path and sampling_session_id (with seq_id) says whose weights. */
export interface Sample {
  prompt: { chunks: readonly { type: typeof ENCODED_TEXT; tokens: readonly number[] }[] };
  num_samples: number;
  sampling_params: SamplingParams;
  base_model?: string;
  model_path?: string;
  sampling_session_id?: string;
  seq_id?: number;
  prompt_logprobs?: boolean;
}

/** What retrieve_future answers while the result is not there. The status is 200 or 408. */
export interface TryAgain {
  type: typeof TRY_AGAIN;
  request_id: string;
  queue_state: 'active' | 'paused_capacity' | 'paused_rate_limit';
  queue_state_reason?: string | null;
}

/** What retrieve_future answers when the request failed. */
export interface RequestFailed {
  error: string;
  category: 'user' | 'server' | 'unknown';
}
