import type { OptionTable, ResolvedOptions } from '../base/options.js';
import { OPTIMIZER_OPTIONS, PASS_OPTIONS } from './optimizer-options.js';

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
  ...OPTIMIZER_OPTIONS,
  ...PASS_OPTIONS,
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
