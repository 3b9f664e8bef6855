// Runs of a pretrained model on a dataset.
import { invalidArgument } from '../../base/errors.js';
import { resolveOptions } from '../../base/options.js';
import type { EvaluationResult, ProblemRecord } from '../../eval/evaluate.js';
import { Policy } from '../../policy/policy.js';
import { TinkerPolicy } from '../../policy/tinker/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import type { LoadOptions, PolicyLike } from '../../policy/types.js';
import { PROMPT_PRESETS } from '../../tasks/data/prompt.js';
import type { DatasetTask } from '../../tasks/dataset.js';
import { resumeRunClock } from '../../train/checkpoint.js';
import type { ResolvedTrainerOptions, TrainerOptions } from '../../train/options.js';
import { DATA_OPTIONS } from '../eval/options.js';
import { firstGiven, part } from '../kit/args.js';
import { DATASET_OPTIONS, type DatasetRunOptions, heldOut, loadTask } from '../kit/dataset.js';
import { connectEngine } from '../kit/engine.js';
import { LOAD_OPTIONS, modelFolder } from '../kit/model-folder.js';
import { withOptionsOfRun } from '../kit/model-run.js';
import { DATASET_PRESET_NAMES, DATASET_PRESETS, presetNotes } from '../kit/presets.js';
import { table } from '../kit/table.js';
import { warn } from '../kit/warn.js';
import type { Maker, Recipe, Run, Trained } from './course.js';
import { Estimate } from './estimate.js';
import { type Exams, evaluationTable, NOT_EVALUATED } from './evaluation.js';
import type { NextSteps } from './next-steps.js';
import { engineOf, reinforcement, rolloutOf, trainerOptions } from './reinforce.js';

