import { checkString } from '../../base/options.js';
import type { Verdict } from '../task.js';
import { type Extraction, extractAnswer } from './extract.js';

/** Information about a response besides its text. */
export interface ResponseInfo {
  /** The problem, without the template. */
  prompt: string;
  /** Whether the response ended by itself, not at the length limit. */
  finished: boolean;
  /** Whether the prompt that the policy saw, with its template, ends with <think>. Default: as `prompt` ends. */
  thinking?: boolean | undefined;
}

/**
 * Judges a response by the gold answer of its problem. It returns a reward from 0 to 1, and measures for the metrics.
 */
export interface Verifier {
  (response: string, gold: string, info: ResponseInfo): Verdict | Promise<Verdict>;
  /** The answer of a response, as spelled there; undefined if it gives none. Majority votes need it. */
  extract?(response: string, info?: Pick<ResponseInfo, 'thinking'>): string | undefined;
}

/** A verifier that needs only the two texts. */
export const ofTexts =
  (verify: Verifier): Verifier =>
  (response, gold, info) =>
    verify(checkString('response', response), checkString('the gold answer', gold), info);

/** A verifier that can say which answer a response gives. A thought that the prompt began belongs to the response. */
export const withAnswers = (verify: Verifier, extraction: Extraction): Verifier =>
  Object.assign(
    ofTexts((response, gold, info) => verify(withThought(response, info), gold, info)),
    {
      extract: (response: string, info?: Pick<ResponseInfo, 'thinking'>) =>
        extractAnswer(withThought(response, info), extraction) || undefined,
    },
  );

const withThought = (response: string, info: Partial<ResponseInfo> | undefined): string =>
  (info?.thinking ?? endsWithThink(info?.prompt)) ? `<think>${response}` : response;

/** Whether a response to this prompt begins in the middle of a thought. */
export const endsWithThink = (prompt: unknown): boolean =>
  typeof prompt === 'string' && /<think>\s*$/.test(prompt.slice(-100));
