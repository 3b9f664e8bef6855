// The line that an evaluation writes for each problem, and the numbers that the figures need.
import { isObject } from '../base/json.js';
import { isCount } from '../base/options.js';
import type { RecordKind } from '../base/records.js';
import type { Majority } from './majority.js';

export const RECORDS: RecordKind = { format: 'prl-evaluation', version: 1, title: 'record of prl eval' };

/** A response and its verdict. */
export interface ResponseRecord {
  /** Text of the response. */
  text: string;
  /** Whether it ended by itself, not at the length limit. */
  finished: boolean;
  /** Number of tokens. Unknown for responses made elsewhere. */
  tokens?: number;
  /** The verifier's reward. */
  reward: number;
  /** The answer that was found, as spelled there. Absent if there is none, or if the verifier finds no answers. */
  answer?: string;
  /** The verifier's other measures. */
  measures?: Record<string, number>;
}

/** A line of the record: a problem and its responses. */
export interface EvaluationRecord {
  /** Name of its set. */
  set: string;
  /** Index of the problem in its set, from 0. */
  index: number;
  /** Id of its row. */
  id?: string;
  /** The question, without the template. */
  prompt: string;
  /** The right answer. */
  answer: string;
  /** Responses in the order of sampling. */
  responses: ResponseRecord[];
  /** The vote over the responses; null if none gives an answer. Absent if the verifier finds no answers. */
  majority?: Majority | null;
}

/** A problem in numbers. */
export interface Tally {
  /** Responses with a reward above 0. */
  correct: number;
  /** Whether the most frequent answer is right. */
  majority?: boolean;
  /** Responses with an answer. */
  answered?: number;
  /** Tokens of all responses. */
  tokens?: number;
  /** Responses cut at the length limit. */
  clipped: number;
  /** Sums over responses of the other measures. */
  measures: Record<string, number>;
}

export function tallyOf({ responses, majority }: EvaluationRecord): Tally {
  const tally: Tally = { correct: 0, clipped: 0, measures: {} };
  let tokens: number | undefined = 0;
  for (const { reward, finished, tokens: own, measures = {} } of responses) {
    if (reward > 0) tally.correct++;
    if (!finished) tally.clipped++;
    tokens = own === undefined || tokens === undefined ? undefined : tokens + own;
    for (const [name, value] of Object.entries(measures)) tally.measures[name] = (tally.measures[name] ?? 0) + value;
  }
  if (tokens !== undefined) tally.tokens = tokens;
  if (majority !== undefined) {
    tally.majority = majority !== null && responses[majority.response].reward > 0;
    tally.answered = responses.filter(({ answer }) => answer !== undefined).length;
  }
  return tally;
}

const isNumbers = (x: unknown) => isObject(x) && Object.values(x).every(Number.isFinite);

/** The fault of a line in a record of `n` responses per problem. undefined: no fault. */
export function recordFault(value: { [name: string]: unknown }, n: number): string | undefined {
  const { set, index, prompt, answer, responses, majority } = value as Partial<EvaluationRecord>;
  if (typeof set !== 'string' || !isCount(index)) return 'set must be a name and index a number';
  if (typeof prompt !== 'string' || typeof answer !== 'string') return 'prompt and answer must be texts';
  if (!Array.isArray(responses) || responses.length !== n) return `responses must be an array of ${n}`;
  for (const [i, response] of responses.entries()) {
    const { text, finished, tokens, reward, answer, measures } = (response ?? {}) as Partial<ResponseRecord>;
    if (typeof text !== 'string' || typeof finished !== 'boolean' || !Number.isFinite(reward))
      return `responses[${i}] must have text, finished and reward`;
    if (tokens !== undefined && !isCount(tokens)) return `responses[${i}].tokens must be a number`;
    if (answer !== undefined && typeof answer !== 'string') return `responses[${i}].answer must be a text`;
    if (measures !== undefined && !isNumbers(measures)) return `responses[${i}].measures must hold numbers`;
  }
  if (majority === undefined || majority === null) return undefined;
  if (!isCount(majority.response, n - 1) || !isCount(majority.votes))
    return `majority must name a response from 0 to ${n - 1} and its votes`;
}
