import { types } from 'node:util';
import { invalidArgument } from '../../base/errors.js';
import { describe } from '../../base/options.js';
import type { Problem } from '../task.js';
import { lastBoxed } from '../verify/extract.js';
import type { RawRow } from './raw-row.js';

/** A problem of a dataset. */
export interface DatasetProblem extends Problem {
  /** Id of its row. */
  id?: string;
  /** Difficulty, or another kind of problem. */
  level?: string;
  /** System message, if the row has its own. */
  system?: string;
}

/** The fields of a row. Names with dots reach into objects and lists. */
export interface FieldOptions {
  /**
   * Field of the problem: a text, or a chat of one user message and at most one system message. Default: the first of
   * problem, question, prompt.
   */
  promptField?: string | undefined;
  /**
   * Field of the answer. Default: the first of answer, gold, final_answer, ground_truth; with answerFrom 'boxed' also
   * solution.
   */
  answerField?: string | undefined;
  /**
   * Where in its field the answer is. 'field': the whole field. 'boxed': the contents of its last \boxed{}. 'hashes':
   * the text after its last #### (GSM8K). 'auto' (default): hashes if the last line begins with ####, else boxed if
   * there is a box, else the whole field.
   */
  answerFrom?: AnswerFrom | undefined;
  /** Field of the row's id. Default: no id. */
  idField?: string | undefined;
  /** Field whose values become levels of the task, beside 'all'. */
  levelField?: string | undefined;
}

export const ANSWER_SOURCES = ['auto', 'field', 'boxed', 'hashes'] as const;
/** Where in its field the answer is. See FieldOptions.answerFrom. */
export type AnswerFrom = (typeof ANSWER_SOURCES)[number];

const PROMPT_FIELDS = ['problem', 'question', 'prompt'];
const ANSWER_FIELDS = ['answer', 'gold', 'final_answer', 'ground_truth'];

/** The fields that are read. The names of the first row decide. */
export interface FieldMap {
  prompt: string;
  answer: string;
  answerFrom: AnswerFrom;
  id?: string;
  level?: string;
}

export function resolveFields(names: readonly string[], options: FieldOptions, file: string): FieldMap {
  const { promptField, answerField, answerFrom = 'auto', idField, levelField } = options;
  const has = (field: string) => names.includes(field) || names.includes(field.split('.')[0]);
  const settle = (option: string, given: string | undefined, candidates: readonly string[]): string => {
    const found =
      given === undefined ? candidates.find((name) => names.includes(name)) : has(given) ? given : undefined;
    if (found === undefined)
      throw invalidArgument(
        `${file} has no field ${given === undefined ? candidates.join(', ') : given}: its fields are ${names.slice(0, 20).join(', ')}. ${option} names the one to use`,
      );
    return found;
  };
  return {
    prompt: settle('promptField', promptField, PROMPT_FIELDS),
    answer: settle('answerField', answerField, answerFrom === 'boxed' ? [...ANSWER_FIELDS, 'solution'] : ANSWER_FIELDS),
    answerFrom,
    ...(idField !== undefined && { id: settle('idField', idField, []) }),
    ...(levelField !== undefined && { level: settle('levelField', levelField, []) }),
  };
}

/** Names of the columns that hold the fields. */
export function columnsOf({ prompt, answer, id, level }: FieldMap, names: readonly string[]): string[] {
  const fields = [prompt, answer, id, level].filter((field) => field !== undefined);
  return [...new Set(fields.map((field) => (names.includes(field) ? field : field.split('.')[0])))];
}

/**
 * The problem of a row.
 *
 * @throws Error that says what is wrong, without the place
 */
export function problemOf(row: RawRow, fields: FieldMap): DatasetProblem {
  const { prompt, system } = promptOf(valueAt(row, fields.prompt), fields.prompt);
  const answer = extractAnswer(textOf(valueAt(row, fields.answer), fields.answer), fields.answerFrom, fields.answer);
  return {
    prompt,
    answer,
    ...(system !== undefined && { system }),
    ...(fields.id !== undefined && { id: textOf(valueAt(row, fields.id), fields.id) }),
    ...(fields.level !== undefined && { level: textOf(valueAt(row, fields.level), fields.level) }),
  };
}

/** The value of a field, by its whole name or along its dots. Inherited properties do not count. */
function valueAt(row: RawRow, field: string): unknown {
  if (Object.hasOwn(row, field)) return row[field];
  let value: unknown = row;
  for (const name of field.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as RawRow)[name];
  }
  return value;
}

function promptOf(value: unknown, field: string): { prompt: string; system?: string } {
  if (!Array.isArray(value)) return { prompt: textOf(value, field) };
  const message = (role: string) =>
    value.filter((each) => typeof each === 'object' && each !== null && valueAt(each, 'role') === role);
  const [systems, users] = [message('system'), message('user')];
  if (users.length !== 1 || systems.length > 1 || value.length !== users.length + systems.length)
    throw new Error(
      `'${field}' must be a chat of one user message and at most one system message before it, not of ${value.length} messages`,
    );
  const prompt = textOf(valueAt(users[0], 'content'), `${field}.content`);
  return systems.length === 0
    ? { prompt }
    : { prompt, system: textOf(valueAt(systems[0], 'content'), `${field}.content`) };
}

/** Depth of lists in lists. Real answers have one level. */
const MAX_DEPTH = 4;

/** A text, or a number as text. The items of a list (an answer of several parts) are joined by commas. */
function textOf(value: unknown, field: string, depth = 0): string {
  if (depth > MAX_DEPTH) throw new Error(`'${field}' nests lists too deeply`);
  if (Array.isArray(value)) return value.map((item, i) => textOf(item, `${field}.${i}`, depth + 1)).join(', ');
  if (types.isNumberObject(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))
    throw new Error(`'${field}' has more digits than a JSON number keeps: write it as a string`);
  if (typeof value === 'bigint' || typeof value === 'boolean' || Number.isFinite(value)) return String(value);
  if (typeof value !== 'string')
    throw new Error(`'${field}' ${value === undefined ? 'is missing' : `must be a text, not ${describe(value)}`}`);
  if (value.trim() === '') throw new Error(`'${field}' is empty`);
  return value;
}

function extractAnswer(text: string, from: AnswerFrom, field: string): string {
  const hashes = from === 'auto' || from === 'hashes' ? afterHashes(text, from === 'auto') : undefined;
  const boxed = hashes === undefined && (from === 'auto' || from === 'boxed') ? lastBoxed(text) : undefined;
  const found = hashes ?? boxed;
  if (found === undefined && from !== 'auto' && from !== 'field')
    throw new Error(`'${field}' has no ${from === 'boxed' ? '\\boxed{...}' : 'line after ####'}`);
  const answer = (found ?? text).trim();
  if (answer === '') throw new Error(`'${field}' holds an empty answer`);
  // A copy, because a part of a string keeps the whole string in memory.
  return found === undefined ? answer : Buffer.from(answer).toString();
}

/** The text after the last #### of a line. With `last`, that must be the last line and begin with ####, as in GSM8K. */
function afterHashes(text: string, last: boolean): string | undefined {
  const lines = text.trimEnd();
  const at = lines.lastIndexOf('####');
  const line = lines.slice(lines.lastIndexOf('\n') + 1).trimStart();
  if (at < 0 || (last && !line.startsWith('####'))) return undefined;
  return lines
    .slice(at + 4)
    .split('\n', 1)[0]
    .trim();
}
