import { join } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import type { OptionTable } from '../../base/options.js';
import { TRAINER_OPTIONS } from '../../train/options.js';
import { readJsonFile } from '../../train/run-folder.js';
import { type Command, firstGiven, part, type Values } from '../kit/args.js';
import { DATASET_OPTIONS } from '../kit/dataset.js';
import { ENGINE_OPTIONS } from '../kit/engine.js';
import { LOAD_OPTIONS } from '../kit/model-folder.js';
import { DATASET_PRESET_NAMES, DEFAULT_PRESET, PRESET_NAMES } from '../kit/presets.js';
import { ROLLOUT_OPTIONS } from '../kit/rollout.js';
import { ARITHMETIC_NOTES, ARITHMETIC_OPTIONS, arithmeticRuns } from '../train/arithmetic.js';
import { type Maker, runCourse } from '../train/course.js';
import { DATASET_NOTES, datasetRuns } from '../train/dataset.js';

/** The kinds of run. The first one that the options belong to is used. */
const KINDS: readonly Maker[] = [datasetRuns, arithmeticRuns];

const RUN_OPTIONS = {
  ...ARITHMETIC_OPTIONS,
  preset: {
    type: 'choice',
    choices: [...PRESET_NAMES, ...DATASET_PRESET_NAMES],
    doc: `Preset of model, warm start and other defaults (default: ${DEFAULT_PRESET}); with --dataset: ${DATASET_PRESET_NAMES.join(', ')}`,
  },
  model: {
    type: 'string',
    doc: 'Model to start from, instead of the warm start: folder of a model or a run, or the id of a model of the hub',
  },
  ...LOAD_OPTIONS,
  prm: {
    type: 'string',
    doc: 'Process reward model for method progrs: a folder of prl prm train, or the address of a server (http://HOST:PORT/pooling or /classify)',
  },
  output: { type: 'string', doc: 'Run folder (default: a new one in runs/)' },
  resume: { type: 'boolean', doc: 'Resume the run in --output' },
} as const satisfies OptionTable;

export const trainCommand: Command = {
  name: 'train',
  summary: 'Trains a policy: warm start, evaluation, reinforcement learning, evaluation.',
  groups: [
    { title: 'Run', options: RUN_OPTIONS },
    { title: 'Training on a server', options: ENGINE_OPTIONS },
    { title: 'Rollouts from servers', options: ROLLOUT_OPTIONS },
    { title: 'Dataset, instead of the arithmetic task and its warm start', options: DATASET_OPTIONS },
    { title: 'Trainer', options: TRAINER_OPTIONS },
  ],
  common: [
    ...['preset', 'model', 'dataset', 'evalDataset', 'method', 'output', 'resume', 'maxSteps', 'seed'],
    ...['promptsPerStep', 'numGenerations', 'maxCompletionLength', 'learningRate', 'beta', 'lossType'],
  ],
  notes: `${ARITHMETIC_NOTES}\n\n${DATASET_NOTES}`,
  examples: [
    ['prl train', 'The quickstart: PRL on the arithmetic task'],
    ['prl train --preset smoke --method grpo --seed 3', 'A short run of GRPO'],
    ['prl train --output runs/a --max-steps 50', 'A longer run in a folder of your choice'],
    ['prl train --output runs/a --resume', 'Resume an interrupted run, with its own options'],
    ['prl train --model runs/a/base --eta 20 --output runs/b', 'Another experiment from the same warm start'],
    [
      'prl train --model Qwen/Qwen2.5-Math-1.5B --dataset train.jsonl --eval-dataset math500.jsonl',
      'A pretrained model on problems of your own',
    ],
    [
      'prl train --preset small-machine --model runs/sft --dataset train.jsonl --eval-share 0.1',
      'The same on a laptop, from the result of prl sft, with short responses',
    ],
    [
      'prl train --engine tinker --url http://gpu1:8000 --base-model Qwen/Qwen3-8B --dataset train.jsonl',
      'The same on a server that speaks the Tinker protocol',
    ],
  ],
  run: train,
};

async function train(values: Values): Promise<number> {
  const { output, resume, ...given } = values as Values & { output?: string; resume?: boolean };
  const kind = await kindOf(values);
  for (const other of KINDS) {
    if (other === kind) continue;
    const isPreset = other.presets.includes(String(given.preset));
    const stray = isPreset ? `--preset ${given.preset}` : firstGiven(part(given, other.options));
    if (stray) throw invalidArgument(other.refusal(stray));
  }
  const name = `${kind.name}-${given.method ?? TRAINER_OPTIONS.method.default}`;
  return runCourse({ command: 'prl train', output, resume, name }, given, kind.recipe);
}

/** The kind that the options belong to or, if they leave it open, the kind of the resumed run. */
async function kindOf(values: Values): Promise<Maker> {
  const { output, resume } = values;
  const saved = resume ? (await readJsonFile(join(String(output), 'config.json')))?.command : undefined;
  return KINDS.find(({ isOf }) => isOf(values) || isOf(saved ?? {}))!;
}
