import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { badRow } from '../../base/lines.js';
import {
  checkChoice,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkString,
  checkText,
} from '../../base/options.js';
import { checkTokenizer, type Tokenizer } from '../../policy/tokenizer.js';
import {
  ANSWER_SOURCES,
  columnsOf,
  type DatasetProblem,
  type FieldMap,
  type FieldOptions,
  problemOf,
  resolveFields,
} from './fields.js';
import { checkPrompt, type PromptEncoder, type PromptOptions, promptEncoder } from './prompt.js';
import type { RawRow } from './raw-row.js';
import { readRows, unusableRow } from './rows.js';
import { duplicateKey } from './same-problem.js';
import { resolveSources, SOURCE_OPTIONS, type SourceOptions } from './source.js';

/** Options of {@link loadDataset}. */
export interface DatasetOptions extends SourceOptions, FieldOptions, PromptOptions {
  /** Name in messages and reports. Default: the source. */
  name?: string | undefined;
  /** What to do with rows that cannot be used: not JSON, a field missing. Default 'error'. */
  onInvalid?: 'error' | 'drop' | undefined;
  /** What to do with duplicates and rows outside the limits below. Default 'drop'. */
  onFiltered?: 'error' | 'drop' | undefined;
  /** Longest prompt in tokens, template included. It needs `tokenizer`. */
  maxPromptLength?: number | undefined;
  /** Counts the tokens for maxPromptLength. */
  tokenizer?: Tokenizer | undefined;
  /** Shortest answer in characters. */
  minAnswerLength?: number | undefined;
  /** Longest answer in characters. */
  maxAnswerLength?: number | undefined;
  /** Returns true for the problems to keep. It also gets the whole row. */
  filter?: ((problem: DatasetProblem, row: RawRow) => boolean | Promise<boolean>) | undefined;
  /** Called from time to time with the rows read and kept. */
  onProgress?: ((progress: Pick<DatasetReport, 'rows' | 'kept'>) => void) | undefined;
}

/** How many rows were kept and dropped. */
export interface DatasetReport {
  /** Rows read. */
  rows: number;
  /** Rows that became problems. */
  kept: number;
  /** Number of dropped rows by reason, with the first place of each. */
  dropped: { [reason: string]: { count: number; first: string } };
  /** Duplicates whose answer differs from that of the row that was kept. */
  conflicting: number;
}

/** Problems that were read, and a report on the rows. */
export interface Dataset {
  /** Name in messages and reports. */
  readonly name: string;
  /** In the order of the rows. */
  readonly problems: readonly DatasetProblem[];
  /** The prompt template. Training and evaluation must use the same one. */
  readonly prompt: PromptOptions;
  /** SHA-256 of the problems in their order. */
  readonly fingerprint: string;
  /** How many rows were kept and dropped. */
  readonly report: DatasetReport;
}

const OWN = ['name', 'onInvalid', 'onFiltered', 'maxPromptLength', 'tokenizer', 'minAnswerLength', 'maxAnswerLength'];
const FIELDS = ['promptField', 'answerField', 'answerFrom', 'idField', 'levelField'];
const PROMPT = ['promptTemplate', 'systemPrompt', 'chat'];
const KNOWN = [...OWN, 'filter', 'onProgress', ...FIELDS, ...PROMPT, ...SOURCE_OPTIONS];

/** Rows between two turns of the event loop. */
const TURN = 256;

/**
 * Reads problems with their answers. A source is a file (.jsonl, .json, .csv, .tsv, .parquet), a folder (the files of a
 * split), or a dataset of the hub ('owner/name', 'owner/name@revision'). Several sources are one dataset. Files are
 * read piece by piece, and only the mapped fields are kept.
 *
 * @throws TypeError for a field that the first row lacks
 * @throws PrlError ERR_PRL_CORRUPT that names file, line and `onInvalid`, for a row that cannot be used (unless that is
 *   'drop'); an error of the hub, as downloadFiles
 */
export async function loadDataset(source: string | readonly string[], options: DatasetOptions = {}): Promise<Dataset> {
  options = check(options);
  const { promptTemplate, systemPrompt, chat, signal, onProgress } = options;
  const collector = new Collector(options);
  const files = await resolveSources(source, options);
  const name = options.name ?? [source].flat().join(', ');
  for (const file of files) {
    let fields: FieldMap | undefined;
    const rows = readRows(file, (names) => {
      fields = resolveFields(names, options, file.path);
      return options.filter ? undefined : columnsOf(fields, names);
    });
    for await (const item of rows) {
      if ('error' in item) collector.invalid(item.where, item.error);
      else await collector.add(item.where, item.row, fields!);
      if (collector.report.rows % TURN !== 0) continue;
      await setImmediate();
      if (signal?.aborted)
        throw new PrlError('ERR_PRL_ABORTED', `reading ${file.path} was aborted`, { cause: signal.reason });
      onProgress?.(collector.report);
    }
  }
  const { problems, report, fingerprint } = collector;
  if (problems.length === 0)
    throw new PrlError('ERR_PRL_CORRUPT', `${name} has no usable problem: ${describeReport(report)}`);
  return { name, problems, prompt: { promptTemplate, systemPrompt, chat }, fingerprint: fingerprint(), report };
}

