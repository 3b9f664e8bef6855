// What a policy takes of the machine's memory, counted before it is taken: the sizes of native/model's arenas and workspaces.

import { checkBoolean, checkChoice, checkInteger, checkOptions } from '../base/options.js';
import { native } from '../kernels/native.js';
import { type NativeConfig, nativeConfig, ownConfig } from './config.js';
import type { MemoryEstimate, MemoryOptions, PolicyConfig } from './types.js';

const KNOWN = [
  'dtype',
  'training',
  'reference',
  'microBatchTokens',
  'gradientCheckpointing',
  'maxBatch',
  'promptTokens',
  'maxNewTokens',
];
/** Scratch of the matrix products, whatever the model: a slab of the right-hand side, pieces of the left one per thread. */
const SCRATCH = 12 * 2 ** 20;
/** The windows in which generation reads prompts (native/model/generate.cc). */
const WINDOW = { tokens: 2048, prompts: 64, logits: 2 ** 22 };

/**
 * The memory that a policy of this config takes at its peak, in bytes: what native code allocates, with everything that it keeps from
 * call to call. The process itself comes on top (about 100 MB), and what a task keeps.
 */
export function estimateMemory(config: PolicyConfig, options: MemoryOptions = {}): MemoryEstimate {
  options = checkOptions('estimateMemory', options, KNOWN);
  const tokens = (name: 'promptTokens' | 'maxNewTokens' | 'maxBatch') =>
    checkInteger(name, options[name] ?? (name === 'maxBatch' ? 1 : 0), 0);
  const shape = nativeConfig(ownConfig(config));
  return estimateOf(shape, parameterCount(shape), {
    dtype: checkChoice('dtype', options.dtype ?? 'float32', ['float32', 'bfloat16']),
    training: checkBoolean('training', options.training ?? true),
    reference: checkBoolean('reference', options.reference ?? false),
    microBatchTokens: checkInteger('microBatchTokens', options.microBatchTokens ?? 4096, 1),
    gradientCheckpointing: checkBoolean('gradientCheckpointing', options.gradientCheckpointing ?? false),
    maxBatch: tokens('maxBatch'),
    promptTokens: tokens('promptTokens'),
    maxNewTokens: tokens('maxNewTokens'),
  });
}

/** The widths of a layer, in floats. */
function widthsOf(c: NativeConfig) {
  const q = c.heads * c.headDim;
  const kv = 2 * c.kvHeads * c.headDim;
  return { h: c.hidden, inner: c.intermediate, q, kv, matrices: c.hidden * (2 * q + kv + 3 * c.intermediate) };
}

/** @internal */
export function parameterCount(c: NativeConfig): number {
  const parameters: { shape: number[] }[] = native().policyParameters(c);
  return parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
}

/** @internal The same of a checked config, all options given. */
export function estimateOf(c: NativeConfig, parameters: number, options: Required<MemoryOptions>): MemoryEstimate {
  const { dtype, training, reference, microBatchTokens } = options;
  const narrow = dtype === 'bfloat16';
  const generates = options.maxNewTokens > 0;
  const weights = parameters * (narrow ? 2 : 4) * (reference ? 2 : 1);
  const gradients = training ? parameters * 4 : 0;
  const optimizer = training ? parameters * (narrow ? 10 : 8) : 0;

  const { h, q, kv, matrices } = widthsOf(c);
  const capacity = Math.ceil((options.promptTokens + options.maxNewTokens) / 16) * 16;
  const kvCache = generates ? 4 * options.maxBatch * c.layers * kv * capacity : 0;
  const window = generates
    ? Math.max(options.promptTokens, Math.min(WINDOW.tokens, options.maxBatch * options.promptTokens))
    : 0;
  const passes = training ? trainingFloats(c, options) : microBatchTokens * scoringFloats(c);
  const byId = c.layers > 1 && 4 * c.vocab <= microBatchTokens ? c.vocab * (q + kv + 2 * h) : 0;
  const rows = options.maxBatch * (generates ? 3 * h + 2 * q + kv + 3 * c.intermediate : 0);
  const small = generates && parameters <= 4 * 2 ** 20 ? parameters : 0; // packed for generation
  const activations =
    4 * (Math.max(passes, window * scoringFloats(c)) + window * c.layers * kv + byId + rows + small + matrices) +
    (reference ? 4 * (microBatchTokens * scoringFloats(c) + matrices) : 0) +
    SCRATCH;

  const chunk = Math.min(microBatchTokens, Math.max(32, Math.min(2048, Math.floor(2 ** 22 / c.vocab))));
  const prompts = Math.max(1, Math.min(WINDOW.prompts, Math.floor(WINDOW.logits / c.vocab), options.maxBatch));
  const logits =
    4 * (chunk * (c.vocab + 2 * h) * (reference ? 2 : 1) + (generates ? (options.maxBatch + prompts) * c.vocab : 0));
  const total = weights + gradients + optimizer + activations + kvCache + logits;
  return { weights, gradients, optimizer, activations, kvCache, logits, total };
}

/** Floats per token of a pass that keeps nothing. */
function scoringFloats(c: NativeConfig): number {
  const { h, q, kv, inner } = widthsOf(c);
  return 4 * h + 2 * q + kv + 3 * inner + h;
}

/** Of a micro-batch of training: what layers leave, and what the pass works in. */
function trainingFloats(c: NativeConfig, { microBatchTokens, gradientCheckpointing }: Required<MemoryOptions>): number {
  const { h, q, kv, inner } = widthsOf(c);
  const norms = c.qkNorm ? q + kv / 2 : 0;
  const kept = 2 * q + kv + norms + c.heads + h + 2 * inner;
  const work = 12 * h + inner + 2 * q + kv + (3 * h + 2 * c.headDim + q + kv) / 96;
  return microBatchTokens * (c.layers * h + (gradientCheckpointing ? 1 : c.layers) * kept + work);
}
