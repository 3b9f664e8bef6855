// The options of `prl eval`, and what its two evaluators have in common.
import type { OptionTable, ResolvedOptions } from '../../base/options.js';
import { EXTRACTIONS } from '../../tasks/verify/extract.js';
import { DATASET_OPTIONS } from '../kit/dataset.js';
import { ROLLOUT_OPTIONS } from '../kit/rollout.js';

// Defaults belong to the library: they differ between the task and datasets.
export const OPTIONS = {
  model: {
    type: 'string',
    doc: 'Folder of a model or of a run (its newest checkpoint), or the id of a model of the hub',
  },
  n: { type: 'integer', min: 1, doc: 'Responses per problem (default: 8)' },
  temperature: { type: 'number', min: 0, doc: 'Of sampling; 0 is greedy (default: 1)' },
  maxCompletionLength: { type: 'integer', min: 1, doc: 'Longest response in tokens (default: 96; with --data 2048)' },
  seed: {
    type: 'integer',
    min: 0,
    max: 2 ** 31 - 1,
    doc: 'Of sampling; the problems are always the same (default: 0)',
  },
  problems: {
    type: 'integer',
    min: 1,
    doc: 'Held-out problems per level (default: 200); with --data the first of each set (default: all)',
  },
  output: { type: 'string', doc: 'Write all figures to this JSON file; without --data every response too' },
  json: { type: 'boolean', doc: 'Print JSON' },
} as const satisfies OptionTable;

export const TASK_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], doc: 'Whose held-out problems (default: arithmetic)' },
  level: { type: 'string', doc: 'Difficulty (default: both of 2-6 and 7-8 operands)' },
} as const satisfies OptionTable;

export const DATA_OPTIONS = {
  data: { type: 'files', doc: 'A set of problems with their answers, or NAME=FILE; may be given several times' },
  responses: {
    type: 'string',
    doc: 'Judge the responses in this JSONL file (id or prompt, and responses) instead of sampling',
  },
  records: { type: 'string', doc: 'Write a line per problem with every response to this JSONL file, as they come' },
  resume: { type: 'boolean', doc: 'Go on with --records where it was' },
  verifier: DATASET_OPTIONS.verifier,
  extraction: {
    type: 'choice',
    choices: EXTRACTIONS,
    doc: 'Where the answer is looked for: in \\boxed{}, there or in other places, all of the response (default: boxed)',
  },
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
  idField: { type: 'string', doc: 'Field of an id, by which --responses may name a problem' },
  config: DATASET_OPTIONS.config,
  onInvalid: DATASET_OPTIONS.onInvalid,
  split: { type: 'string', doc: 'Of a folder or a dataset of the hub (default: test)' },
  rolloutUrl: ROLLOUT_OPTIONS.rolloutUrl,
  rolloutEngine: ROLLOUT_OPTIONS.rolloutEngine,
  rolloutModel: ROLLOUT_OPTIONS.rolloutModel,
  chunkSize: { type: 'integer', min: 1, doc: 'Problems that are sampled, and saved, together (default: 16)' },
} as const satisfies OptionTable;

export const ALL = { ...OPTIONS, ...TASK_OPTIONS, ...DATA_OPTIONS };
export type EvalOptions = ResolvedOptions<typeof ALL>;

/** What came of an evaluation, for --output, --json and the terminal. */
export interface Evaluated {
  file: string;
  json: string;
  table: string;
}
