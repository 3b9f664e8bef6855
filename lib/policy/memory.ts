// What a policy takes of the machine's memory, counted before it is taken: by native code, from the sizes that it
// allocates.

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
/** Tokens and sequences are counted in int32. */
const MOST = 2 ** 31 - 1;

/**
 * The memory that a policy of this config takes at its peak, in bytes: what native code allocates, with everything that
 * it keeps from call to call. The process itself comes on top (about 100 MB), and what a task keeps.
 */
export function estimateMemory(config: PolicyConfig, options: MemoryOptions = {}): MemoryEstimate {
  options = checkOptions('estimateMemory', options, KNOWN);
  const count = (name: 'promptTokens' | 'maxNewTokens' | 'maxBatch' | 'microBatchTokens', usual: number, least = 0) =>
    checkInteger(name, options[name] ?? usual, least, MOST);
  return estimateOf(nativeConfig(ownConfig(config)), {
    dtype: checkChoice('dtype', options.dtype ?? 'float32', ['float32', 'bfloat16']),
    training: checkBoolean('training', options.training ?? true),
    reference: checkBoolean('reference', options.reference ?? false),
    microBatchTokens: count('microBatchTokens', 4096, 1),
    gradientCheckpointing: checkBoolean('gradientCheckpointing', options.gradientCheckpointing ?? false),
    maxBatch: count('maxBatch', 1),
    promptTokens: count('promptTokens', 0),
    maxNewTokens: count('maxNewTokens', 0),
  });
}

/** @internal */
export function parameterCount(c: NativeConfig): number {
  const parameters: { shape: number[] }[] = native().policyParameters(c);
  return parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
}

/** @internal The same of a checked config, all options given. */
export function estimateOf(c: NativeConfig, options: Required<MemoryOptions>): MemoryEstimate {
  const { dtype, reference, ...settings } = options;
  const needs = (own: typeof settings) => native().policyMemory({ ...c, ...own, bfloat16: dtype === 'bfloat16' });
  const { scratch, ...estimate } = needs(settings);
  estimate.activations += scratch;
  if (reference) {
    // It scores, and nothing else.
    const other = needs({ ...settings, training: false, maxNewTokens: 0 });
    for (const part of ['weights', 'activations', 'logits']) estimate[part] += other[part];
  }
  const { weights, gradients, optimizer, activations, kvCache, logits } = estimate;
  const total = weights + gradients + optimizer + activations + kvCache + logits;
  return { weights, gradients, optimizer, activations, kvCache, logits, total };
}
