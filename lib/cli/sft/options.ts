import type { OptionsOf, OptionTable } from '../../base/options.js';
import { PROMPT_PRESETS } from '../../tasks/data/prompt.js';
import { DATASET_OPTIONS } from '../kit/dataset.js';

/** Options of the demonstrations, which a resumed run keeps. */
export const SFT_DATA_OPTIONS = {
  dtype: {
    type: 'choice',
    choices: ['float32', 'bfloat16'],
    doc: "Type of the model's weights in memory (default: float32); bfloat16 keeps float32 masters from the first step",
  },
  dataset: {
    type: 'strings',
    doc: 'Demonstrations: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub (owner/name)',
  },
  evalDataset: { type: 'strings', doc: 'Held-out demonstrations, read with the same options' },
  evalShare: {
    type: 'number',
    min: 0,
    max: 0.5,
    doc: 'Share of --dataset that is held out if --eval-dataset is not set',
  },
  split: { type: 'string', doc: 'Split of a folder or a dataset of the hub (default: train; test for --eval-dataset)' },
  config: { type: 'string', doc: 'Name of one of several datasets in a folder or on the hub' },
  promptField: { type: 'string', doc: 'Field of the prompt (default: prompt)' },
  completionField: { type: 'string', doc: 'Field of the completion (default: completion)' },
  messagesField: { type: 'string', doc: 'Field of a conversation, a list of messages (default: messages)' },
  textField: { type: 'string', doc: 'Field of a plain text (default: text)' },
  promptTemplate: {
    type: 'string',
    doc: `Prompt template, the same as in prl train: ${Object.keys(PROMPT_PRESETS).join(', ')}, or a text with {prompt} (default: none)`,
  },
  systemPrompt: { type: 'string', doc: "System message, instead of the template's" },
  clock: DATASET_OPTIONS.clock,
  completionOnlyLoss: {
    type: 'boolean',
    default: true,
    doc: 'Rows of a prompt and a completion: learn the completion only',
  },
  assistantOnlyLoss: {
    type: 'boolean',
    default: true,
    doc: "Conversations: learn the assistant's turns only, all of them",
  },
  onInvalid: {
    type: 'choice',
    choices: ['error', 'drop'],
    doc: 'Treatment of rows that cannot be used (default: error)',
  },
} as const satisfies OptionTable;

export type SftDataOptions = OptionsOf<typeof SFT_DATA_OPTIONS>;
