// Options that reinforcement learning and supervised fine-tuning have in common. Each table adds its own defaults.
import type { OptionTable } from '../base/options.js';

/** The schedule's end, and AdamW. */
export const OPTIMIZER_OPTIONS = {
  minLearningRateRate: {
    type: 'number',
    default: 0,
    min: 0,
    max: 1,
    doc: 'Final learning rate of linear and cosine, as a share of learningRate',
  },
  adamBeta1: { type: 'number', default: 0.9, min: 0, max: 1, doc: "Decay of AdamW's mean of gradients" },
  adamBeta2: { type: 'number', default: 0.999, min: 0, max: 1, doc: "Decay of AdamW's mean of squared gradients" },
  adamEpsilon: { type: 'number', default: 1e-8, above: 0, doc: 'Epsilon of AdamW' },
  weightDecay: { type: 'number', default: 0, min: 0, doc: 'Decoupled weight decay of matrices' },
  maxGradNorm: {
    type: 'number',
    default: 1,
    above: 0,
    doc: 'Largest global gradient norm; larger gradients are scaled down to it',
  },
} as const satisfies OptionTable;

/** A forward and backward pass. */
export const PASS_OPTIONS = {
  microBatchTokens: {
    type: 'integer',
    min: 1,
    doc: "Tokens per forward and backward pass, which affect memory and rounding (default: the policy's)",
  },
  gradientCheckpointing: {
    type: 'boolean',
    default: false,
    doc: 'Recompute activations in the backward pass instead of keeping them: a fraction of the memory, a third more time, the same bits',
  },
} as const satisfies OptionTable;
