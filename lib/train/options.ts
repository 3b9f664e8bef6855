import type { OptionsOf, OptionTable, ResolvedOptions } from '../base/options.js';
import { IMPORTANCE_MODES } from '../kernels/importance-weights.js';
import { LOSS_TABLE, type LossOption, lineOf } from '../kernels/loss-table.js';
import { METHOD_DOCS, METHOD_NAMES, METHOD_OPTIONS } from '../methods/index.js';
import { OUTCOME_OPTIONS } from '../methods/outcome.js';
import { STEP_OPTIONS } from '../methods/steps.js';

/** The options of the loss, but for those that the Trainer settles itself. */
const LOSS = (() => {
  const { entropyThreshold: _, maxCompletionLength: __, normalizer: ___, ...shared } = LOSS_TABLE;
  type Shared = typeof shared;
  const plain = Object.entries<LossOption>(shared).map(([name, option]) => {
    const { with: _, except: __, absent: ___, details: ____, ...spec } = option;
    return [name, { ...spec, doc: lineOf(option) }];
  });
  return Object.fromEntries(plain) as {
    [K in keyof Shared]: Omit<Shared[K], 'with' | 'except' | 'absent' | 'details'>;
  };
})();

// Options of methods and of reasoning steps stand beside their code, in methods/. Those of the loss are in kernels/loss-table.ts.
/**
 * Every option of the trainer with its type, bounds, default and meaning. Names are TRL's in camelCase where TRL has the option.
 * Defaults suit small policies trained from scratch on short responses (for a pretrained model lower learningRate to about 1e-6).
 */
export const TRAINER_OPTIONS = {
  method: {
    type: 'choice',
    choices: METHOD_NAMES,
    default: 'prl',
    doc: `How rewards become advantages: ${METHOD_DOCS}`,
  },
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Decides problems, samples and shuffles' },
  maxSteps: { type: 'integer', default: 25, min: 0, doc: 'Rollouts to learn from' },
  level: { type: 'string', doc: "Difficulty of the training problems (default: the task's first level)" },

  promptsPerStep: { type: 'integer', default: 32, min: 1, doc: 'Problems per rollout' },
  numGenerations: { type: 'integer', default: 8, min: 1, doc: 'Responses sampled per problem: the group' },
  maxCompletionLength: { type: 'integer', default: 72, min: 1, doc: 'Longest response in tokens' },
  temperature: {
    type: 'number',
    default: 1,
    above: 0,
    doc: 'Of sampling and of the log-probabilities that are trained',
  },
  maskTruncatedCompletions: {
    type: 'boolean',
    default: false,
    doc: 'Leave responses out of the loss that hit the length limit',
  },

  learningRate: { type: 'number', default: 3e-4, min: 0, doc: 'Peak learning rate of AdamW' },
  lrSchedulerType: {
    type: 'choice',
    choices: ['constant', 'linear', 'cosine'],
    default: 'constant',
    doc: 'Course of the learning rate after the warm-up',
  },
  warmupSteps: { type: 'integer', default: 10, min: 0, doc: 'Optimizer updates of linear learning rate warm-up' },
  minLearningRateRate: {
    type: 'number',
    default: 0,
    min: 0,
    max: 1,
    doc: 'Where linear and cosine end, as a share of learningRate',
  },
  adamBeta1: { type: 'number', default: 0.9, min: 0, max: 1, doc: "AdamW's decay of the mean" },
  adamBeta2: { type: 'number', default: 0.99, min: 0, max: 1, doc: "AdamW's decay of the squares" },
  adamEpsilon: { type: 'number', default: 1e-8, above: 0, doc: "AdamW's epsilon" },
  weightDecay: { type: 'number', default: 0, min: 0, doc: 'Decoupled weight decay of matrices' },
  maxGradNorm: { type: 'number', default: 1, above: 0, doc: 'The global gradient norm is clipped to this' },

  numMinibatches: { type: 'integer', default: 2, min: 1, doc: 'Optimizer updates per pass over a rollout' },
  numIterations: { type: 'integer', default: 1, min: 1, doc: 'Passes over each rollout' },
  microBatchTokens: {
    type: 'integer',
    min: 1,
    doc: "Tokens of one forward and backward pass: memory, and rounding (default: the policy's)",
  },
  gradientCheckpointing: {
    type: 'boolean',
    default: false,
    doc: 'Compute activations again on the way back in place of keeping them: a small part of the memory, a third more time, the same bits',
  },

  ...LOSS,
  lossType: {
    ...LOSS.lossType,
    doc: `${LOSS_TABLE.lossType.doc} (default: dapo; raft with method raft). raft++ is for method raft`,
  },
  // The kernel takes any delta above 0. One below 1 stops the gradient of tokens whose ratio is still 1.
  delta: { ...LOSS.delta, above: 1 },
  vllmImportanceSamplingCorrection: {
    type: 'boolean',
    doc: 'With a rollout engine: weigh what it sampled by our probability of it over its own (default: true)',
  },
  vllmImportanceSamplingMode: {
    type: 'choice',
    choices: IMPORTANCE_MODES,
    doc: 'One such ratio per token or per sequence; brought within the bounds, or 0 outside of them (default: sequence_mask)',
  },
  vllmImportanceSamplingClipMax: { type: 'number', above: 0, doc: 'Their upper bound (default: 3; Infinity: none)' },
  vllmImportanceSamplingClipMin: { type: 'number', min: 0, doc: 'Their lower bound (default: 0)' },

  ...OUTCOME_OPTIONS,
  ...METHOD_OPTIONS,
  ...STEP_OPTIONS,

  evalSteps: { type: 'integer', default: 0, min: 0, doc: 'Evaluate every so many steps (0: only before and after)' },
  evalProblems: { type: 'integer', default: 200, min: 1, doc: 'Held-out problems of an evaluation' },
  evalSamples: { type: 'integer', default: 8, min: 1, doc: 'Responses per held-out problem' },
  saveSteps: { type: 'integer', default: 5, min: 1, doc: 'Checkpoint every so many steps' },
  saveTotalLimit: { type: 'integer', default: 2, min: 1, doc: 'Checkpoints kept' },
  logProbCheckSteps: {
    type: 'integer',
    default: 10,
    min: 0,
    doc: 'Compare the log-probabilities of generation with recomputed ones every so many steps (0: never)',
  },
  maxNonFiniteSteps: {
    type: 'integer',
    default: 3,
    min: 1,
    doc: 'Stop after so many steps in a row without a finite update',
  },
} as const satisfies OptionTable;

/** What the Trainer takes besides its setup; all optional. Names, bounds, defaults and meanings are in the table of options. */
export type TrainerOptions = OptionsOf<typeof TRAINER_OPTIONS>;
export type ResolvedTrainerOptions = ResolvedOptions<typeof TRAINER_OPTIONS>;

/** Options that a resumed run may change: they decide how long and how observed a run is, not what a step computes. */
export const RESUMABLE_OPTIONS: readonly (keyof TrainerOptions)[] = [
  'maxSteps',
  'microBatchTokens',
  'gradientCheckpointing',
  'saveSteps',
  'saveTotalLimit',
  'maxNonFiniteSteps',
];
