import type { OptionTable, WithDefaults } from '../base/options.js';
import { IMPORTANCE_MODES } from '../kernels/importance-weights.js';
import { LOSS_TABLE, type LossOption, lineOf } from '../kernels/loss-table.js';
import { METHOD_DOCS, METHOD_NAMES, METHOD_OPTIONS } from '../methods/index.js';
import { OUTCOME_OPTIONS } from '../methods/outcome.js';
import { STEP_OPTIONS } from '../methods/steps.js';
import { OPTIMIZER_OPTIONS, PASS_OPTIONS } from './optimizer-options.js';
import type { TrainerOptions } from './trainer-options.js';

export type { TrainerOptions };

/** The options of the loss, without those that the Trainer sets itself. */
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

// Options of methods and of reasoning steps are beside their code, in methods/. Those of the loss are in
// kernels/loss-table.ts.
/**
 * Every option of the trainer with its type, bounds, default and meaning. If TRL has an option, its name is used, in
 * camelCase. Defaults suit small policies trained from scratch on short responses. For a pretrained model, lower
 * learningRate to about 1e-6.
 */
export const TRAINER_OPTIONS = {
  method: {
    type: 'choice',
    choices: METHOD_NAMES,
    default: 'prl',
    doc: `How rewards become advantages: ${METHOD_DOCS}`,
  },
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Seed of problems, samples and shuffles' },
  maxSteps: { type: 'integer', default: 25, min: 0, doc: 'Number of training steps, each with one rollout' },
  maxTokens: {
    type: 'integer',
    min: 1,
    doc: 'Number of sampled tokens at which training ends, after the step that reaches it, if maxSteps does not end it before (default: no limit)',
  },
  level: { type: 'string', doc: "Difficulty of the training problems (default: the task's first level)" },

  promptsPerStep: { type: 'integer', default: 32, min: 1, doc: 'Problems per rollout' },
  numGenerations: { type: 'integer', default: 8, min: 1, doc: 'Responses per problem, which form a group' },
  maxCompletionLength: { type: 'integer', default: 72, min: 1, doc: 'Longest response in tokens' },
  temperature: {
    type: 'number',
    default: 1,
    above: 0,
    doc: 'Temperature of sampling and of the trained log-probabilities',
  },
  maskTruncatedCompletions: {
    type: 'boolean',
    default: false,
    doc: 'Leave responses that hit the length limit out of the loss',
  },

  learningRate: { type: 'number', default: 3e-4, min: 0, doc: 'Learning rate of AdamW at its peak' },
  lrSchedulerType: {
    type: 'choice',
    choices: ['constant', 'linear', 'cosine'],
    default: 'constant',
    doc: 'Schedule of the learning rate after the warm-up',
  },
  warmupSteps: {
    type: 'integer',
    default: 10,
    min: 0,
    doc: 'Optimizer updates in which the learning rate rises linearly',
  },
  ...OPTIMIZER_OPTIONS,
  adamBeta2: { ...OPTIMIZER_OPTIONS.adamBeta2, default: 0.99 },

  numMinibatches: { type: 'integer', default: 2, min: 1, doc: 'Optimizer updates per pass over a rollout' },
  numIterations: { type: 'integer', default: 1, min: 1, doc: 'Passes over each rollout' },
  ...PASS_OPTIONS,

  ...LOSS,
  lossType: {
    ...LOSS.lossType,
    doc: `${LOSS_TABLE.lossType.doc} (default: dapo; raft with method raft). raft++ is for method raft`,
  },
  // The kernel takes any delta above 0. One below 1 stops the gradient of tokens whose ratio is still 1.
  delta: { ...LOSS.delta, above: 1 },
  vllmImportanceSamplingCorrection: {
    type: 'boolean',
    doc: "Weight a rollout engine's samples by our probability over its own (default: true)",
  },
  vllmImportanceSamplingMode: {
    type: 'choice',
    choices: IMPORTANCE_MODES,
    doc: 'Importance ratio per token or sequence, limited to its bounds (truncate) or 0 outside of them (mask) (default: sequence_mask)',
  },
  vllmImportanceSamplingClipMax: {
    type: 'number',
    above: 0,
    doc: 'Upper bound of the importance ratio (default: 3; Infinity: none)',
  },
  vllmImportanceSamplingClipMin: { type: 'number', min: 0, doc: 'Lower bound of the importance ratio (default: 0)' },

  ...OUTCOME_OPTIONS,
  ...METHOD_OPTIONS,
  ...STEP_OPTIONS,

  evalSteps: { type: 'integer', default: 0, min: 0, doc: 'Evaluate every N steps (0: only before and after training)' },
  evalProblems: { type: 'integer', default: 200, min: 0, doc: 'Held-out problems per evaluation (0: no evaluation)' },
  evalSamples: { type: 'integer', default: 8, min: 1, doc: 'Responses per held-out problem' },
  saveSteps: { type: 'integer', default: 5, min: 1, doc: 'Save a checkpoint every N steps' },
  saveTotalLimit: { type: 'integer', default: 2, min: 1, doc: 'Number of checkpoints to keep' },
  logProbCheckSteps: {
    type: 'integer',
    default: 10,
    min: 0,
    doc: 'Compare the log-probabilities of sampling with recomputed ones every N steps (0: never)',
  },
  logProbCheckResponses: {
    type: 'integer',
    default: 8,
    min: 1,
    doc: "Responses that are compared then, spread over the rollout. The policy's own samples need no more; a rollout engine's are compared in every step, all of them",
  },
  maxNonFiniteSteps: {
    type: 'integer',
    default: 3,
    min: 1,
    doc: 'Stop after N steps in a row without a finite update',
  },
} as const satisfies OptionTable;

/** The options of a Trainer with their defaults filled in. */
export interface ResolvedTrainerOptions extends WithDefaults<TrainerOptions, typeof TRAINER_OPTIONS> {}

/** Options that a resumed run may change. They do not affect what a step computes. */
export const RESUMABLE_OPTIONS: readonly (keyof TrainerOptions)[] = [
  'maxSteps',
  'maxTokens',
  'microBatchTokens',
  'gradientCheckpointing',
  'saveSteps',
  'saveTotalLimit',
  'maxNonFiniteSteps',
  'logProbCheckResponses',
];
