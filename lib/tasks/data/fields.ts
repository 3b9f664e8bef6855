import { types } from 'node:util';
import { invalidArgument } from '../../base/errors.js';
import { describe } from '../../base/options.js';
import type { Problem } from '../task.js';
import { lastBoxed, markedLine } from '../verify/extract.js';
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
   * problem, question, prompt, input (MAWPS), in small or capital letters. A Body beside a Question (SVAMP), and a
   * context beside OlympiadBench's final_answer, come before it.
   */
  promptField?: string | undefined;
  /**
   * Field of the answer. Default: the first of answer, gold, final_answer, ground_truth, target, solution,
   * in small or capital letters.
   */
  answerField?: string | undefined;
  /**
   * Where in its field the answer is. 'field': the whole field. 'boxed': the contents of its last \boxed{}. 'hashes':
   * the text after its last #### (GSM8K). 'auto' (default): hashes if the last line begins with ####, else boxed if
   * there is a box, else the whole field. Of a solution of several lines, 'auto' takes no text but a last line that
   * says the answer.
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

const PROMPT_FIELDS = ['problem', 'question', 'prompt', 'input'];
/** A solution is last: it is searched for its final answer. */
const SOLUTION = 'solution';
const ANSWER_FIELDS = ['answer', 'gold', 'final_answer', 'ground_truth', 'target', SOLUTION];

/** The fields that are read. The names of the first row decide. */
export interface FieldMap {
  prompt: string;
  /** Text that comes before the problem, where a row has one. */
  context?: string;
  answer: string;
  answerFrom: AnswerFrom;
  id?: string;
  level?: string;
}

export function resolveFields(names: readonly string[], options: FieldOptions, file: string): FieldMap {
  const { promptField, answerField, answerFrom = 'auto', idField, levelField } = options;
  const has = (field: string) => names.includes(field) || names.includes(field.split('.')[0]);
  const alike = (field: string) => names.find((name) => name.toLowerCase() === field);
  const settle = (option: string, given: string | undefined, candidates: readonly string[]): string => {
    const usual = candidates.find(has) ?? candidates.map(alike).find((name) => name !== undefined);
    const found = given === undefined ? usual : has(given) ? given : undefined;
    if (found === undefined) {
      // The answers of files for verl.
      const nested = option === 'answerField' && names.includes('reward_model') ? ': reward_model.ground_truth?' : '';
      throw invalidArgument(
        `${file} has no field ${given === undefined ? candidates.join(', ') : given}: its fields are ${names.slice(0, 20).join(', ')}. ${option} names the one to use${nested}`,
      );
    }
    return found;
  };
  const prompt = settle('promptField', promptField, PROMPT_FIELDS);
  const context = promptField === undefined ? contextOf(prompt, names) : undefined;
  return {
    prompt,
    ...(context !== undefined && { context }),
    answer: settle('answerField', answerField, ANSWER_FIELDS),
    answerFrom,
    ...(idField !== undefined && { id: settle('idField', idField, []) }),
    ...(levelField !== undefined && { level: settle('levelField', levelField, []) }),
  };
}

/** The field that a question continues: SVAMP's Body, OlympiadBench's context. */
function contextOf(prompt: string, names: readonly string[]): string | undefined {
  if (prompt.toLowerCase() !== 'question') return undefined;
  const ofOlympiad = names.includes('final_answer') ? 'context' : undefined;
  return names.find((name) => name.toLowerCase() === 'body' || name === ofOlympiad);
}

/** Names of the columns that hold the fields. */
export function columnsOf({ prompt, context, answer, id, level }: FieldMap, names: readonly string[]): string[] {
  const fields = [prompt, context, answer, id, level].filter((field) => field !== undefined);
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
    prompt: fields.context === undefined ? prompt : withContext(valueAt(row, fields.context), fields.context, prompt),
    answer,
    ...(system !== undefined && { system }),
    ...(fields.id !== undefined && { id: textOf(valueAt(row, fields.id), fields.id) }),
    ...(fields.level !== undefined && { level: textOf(valueAt(row, fields.level), fields.level) }),
  };
}

/** The problem after its context, as one text. */
function withContext(value: unknown, field: string, prompt: string): string {
  if (value === undefined || value === null || value === '') return prompt;
  const context = textOf(value, field).trim();
  return `${context}${/[.!?:,]$/.test(context) ? '' : '.'} ${prompt}`;
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

/** Characters of a solution that is no more than its answer. */
const MAX_LINE = 100;

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
  const said = from === 'auto' && field.toLowerCase() === SOLUTION ? finalLine(text) : text;
  const found = hashes ?? boxed ?? (from === 'auto' || from === 'field' ? said : undefined);
  if (found === undefined) {
    if (from === 'boxed' || from === 'hashes')
      throw new Error(`'${field}' has no ${from === 'boxed' ? '\\boxed{...}' : 'line after ####'}`);
    throw new Error(
      `'${field}' says no final answer, in \\boxed{...} or in its last line: answerFrom 'field' takes all of it`,
    );
  }
  const answer = found.trim();
  if (answer === '') throw new Error(`'${field}' holds an empty answer`);
  // A copy, because a part of a string keeps the whole string in memory.
  return found === text ? answer : Buffer.from(answer).toString();
}

/** The answer in the last line of a solution without a box: after "Answer:", or alone in its line. */
function finalLine(text: string): string | undefined {
  const lines = text.trim().split('\n');
  const line = lines[lines.length - 1].trim();
  const isMath = /^\$[^$]+\$\.?$|^-?[\d.,/]+$/.test(line);
  const isAnswer = lines.length === 1 && line.length <= MAX_LINE && !/\\boxed|[a-z]{2,} [a-z]+ [a-z]{2,}/i.test(line);
  return markedLine(line) ?? (isMath || isAnswer ? line : undefined);
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
