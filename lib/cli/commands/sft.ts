import { invalidArgument } from '../../base/errors.js';
import type { OptionTable } from '../../base/options.js';
import { SFT_OPTIONS } from '../../train/sft-options.js';
import type { Command, Values } from '../kit/args.js';
import { inRunFolder } from '../kit/in-run-folder.js';
import { LOAD_OPTIONS } from '../kit/model-folder.js';
import { fineTune } from '../sft/fine-tune.js';
import { SFT_DATA_OPTIONS } from '../sft/options.js';
import { nextSteps } from '../train/next-steps.js';

const RUN_OPTIONS = {
  model: { type: 'string', doc: 'Model to train: folder of a model or a run, or the id of a model of the hub' },
  ...LOAD_OPTIONS,
  output: { type: 'string', doc: 'Run folder (default: a new one in runs/)' },
  resume: { type: 'boolean', doc: 'Resume the run in --output' },
} as const satisfies OptionTable;

export const sftCommand: Command = {
  name: 'sft',
  summary: 'Fine-tunes a model on demonstrations: it learns to write their completions.',
  groups: [
    { title: 'Run', options: RUN_OPTIONS },
    { title: 'Demonstrations', options: SFT_DATA_OPTIONS },
    { title: 'Training', options: SFT_OPTIONS },
  ],
  common: [
    ...['model', 'dataset', 'evalDataset', 'output', 'resume', 'promptField', 'completionField', 'promptTemplate'],
    ...['numTrainEpochs', 'maxSteps', 'perDeviceTrainBatchSize', 'packing', 'maxLength', 'learningRate', 'seed'],
  ],
  notes:
    'Rows have the field messages (a conversation), the fields prompt and completion, or the field text. prl train --model RUN continues with reinforcement learning.',
  examples: [
    ['prl sft --model HuggingFaceTB/SmolLM2-135M-Instruct --dataset chats.jsonl', 'Learn the answers of conversations'],
    [
      'prl sft --model models/base --dataset train.jsonl --prompt-field question --completion-field solution --prompt-template question --eval-share 0.1',
      'Learn solutions, in the prompt that prl train will use',
    ],
    ['prl sft --output runs/sft --resume', 'Resume an interrupted run, with its own options'],
    ['prl train --model runs/sft --dataset train.jsonl', 'Reinforcement learning from there'],
  ],
  async run(values: Values): Promise<number> {
    const { output, resume, ...given } = values as Values & { output?: string; resume?: boolean };
    // Before the folder is made.
    for (const name of resume ? [] : ['model', 'dataset'])
      if (given[name] === undefined) throw invalidArgument(`prl sft needs --${name}`);
    return inRunFolder({ command: 'prl sft', output, resume, name: 'sft' }, async (folder, interrupt) => {
      const done = await fineTune(folder, given, interrupt);
      return done && ((run) => nextSteps(run, done));
    });
  },
};
