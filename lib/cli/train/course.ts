// The course of a training run: settle its config, evaluate the base, train, evaluate again, report. It may be interrupted, or
// killed, at any point; resumed, it continues there. What is trained, and how, is in a recipe.
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import type { Shape } from '../../base/json.js';
import type { OptionTable } from '../../base/options.js';
import type { Policy } from '../../policy/policy.js';
import type { PolicyLike } from '../../policy/types.js';
import type { Task } from '../../tasks/task.js';
import { saveBase, settleConfig, wholeBase } from '../../train/checkpoint.js';
import { RunFolder } from '../../train/run-folder.js';
import type { Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { newRunPath } from '../kit/run-path.js';
import { type Exams, evaluationFigures, examine, type Results } from './evaluation.js';
import { plots } from './plots.js';

/** A kind of run, such as one on a dataset. */
export interface Maker {
  /** Its options, which no other kind has. */
  options: OptionTable;
  /** Whether these options, given or saved in a run, are of this kind. */
  isOf(options: Values): boolean;
  /** Why an option of this kind is refused in a run of another kind. */
  refusal(option: string): string;
  /** Begins the name of a run folder. */
  name: string;
  recipe(run: Run): Promise<Recipe>;
}

/** What a recipe is made of. */
export interface Run {
  folder: RunFolder;
  /** Options of the command line but --output and --resume. */
  given: Values;
  /** What config.json says of a resumed run. */
  known: SavedConfig;
  /** Where the policy before training is, if it has been saved. */
  savedBase: string | undefined;
  interrupt: Interrupt;
}

/** What a course does in a run. */
export interface Recipe {
  task: Task;
  /** The sections of config.json, with the names in which a resumed run may differ. */
  config: { [section: string]: { values: object; changeable: readonly string[] } };
  /** The policy before training; undefined when interrupted. */
  base(): Promise<Policy | undefined>;
  /** Evaluations before and after training: none where no problem is held out. */
  exams: Exams;
  /** What is printed of the exams, in a line. */
  examLine(results: Results): string;
  /** Steps of training. */
  steps: number;
  /** Trains a copy of the base to the end; undefined when interrupted. */
  train(base: Policy): Promise<PolicyLike | undefined>;
  /** What summary.json begins with. */
  head: object;
  /** Seconds that were spent before training, by name. Default: none. */
  secondsBefore?(): Promise<{ [name: string]: number }>;
  /** Paragraphs for the terminal, after the curves. */
  report(trained: Trained): Promise<string[]>;
  dispose?(): void;
}

/** What came of a course. */
export interface Trained {
  base: Policy;
  policy: PolicyLike;
  before: Results;
  after: Results;
}

export interface CourseRequest {
  /** The command that resumes it. */
  command: string;
  output?: string;
  resume?: boolean;
  /** Of the folder, where `output` names none. */
  name: string;
  given: Values;
}

/** @returns the exit code of the command */
export async function runCourse(request: CourseRequest, recipeOf: Maker['recipe']): Promise<number> {
  const interrupt = new Interrupt();
  const folder = await openRunFolder(request);
  const shown = relative('', folder.path) || '.';
  const start = performance.now();
  try {
    const done = await follow({ folder, given: request.given, interrupt }, recipeOf).catch((error) => {
      if (!interrupt.isCause(error)) throw error;
      return false;
    });
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    if (done) console.log(`\nAll of it took ${seconds} s. The run is in ${shown}`);
    else if (existsSync(folder.file('config.json')))
      console.log(`Saved. Go on with: ${request.command} --resume --output ${shown}`);
    else console.log('There was nothing to save yet.');
    return done ? 0 : interrupt.exitCode!;
  } finally {
    await folder.close();
  }
}

/** The folder of a run, `output` or a new one in runs/. */
function openRunFolder({ output, resume, name }: CourseRequest): Promise<RunFolder> {
  if (resume && output === undefined) throw invalidArgument('--resume needs --output, the folder of the run');
  const path = output ?? newRunPath(name);
  if (resume && !existsSync(path)) throw invalidArgument(`there is no run in ${path} to resume`);
  return RunFolder.open(path, { resume });
}

export interface SavedConfig {
  /** Settings of the command. Each recipe has its own, and checks them as it checks what is given. */
  // biome-ignore lint/suspicious/noExplicitAny: see above
  command: any;
  /** Options of the trainer, with what a resumed run must find as it was. */
  trainer: Values;
}

const CONFIG: Shape = { 'command?': { 'preset?': 'text', 'model?': 'text', 'prm?': 'text' }, 'trainer?': {} };

/** What config.json says of a run. */
export async function savedConfig(folder: RunFolder): Promise<SavedConfig> {
  const { command = {}, trainer = {} } = (await folder.readJson('config.json', CONFIG)) ?? {};
  // JSON writes Infinity, which says "none" of bounds, as null.
  const options = Object.entries(trainer).map(([name, value]) => [name, value ?? Infinity]);
  return { command, trainer: Object.fromEntries(options) };
}

/** @returns false when interrupted */
async function follow(begun: Pick<Run, 'folder' | 'given' | 'interrupt'>, recipeOf: Maker['recipe']): Promise<boolean> {
  const { folder, interrupt } = begun;
  const run = { ...begun, known: await savedConfig(folder), savedBase: await wholeBase(folder) };
  const recipe = await recipeOf(run);
  try {
    const { task, exams, steps, config, examLine } = recipe;
    for (const [section, { values, changeable }] of Object.entries(config))
      await settleConfig(folder, section, { ...values }, changeable);
    const base = await recipe.base();
    if (!base) return false;
    if (run.savedBase === undefined) await saveBase(folder, base, task);

    const examination = { folder, task, exams, interrupt };
    const before = await examine(examination, 'before', 0, base, examLine);
    const policy = await recipe.train(base);
    if (!policy) return false;
    const after = await examine(examination, 'after', steps, policy, examLine);
    await conclude(folder, recipe, { base, policy, before, after });
    return true;
  } finally {
    recipe.dispose?.();
  }
}

/** Writes the summary and prints what came of it. */
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

/** Figures of the first exam, and below their keys those of the others. */
function figuresOf(exams: Exams, { before, after }: Trained): object {
  const figures = exams.map(({ key }) => ({
    before: evaluationFigures(before[key]),
    after: evaluationFigures(after[key]),
  }));
  return { ...figures[0], ...Object.fromEntries(exams.slice(1).map(({ key }, i) => [key, figures[i + 1]])) };
}
