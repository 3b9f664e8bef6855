// What `prl prm collect` writes and `prl prm train` reads: lines of JSON, the first of which says how the rest was made.
import { existsSync } from 'node:fs';
import { readFile, truncate } from 'node:fs/promises';
import { invalidArgument, PrlError } from '../errors.js';
import { writeFileAtomic } from '../train/atomic.js';

const FORMAT = 'prl-prm-data';
const VERSION = 1;

/** A response, and what became of those that went on from the end of each of its steps. */
export interface PrmResponse {
  /** Token ids, the end-of-sequence token included when it was sampled. */
  tokens: number[];
  /** Where each step begins: 0 first, rising. */
  steps: number[];
  /** Per step: how many of the continuations ended right. After the last step there is nothing to go on from: all or none. */
  right: number[];
}

export interface PrmProblem {
  /** Its number in the task. */
  problem: number;
  /** Token ids. */
  prompt: number[];
  responses: PrmResponse[];
}

/** What decides the contents of a file, but for the number of problems: more may be asked for later on. */
export interface PrmSettings {
  task: string;
  /** Hash of the policy's weights, or another name of it. */
  model: string;
  split: string;
  level: string;
  seed: number;
  /** Responses per problem. */
  n: number;
  /** Per prefix. */
  continuations: number;
  maxCompletionLength: number;
  temperature: number;
  stepSplit: string;
  stepLength: number;
  stepTokens?: readonly number[];
  stepStrings?: readonly string[];
}

export interface PrmData {
  settings: PrmSettings;
  problems: PrmProblem[];
}

const corrupt = (file: string, line: number, message: string) =>
  new PrlError('ERR_PRL_CORRUPT', `${file}, line ${line}: ${message}`);

/** The lines of a file that were written whole: what follows the last line break was torn by a crash. */
async function wholeLines(file: string): Promise<{ lines: string[]; bytes: number; torn: boolean }> {
  let buffer: Buffer;
  try {
    buffer = await readFile(file);
  } catch (cause) {
    throw new PrlError('ERR_PRL_IO', `cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
  const bytes = buffer.lastIndexOf(10) + 1;
  const text = buffer.subarray(0, bytes).toString('utf8');
  return { lines: text.split('\n').slice(0, -1), bytes, torn: bytes < buffer.length };
}

function parse(file: string, text: string, line: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(file, line, `no JSON (${(cause as Error).message})`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw corrupt(file, line, 'no object');
  return value as Record<string, unknown>;
}

const isCount = (x: unknown, most = 2 ** 31 - 1): x is number =>
  Number.isInteger(x) && (x as number) >= 0 && (x as number) <= most;
const isIds = (ids: unknown): ids is number[] => Array.isArray(ids) && ids.length > 0 && ids.every((id) => isCount(id));

function checkProblem(value: Record<string, unknown>, continuations: number): PrmProblem | string {
  const { problem, prompt, responses } = value as Partial<PrmProblem>;
  if (!isCount(problem)) return 'problem must be a number';
  if (!isIds(prompt)) return 'prompt must hold token ids';
  if (!Array.isArray(responses)) return 'responses must be an array';
  for (const [i, response] of responses.entries()) {
    const { tokens, steps, right } = response ?? {};
    if (!isIds(tokens)) return `responses[${i}].tokens must hold token ids`;
    const rises = (at: unknown, k: number) =>
      isCount(at, tokens.length - 1) && (k === 0 ? at === 0 : at > steps[k - 1]);
    if (!Array.isArray(steps) || steps.length === 0 || !steps.every(rises))
      return `responses[${i}].steps must rise from 0 and stay below the ${tokens.length} tokens`;
    if (
      !Array.isArray(right) ||
      right.length !== steps.length ||
      !right.every((count) => isCount(count, continuations))
    )
      return `responses[${i}].right must hold ${steps.length} counts from 0 to ${continuations}`;
  }
  return { problem, prompt, responses };
}

function checkHeader(file: string, text: string | undefined): PrmSettings {
  const { format, version, ...settings } = text === undefined ? {} : parse(file, text, 1);
  if (format !== FORMAT) throw corrupt(file, 1, `this is no data of prl prm collect (format '${FORMAT}')`);
  if (version !== VERSION) throw corrupt(file, 1, `version ${version} is not known: this program knows ${VERSION}`);
  if (!isCount(settings.continuations) || settings.continuations === 0)
    throw corrupt(file, 1, 'continuations must be a number above 0');
  return settings as unknown as PrmSettings;
}

/** Reads a file, also one whose collection has not ended. */
export async function readPrmData(file: string): Promise<PrmData> {
  const { lines } = await wholeLines(file);
  const settings = checkHeader(file, lines[0]);
  const problems = lines.slice(1).map((text, i) => {
    const problem = checkProblem(parse(file, text, i + 2), settings.continuations);
    if (typeof problem === 'string') throw corrupt(file, i + 2, problem);
    return problem;
  });
  return { settings, problems };
}

/**
 * Makes `file` ready for lines to be appended, and reads those that are there: a new file gets its header, a torn last line is cut.
 * @throws TypeError for a file of other settings; it names the first difference
 */
export async function openPrmData(file: string, settings: PrmSettings): Promise<PrmProblem[]> {
  if (!existsSync(file)) {
    await writeFileAtomic(file, `${JSON.stringify({ format: FORMAT, version: VERSION, ...settings })}\n`);
    return [];
  }
  const { bytes, torn } = await wholeLines(file);
  const known = await readPrmData(file);
  for (const name of Object.keys(settings) as (keyof PrmSettings)[]) {
    const [there, given] = [known.settings[name], settings[name]].map((value) => JSON.stringify(value) ?? 'unset');
    if (there !== given)
      throw invalidArgument(`${file} was collected with ${name} ${there}, not ${given}: choose another file`);
  }
  const wrong = known.problems.findIndex(({ problem }, i) => problem !== i);
  if (wrong >= 0) throw corrupt(file, wrong + 2, `problem ${known.problems[wrong].problem} where ${wrong} was due`);
  if (torn) await truncate(file, bytes);
  return known.problems;
}
