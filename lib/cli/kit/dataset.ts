// A dataset on the command line: its options, and its task.
import { basename, extname } from 'node:path';
import { invalidArgument, outOfRange } from '../../base/errors.js';
import type { OptionsOf, OptionTable } from '../../base/options.js';
import type { Tokenizer } from '../../policy/tokenizer.js';
import type { PolicyLike } from '../../policy/types.js';
import { ANSWER_SOURCES } from '../../tasks/data/fields.js';
import { type Dataset, type DatasetOptions, describeReport, loadDataset } from '../../tasks/data/load.js';
import { PROMPT_PRESETS } from '../../tasks/data/prompt.js';
import { type DatasetTask, datasetTask } from '../../tasks/dataset.js';
import { EXTRACTIONS } from '../../tasks/verify/extract.js';
import { mathVerifier } from '../../tasks/verify/math.js';
import { exactVerifier, numericVerifier, regexVerifier } from '../../tasks/verify/simple.js';
import type { Verifier } from '../../tasks/verify/verifier.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import { Progress } from './progress.js';

export const DATASET_OPTIONS = {
  dtype: {
    type: 'choice',
    choices: ['float32', 'bfloat16'],
    doc: "Type of the model's weights in memory (default: float32); bfloat16 keeps float32 masters from the first step",
  },
  dataset: {
    type: 'strings',
    doc: 'Problems to train on: files (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub (owner/name); needs --model',
  },
  evalDataset: { type: 'strings', doc: 'Held-out problems, read with the same options and left out of --dataset' },
  evalShare: {
    type: 'number',
    min: 0,
    max: 0.5,
    doc: 'Share of --dataset that is held out if --eval-dataset is not set',
  },
  split: { type: 'string', doc: 'Split of a folder or a dataset of the hub (default: train; test for --eval-dataset)' },
  config: { type: 'string', doc: 'Name of one of several datasets in a folder or on the hub' },
  promptField: { type: 'string', doc: 'Field of the problem (default: problem, question, prompt or input)' },
  answerField: {
    type: 'string',
    doc: 'Field of the answer (default: answer, or another usual name, or else the solution)',
  },
  answerFrom: {
    type: 'choice',
    choices: ANSWER_SOURCES,
    doc: 'Part of the field that is the answer: detected, all of it, its last \\boxed{}, or after #### (default: auto)',
  },
  levelField: { type: 'string', doc: 'Field of a level, which --level can select and evaluations report separately' },
  promptTemplate: {
    type: 'string',
    doc: `Prompt template: ${Object.keys(PROMPT_PRESETS).join(', ')}, or a text with {prompt} (default: that of the model's run; else prl if the model has a chat template, or question)`,
  },
  systemPrompt: { type: 'string', doc: "System message, instead of the template's" },
  clock: {
    type: 'string',
    doc: 'Local date, or date and time, that a chat template tells (strftime_now), such as 2026-07-26 (default: the start)',
  },
  maxPromptLength: {
    type: 'integer',
    min: 1,
    doc: 'Longest prompt in tokens; problems with longer ones are left out (default: 1024, or what fits)',
  },
  onInvalid: {
    type: 'choice',
    choices: ['error', 'drop'],
    doc: 'Treatment of rows that cannot be used (default: error)',
  },
  verifier: {
    type: 'choice',
    choices: ['math', 'exact', 'numeric', 'regex'],
    doc: "Verifier that judges the responses (default: that of the model's run, else math)",
  },
  extraction: {
    type: 'choice',
    choices: EXTRACTIONS,
    doc: "Where to look for the answer: in \\boxed{}, there and elsewhere, or all of the response (default: that of the model's run, else boxed)",
  },
} as const satisfies OptionTable;

export type DatasetRunOptions = OptionsOf<typeof DATASET_OPTIONS>;

const VERIFIERS = { math: mathVerifier, exact: exactVerifier, numeric: numericVerifier };

