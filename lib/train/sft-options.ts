import type { OptionTable, ResolvedOptions } from '../base/options.js';

/** Every option of supervised fine-tuning, with TRL's names in camelCase and TRL's defaults. */
export const SFT_OPTIONS = {
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Seed of the order of the demonstrations' },
  numTrainEpochs: { type: 'number', default: 3, above: 0, doc: 'Passes over the demonstrations' },
  maxSteps: { type: 'integer', min: 0, doc: 'Number of training steps, instead of numTrainEpochs' },
  perDeviceTrainBatchSize: {
    type: 'integer',
    default: 8,
    min: 1,
    doc: 'Demonstrations per step. With packing: rows of up to maxLength tokens',
  },
  packing: {
    type: 'boolean',
    default: false,
    doc: 'Fill rows of up to maxLength tokens with whole demonstrations, which do not see each other',
  },
  maxLength: {
    type: 'integer',
    default: 1024,
    min: 2,
    doc: 'Longest demonstration in tokens; longer ones lose their end. With packing also the length of a row',
  },
  learningRate: { type: 'number', default: 2e-5, min: 0, doc: 'Learning rate of AdamW at its peak' },
  lrSchedulerType: {
    type: 'choice',
    choices: ['linear', 'cosine', 'constant'],
    default: 'linear',
    doc: 'Schedule of the learning rate after the warm-up',
  },
  warmupSteps: { type: 'integer', default: 0, min: 0, doc: 'Steps in which the learning rate rises linearly' },
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
  evalSteps: {
    type: 'integer',
    default: 0,
    min: 0,
    doc: 'Evaluate on held-out demonstrations every N steps (0: only before and after training)',
  },
  saveSteps: { type: 'integer', default: 50, min: 1, doc: 'Save a checkpoint every N steps' },
  saveTotalLimit: { type: 'integer', default: 1, min: 1, doc: 'Number of checkpoints to keep' },
} as const satisfies OptionTable;

export type ResolvedSftOptions = ResolvedOptions<typeof SFT_OPTIONS>;

/** Options that a resumed run may change. They do not affect what a step computes. */
export const RESUMABLE_SFT_OPTIONS: readonly (keyof typeof SFT_OPTIONS)[] = [
  ...(['microBatchTokens', 'gradientCheckpointing', 'evalSteps', 'saveSteps', 'saveTotalLimit'] as const),
];
