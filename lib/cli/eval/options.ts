// The options of `prl eval`, and the interface that its two evaluators share.
import type { OptionTable, ResolvedOptions } from '../../base/options.js';
import { DATASET_OPTIONS } from '../kit/dataset.js';
import { LOAD_OPTIONS } from '../kit/model-folder.js';
import { ROLLOUT_OPTIONS } from '../kit/rollout.js';

// The library sets the defaults. They differ between the task and datasets.
export const OPTIONS = {
  model: {
    type: 'string',
    doc: 'Folder of a model or of a run (its newest checkpoint), or the id of a model of the hub',
  },
  ...LOAD_OPTIONS,
  n: { type: 'integer', min: 1, doc: 'Responses per problem (default: 8)' },
  temperature: { type: 'number', min: 0, doc: 'Temperature of sampling; 0 is greedy (default: 1)' },
  maxCompletionLength: { type: 'integer', min: 1, doc: 'Longest response in tokens (default: 96; with --data 2048)' },
  seed: {
    type: 'integer',
    min: 0,
    max: 2 ** 31 - 1,
    doc: 'Seed of sampling; the problems are always the same (default: 0)',
  },
  problems: {
    type: 'integer',
    min: 1,
    doc: 'Held-out problems per level (default: 200); with --data, first problems of each set (default: all)',
  },
  output: { type: 'string', doc: 'Write all figures to this JSON file, and without --data every response' },
  json: { type: 'boolean', doc: 'Print JSON' },
} as const satisfies OptionTable;

export const TASK_OPTIONS = {
  task: {
    type: 'choice',
    choices: ['arithmetic'],
    doc: 'Task that the held-out problems come from (default: arithmetic)',
  },
  level: { type: 'string', doc: 'Difficulty of the problems, in operands (default: both 2-6 and 7-8)' },
} as const satisfies OptionTable;

export const DATA_OPTIONS = {
  data: { type: 'files', doc: 'Set of problems with answers: FILE or NAME=FILE; can be repeated' },
  responses: {
    type: 'string',
    doc: 'Judge the responses in this JSONL file (id or prompt, and responses) instead of sampling',
  },
  records: {
    type: 'string',
    doc: 'Write a line per problem, with every response, to this JSONL file as problems finish',
  },
  resume: { type: 'boolean', doc: 'Resume the evaluation in --records' },
  verifier: DATASET_OPTIONS.verifier,
  extraction: DATASET_OPTIONS.extraction,
  topK: { type: 'integer', min: 0, doc: 'Sample from the k likeliest tokens (default: all)' },
  topP: {
    type: 'number',
    above: 0,
    max: 1,
    doc: 'Sample from the likeliest tokens whose probability reaches this (default: all)',
  },
  promptTemplate: DATASET_OPTIONS.promptTemplate,
  systemPrompt: DATASET_OPTIONS.systemPrompt,
  promptField: DATASET_OPTIONS.promptField,
  answerField: DATASET_OPTIONS.answerField,
  answerFrom: DATASET_OPTIONS.answerFrom,
  idField: { type: 'string', doc: 'Field of an id, by which --responses can name a problem' },
  config: DATASET_OPTIONS.config,
  onInvalid: DATASET_OPTIONS.onInvalid,
  split: { type: 'string', doc: 'Split of a folder or a dataset of the hub (default: test)' },
  rolloutUrl: ROLLOUT_OPTIONS.rolloutUrl,
  rolloutEngine: ROLLOUT_OPTIONS.rolloutEngine,
  rolloutModel: ROLLOUT_OPTIONS.rolloutModel,
  chunkSize: { type: 'integer', min: 1, doc: 'Problems that are sampled and saved together (default: 16)' },
} as const satisfies OptionTable;

export const ALL = { ...OPTIONS, ...TASK_OPTIONS, ...DATA_OPTIONS };
export type EvalOptions = ResolvedOptions<typeof ALL>;

/** The result of an evaluation, for --output, --json and the terminal. */
export interface Evaluated {
  file: string;
  json: string;
  table: string;
}
