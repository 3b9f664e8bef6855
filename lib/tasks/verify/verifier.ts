import { checkString } from '../../base/options.js';
import type { Verdict } from '../task.js';
import { type Extraction, extractAnswer } from './extract.js';

/** Information about a response besides its text. */
export interface ResponseInfo {
  /** The problem, without the template. */
  prompt: string;
  /** Whether the response ended by itself, not at the length limit. */
  finished: boolean;
}

/**
 * Judges a response by the gold answer of its problem. It returns a reward from 0 to 1, and measures for the metrics.
 */
export interface Verifier {
  (response: string, gold: string, info: ResponseInfo): Verdict | Promise<Verdict>;
  /** The answer of a response, as spelled there; undefined if it gives none. Majority votes need it. */
  extract?(response: string): string | undefined;
}

/** A verifier that needs only the two texts. */
export const ofTexts =
  (verify: Verifier): Verifier =>
  (response, gold, info) =>
    verify(checkString('response', response), checkString('the gold answer', gold), info);

/** A verifier that can say which answer a response gives. */
export const withAnswers = (verify: Verifier, extraction: Extraction): Verifier =>
  Object.assign(ofTexts(verify), { extract: (response: string) => extractAnswer(response, extraction) || undefined });
