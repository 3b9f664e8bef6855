import { existsSync } from 'node:fs';
import { basename, extname, join, relative } from 'node:path';
import { invalidArgument, outOfRange } from '../../base/errors.js';
import { type OptionsOf, type OptionTable, resolveOptions } from '../../base/options.js';
import { type EvaluationResult, evaluate, type ProblemRecord, RECORDED_EVALUATION } from '../../eval/evaluate.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import type { PolicyLike } from '../../policy/types.js';
import { loadProcessRewardModel } from '../../prm/load.js';
import { ANSWER_SOURCES } from '../../tasks/data/fields.js';
import { type Dataset, type DatasetOptions, describeReport, loadDataset } from '../../tasks/data/load.js';
import { PROMPT_PRESETS } from '../../tasks/data/prompt.js';
import { type DatasetTask, datasetTask } from '../../tasks/dataset.js';
import { checkMethod } from '../../train/advantages.js';
import { saveBase, settleConfig, wholeBase } from '../../train/checkpoint.js';
import { checkMismatch } from '../../train/mismatch.js';
import {
  RESUMABLE_OPTIONS,
  type ResolvedTrainerOptions,
  TRAINER_OPTIONS,
  type TrainerOptions,
} from '../../train/options.js';
import { type RunFolder, readJsonFile } from '../../train/run-folder.js';
import type { Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { modelFolder } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { rolloutSettings } from '../kit/rollout.js';
import { evaluationTable, plots, table } from '../kit/summary.js';
import { evaluationFigures, openRunFolder, runTrainer, savedConfig, type Training } from '../kit/training.js';

export const DATASET_OPTIONS = {
  dtype: {
    type: 'choice',
    choices: ['float32', 'bfloat16'],
    doc: "Of the model's weights in memory (default: float32); bfloat16 keeps float32 masters from the first step on",
  },
  dataset: {
    type: 'strings',
    doc: 'Problems to train on: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub (owner/name); needs --model',
  },
  evalDataset: { type: 'strings', doc: 'Held-out problems, read with the same options; left out of --dataset' },
  evalShare: { type: 'number', min: 0, max: 0.5, doc: 'Without --eval-dataset: share of --dataset that is held out' },
  split: { type: 'string', doc: 'Of a folder or a dataset of the hub (default: train; of --eval-dataset test)' },
  config: { type: 'string', doc: 'One of several datasets in a folder or of the hub' },
  promptField: { type: 'string', doc: 'Field of the problem (default: problem, question or prompt)' },
  answerField: { type: 'string', doc: 'Field of the answer (default: answer, gold, final_answer or ground_truth)' },
  answerFrom: {
    type: 'choice',
    choices: ANSWER_SOURCES,
    doc: 'Where in it the answer is: all of it, its last \\boxed{}, or after #### (default: what is there)',
  },
  levelField: { type: 'string', doc: 'Field whose values --level may name, and evaluations tell apart' },
  promptTemplate: {
    type: 'string',
    doc: `${Object.keys(PROMPT_PRESETS).join(', ')}, or a text with {prompt} (default: prl where the model has a chat template, else question)`,
  },
  systemPrompt: { type: 'string', doc: "System message, in place of the template's" },
  maxPromptLength: {
    type: 'integer',
    min: 1,
    doc: 'Leave out problems with longer prompts, in tokens (default: 1024, or what fits)',
  },
  onInvalid: {
    type: 'choice',
    choices: ['error', 'drop'],
    doc: 'What to do with rows that cannot be used (default: error)',
  },
  verifier: {
    type: 'choice',
    choices: ['math', 'exact', 'numeric', 'regex'],
    doc: 'What judges responses (default: math)',
  },
} as const satisfies OptionTable;

/** PRL's published run script (and the defaults of the trainer that it runs), as far as it sets what this trainer has. */
const DATASET_DEFAULTS = {
  eta: 200,
  stepSplit: 'length',
  stepLength: 256,
  promptsPerStep: 128,
  numGenerations: 5,
  maxCompletionLength: 3072,
  learningRate: 1e-6,
  warmupSteps: 0,
  adamBeta2: 0.999,
  weightDecay: 0.01,
  numMinibatches: 1,
  advantageEpsilon: 1e-6,
  evalProblems: 500,
  saveSteps: 25,
} as const satisfies TrainerOptions;
const MAX_PROMPT_LENGTH = 1024;

export const DATASET_NOTES = `With --dataset the defaults are those of PRL's published run script, and one epoch: ${Object.entries(
  DATASET_DEFAULTS,
)
  .map(([name, value]) => `${name} ${value}`)
  .join(', ')}. Prompt templates:
${Object.entries(PROMPT_PRESETS)
  .map(([name, { doc }]) => `  ${name}: ${doc}`)
  .join('\n')}`;

/** What may change on a resume: where the same problems are, and where a server is. */
const MOVABLE = ['dataset', 'evalDataset', 'split', 'config', 'prm', 'rollout'];

type GivenRollout = Parameters<typeof rolloutSettings>[0];

interface RunOptions extends GivenRollout {
  model?: string;
  prm?: string;
  output?: string;
  resume?: boolean;
}

export type DatasetRunOptions = OptionsOf<typeof DATASET_OPTIONS>;

/** Whether a run is, or is to be, one on a dataset. */
export async function isDatasetRun({ dataset, output, resume }: Values): Promise<boolean> {
  const file = join(String(output), 'config.json');
  if (dataset !== undefined || !resume) return dataset !== undefined;
  return (await readJsonFile(file))?.command?.dataset !== undefined;
}

/** Trains a pretrained model on a dataset: evaluation, reinforcement learning, evaluation. */
export async function trainOnDataset(values: Values): Promise<number> {
  const { task, preset, model, prm, output, resume, ...others } = values as Values & RunOptions;
  const { rolloutUrl, rolloutEngine, rolloutModel, syncFolder, ...rest } = others;
  const rollout = { rolloutUrl, rolloutEngine, rolloutModel, syncFolder };
  const stray = Object.entries({ task, preset }).find(([, value]) => value !== undefined);
  if (stray) throw invalidArgument(`--${stray[0]} is of the arithmetic task: it does not go with --dataset`);
  const isOfDataset = (name: string) => Object.hasOwn(DATASET_OPTIONS, name);
  const data = Object.fromEntries(Object.entries(rest).filter(([name]) => isOfDataset(name)));
  const trainer = Object.fromEntries(Object.entries(rest).filter(([name]) => !isOfDataset(name)));
  const interrupt = new Interrupt();
  const name = `dataset-${trainer.method ?? TRAINER_OPTIONS.method.default}`;
  const folder = await openRunFolder({ output, resume }, name);
  const shown = relative('', folder.path) || '.';
  try {
    const start = performance.now();
    const done = await trainIn(folder, { data, trainer, model, prm, rollout }, interrupt).catch((error) => {
      if (!interrupt.isCause(error)) throw error;
      return false;
    });
    if (!done) {
      const begun = existsSync(folder.file('config.json'));
      console.log(begun ? `Saved. Go on with: prl train --resume --output ${shown}` : 'There was nothing to save yet.');
      return interrupt.exitCode!;
    }
    console.log(`\nAll of it took ${((performance.now() - start) / 1000).toFixed(0)} s. The run is in ${shown}`);
    return 0;
  } finally {
    await folder.close();
  }
}

interface Given {
  data: Values;
  trainer: Values;
  model: string | undefined;
  prm: string | undefined;
  rollout: GivenRollout;
}

/** False when interrupted. */
async function trainIn(folder: RunFolder, given: Given, interrupt: Interrupt): Promise<boolean> {
  const known = await savedConfig(folder);
  const { model = given.model, prm: _, rollout: __, ...before } = known.command;
  if (model === undefined) throw invalidArgument('--dataset needs --model, the model to start from');
  const data: DatasetRunOptions = resolveOptions('prl train', DATASET_OPTIONS, { ...before, ...given.data });
  const saved = await wholeBase(folder);
  const source = saved ?? (await modelFolder(model, interrupt.signal));
  const tokenizer = await Tokenizer.load(source);
  const base = await Policy.load(source, { dtype: data.dtype });

  const first = { ...DATASET_DEFAULTS, ...known.trainer, ...given.trainer };
  const settled = resolveOptions('prl train', TRAINER_OPTIONS, first);
  const task = await loadTask(data, tokenizer, promptRoom(data, settled, base), interrupt.signal);
  const epoch = Math.ceil(task.size.train / settled.promptsPerStep);
  const options = resolveOptions('prl train', TRAINER_OPTIONS, { maxSteps: epoch, ...first });
  const scorer = given.prm ?? known.command.prm;
  const processRewardModel = scorer && (await loadProcessRewardModel(scorer, tokenizer));
  try {
    checkMethod(options, { processRewardModel });
    const rollout = rolloutSettings(given.rollout, known.command.rollout);
    checkMismatch(options, rollout);
    await settleConfig(folder, 'command', { ...data, model: given.model ?? model, prm: scorer, rollout }, MOVABLE);
    await settleConfig(folder, 'trainer', { task: task.name, ...task.identity, ...options }, RESUMABLE_OPTIONS);
    if (!saved) await saveBase(folder, base, task);
    return await run({ folder, task, base, options, processRewardModel, rollout, interrupt });
  } finally {
    processRewardModel?.dispose?.();
  }
}

/** The longest prompt that leaves room for a response. */
export function promptRoom(
  { maxPromptLength }: DatasetRunOptions,
  { maxCompletionLength }: Pick<ResolvedTrainerOptions, 'maxCompletionLength'>,
  { config }: Policy,
): number {
  const room = (config.max_position_embeddings ?? Infinity) - maxCompletionLength;
  if (room < 1)
    throw outOfRange(
      `the model has ${config.max_position_embeddings} positions: maxCompletionLength ${maxCompletionLength} leaves none for a prompt`,
    );
  if (maxPromptLength !== undefined && maxPromptLength > room)
    throw outOfRange(
      `the model has ${config.max_position_embeddings} positions: maxCompletionLength ${maxCompletionLength} leaves ${room} for a prompt, fewer than maxPromptLength ${maxPromptLength}`,
    );
  return maxPromptLength ?? Math.min(MAX_PROMPT_LENGTH, room);
}

/** The problems of `dataset` as a task; says what was kept of it. */
export async function loadTask(
  { dataset, evalDataset, evalShare, verifier, split, dtype: _, ...options }: DatasetRunOptions,
  tokenizer: Tokenizer,
  maxPromptLength: number,
  signal: AbortSignal,
): Promise<DatasetTask> {
  const load = async (label: string, source: readonly string[], ofSplit: string | undefined): Promise<Dataset> => {
    const name = basename(source[0], extname(source[0]));
    const start = performance.now();
    let progress: Progress | undefined;
    const onDownload: DatasetOptions['onDownload'] = ({ file, bytes, totalBytes }) => {
      progress ??= new Progress('download', totalBytes, bytes);
      progress.update(bytes, file);
    };
    const wanted = { ...options, name, split: ofSplit, tokenizer, maxPromptLength, signal, onDownload };
    const found = await loadDataset(source, wanted).finally(() => progress?.stop());
    const seconds = (performance.now() - start) / 1000;
    console.log(`${label.padEnd(12)} ${source.join(', ')}: ${describeReport(found.report)} (${seconds.toFixed(1)} s)`);
    return found;
  };
  const train = await load('dataset', dataset!, split);
  const test = evalDataset && (await load('evaluation', evalDataset, isFile(evalDataset) ? undefined : 'test'));
  const task = datasetTask({ tokenizer, train, test, evalShare, verifier });
  const { size, leaked, identity } = task;
  console.log(`${''.padEnd(12)} ${size.train} problems to train on, ${size.test} held out, prompt ${identity?.prompt}`);
  if (leaked > 0)
    console.log(`${''.padEnd(12)} ${leaked} problems of the evaluation were in the dataset too: left out there`);
  return task;
}

const isFile = (sources: readonly string[]) => sources.every((source) => extname(source) !== '');

type DatasetTraining = Training & { task: DatasetTask };

async function run(training: DatasetTraining): Promise<boolean> {
  const { folder, task, base, options } = training;
  const before = await evaluation(training, 'before', base);
  const policy = await runTrainer(training);
  if (!policy) return false;
  const after = await evaluation(training, 'after', policy);

  const rows = await folder.rows('metrics.jsonl');
  await folder.writeJson('summary.json', {
    method: options.method,
    seed: options.seed,
    steps: rows.length,
    ...(before && { before: evaluationFigures(before) }),
    ...(after && { after: evaluationFigures(after) }),
    seconds: {
      evaluation: (before?.seconds ?? 0) + (after?.seconds ?? 0),
      training: rows.reduce((sum, row) => sum + row['seconds/step'], 0),
    },
  });
  const charts = plots(rows);
  if (charts) console.log(`\n${charts}`);
  if (!before || !after) {
    console.log('\nNo problem is held out (--eval-dataset, --eval-share): what this run did is not measured.');
    return true;
  }
  console.log(`\n${evaluationTable([{ where: 'held out', before, after }])}`);
  if (task.levels.length > 1) console.log(`\n${levelTable(task, before.records, after.records, before.n)}`);
  const overlap = after.averageAtNInterval[0] <= before.averageAtNInterval[1];
  console.log(
    `\nIntervals are 95% bootstrap intervals over problems.${overlap ? ' Those of before and after overlap: this run does not show that the policy got better.' : ''}`,
  );
  return true;
}

/** The evaluation on the held-out problems, kept in the run folder; undefined where there are none. */
async function evaluation(
  { folder, task, options, interrupt }: DatasetTraining,
  when: 'before' | 'after',
  policy: PolicyLike,
): Promise<EvaluationResult | undefined> {
  if (task.size.test === 0) return undefined;
  const file = `evaluation-${when}.json`;
  const step = when === 'before' ? 0 : options.maxSteps;
  const known = await folder.readJson(file, { step: 'number', trained: RECORDED_EVALUATION });
  // A resumed run may have gone further than the one that was evaluated.
  if (known?.step === step) return known.trained;
  const { evalProblems, evalSamples, temperature, maxCompletionLength, seed } = options;
  const problems = Math.min(evalProblems, task.size.test);
  const progress = new Progress('evaluation', problems * evalSamples);
  try {
    const trained = await evaluate(policy, task, {
      ...{ problems, n: evalSamples, temperature, maxCompletionLength, seed, signal: interrupt.signal },
      onProgress: ({ finished, tokens }) => progress.update(finished, `${tokens} tokens`),
    });
    await folder.writeJson(file, { step, trained });
    progress.done(
      `${when} training: average@${trained.n} ${trained.averageAtN.toFixed(3)}, pass@${trained.n} ${trained.passAtN.toFixed(3)} on ${trained.problems} problems`,
    );
    return trained;
  } finally {
    progress.stop();
  }
}

function levelTable(task: DatasetTask, before: ProblemRecord[], after: ProblemRecord[], n: number): string {
  const average = (records: (ProblemRecord & { level?: string })[], level: string) => {
    const own = records.filter((record) => record.level === level);
    return { count: own.length, mean: own.reduce((sum, { correct }) => sum + correct / n, 0) / own.length };
  };
  const rows = task.levels.slice(1).flatMap((level) => {
    const [a, b] = [average(before, level), average(after, level)];
    return a.count === 0 ? [] : [[level, String(a.count), a.mean.toFixed(3), b.mean.toFixed(3)]];
  });
  return table([['level', 'problems', `average@${n} before`, 'after'], ...rows]);
}
