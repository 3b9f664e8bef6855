import type { PolicyConfig } from '../../policy/types.js';
import type { Task } from '../../tasks/task.js';
import type { ResolvedTrainerOptions, TrainerOptions } from '../../train/options.js';
import type { WarmStartPhase } from '../../train/warm-start.js';

/** Trainer defaults of a `prl train` run. */
export interface TrainerPreset {
  doc: string;
  /** They replace the defaults of the kind of run. The user's options replace them. */
  trainer: TrainerOptions;
}

/** Model, warm start, evaluations and trainer defaults of a run on the embedded task. */
export interface Preset extends TrainerPreset {
  model: { hidden: number; intermediate: number; layers: number; heads: number };
  warmStart: readonly WarmStartPhase[];
  /** Levels of the evaluations: the one trained on, a harder one, and further ones for comparisons. */
  levels: readonly [string, string, ...string[]];
}

/** Operands of the warm start. Long chains are rarer, but frequent enough to learn the positions of their lines. */
const MIXED = '2:.15,3:.2,4:.2,5:.15,6:.12,7:.1,8:.08';

const SHORT = '2:.35,3:.3,4:.2,5:.1,6:.05';

const MODEL = { hidden: 128, intermediate: 320, layers: 2, heads: 4 };

/** Clean work first, then work in which about every third line is wrong. The base knows how, and often fails. */
const SLIPS: readonly WarmStartPhase[] = [
  { steps: 640, batchSize: 64, learningRate: 4e-3, warmupSteps: 20, level: SHORT, styles: { steps: 1 } },
  { steps: 160, batchSize: 64, learningRate: 8e-4, warmupSteps: 10, level: SHORT, styles: { slips: 1 } },
];

/** The same for longer chains. Each line is right about as often, so a long chain seldom is. */
const LONG_SLIPS: readonly WarmStartPhase[] = [
  { steps: 950, batchSize: 64, learningRate: 2.5e-3, warmupSteps: 20, level: MIXED, styles: { steps: 1 } },
  { steps: 160, batchSize: 64, learningRate: 8e-4, warmupSteps: 10, level: MIXED, styles: { slips: 1 } },
];

/**
 * Phase 1 teaches arithmetic with the work shown. Phase 2 teaches to answer mostly at once. (A mixture from the start
 * does not learn arithmetic.) The base knows both ways and prefers the one that it is bad at, so reinforcement has
 * something to find.
 */
export const PRESETS = {
  quickstart: {
    doc: 'a policy of 0.38 M parameters that must discover that showing its work pays (minutes)',
    // Half the trainer's learning rate. At the full rate, chains longer than those trained on fall apart.
    trainer: { level: '2-6', maxSteps: 30, learningRate: 1.5e-4 },
    model: MODEL,
    warmStart: [
      { steps: 950, batchSize: 64, learningRate: 2.5e-3, warmupSteps: 20, level: MIXED, styles: { steps: 1 } },
      {
        steps: 300,
        batchSize: 64,
        learningRate: 1.5e-3,
        warmupSteps: 20,
        level: MIXED,
        styles: { steps: 0.3, direct: 0.7 },
      },
    ],
    levels: ['2-6', '7-8'],
  },
  slips: {
    doc: 'a policy that shows its work and makes mistakes in it, up to 6 operands',
    trainer: { level: '2-6', maxSteps: 50, learningRate: 3e-4 },
    model: MODEL,
    warmStart: SLIPS,
    levels: ['2-6', '7-8'],
  },
  'rare-success': {
    doc: 'a policy that often errs on a line and is seldom right, 6 to 8 operands, 4 responses per problem',
    trainer: {
      level: '6-8',
      maxSteps: 40,
      promptsPerStep: 48,
      numGenerations: 4,
      learningRate: 2e-4,
      maxCompletionLength: 80,
    },
    model: MODEL,
    warmStart: LONG_SLIPS,
    levels: ['6-8', '9-10', '2-6'],
  },
  'small-batch': {
    doc: 'the policy of slips, 48 responses per step',
    trainer: { level: '2-6', maxSteps: 60, promptsPerStep: 12, numGenerations: 4, learningRate: 2e-4 },
    model: MODEL,
    warmStart: SLIPS,
    levels: ['2-6', '7-8'],
  },
  smoke: {
    doc: 'a check that everything works: quickstart with a quarter of the parameters and up to 4 operands (20 seconds)',
    trainer: { level: '2-4', maxSteps: 20, learningRate: 5e-4, evalProblems: 100 },
    model: { hidden: 64, intermediate: 160, layers: 2, heads: 4 },
    warmStart: [
      { steps: 600, batchSize: 64, learningRate: 6e-3, warmupSteps: 20, level: '2-4', styles: { steps: 1 } },
      {
        steps: 150,
        batchSize: 64,
        learningRate: 2e-3,
        warmupSteps: 20,
        level: '2-4',
        styles: { steps: 0.3, direct: 0.7 },
      },
    ],
    levels: ['2-4', '5-6'],
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;
export const DEFAULT_PRESET: PresetName = 'quickstart';
export const PRESET_NAMES = Object.keys(PRESETS) as [PresetName, ...PresetName[]];

/** Presets of runs on a dataset. They replace the defaults of such runs, which are those of a cluster. */
export const DATASET_PRESETS = {
  'small-machine': {
    doc: 'a model of 135 M parameters on two cores, with responses of a few lines (minutes to hours)',
    trainer: {
      stepSplit: 'newline',
      promptsPerStep: 16,
      numGenerations: 8,
      maxCompletionLength: 64,
      learningRate: 1e-5,
      warmupSteps: 3,
      adamBeta2: 0.99,
      weightDecay: 0,
      numMinibatches: 2,
      maxSteps: 40,
      evalProblems: 200,
      evalSamples: 4,
      saveSteps: 5,
    },
  },
} as const satisfies Record<string, TrainerPreset>;

export const DATASET_PRESET_NAMES = Object.keys(DATASET_PRESETS) as (keyof typeof DATASET_PRESETS)[];

/** A line of the help for each preset. */
export const presetNotes = (presets: Record<string, TrainerPreset>): string[] =>
  Object.entries(presets).map(([name, { doc, trainer }]) => {
    const set = Object.entries(trainer).map(([option, value]) => `${option} ${value}`);
    return `  ${name}: ${doc}; ${set.join(', ')}`;
  });

/** Levels of the evaluations. The first is the one that `options` train on. */
export const evaluatedLevels = (
  { levels: [trained, ...others] }: Preset,
  { level = trained }: { level?: string },
): string[] => [level, ...others];

/** Options of an evaluation at one of these levels. */
export const evaluationOptions = (options: ResolvedTrainerOptions) => ({
  problems: options.evalProblems,
  n: options.evalSamples,
  temperature: options.temperature,
  // Harder levels need longer responses than the trained level.
  maxCompletionLength: Math.max(96, options.maxCompletionLength),
});

export function policyConfig({ model }: Preset, task: Task): PolicyConfig {
  return {
    model_type: 'llama',
    vocab_size: task.tokenizer.vocabSize,
    hidden_size: model.hidden,
    intermediate_size: model.intermediate,
    num_hidden_layers: model.layers,
    num_attention_heads: model.heads,
    rope_theta: 10000,
    tie_word_embeddings: true,
    max_position_embeddings: 256,
    eos_token_id: task.tokenizer.eosTokenId,
    pad_token_id: 0,
  };
}
