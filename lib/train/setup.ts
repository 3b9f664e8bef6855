// The setup of a Trainer: its parts, and their checks.
import { invalidArgument, unknownOption } from '../base/errors.js';
import { describe, resolveOptions } from '../base/options.js';
import type { StepOffsets } from '../methods/steps.js';
import { checkPolicy } from '../policy/generate.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { GenerateProgress, PolicyLike } from '../policy/types.js';
import type { ProcessRewardModel } from '../prm/process-reward-model.js';
import type { RolloutEngine } from '../rollout/engine.js';
import { type DatasetTaskOptions, datasetTask } from '../tasks/dataset.js';
import { checkTask, type Task } from '../tasks/task.js';
import { checkMethod, type MethodSetup } from './advantages.js';
import type { LoadPolicy } from './checkpoint.js';
import { checkLoss } from './loss.js';
import { checkMinibatches } from './minibatch.js';
import { checkMismatch } from './mismatch.js';
import { type ResolvedTrainerOptions, TRAINER_OPTIONS, type TrainerOptions } from './options.js';
import type { RunFolder } from './run-folder.js';

/** The parts of a Trainer. Its options (TrainerOptions) are in the same object. */
export interface TrainerSetup {
  /** The policy to train, in its state before the first step. A resumed run reads it from its folder instead. */
  policy: PolicyLike;
  /** The task to train on. Instead of it, give `dataset` and `tokenizer`. */
  task?: Task | undefined;
  /** Problems with their answers: a result of loadDataset, or an array. */
  dataset?: DatasetTaskOptions['train'] | undefined;
  /** Held-out problems for evaluate(). */
  evalDataset?: DatasetTaskOptions['test'] | undefined;
  /** The model's tokenizer. Required with `dataset`. */
  tokenizer?: Tokenizer | undefined;
  /** Verifier of responses to problems of `dataset`: a function, or a name. Default: 'math'. */
  verifier?: DatasetTaskOptions['verifier'] | undefined;
  /** The frozen reference. Default: a copy of `policy`, made if the options need one. */
  reference?: PolicyLike | undefined;
  /** Scores the steps of responses, for methods such as 'progrs'. The trainer neither trains it nor disposes of it. */
  processRewardModel?: ProcessRewardModel | undefined;
  /**
   * Samples the training responses instead of the policy: VllmEngine, SglangEngine, or an engine of yours. It gets the
   * policy's weights before every rollout. The vllmImportanceSampling options correct for its numerical differences.
   * The policy itself samples for evaluations.
   */
  rolloutEngine?: RolloutEngine | undefined;
  /** Returns where the steps of a response begin, for stepSplit 'offsets'. */
  stepOffsets?: StepOffsets | undefined;
  /** Folder for config, metrics and checkpoints. Default: nothing is written. */
  output?: string | RunFolder | undefined;
  /** Resumes the run in `output`, if there is one. Default false. */
  resume?: boolean | undefined;
  /** Reads a saved policy. Default: the policy's restore, or Policy.load. */
  loadPolicy?: LoadPolicy | undefined;
  /** Called with warnings, such as damaged checkpoints and updates that were not finite. */
  onWarning?: ((message: string) => void) | undefined;
  /** Called with the progress of generation. */
  onProgress?: ((progress: GenerateProgress) => void) | undefined;
}

const SETUP = [
  ...['policy', 'task', 'reference', 'processRewardModel', 'stepOffsets', 'output', 'resume', 'loadPolicy'],
  ...['rolloutEngine', 'onWarning', 'onProgress', 'dataset', 'evalDataset', 'tokenizer', 'verifier'],
];
/** Names that get an error with the reason, instead of "unknown option". */
const TRUNCATION = ['topK', 'topP', 'minP', 'repetitionPenalty'];

/** The task to train on: `task`, or one made of `dataset`. */
function taskOf({ task, dataset, evalDataset, tokenizer, verifier }: TrainerSetup): Task {
  if ((task === undefined) === (dataset === undefined))
    throw invalidArgument("new Trainer needs one of 'task' and 'dataset'");
  if (task !== undefined) {
    checkTask(task);
    const stray = Object.entries({ evalDataset, tokenizer, verifier }).find(([, value]) => value !== undefined);
    if (stray) throw invalidArgument(`'${stray[0]}' needs 'dataset': a task has its own`);
    return task;
  }
  if (!tokenizer) throw invalidArgument("new Trainer needs the 'tokenizer' of the model with 'dataset'");
  return datasetTask({ train: dataset!, test: evalDataset, tokenizer, verifier });
}

/**
 * Throws for options that exclude each other, or that need something else in the setup. Called before training begins,
 * by a command before it loads anything.
 */
export function checkTrainer(
  options: ResolvedTrainerOptions,
  setup: MethodSetup & { /** Whether there is one. */ rolloutEngine?: unknown },
): void {
  checkMethod(options, setup);
  checkLoss(options);
  checkMismatch(options, setup.rolloutEngine);
  checkMinibatches(options);
  if (options.evalSteps > 0 && options.evalProblems === 0)
    throw invalidArgument(`evalSteps ${options.evalSteps} needs evalProblems above 0`);
}

/** Checks and splits the arguments of a Trainer: the setup, the options with their defaults, and the task. */
export function readSetup(given: TrainerSetup & TrainerOptions): {
  setup: TrainerSetup;
  options: ResolvedTrainerOptions;
  task: Task;
} {
  if (given === null || typeof given !== 'object')
    throw invalidArgument(`new Trainer takes an object of options, not ${describe(given)}`);
  given = { ...given };
  for (const name of TRUNCATION) {
    if (name in given)
      throw unknownOption(
        `Trainer does not take '${name}': sampling from a truncated distribution makes the ratios of the loss wrong (their numerator is over all tokens). Truncate in generate() and evaluate() only`,
      );
  }
  const part = (own: boolean) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => SETUP.includes(name) === own));
  const setup = part(true) as unknown as TrainerSetup;
  const options = resolveOptions('Trainer', TRAINER_OPTIONS, part(false));
  const { policy } = setup;
  if (!policy) throw invalidArgument("new Trainer needs 'policy'");
  checkPolicy('policy', policy, ['generate', 'logProbs', 'update']);
  checkTrainer(options, setup);
  const task = taskOf(setup);
  if (policy.config.vocab_size < task.tokenizer.vocabSize) {
    throw invalidArgument(
      `the policy must have at least ${task.tokenizer.vocabSize} symbols, as the task's tokenizer has, not ${policy.config.vocab_size}`,
    );
  }
  return { setup, options, task };
}