/** Settings of PRL's published run script, and of the trainer that it runs, for the options that this trainer has. */
export const DATASET_DEFAULTS = {
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

export const DATASET_NOTES = `With --dataset the run lasts one epoch, and the defaults are those of PRL's published run script: ${Object.entries(
  DATASET_DEFAULTS,
)
  .map(([name, value]) => `${name} ${value}`)
  .join(', ')}. They need a cluster. Presets change them:
${presetNotes(DATASET_PRESETS).join('\n')}
Prompt templates:
${Object.entries(PROMPT_PRESETS)
  .map(([name, { doc }]) => `  ${name}: ${doc}`)
  .join('\n')}`;

/** Options that a resumed run may change: the place of the same problems. */
const MOVABLE = ['dataset', 'evalDataset', 'split', 'config'];

export const datasetRuns: Maker = {
  name: 'dataset',
  options: DATASET_OPTIONS,
  presets: DATASET_PRESET_NAMES,
  isOf: ({ dataset }) => dataset !== undefined,
  refusal: (option) => `${option} needs --dataset`,
  recipe,
};

async function recipe(run: Run): Promise<Recipe> {
  const { given, known, savedBase, interrupt } = run;
  const { model: knownModel, preset: knownPreset, prm: _, rollout: __, ...saved } = known.command;
  const { engine: ___, url: ____, lossPath: _____, ...before } = saved;
  const model: string | undefined = given.model ?? knownModel;
  const engine = engineOf(run);
  if (model === undefined && !engine) throw invalidArgument('--dataset needs --model, the model to start from');
  const own = resolveOptions('prl train', DATASET_OPTIONS, { ...before, ...part(given, DATASET_OPTIONS) });
  const isNew = knownModel === undefined && model !== undefined;
  const data: DatasetRunOptions = isNew ? await withOptionsOfRun(model, own, warn) : own;
  const loading = resolveOptions('prl train', LOAD_OPTIONS, part(given, LOAD_OPTIONS));
  const native = firstGiven({ dtype: given.dtype, ...loading });
  if (engine && native)
    throw invalidArgument(`${native} has no meaning with --engine tinker: the server has the weights`);
  // Options that a server cannot serve are refused before it is asked for anything.
  const preset: string | undefined = given.preset ?? knownPreset;
  const { maxCompletionLength, promptsPerStep, seed } = trainerOptions(run, defaultsOf(preset));
  const { policy, tokenizer } = engine
    ? await connected(engine, { model: savedBase ?? model, seed, signal: interrupt.signal })
    : await loaded(savedBase ?? (await modelFolder(model!, interrupt.signal)), { dtype: data.dtype, ...loading });

  if (data.clock === undefined) await resumeRunClock(run.folder, tokenizer, warn);
  const task = await loadTask(data, { tokenizer, policy, maxCompletionLength }, interrupt.signal);
  const epoch = Math.ceil(task.size.train / promptsPerStep);
  const options = trainerOptions(run, { maxSteps: epoch, ...defaultsOf(preset) });
  const learning = await reinforcement(run, {
    task,
    options,
    settings: { ...data, model, preset },
    movable: MOVABLE,
    preview: true,
  });
  const exams = examsOf(task, options);
  return {
    ...learning,
    base: async () => policy,
    estimate: () =>
      options.maxSteps === 0 || !(policy instanceof Policy)
        ? undefined
        : new Estimate({
            ...{ policy, task, options, folder: run.folder.path, signal: interrupt.signal },
            evaluated: exams[0]?.options.problems ?? 0,
            served: rolloutOf(run) !== undefined,
            advice: adviceFor(preset),
            say: console.log,
            warn,
          }),
    exams,
    next: engine
      ? {}
      : {
          ...(data.evalDataset && { evaluation: { data: data.evalDataset, maxCompletionLength, ...readAlike(data) } }),
          prompt: 'What is 2 + 2?',
        },
    examLine: ({ trained: { n, averageAtN, passAtN, problems } }) =>
      `average@${n} ${averageAtN.toFixed(3)}, pass@${n} ${passAtN.toFixed(3)} on ${problems} problems`,
    report: async (trained) => reportOf(task, exams, trained),
    async dispose() {
      await learning.dispose?.();
      if (policy instanceof TinkerPolicy) await policy.close();
    },
  };
}

/** What makes a long run shorter. */
const adviceFor = (preset: string | undefined) =>
  `${preset === undefined ? `The defaults are those of a cluster: --preset ${DATASET_PRESET_NAMES.join(' or ')} is for less. ` : ''}Or lower promptsPerStep, numGenerations, maxCompletionLength or maxSteps`;

/** The trainer's defaults for such a run. */
const defaultsOf = (preset: string | undefined): TrainerOptions => ({
  ...DATASET_DEFAULTS,
  ...(isDatasetPreset(preset) && DATASET_PRESETS[preset].trainer),
});
const isDatasetPreset = (name: string | undefined): name is keyof typeof DATASET_PRESETS =>
  name !== undefined && Object.hasOwn(DATASET_PRESETS, name);

interface Start {
  policy: PolicyLike;
  tokenizer: Tokenizer;
}

async function loaded(source: string, options: LoadOptions): Promise<Start> {
  const tokenizer = await Tokenizer.load(source);
  return { tokenizer, policy: await Policy.load(source, options) };
}

async function connected(...server: Parameters<typeof connectEngine>): Promise<Start> {
  const policy = await connectEngine(...server);
  return { policy, tokenizer: policy.tokenizer };
}

/** The options of the run that prl eval has as well: how to read the problems and judge the responses. */
const readAlike = (data: DatasetRunOptions) => part(data, DATA_OPTIONS) as NextSteps['evaluation'];

/** The evaluation on held-out problems, if there are any. */
function examsOf({ size }: DatasetTask, options: ResolvedTrainerOptions): Exams {
  if (size.test === 0 || options.evalProblems === 0) return [];
  return [
    {
      key: 'trained',
      where: 'held out',
      options: heldOut(size.test, options),
      live: (tokens) => `${tokens} tokens`,
    },
  ];
}

function reportOf(task: DatasetTask, exams: Exams, { before, after }: Trained): string[] {
  if (task.size.test > 0 && exams.length === 0) return [NOT_EVALUATED];
  if (exams.length === 0)
    return ['This run was not evaluated, because no problem is held out. Use --eval-dataset or --eval-share.'];
  const [a, b] = [before.trained, after.trained];
  const overlap = b.averageAtNInterval[0] <= a.averageAtNInterval[1];
  return [
    evaluationTable(exams, before, after),
    ...(task.levels.length > 1 ? [levelTable(task, a, b)] : []),
    `Intervals are 95% intervals over problems.${overlap ? ' Those before and after training overlap: this run does not show that the policy improved.' : ''}`,
  ];
}

/** average@n per level of the held-out problems. */
function levelTable(task: DatasetTask, before: EvaluationResult, after: EvaluationResult): string {
  const { n } = before;
  const average = ({ records }: EvaluationResult, level: string) => {
    const own = records.filter((record: ProblemRecord & { level?: string }) => record.level === level);
    return { count: own.length, mean: own.reduce((sum, { correct }) => sum + correct / n, 0) / own.length };
  };
  const rows = task.levels.slice(1).flatMap((level) => {
    const [a, b] = [average(before, level), average(after, level)];
    return a.count === 0 ? [] : [[level, String(a.count), a.mean.toFixed(3), b.mean.toFixed(3)]];
  });
  return table([['level', 'problems', `average@${n} before`, 'after'], ...rows]);
}
