import type { OptionsOf, OptionTable, ResolvedOptions } from '../options-table.js';

/**
 * Every option of the trainer: the one place of its default and its meaning. Names are TRL's in camelCase where TRL has the
 * option; defaults suit small policies trained from scratch on short responses (for a pretrained model lower learningRate
 * to about 1e-6).
 */
export const TRAINER_OPTIONS = {
  method: {
    type: 'choice',
    choices: ['prl', 'grpo'],
    default: 'prl',
    doc: 'How rewards become advantages: prl (process rewards from the log-ratios of each step) or grpo (outcome only)',
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

  lossType: {
    type: 'choice',
    choices: ['dapo', 'grpo', 'bnpo', 'dr_grpo'],
    default: 'dapo',
    doc: 'How token losses are averaged',
  },
  importanceSamplingLevel: {
    type: 'choice',
    choices: ['token', 'sequence'],
    default: 'token',
    doc: 'Ratio per token, or one per sequence (GSPO)',
  },
  epsilon: { type: 'number', default: 0.2, min: 0, max: 1, doc: 'Lower clip of the ratio: 1 - epsilon' },
  epsilonHigh: { type: 'number', min: 0, doc: 'Upper clip of the ratio: 1 + epsilonHigh (default: epsilon)' },
  delta: { type: 'number', above: 1, doc: 'Upper bound of the ratio where the advantage is negative (default: none)' },
  beta: { type: 'number', default: 0, min: 0, doc: 'Weight of the KL term to the frozen reference' },
  entropyCoef: { type: 'number', default: 0, doc: 'Weight of the entropy bonus' },
  scaleRewards: {
    type: 'choice',
    choices: ['group', 'batch', 'none'],
    default: 'group',
    doc: "Divide centred rewards by the group's deviation, the batch's, or not at all (Dr. GRPO)",
  },

  eta: { type: 'number', default: 100, above: 0, doc: 'prl: process rewards are log-ratios divided by eta' },
  stepSplit: {
    type: 'choice',
    choices: ['newline', 'blankLine', 'length'],
    default: 'newline',
    doc: 'prl: where reasoning steps end',
  },
  stepLength: { type: 'integer', default: 256, min: 1, doc: "prl: tokens of a step, for stepSplit 'length'" },
  suffix: {
    type: 'choice',
    choices: ['inclusive', 'exclusive'],
    default: 'inclusive',
    doc: "prl: whether a step's own last token counts in its suffix sum",
  },

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

export type TrainerOptions = OptionsOf<typeof TRAINER_OPTIONS>;
export type ResolvedTrainerOptions = ResolvedOptions<typeof TRAINER_OPTIONS>;

/** Options that a resumed run may change: they decide how long and how observed a run is, not what a step computes. */
export const RESUMABLE_OPTIONS: readonly (keyof TrainerOptions)[] = [
  'maxSteps',
  'microBatchTokens',
  'saveSteps',
  'saveTotalLimit',
  'maxNonFiniteSteps',
];
