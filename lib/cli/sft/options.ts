import type { OptionsOf, OptionTable } from '../../base/options.js';
import { PROMPT_PRESETS } from '../../tasks/data/prompt.js';
import { DATASET_OPTIONS } from '../kit/dataset.js';

const { dtype, evalShare, split, config, systemPrompt, clock, onInvalid } = DATASET_OPTIONS;

/** Options of the demonstrations, which a resumed run keeps. */
export const SFT_DATA_OPTIONS = {
  dtype,
  dataset: {
    type: 'strings',
    doc: 'Demonstrations: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub (owner/name)',
  },
  evalDataset: { type: 'strings', doc: 'Held-out demonstrations, read with the same options' },
  evalShare,
  split,
  config,
  promptField: { type: 'string', doc: 'Field of the prompt (default: prompt)' },
  completionField: { type: 'string', doc: 'Field of the completion (default: completion)' },
  messagesField: { type: 'string', doc: 'Field of a conversation, a list of messages (default: messages)' },
  textField: { type: 'string', doc: 'Field of a plain text (default: text)' },
  promptTemplate: {
    type: 'string',
    doc: `Prompt template, the same as in prl train: ${Object.keys(PROMPT_PRESETS).join(', ')}, or a text with {prompt} (default: none)`,
  },
  systemPrompt,
  clock,
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
  onInvalid,
} as const satisfies OptionTable;

export type SftDataOptions = OptionsOf<typeof SFT_DATA_OPTIONS>;
