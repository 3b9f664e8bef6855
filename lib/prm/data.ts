// The file that `prl prm collect` writes and `prl prm train` reads: lines of JSON. The first line says how the others
// were made.
import { corruptLine } from '../base/lines.js';
import { isCount } from '../base/options.js';
import { RecordFile, type RecordKind, readRecords } from '../base/records.js';
import type { Task } from '../tasks/task.js';

/** @internal */
export const PRM_DATA: RecordKind = { format: 'prl-prm-data', version: 1, title: 'data of prl prm collect' };

/** A response, and how many continuations of each of its steps ended right. */
export interface PrmResponse {
  /** Token ids, with the end-of-sequence token if it was sampled. */
  tokens: number[];
  /** Token index where each step begins: 0 first, rising. */
  steps: number[];
  /** Per step: how many of the continuations ended right. The last step has no continuations: it has all or none. */
  right: number[];
}

/** A problem with its responses. */
export interface PrmProblem {
  /** Number of the problem in the task. */
  problem: number;
  /** Token ids of the prompt. */
  prompt: number[];
  /** The n responses. */
  responses: PrmResponse[];
}

/**
 * The settings that decide the contents of a file. The number of problems is not among them: a later call may ask for
 * more.
 */
export interface PrmSettings {
  /** Name of the task. */
  task: string;
  /** Other texts that identify its problems, such as the fingerprint of a dataset. */
  identity?: Task['identity'];
  /** Hash of the policy's weights, or another name of it. */
  model: string;
  /** Split of the problems. */
  split: string;
  /** The local time that the chat template tells, if it tells one. */
  clock?: string;
  /** Level of the problems. */
  level: string;
  /** Seed of problems and samples. */
  seed: number;
  /** Responses per problem. */
  n: number;
  /** Continuations per prefix. */
  continuations: number;
  /** Longest response in tokens. */
  maxCompletionLength: number;
  /** Temperature of sampling. */
  temperature: number;
  /** How steps were cut. The model must later see steps that are cut the same way. */
  stepSplit: string;
  /** For stepSplit 'length'. */
  stepLength: number;
  /** For stepSplit 'tokens'. */
  stepTokens?: readonly number[];
  /** For stepSplit 'strings'. */
  stepStrings?: readonly string[];
}

/** Contents of a file of `prl prm collect`. */
export interface PrmData {
  /** How the data was made. */
  settings: PrmSettings;
  /** The problems, in the order of the file. */
  problems: PrmProblem[];
}

const isInt32 = (x: unknown): x is number => isCount(x, 2 ** 31 - 1);
const isIds = (ids: unknown): ids is number[] => Array.isArray(ids) && ids.length > 0 && ids.every(isInt32);

function checkProblem(value: Record<string, unknown>, continuations: number): PrmProblem | string {
  const { problem, prompt, responses } = value as Partial<PrmProblem>;
  if (!isInt32(problem)) return 'problem must be an integer from 0';
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

/**
 * Reads a file of `prl prm collect`, finished or not.
 *
 * @throws PrlError ERR_PRL_CORRUPT that names the line, ERR_PRL_IO
 */
export async function readPrmData(file: string): Promise<PrmData> {
  let settings: PrmSettings | undefined;
  const problems: PrmProblem[] = [];
  for await (const { line, value } of readRecords(file, PRM_DATA)) {
    if (settings) {
      const problem = checkProblem(value, settings.continuations);
      if (typeof problem === 'string') throw corruptLine(file, line, problem);
      problems.push(problem);
    } else {
      const { format: _, version: __, ...rest } = value;
      if (!isInt32(rest.continuations) || rest.continuations === 0)
        throw corruptLine(file, 1, 'continuations must be a number above 0');
      settings = rest as unknown as PrmSettings;
    }
  }
  return { settings: settings!, problems };
}

/**
 * Makes `file` ready for problems to be appended, and reads those that are there.
 * @throws TypeError for a file of other settings; it names the first difference
 */
export async function openPrmData(
  file: string,
  settings: PrmSettings,
): Promise<{ file: RecordFile; problems: PrmProblem[] }> {
  const records = await RecordFile.open(file, PRM_DATA, settings);
  try {
    const { problems } = await readPrmData(file);
    const wrong = problems.findIndex(({ problem }, i) => problem !== i);
    if (wrong >= 0) throw corruptLine(file, wrong + 2, `expected problem ${wrong}, not ${problems[wrong].problem}`);
    return { file: records, problems };
  } catch (error) {
    await records.close();
    throw error;
  }
}
