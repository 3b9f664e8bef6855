// The reinforcement learning of a recipe: trainer options, process reward model, rollout servers, training.
import { invalidArgument } from '../../base/errors.js';
import { resolveOptions } from '../../base/options.js';
import { checkServerLoss, checkServerTemperature } from '../../policy/tinker/loss.js';
import { TinkerPolicy } from '../../policy/tinker/policy.js';
import type { PolicyLike } from '../../policy/types.js';
import { loadProcessRewardModel } from '../../prm/load.js';
import type { ProcessRewardModel } from '../../prm/process-reward-model.js';
import type { Task } from '../../tasks/task.js';
import { trainerConfig } from '../../train/checkpoint.js';
import { lossOptions } from '../../train/loss.js';
import { RATED_PHASES } from '../../train/metrics.js';
import {
  RESUMABLE_OPTIONS,
  type ResolvedTrainerOptions,
  TRAINER_OPTIONS,
  type TrainerOptions,
} from '../../train/options.js';
import { checkTrainer } from '../../train/setup.js';
import type { StepMetrics } from '../../train/step-metrics.js';
import { part, savedPart } from '../kit/args.js';
import { ENGINE_OPTIONS, type EngineSettings, engineSettings } from '../kit/engine.js';
import { Progress } from '../kit/progress.js';
import { ROLLOUT_OPTIONS, rolloutSettings } from '../kit/rollout.js';
import { runTrainer, type Training } from '../kit/training.js';
import { warn } from '../kit/warn.js';
import type { Recipe, Run } from './course.js';
import { EqualRewards, promptPreview, responsePreview } from './preview.js';

/**
 * The trainer's options, from the command line, the resumed run, `defaults` and the trainer's defaults, in this order.
 *
 * @throws TypeError or RangeError for options that exclude each other, before anything is loaded
 */
export function trainerOptions(run: Run, defaults: TrainerOptions): ResolvedTrainerOptions {
  const options = resolveOptions('prl train', TRAINER_OPTIONS, {
    ...defaults,
    ...savedPart(run.known.trainer, TRAINER_OPTIONS),
    ...part(run.given, TRAINER_OPTIONS),
  });
  checkTrainer(options, { processRewardModel: prmOf(run), rolloutEngine: rolloutOf(run) });
  if (engineOf(run)) {
    checkServerLoss(options);
    checkServerTemperature(options.temperature);
    if (rolloutOf(run))
      throw invalidArgument('--rollout-url has no meaning with --engine tinker, which samples itself');
  }
  return options;
}

const prmOf = ({ given, known }: Run): string | undefined => given.prm ?? known.command.prm;
export const rolloutOf = ({ given, known }: Run) =>
  rolloutSettings(part(given, ROLLOUT_OPTIONS), known.command.rollout);

/** The server that trains; undefined: this process. */
export const engineOf = ({ given, known }: Run): EngineSettings | undefined =>
  engineSettings(part(given, ENGINE_OPTIONS), known.command);

interface Plan {
  task: Task;
  options: ResolvedTrainerOptions;
  /** The command's own settings, for config.json. */
  settings: object;
  /** The settings that a resumed run may change. */
  movable?: readonly string[];
  /** Shows a prompt before the first step, and a response after it. */
  preview?: boolean;
}

type Reinforcement = Pick<Recipe, 'task' | 'config' | 'train' | 'head' | 'dispose'> & {
  processRewardModel: ProcessRewardModel | undefined;
};

export async function reinforcement(
  run: Run,
  { task, options, settings, movable = [], preview = false }: Plan,
): Promise<Reinforcement> {
  const { folder, interrupt } = run;
  const [prm, rollout, engine] = [prmOf(run), rolloutOf(run), engineOf(run)];
  const processRewardModel = prm ? await loadProcessRewardModel(prm, task.tokenizer) : undefined;
  return {
    task,
    processRewardModel,
    config: {
      // A server may have moved.
      command: {
        values: { ...settings, prm, rollout, ...engine },
        changeable: [...movable, 'prm', 'rollout', 'url', 'lossPath'],
      },
      trainer: { values: trainerConfig(task, options), changeable: RESUMABLE_OPTIONS },
    },
    train: (base: PolicyLike) =>
      withProgress({ folder, task, base, options, processRewardModel, rollout, interrupt }, preview),
    head: { method: options.method, seed: options.seed },
    dispose: () => processRewardModel?.dispose?.(),
  };
}

/** Trains with a progress bar. */
async function withProgress(training: Training, preview: boolean): Promise<PolicyLike | undefined> {
  const { method, maxSteps } = training.options;
  const begins = maxSteps > 0 && (await training.folder.rows('metrics.jsonl')).length === 0;
  if (preview && begins) console.log(promptPreview(training.task!, training.options));
  if (training.base instanceof TinkerPolicy) console.log(training.base.explainLoss(lossOptions(training.options)));
  const progress = new Progress(method.toUpperCase(), maxSteps);
  const equal = new EqualRewards(preview);
  let begun = false;
  const policy = await runTrainer(training, (done) => {
    const { step, metrics } = done;
    if (!begun) progress.resumedAt(step - 1);
    begun = true;
    if (preview && step === 1) progress.say(responsePreview(training.task!, done));
    const warning = equal.warning(done);
    if (warning) warn(warning);
    progress.update(
      step,
      `reward ${metrics.reward.toFixed(3)}  length ${metrics['completions/mean_length'].toFixed(1)}  steps ${metrics['step_count/mean'].toFixed(2)}  ${paceText(metrics)}`,
    );
  }).finally(() => progress.stop());
  if (!policy) return undefined;
  const rewards = (await training.folder.rows('metrics.jsonl')).map(({ reward }) => reward?.toFixed(3));
  const change = rewards.length > 0 ? `, training reward ${rewards[0]} -> ${rewards[rewards.length - 1]}` : '';
  progress.done(`${rewards.length} steps${change}`);
  return policy;
}

/** Tokens per second of a step, and of its phases: `34 tokens/s (rollout 150, update 88)`. */
export function paceText(metrics: StepMetrics): string {
  const rates = RATED_PHASES.flatMap((phase) => {
    const rate = metrics[`tokens_per_second/${phase}`];
    return rate === undefined ? [] : [`${phase} ${rounded(rate)}`];
  });
  return `${rounded(metrics.tokens_per_second)} tokens/s${rates.length > 0 ? ` (${rates.join(', ')})` : ''}`;
}
const rounded = (rate: number) => (rate < 10 ? rate.toFixed(1) : String(Math.round(rate)));
