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
import { modelFolder, weightsHash } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';

const OPTIONS = {
  model: {
    type: 'string',
    doc: 'Folder of a model, or of a run (its newest checkpoint); RUN/base is the base of a run',
  },
  output: { type: 'string', doc: 'File to write; one that is there is gone on with' },
  problems: { type: 'integer', min: 1, doc: 'Problems (default: 200; of a dataset with fewer all)' },
  n: { type: 'integer', default: 2, min: 1, doc: 'Responses per problem' },
  continuations: { type: 'integer', default: 8, min: 1, doc: 'Drawn from the end of each step' },
  maxCompletionLength: TRAINER_OPTIONS.maxCompletionLength,
  temperature: { type: 'number', default: 1, above: 0, doc: 'Of sampling' },
  stepSplit: {
    type: 'choice',
    choices: ['newline', 'blankLine', 'length', 'tokens', 'strings'],
    default: 'newline',
    doc: 'Where steps end; as in the training that the model is for',
  },
  stepLength: TRAINER_OPTIONS.stepLength,
  stepTokens: TRAINER_OPTIONS.stepTokens,
  stepStrings: TRAINER_OPTIONS.stepStrings,
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Decides problems and samples' },
} as const satisfies OptionTable;

const TASK_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], doc: 'Whose problems (default: arithmetic)' },
  split: {
    type: 'choice',
    choices: ['train', 'test'],
    doc: 'test: problems that training never sees (default: train)',
  },
  level: { type: 'string', doc: 'Difficulty (default: 2-6)' },
} as const satisfies OptionTable;

// The first ones are about evaluations and the policy; the others say what a problem is.
const { dtype, dataset, evalDataset, evalShare, split, levelField, ...PROBLEM_OPTIONS } = DATASET_OPTIONS;
const DATA_OPTIONS = {
  dataset: {
    type: 'strings',
    doc: 'Problems: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub',
  },
  ...PROBLEM_OPTIONS,
} as const satisfies OptionTable;

/** Where no number is given, or fewer where a dataset has fewer. */
const PROBLEMS = 200;

export const prmCollectCommand: Command = {
  name: 'prm collect',
  summary:
    'Samples responses, cuts them in steps, draws continuations from the end of each step, and stores how many ended right.',
  groups: [
    { title: 'Options', options: OPTIONS },
    { title: 'The embedded task, without --dataset', options: TASK_OPTIONS },
    { title: 'Dataset', options: DATA_OPTIONS },
  ],
  required: ['model', 'output'],
  examples: [
    [
      'prl prm collect --model runs/a/base --output a.jsonl',
      'Two responses to each of 200 problems, 8 continuations of each step',
    ],
    ['prl prm collect --model runs/a/base --split test --output test.jsonl', 'For prl prm eval: other problems'],
    [
      'prl prm collect --model M --dataset train.jsonl --problems 2000 --max-completion-length 1024 --output m.jsonl',
      'Of a dataset',
    ],
  ],
  notes: 'It can be stopped at any moment; the same command goes on where it was.',
  run: collect,
};

async function collect(values: Values): Promise<number> {
  const { model, output, ...options } = resolveOptions('prl prm collect', OPTIONS, part(values, OPTIONS));
  const folder = await modelFolder(model!);
  const policy = await Policy.load(folder);
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
    if (interrupt.isCause(error)) console.log(`Saved ${last.done} problems. The same command goes on with them.`);
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

/** Which problems, and how many: of the embedded task, or of a dataset. */
function chosenProblems(values: Values, request: Request) {
  const isOfDataset = values.dataset !== undefined;
  const stray = firstGiven(part(values, isOfDataset ? TASK_OPTIONS : DATA_OPTIONS));
  if (stray) throw invalidArgument(`${stray} ${isOfDataset ? 'does not go with' : 'needs'} --dataset`);
  return isOfDataset ? problemsOfDataset(values, request) : problemsOfTask(values, request);
}

function problemsOfTask(values: Values, { problems = PROBLEMS }: Request) {
  const task = new ArithmeticTask();
  const given = resolveOptions('prl prm collect', TASK_OPTIONS, part(values, TASK_OPTIONS));
  const { split = 'train', level = task.levels[0] } = given;
  return { task, split, level, problems };
}

async function problemsOfDataset(values: Values, { problems, maxCompletionLength, policy, folder, signal }: Request) {
  const data = resolveOptions('prl prm collect', DATA_OPTIONS, part(values, DATA_OPTIONS));
  const tokenizer = await Tokenizer.load(folder);
  const task = await loadTask(data, { tokenizer, policy, maxCompletionLength }, signal);
  const { train } = task.size;
  if (problems !== undefined && problems > train)
    throw outOfRange(`problems must be at most ${train}, as many as the dataset has, not ${problems}`);
  return { task, split: 'train', level: 'all', problems: problems ?? Math.min(PROBLEMS, train) } as const;
}
