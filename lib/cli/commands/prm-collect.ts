import { invalidArgument, outOfRange } from '../../base/errors.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { collectPrmData } from '../../prm/collect.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import { TRAINER_OPTIONS } from '../../train/options.js';
import { type Command, firstGiven, part, type Values } from '../kit/args.js';
import { DATASET_OPTIONS, loadTask } from '../kit/dataset.js';
import { Interrupt } from '../kit/interrupt.js';
import { LOAD_OPTIONS, modelFolder, weightsHash } from '../kit/model-folder.js';
import { withOptionsOfRun } from '../kit/model-run.js';
import { Progress } from '../kit/progress.js';
import { warn } from '../kit/warn.js';

const OPTIONS = {
  model: {
    type: 'string',
    doc: 'Folder of a model, or of a run (its newest checkpoint); RUN/base is the base of a run',
  },
  ...LOAD_OPTIONS,
  output: { type: 'string', doc: 'File to write; an existing one is resumed' },
  problems: { type: 'integer', min: 1, doc: 'Number of problems (default: 200, or all of a smaller dataset)' },
  n: { type: 'integer', default: 2, min: 1, doc: 'Responses per problem' },
  continuations: { type: 'integer', default: 8, min: 1, doc: 'Continuations drawn from the end of each step' },
  maxCompletionLength: TRAINER_OPTIONS.maxCompletionLength,
  temperature: { type: 'number', default: 1, above: 0, doc: 'Temperature of sampling' },
  stepSplit: {
    type: 'choice',
    choices: ['newline', 'blankLine', 'length', 'tokens', 'strings'],
    default: 'newline',
    doc: 'Where steps end; use the same as in the training that the model is for',
  },
  stepLength: TRAINER_OPTIONS.stepLength,
  stepTokens: TRAINER_OPTIONS.stepTokens,
  stepStrings: TRAINER_OPTIONS.stepStrings,
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Seed of problems and samples' },
} as const satisfies OptionTable;

const TASK_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], doc: 'Task that the problems come from (default: arithmetic)' },
  split: {
    type: 'choice',
    choices: ['train', 'test'],
    doc: 'Split of the problems; training never sees those of test (default: train)',
  },
  level: { type: 'string', doc: 'Difficulty of the problems, in operands (default: 2-6)' },
} as const satisfies OptionTable;

// The options left out concern evaluations and the policy. The others define the problems.
const { dtype, dataset, evalDataset, evalShare, split, levelField, ...PROBLEM_OPTIONS } = DATASET_OPTIONS;
const DATA_OPTIONS = {
  dataset: {
    type: 'strings',
    doc: 'Problems: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub',
  },
  ...PROBLEM_OPTIONS,
} as const satisfies OptionTable;

/** Default number of problems; a dataset may have fewer. */
const PROBLEMS = 200;

export const prmCollectCommand: Command = {
  name: 'prm collect',
  summary:
    'Samples responses, cuts them into steps, draws continuations from the end of each step, and stores how many end right.',
  groups: [
    { title: 'Options', options: OPTIONS },
    { title: 'The embedded task, without --dataset', options: TASK_OPTIONS },
    { title: 'Dataset', options: DATA_OPTIONS },
  ],
  common: [
    ...['model', 'output', 'problems', 'n', 'continuations', 'maxCompletionLength', 'temperature', 'stepSplit'],
    ...['stepLength', 'seed', 'split', 'level', 'dataset', 'promptTemplate', 'verifier'],
  ],
  required: ['model', 'output'],
  examples: [
    [
      'prl prm collect --model runs/a/base --output a.jsonl',
      'Two responses to each of 200 problems, 8 continuations of each step',
    ],
    ['prl prm collect --model runs/a/base --split test --output test.jsonl', 'Other problems, for prl prm eval'],
    [
      'prl prm collect --model M --dataset train.jsonl --problems 2000 --max-completion-length 1024 --output m.jsonl',
      'Problems of a dataset',
    ],
  ],
  notes: 'You can stop it at any moment: the same command resumes it.',
  run: collect,
};

async function collect(values: Values): Promise<number> {
  const { model, extraTensors, output, ...options } = resolveOptions('prl prm collect', OPTIONS, part(values, OPTIONS));
  const folder = await modelFolder(model!);
  const policy = await Policy.load(folder, { extraTensors });
  const interrupt = new Interrupt();
  const { signal } = interrupt;
  const chosen = await chosenProblems(values, { ...options, policy, folder, signal });
  const collected = collectPrmData({
    ...options,
    ...chosen,
    policy,
    model: await weightsHash(folder),
    output: output!,
    signal,
  });
  let progress: Progress | undefined;
  let last = { done: 0, prefixes: 0, tokens: 0 };
  try {
    for await (const { total, ...now } of collected) {
      last = now;
      progress ??= new Progress('collect', total, now.done);
      progress.update(now.done, `${now.prefixes} steps, ${now.tokens} tokens`);
    }
  } catch (error) {
    progress?.stop();
    if (interrupt.isCause(error)) console.log(`Saved ${last.done} problems. To resume, run the same command again.`);
    throw error;
  }
  progress?.done(`${last.done} problems, ${last.prefixes} steps in ${output}, ${last.tokens} tokens generated`);
  return 0;
}

interface Request {
  problems?: number;
  maxCompletionLength: number;
  policy: Policy;
  folder: string;
  signal: AbortSignal;
}

/** The problems and their number, from the embedded task or a dataset. */
function chosenProblems(values: Values, request: Request) {
  const isOfDataset = values.dataset !== undefined;
  const stray = firstGiven(part(values, isOfDataset ? TASK_OPTIONS : DATA_OPTIONS));
  if (stray) throw invalidArgument(`${stray} ${isOfDataset ? 'cannot be used with' : 'needs'} --dataset`);
  return isOfDataset ? problemsOfDataset(values, request) : problemsOfTask(values, request);
}

function problemsOfTask(values: Values, { problems = PROBLEMS }: Request) {
  const task = new ArithmeticTask();
  const given = resolveOptions('prl prm collect', TASK_OPTIONS, part(values, TASK_OPTIONS));
  const { split = 'train', level = task.levels[0] } = given;
  return { task, split, level, problems };
}

async function problemsOfDataset(values: Values, { problems, maxCompletionLength, policy, folder, signal }: Request) {
  const given = resolveOptions('prl prm collect', DATA_OPTIONS, part(values, DATA_OPTIONS));
  const data = await withOptionsOfRun(String(values.model), given, warn);
  const tokenizer = await Tokenizer.load(folder);
  const task = await loadTask(data, { tokenizer, policy, maxCompletionLength }, signal);
  const { train } = task.size;
  if (problems !== undefined && problems > train)
    throw outOfRange(`problems must be at most ${train}, the size of the dataset, not ${problems}`);
  return { task, split: 'train', level: 'all', problems: problems ?? Math.min(PROBLEMS, train) } as const;
}
