import { checkNumber } from '../base/options.js';
import type { OptimizerOptions } from './types.js';

/** The names of AdamW's options. */
export const ADAM_OPTIONS = ['learningRate', 'weightDecay', 'adamBeta1', 'adamBeta2', 'adamEpsilon', 'maxGradNorm'];

/** The options of AdamW as the addon takes them, checked, with their defaults. */
export function adamOptions({ maxGradNorm = 1, ...options }: OptimizerOptions) {
  return {
    learningRate: checkNumber('learningRate', options.learningRate, 0),
    weightDecay: checkNumber('weightDecay', options.weightDecay ?? 0, 0),
    adamBeta1: checkNumber('adamBeta1', options.adamBeta1 ?? 0.9, 0, 1),
    adamBeta2: checkNumber('adamBeta2', options.adamBeta2 ?? 0.999, 0, 1),
    adamEpsilon: checkNumber('adamEpsilon', options.adamEpsilon ?? 1e-8, 0),
    maxGradNorm: maxGradNorm === Infinity ? undefined : checkNumber('maxGradNorm', maxGradNorm, 0, Infinity, true),
  };
}
