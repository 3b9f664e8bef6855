import { types } from 'node:util';
import { invalidArgument } from '../../base/errors.js';
import { checkBoolean, checkChoice, checkNumber, checkOptions, describe } from '../../base/options.js';
import { EXTRACTIONS, type Extraction, extractAnswer } from './extract.js';
import { LIMITS } from './limits.js';
import { mathVerifier } from './math.js';
import { ofTexts, type Verifier, withAnswers } from './verifier.js';

/** Options of {@link exactVerifier}. */
export interface ExactOptions {
  /** Where the answer is, as for verifyMath. Default 'boxed'. */
  extraction?: Extraction | undefined;
  /** Treats capital and small letters alike. Default false. */
  ignoreCase?: boolean | undefined;
}

/**
 * A verifier that compares the answer with the gold answer character by character. Spaces around it, and the number of
 * spaces in a row, do not matter.
 *
 * @returns a verifier with rewards 1 and 0
 */
export function exactVerifier(options: ExactOptions = {}): Verifier {
  options = checkOptions('exactVerifier', options, ['extraction', 'ignoreCase']);
  const { extraction = 'boxed' } = options;
  const ignoreCase = checkBoolean('ignoreCase', options.ignoreCase ?? false);
  checkChoice('extraction', extraction, EXTRACTIONS);
  const plain = (s: string) => {
    const squeezed = s.replace(/\s+/g, ' ').trim();
    return ignoreCase ? squeezed.toLowerCase() : squeezed;
  };
  const verify: Verifier = (response, gold) => {
    const answer = extractAnswer(response, extraction);
    return answer !== undefined && plain(answer) === plain(gold) ? 1 : 0;
  };
  return withAnswers(verify, extraction);
}

/** Options of {@link numericVerifier}. */
export interface NumericOptions {
  /** Where the number is, as for verifyMath. Default 'boxed'. */
  extraction?: Extraction | undefined;
  /** Allowed error as a share of the gold number. Default 1e-6. */
  relativeTolerance?: number | undefined;
  /** Allowed error, added to the relative one. Default 0. */
  absoluteTolerance?: number | undefined;
}

/**
 * A verifier for answers that are numbers (12, -1,234.5, 1.6e-19, 3/4, 25%). The answer must be close to the gold
 * number.
 *
 * @returns a verifier with rewards 1 and 0; it throws a TypeError for a gold answer that is not a number
 */
export function numericVerifier(options: NumericOptions = {}): Verifier {
  options = checkOptions('numericVerifier', options, ['extraction', 'relativeTolerance', 'absoluteTolerance']);
  const { extraction = 'boxed', relativeTolerance = 1e-6, absoluteTolerance = 0 } = options;
  checkChoice('extraction', extraction, EXTRACTIONS);
  checkNumber('relativeTolerance', relativeTolerance, 0);
  checkNumber('absoluteTolerance', absoluteTolerance, 0);
  const verify: Verifier = (response, gold) => {
    const expected = numberOf(gold);
    if (expected === undefined)
      throw invalidArgument(`numericVerifier needs a number as the gold answer, not ${JSON.stringify(gold)}`);
    const value = numberOf(extractAnswer(response, extraction) ?? '');
    if (value === undefined) return 0;
    return Math.abs(value - expected) <= absoluteTolerance + relativeTolerance * Math.abs(expected) ? 1 : 0;
  };
  return withAnswers(verify, extraction);
}

function numberOf(text: string): number | undefined {
  const bare = text.replace(/^[\s$]+|[\s$]+$/g, '').replace(/\\%$/, '%');
  const match =
    /^([-+]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?(?:e[-+]?\d+)?|[-+]?\.\d+(?:e[-+]?\d+)?)(?:\/(\d+))?(%?)$/i.exec(bare);
  if (!match) return undefined;
  const value = Number(match[1].replaceAll(',', '')) / Number(match[2] ?? 1) / (match[3] ? 100 : 1);
  return Number.isFinite(value) ? value : undefined;
}

/** Options of {@link regexVerifier}. */
export interface RegexOptions {
  /**
   * Finds the answer: the first group, in its last match, must be the gold answer. Without it the gold answer is a
   * regular expression that must match the response.
   */
  pattern?: RegExp | undefined;
}

/**
 * A verifier with a regular expression over the last 20,000 characters of a response. It runs in the process itself,
 * with no deadline: avoid expressions that take exponential time.
 *
 * @returns a verifier with rewards 1 and 0
 */
export function regexVerifier(options: RegexOptions = {}): Verifier {
  options = checkOptions('regexVerifier', options, ['pattern']);
  const { pattern } = options;
  if (pattern === undefined) return ofTexts((response, gold) => (compiled(gold).test(end(response)) ? 1 : 0));
  if (!types.isRegExp(pattern)) throw invalidArgument(`pattern must be a RegExp, not ${describe(pattern)}`);
  const all = new RegExp(pattern.source, pattern.flags.includes('g') ? pattern.flags : `${pattern.flags}g`);
  if (new RegExp(`${all.source}|`, all.flags).exec('')!.length < 2)
    throw invalidArgument(`the pattern ${pattern} of regexVerifier has no group to take the answer from`);
  return ofTexts((response, gold) => {
    const last = [...end(response).matchAll(all)].pop();
    return last?.[1]?.trim() === gold.trim() ? 1 : 0;
  });
}

const end = (response: string) => response.slice(-LIMITS.response);

function compiled(source: string): RegExp {
  try {
    return new RegExp(source, 'u');
  } catch (error) {
    throw invalidArgument(
      `the gold answer ${JSON.stringify(source)} is no regular expression: ${(error as Error).message}`,
    );
  }
}

const BY_NAME = { math: mathVerifier, exact: exactVerifier, numeric: numericVerifier, regex: regexVerifier };
/** Names of verifiers; see {@link verifierByName}. */
export type VerifierName = keyof typeof BY_NAME;

/** Returns a verifier with its defaults: 'math', 'exact', 'numeric' or 'regex'. */
export const verifierByName = (name: VerifierName): Verifier =>
  BY_NAME[checkChoice('verifier', name, Object.keys(BY_NAME) as VerifierName[])]();