/** The verifier that --verifier and --extraction choose. */
export function verifierOf({
  verifier = 'math',
  extraction,
}: Pick<DatasetRunOptions, 'verifier' | 'extraction'>): Verifier {
  if (verifier !== 'regex') return VERIFIERS[verifier]({ extraction });
  if (extraction !== undefined) throw invalidArgument('--extraction cannot be used with --verifier regex');
  return regexVerifier();
}

const MAX_PROMPT_LENGTH = 1024;

/** The model that will read the problems. */
interface Reader {
  tokenizer: Tokenizer;
  policy: Pick<PolicyLike, 'config'>;
  /** Longest response in tokens. Prompts must leave room for it. */
  maxCompletionLength: number;
}

/** Makes a task of the problems in `dataset`. Prints how many it keeps. */
export async function loadTask(
  { dataset, evalDataset, evalShare, verifier, extraction, split, clock, dtype: _, ...options }: DatasetRunOptions,
  reader: Reader,
  signal: AbortSignal,
): Promise<DatasetTask> {
  const { tokenizer } = reader;
  const judge = verifierOf({ verifier, extraction });
  if (clock !== undefined) setClock(tokenizer, clock);
  const maxPromptLength = promptRoom(options.maxPromptLength, reader);
  const load = async (label: string, source: readonly string[], ofSplit: string | undefined): Promise<Dataset> => {
    const name = basename(source[0], extname(source[0]));
    const start = performance.now();
    let progress: Progress | undefined;
    const onDownload: DatasetOptions['onDownload'] = ({ file, bytes, totalBytes }) => {
      progress ??= new Progress('download', totalBytes, bytes);
      progress.update(bytes, file);
    };
    const wanted = { ...options, name, split: ofSplit, tokenizer, maxPromptLength, signal, onDownload };
    const found = await loadDataset(source, wanted).finally(() => progress?.stop());
    const seconds = (performance.now() - start) / 1000;
    console.log(`${label.padEnd(12)} ${source.join(', ')}: ${describeReport(found.report)} (${seconds.toFixed(1)} s)`);
    return found;
  };
  const train = await load('dataset', dataset!, split);
  const test = evalDataset && (await load('evaluation', evalDataset, isFile(evalDataset) ? undefined : 'test'));
  const task = datasetTask({ tokenizer, train, test, evalShare, verifier: judge });
  const { size, leaked, identity } = task;
  console.log(`${''.padEnd(12)} ${size.train} problems to train on, ${size.test} held out, prompt ${identity?.prompt}`);
  if (leaked > 0)
    console.log(`${''.padEnd(12)} left ${leaked} problems out of the dataset that are in the evaluation too`);
  return task;
}

/** Options of an evaluation on held-out problems, of which there are `count`. */
export function heldOut(
  count: number,
  { evalProblems, evalSamples: n, temperature, maxCompletionLength, seed }: ResolvedTrainerOptions,
) {
  return { problems: Math.min(evalProblems, count), n, temperature, maxCompletionLength, seed };
}

/** Sets the clock of --clock. */
export function setClock(tokenizer: Tokenizer, clock: string): void {
  if (!tokenizer.readsClock) throw invalidArgument("--clock has no effect: the model's chat template tells no date");
  tokenizer.clock = clock;
}

/** The longest prompt that leaves room for a response. */
function promptRoom(maxPromptLength: number | undefined, { policy, maxCompletionLength }: Reader): number {
  const { max_position_embeddings: positions = Infinity } = policy.config;
  const room = positions - maxCompletionLength;
  const leaves = `the model has ${positions} positions: maxCompletionLength ${maxCompletionLength} leaves`;
  if (room < 1) throw outOfRange(`${leaves} none for a prompt`);
  if (maxPromptLength !== undefined && maxPromptLength > room)
    throw outOfRange(`${leaves} ${room} for a prompt, fewer than maxPromptLength ${maxPromptLength}`);
  return maxPromptLength ?? Math.min(MAX_PROMPT_LENGTH, room);
}

const isFile = (sources: readonly string[]) => sources.every((source) => extname(source) !== '');
