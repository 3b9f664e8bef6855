// What a Trainer is given, checked.
import { invalidArgument, unknownOption } from '../base/errors.js';
import { describe, resolveOptions } from '../base/options.js';
import type { StepOffsets } from '../methods/steps.js';
import { checkPolicy } from '../policy/generate.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { PolicyLike } from '../policy/types.js';
import type { ProcessRewardModel } from '../prm/process-reward-model.js';
import type { RolloutEngine } from '../rollout/engine.js';
import { type DatasetTaskOptions, datasetTask } from '../tasks/dataset.js';
import { checkTask, type Task } from '../tasks/task.js';
import { checkMethod } from './advantages.js';
import type { LoadPolicy } from './checkpoint.js';
import { checkLoss } from './loss.js';
import { checkMismatch } from './mismatch.js';
import { type ResolvedTrainerOptions, TRAINER_OPTIONS, type TrainerOptions } from './options.js';
import type { RunFolder } from './run-folder.js';

/** What a Trainer works with; its options (TrainerOptions) stand in the same object. */
export interface TrainerSetup {
  /** The policy to train, as it is before the first step. A resumed run reads it from its folder instead. */
  policy: PolicyLike;
  /** What to train on: a task, or `dataset` with the tokenizer of the model. */
  task?: Task;
  /** Problems with their answers: what loadDataset gives, or an array. */
  dataset?: DatasetTaskOptions['train'];
  /** Held-out problems for evaluate(). */
  evalDataset?: DatasetTaskOptions['test'];
  /** The model's; needed with `dataset`. */
  tokenizer?: Tokenizer;
  /** Judges responses to problems of `dataset`, or the name of one that does. Default: 'math'. */
  verifier?: DatasetTaskOptions['verifier'];
  /** The frozen reference. Default: a copy of `policy`, made when the options need one. */
  reference?: PolicyLike;
  /** Scores the steps of responses, for methods that ask one such as 'progrs'. It is not trained, and not disposed of. */
  processRewardModel?: ProcessRewardModel;
  /**
   * Samples the responses in the policy's place: VllmEngine, SglangEngine, or one of yours. It is synced with the policy before every
   * rollout; what its numbers differ in from ours is measured and weighed (vllmImportanceSampling options). Evaluation is the policy's.
   */
  rolloutEngine?: RolloutEngine;
  /** Where the steps of a response begin, for stepSplit 'offsets'. */
  stepOffsets?: StepOffsets;
  /** Folder for config, metrics and checkpoints. Default: none is written. */
  output?: string | RunFolder;
  /** Go on with the run in `output`, when there is one. */
  resume?: boolean;
  /** Reads a saved policy. Default: Policy.load. */
  loadPolicy?: LoadPolicy;
  /** Told about what is worth a line: damaged checkpoints, updates that were not finite. */
  onWarning?: (message: string) => void;
  /** Told how far generation is. */
  onProgress?: (progress: { finished: number; total: number; tokens: number }) => void;
}

const SETUP = [
  ...['policy', 'task', 'reference', 'processRewardModel', 'stepOffsets', 'output', 'resume', 'loadPolicy'],
  ...['rolloutEngine', 'onWarning', 'onProgress', 'dataset', 'evalDataset', 'tokenizer', 'verifier'],
];
/** Refused with the reason, where an unknown name would only be called unknown. */
const TRUNCATION = ['topK', 'topP', 'minP', 'repetitionPenalty'];

/** The task that is trained on: the one that is given, or one of a dataset. */
function taskOf({ task, dataset, evalDataset, tokenizer, verifier }: TrainerSetup): Task {
  if ((task === undefined) === (dataset === undefined))
    throw invalidArgument("new Trainer needs one of 'task' and 'dataset'");
  if (task !== undefined) {
    checkTask(task);
    const stray = Object.entries({ evalDataset, tokenizer, verifier }).find(([, value]) => value !== undefined);
    if (stray) throw invalidArgument(`'${stray[0]}' goes with 'dataset': a task has its own`);
    return task;
  }
  if (!tokenizer) throw invalidArgument("new Trainer needs the 'tokenizer' of the model with 'dataset'");
  return datasetTask({ train: dataset!, test: evalDataset, tokenizer, verifier });
}

/** What is no option, the options with their defaults, and the task. */
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
  checkMethod(options, setup);
  checkLoss(options);
  checkMismatch(options, setup.rolloutEngine);
  const task = taskOf(setup);
  if (policy.config.vocab_size < task.tokenizer.vocabSize) {
    throw invalidArgument(
      `the policy has ${policy.config.vocab_size} symbols but the task's tokenizer ${task.tokenizer.vocabSize}`,
    );
  }
  return { setup, options, task };
}