function check(options: DatasetOptions): DatasetOptions {
  options = checkOptions('loadDataset', options, KNOWN);
  for (const name of ['promptField', 'answerField', 'idField', 'levelField'] as const)
    if (options[name] !== undefined) checkText(name, options[name], 'the name of a field');
  if (options.answerFrom !== undefined) checkChoice('answerFrom', options.answerFrom, ANSWER_SOURCES);
  for (const name of ['onInvalid', 'onFiltered'] as const)
    if (options[name] !== undefined) checkChoice(name, options[name], ['error', 'drop']);
  for (const name of ['maxPromptLength', 'minAnswerLength', 'maxAnswerLength'] as const)
    if (options[name] !== undefined) checkInteger(name, options[name], 1);
  if (options.tokenizer !== undefined) checkTokenizer(options.tokenizer);
  if (options.maxPromptLength !== undefined && !options.tokenizer)
    throw invalidArgument('maxPromptLength counts tokens: pass the tokenizer too');
  if (options.filter !== undefined) checkFunction('filter', options.filter, 'a function of a problem');
  for (const name of ['onProgress', 'onDownload'] as const)
    if (options[name] !== undefined) checkFunction(name, options[name]);
  if (options.name !== undefined) checkString('name', options.name);
  checkSignal(options.signal);
  checkPrompt(options);
  return options;
}

/** Turns rows into problems, or into reasons for dropping them. */
class Collector {
  readonly problems: DatasetProblem[] = [];
  readonly report: DatasetReport = { rows: 0, kept: 0, dropped: {}, conflicting: 0 };
  readonly #options: DatasetOptions;
  readonly #encoder: PromptEncoder | undefined;
  /** Answers by the key of the problem. */
  readonly #answers = new Map<string, string>();
  readonly #hash = createHash('sha256');

  constructor(options: DatasetOptions) {
    this.#options = options;
    this.#encoder = options.maxPromptLength === undefined ? undefined : promptEncoder(options.tokenizer!, options);
  }

  fingerprint = (): string => this.#hash.copy().digest('hex');

  invalid(where: string, error: PrlError): void {
    this.report.rows++;
    if (this.#options.onInvalid !== 'drop') throw unusableRow(error);
    this.#drop('invalid', where);
  }

  async add(where: string, row: RawRow, fields: FieldMap): Promise<void> {
    let problem: DatasetProblem;
    try {
      problem = problemOf(row, fields);
    } catch (cause) {
      this.invalid(where, badRow(where, (cause as Error).message, cause));
      return;
    }
    this.report.rows++;
    const reason = await this.#whyNot(problem, row);
    if (reason !== undefined) {
      if (this.#options.onFiltered === 'error')
        throw badRow(where, `${reason.message}. onFiltered 'drop' leaves such rows out`);
      this.#drop(reason.name, where);
      return;
    }
    this.#answers.set(duplicateKey(problem.prompt), problem.answer);
    this.problems.push(problem);
    this.report.kept++;
    this.#hash.update(`${JSON.stringify([problem.prompt, problem.answer, problem.level, problem.system])}\n`);
  }

  async #whyNot(problem: DatasetProblem, row: RawRow): Promise<{ name: string; message: string } | undefined> {
    const { maxPromptLength, minAnswerLength = 0, maxAnswerLength = Infinity, filter } = this.#options;
    const { length } = problem.answer;
    if (length < minAnswerLength)
      return {
        name: 'answer too short',
        message: `the answer has ${length} characters, fewer than ${minAnswerLength}`,
      };
    if (length > maxAnswerLength)
      return { name: 'answer too long', message: `the answer has ${length} characters, more than ${maxAnswerLength}` };
    const kept = this.#answers.get(duplicateKey(problem.prompt));
    if (kept !== undefined) {
      if (kept !== problem.answer) this.report.conflicting++;
      return { name: 'duplicate', message: 'the same problem came before' };
    }
    if (filter && !(await filter(problem, row))) return { name: 'filter', message: 'the filter rejects it' };
    const tokens = this.#encoder?.encode(problem).length ?? 0;
    if (tokens > (maxPromptLength ?? Infinity))
      return { name: 'prompt too long', message: `the prompt has ${tokens} tokens, more than ${maxPromptLength}` };
  }

  #drop(reason: string, where: string): void {
    const entry = (this.report.dropped[reason] ??= { count: 0, first: where });
    entry.count++;
  }
}

/** One line of text that says how many rows were kept and why the others were not. */
export function describeReport({ rows, kept, dropped, conflicting }: DatasetReport): string {
  const reasons = Object.entries(dropped).map(
    ([reason, { count, first }]) =>
      `${count} ${reason}${reason === 'duplicate' && conflicting > 0 ? ` (${conflicting} with another answer)` : ''} (first: ${first})`,
  );
  return [`${kept} of ${rows} rows kept`, ...reasons].join(', ');
}
