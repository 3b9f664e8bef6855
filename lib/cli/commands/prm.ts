import { writeFileAtomic } from '../../base/atomic.js';
import { invalidArgument, outOfRange } from '../../base/errors.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { collectPrmData } from '../../prm/collect.js';
import { readPrmData } from '../../prm/data.js';
import { type CalibrationBin, evaluatePrm, type PrmEvaluation } from '../../prm/evaluate.js';
import { QuantilePrm } from '../../prm/quantile-prm.js';
import { PRM_TRAIN_OPTIONS, trainQuantilePrm } from '../../prm/train.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import { TRAINER_OPTIONS } from '../../train/options.js';
import { type Command, kebab, type Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { modelFolder, weightsHash } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { table } from '../kit/summary.js';
import { DATASET_OPTIONS, loadTask, promptRoom } from './train-dataset.js';

const COLLECT_OPTIONS = {
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

const COLLECT_TASK = {
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
const COLLECT_DATASET = {
  dataset: {
    type: 'strings',
    doc: 'Problems: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub',
  },
  ...PROBLEM_OPTIONS,
} as const satisfies OptionTable;

const part = (values: Values, table: OptionTable): Values =>
  Object.fromEntries(Object.entries(values).filter(([name]) => Object.hasOwn(table, name)));

/** Which problems are collected, and how many. */
async function collectedProblems(
  values: Values,
  { problems, maxCompletionLength }: { problems?: number; maxCompletionLength: number },
  { policy, folder, signal }: { policy: Policy; folder: string; signal: AbortSignal },
) {
  const [ofTask, ofDataset] = [part(values, COLLECT_TASK), part(values, COLLECT_DATASET)];
  const own = values.dataset === undefined ? ofDataset : ofTask;
  const [stray] = Object.keys(own);
  if (stray) throw invalidArgument(`--${kebab(stray)} ${own === ofDataset ? 'needs' : 'does not go with'} --dataset`);
  if (own === ofDataset) {
    const task = new ArithmeticTask();
    const { split = 'train', level = task.levels[0] } = resolveOptions('prl prm collect', COLLECT_TASK, ofTask);
    return { task, split, level, problems: problems ?? PROBLEMS };
  }
  const data = resolveOptions('prl prm collect', COLLECT_DATASET, ofDataset);
  const room = promptRoom(data, { maxCompletionLength }, policy);
  const task = await loadTask(data, await Tokenizer.load(folder), room, signal);
  const { train } = task.size;
  if (problems !== undefined && problems > train)
    throw outOfRange(`problems must be at most ${train}, as many as the dataset has, not ${problems}`);
  return { task, split: 'train', level: 'all', problems: problems ?? Math.min(PROBLEMS, train) } as const;
}

const PROBLEMS = 200;

export const prmCollectCommand: Command = {
  name: 'prm collect',
  summary:
    'Samples responses, cuts them in steps, draws continuations from the end of each step, and stores how many ended right.',
  groups: [
    { title: 'Options', options: COLLECT_OPTIONS },
    { title: 'The embedded task, without --dataset', options: COLLECT_TASK },
    { title: 'Dataset', options: COLLECT_DATASET },
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
  async run(values) {
    const own = part(values, COLLECT_OPTIONS);
    const { model, output, ...options } = resolveOptions('prl prm collect', COLLECT_OPTIONS, own);
    const folder = await modelFolder(model!);
    const policy = await Policy.load(folder);
    const interrupt = new Interrupt();
    const { signal } = interrupt;
    const chosen = await collectedProblems(values, options, { policy, folder, signal });
    let progress: Progress | undefined;
    let last = { done: 0, prefixes: 0, tokens: 0 };
    try {
      for await (const { total, ...now } of collectPrmData({
        ...options,
        ...chosen,
        policy,
        model: await weightsHash(folder),
        output: output!,
        signal,
      })) {
        last = now;
        progress ??= new Progress('collect', total, now.done);
        progress.update(now.done, `${now.prefixes} steps, ${now.tokens} tokens`);
      }
    } catch (error) {
      progress?.stop();
      if (!interrupt.isCause(error)) throw error;
      console.log(`Saved ${last.done} problems. The same command goes on with them.`);
      return interrupt.exitCode!;
    }
    progress?.done(`${last.done} problems, ${last.prefixes} steps in ${output}, ${last.tokens} tokens generated`);
    return 0;
  },
};

const TRAIN_FILES = {
  model: { type: 'string', doc: 'Folder of the model that the data was collected with' },
  data: { type: 'string', doc: 'What prl prm collect wrote' },
  output: { type: 'string', doc: 'Folder to write; a process reward model that is there is replaced' },
} as const satisfies OptionTable;

export const prmTrainCommand: Command = {
  name: 'prm train',
  summary:
    'Trains a quantile head on the network of a policy: quantiles of the chance that a step leads to a right answer.',
  groups: [
    { title: 'Files', options: TRAIN_FILES },
    { title: 'Training', options: PRM_TRAIN_OPTIONS },
  ],
  required: ['model', 'data', 'output'],
  examples: [
    ['prl prm train --model runs/a/base --data a.jsonl --output prm', 'The head alone: seconds'],
    ['prl train --model runs/a/base --method progrs --prm prm', 'Then use it, frozen'],
  ],
  async run(values) {
    const { model, data: file, output, ...given } = values;
    const options = resolveOptions('prl prm train', PRM_TRAIN_OPTIONS, given);
    await QuantilePrm.checkOutput(output as string);
    const folder = await modelFolder(model as string);
    const data = await readPrmData(file as string);
    if (data.settings.model !== (await weightsHash(folder)))
      console.warn(
        `prl: ${file} was collected with another model than ${folder}: the head learns what became of that one's responses`,
      );
    const policy = await Policy.load(folder);
    const tokenizer = await Tokenizer.load(folder).catch(() => undefined);
    const interrupt = new Interrupt();
    const progress = new Progress('prm', options.epochs);
    const {
      model: prm,
      epoch,
      heldOutLoss,
      steps,
    } = await trainQuantilePrm({
      policy,
      data,
      options,
      signal: interrupt.signal,
      onEpoch: ({ epoch, loss, heldOutLoss, best }) =>
        progress.update(
          epoch,
          `pinball ${loss.toFixed(4)}  held out ${heldOutLoss.toFixed(4)}  best ${best.heldOutLoss.toFixed(4)} (epoch ${best.epoch})`,
        ),
    }).finally(() => progress.stop());
    await prm.save(output as string, async (backbone) => tokenizer?.save(backbone));
    progress.done(
      `epoch ${epoch}, held-out pinball ${heldOutLoss.toFixed(4)}, ${steps.train} + ${steps.heldOut} steps`,
    );
    const { brier, brierConstant, aucLast } = await evaluatePrm(prm, data);
    console.log(
      `On held-out problems: Brier ${brier.toFixed(3)} (a constant: ${brierConstant.toFixed(3)}), AUC of the answer ${auc(aucLast)}`,
    );
    return 0;
  },
};

const EVAL_OPTIONS = {
  prm: { type: 'string', doc: 'Folder of a process reward model' },
  data: {
    type: 'string',
    doc: 'What prl prm collect wrote; of the data it was trained on, the held-out problems count',
  },
  quantile: { type: 'number', doc: "Which quantile is the score (default: the model's)" },
  output: { type: 'string', doc: 'Write all figures to this JSON file' },
  json: { type: 'boolean', doc: 'Print JSON' },
} as const satisfies OptionTable;

export const prmEvalCommand: Command = {
  name: 'prm eval',
  summary: 'How well a process reward model knows, after each step, how likely the response is to end right.',
  groups: [{ title: 'Options', options: EVAL_OPTIONS }],
  required: ['prm', 'data'],
  examples: [['prl prm eval --prm prm --data test.jsonl', 'Coverage, Brier score, AUC and a calibration plot']],
  async run(values) {
    const { prm: folder, data: file, quantile, output, json } = resolveOptions('prl prm eval', EVAL_OPTIONS, values);
    const prm = await QuantilePrm.load(folder!, { quantile });
    const result = await evaluatePrm(prm, await readPrmData(file!));
    const text = JSON.stringify(result, null, 2);
    if (output !== undefined) await writeFileAtomic(output, `${text}\n`);
    console.log(json ? text : evaluationText(result));
    return 0;
  },
};

const auc = (value: number | null) => value?.toFixed(3) ?? 'undefined (all responses end alike)';

function evaluationText(result: PrmEvaluation): string {
  const { responses, leftOut, steps, right, quantile, coverage, brier, brierConstant, pinball, pinballConstant } =
    result;
  return [
    ...(leftOut > 0 ? [`${leftOut} responses are left out: the model may have been trained on their problems`] : []),
    `${responses} responses (${(100 * right).toFixed(0)}% right), ${steps} steps; the score is quantile ${quantile}`,
    '',
    table([
      ['', 'model', 'best constant'],
      ['Brier score', brier.toFixed(4), brierConstant.toFixed(4)],
      ['pinball loss', pinball.toFixed(4), pinballConstant.toFixed(4)],
      ['AUC of the answer, last step', auc(result.aucLast), '0.500'],
      ['AUC of the answer, any step', auc(result.aucAny), '0.500'],
    ]),
    '',
    table([
      ['quantile', 'targets below', 'below or equal'],
      ...coverage.map(({ quantile, below, notAbove }) => [String(quantile), below.toFixed(3), notAbove.toFixed(3)]),
    ]),
    'A calibrated quantile lies between the two shares.',
    '',
    ...calibrationPlot(result.calibration),
  ].join('\n');
}

/** A bar per bin: how many of the continuations ended right, and where it should have ended. */
function calibrationPlot(bins: readonly CalibrationBin[]): string[] {
  const width = 40;
  return [
    'score      steps  ended right (#), mean score (|)',
    ...bins.map(({ low, high, steps, score, target }) => {
      const bar = [...'#'.repeat(Math.round((target ?? 0) * width)).padEnd(width)];
      if (score !== undefined) bar[Math.min(width - 1, Math.round(score * width))] = '|';
      return `${low.toFixed(1)}-${high.toFixed(1)} ${String(steps).padStart(8)}  ${bar.join('')}  ${target?.toFixed(2) ?? ''}`.trimEnd();
    }),
  ];
}
