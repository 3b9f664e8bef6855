// The course of a training run: settle its config, evaluate the base, train, evaluate again, report. A run that was
// interrupted or killed at any point resumes there. A recipe says what is trained, and how.
import type { Shape } from '../../base/json.js';
import type { OptionTable } from '../../base/options.js';
import type { PolicyLike } from '../../policy/types.js';
import type { Task } from '../../tasks/task.js';
import { saveBase, settleConfig, wholeBase } from '../../train/checkpoint.js';
import type { RunFolder } from '../../train/run-folder.js';
import type { Values } from '../kit/args.js';
import { type FolderRequest, inRunFolder } from '../kit/in-run-folder.js';
import type { Interrupt } from '../kit/interrupt.js';
import type { Estimate } from './estimate.js';
import { type Exams, evaluationFigures, examine, type Results } from './evaluation.js';
import { type NextSteps, nextSteps } from './next-steps.js';
import { plots } from './plots.js';

/** A kind of run, such as one on a dataset. */
export interface Maker {
  /** Its options, which no other kind has. */
  options: OptionTable;
  /** The values of --preset that belong to it. */
  presets: readonly string[];
  /** Whether these options, of the command line or saved in a run, belong to this kind. */
  isOf(options: Values): boolean;
  /** Message for an option of this kind in a run of another kind. */
  refusal(option: string): string;
  /** First part of the name of a run folder. */
  name: string;
  recipe(run: Run): Promise<Recipe>;
}

/** The inputs of a recipe. */
export interface Run {
  folder: RunFolder;
  /** Options of the command line, without --output and --resume. */
  given: Values;
  /** The config of a resumed run; empty for a new one. */
  known: SavedConfig;
  /** Folder of the policy before training, if it was saved. */
  savedBase: string | undefined;
  interrupt: Interrupt;
}

/** What a course trains and evaluates in a run. */
export interface Recipe {
  task: Task;
  /** The sections of config.json, with the names that a resumed run may change. */
  config: { [section: string]: { values: object; changeable: readonly string[] } };
  /** The policy before training; undefined if interrupted. */
  base(): Promise<PolicyLike | undefined>;
  /** Tells the cost of a new run: before its first evaluation, and again after it. */
  estimate?(): Pick<Estimate, 'before' | 'afterEvaluation'> | undefined;
  /** Evaluations before and after training; none if no problem is held out. */
  exams: Exams;
  /** Summary of the exams in a line, to print. */
  examLine(results: Results): string;
  /** Trains a copy of the base to the end; undefined if interrupted. */
  train(base: PolicyLike): Promise<PolicyLike | undefined>;
  /** First entries of summary.json. */
  head: object;
  /** Seconds spent before training, by name. Default: none. */
  secondsBefore?(): Promise<{ [name: string]: number }>;
  /** Paragraphs to print after the curves. */
  report(trained: Trained): Promise<string[]>;
  /** What measures and tries the trained policy. */
  next: NextSteps;
  dispose?(): void | Promise<void>;
}

/** Result of a course. */
export interface Trained {
  base: PolicyLike;
  policy: PolicyLike;
  before: Results;
  after: Results;
}

/** @returns the exit code of the command */
export const runCourse = (request: FolderRequest, given: Values, recipeOf: Maker['recipe']): Promise<number> =>
  inRunFolder(request, async (folder, interrupt) => {
    const done = await follow({ folder, given, interrupt }, recipeOf);
    return done && ((run) => nextSteps(run, done));
  });

export interface SavedConfig {
  /** Settings of the command. Each recipe has its own, and checks them like options of the command line. */
  // biome-ignore lint/suspicious/noExplicitAny: see above
  command: any;
  /** Options of the trainer and identity of the task, which a resumed run must have unchanged. */
  trainer: Values;
}

const CONFIG: Shape = { 'command?': { 'preset?': 'text', 'model?': 'text', 'prm?': 'text' }, 'trainer?': {} };

/** Reads the config of a run. */
export async function savedConfig(folder: RunFolder): Promise<SavedConfig> {
  const { command = {}, trainer = {} } = (await folder.readJson('config.json', CONFIG)) ?? {};
  return { command, trainer };
}

/** @returns the number of training steps, and what comes next; undefined if interrupted */
async function follow(
  begun: Pick<Run, 'folder' | 'given' | 'interrupt'>,
  recipeOf: Maker['recipe'],
): Promise<{ steps: number; next: NextSteps } | undefined> {
  const { folder, interrupt } = begun;
  const run = { ...begun, known: await savedConfig(folder), savedBase: await wholeBase(folder) };
  const recipe = await recipeOf(run);
  try {
    const { task, exams, config, examLine } = recipe;
    for (const [section, { values, changeable }] of Object.entries(config))
      await settleConfig(folder, section, { ...values }, changeable);
    const base = await recipe.base();
    if (!base) return undefined;
    if (run.savedBase === undefined) await saveBase(folder, base, task);

    const isNew = (await folder.rows('metrics.jsonl')).length === 0;
    const estimate = isNew ? recipe.estimate?.() : undefined;
    await estimate?.before();
    const examination = { folder, task, exams, interrupt };
    const before = await examine(examination, 'before', 0, base, examLine);
    if (exams.length > 0) estimate?.afterEvaluation(before[exams[0].key].meanLength);
    const policy = await recipe.train(base);
    if (!policy) return undefined;
    const { length: steps } = await folder.rows('metrics.jsonl');
    const after = await examine(examination, 'after', steps, policy, examLine);
    await conclude(folder, recipe, { base, policy, before, after });
    return { steps, next: recipe.next };
  } finally {
    await recipe.dispose?.();
  }
}

/** Writes the summary and prints the results. */
async function conclude(folder: RunFolder, recipe: Recipe, trained: Trained): Promise<void> {
  const rows = await folder.rows('metrics.jsonl');
  await folder.writeJson('summary.json', {
    ...recipe.head,
    steps: rows.length,
    ...figuresOf(recipe.exams, trained),
    seconds: {
      ...(await recipe.secondsBefore?.()),
      evaluation: sum(recipe.exams.map(({ key }) => trained.before[key].seconds + trained.after[key].seconds)),
      training: sum(rows.map((row) => row['seconds/step'])),
    },
  });
  for (const text of [plots(rows), ...(await recipe.report(trained))]) if (text !== '') console.log(`\n${text}`);
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Figures of the first exam, and those of the other exams under their keys. */
function figuresOf(exams: Exams, { before, after }: Trained): object {
  const figures = exams.map(({ key }) => ({
    before: evaluationFigures(before[key]),
    after: evaluationFigures(after[key]),
  }));
  return { ...figures[0], ...Object.fromEntries(exams.slice(1).map(({ key }, i) => [key, figures[i + 1]])) };
}
