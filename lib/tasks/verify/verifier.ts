import { checkString } from '../../base/options.js';
import type { Verdict } from '../task.js';
import { type Extraction, extractAnswer } from './extract.js';

/** What is known of a response besides its text. */
export interface ResponseInfo {
  /** What the policy was given. */
  prompt: string;
  /** Whether the response ended by itself rather than at the length limit. */
  finished: boolean;
}

/** Judges a response by the gold answer of its problem: a reward from 0 to 1, and what else is to be seen in the metrics. */
export interface Verifier {
  (response: string, gold: string, info: ResponseInfo): Verdict | Promise<Verdict>;
  /** The answer that a response gives, as it stands there; undefined where it gives none. Majority votes need it. */
  extract?(response: string): string | undefined;
}

/** A verifier of this package: of two texts. */
export const ofTexts =
  (verify: Verifier): Verifier =>
  (response, gold, info) =>
    verify(checkString('response', response), checkString('the gold answer', gold), info);

/** One that says what it takes a response to answer. */
export const withAnswers = (verify: Verifier, extraction: Extraction): Verifier =>
  Object.assign(ofTexts(verify), { extract: (response: string) => extractAnswer(response, extraction) || undefined });
