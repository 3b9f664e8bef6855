import { sameAnswer } from './compare.js';
import { NotUnderstood } from './expression.js';
import { type Extraction, extractAnswer } from './extract.js';
import { LIMITS } from './limits.js';
import { normalize } from './normalize.js';
import { sameText } from './scalar.js';
import { type Answer, structure } from './structure.js';

/** Why a response was judged right or wrong. */
export type MathReason =
  /** The answer means the same as the gold answer. */
  | 'equal'
  | 'different'
  /** The response gives no answer. */
  | 'noAnswer'
  /** The judgement exceeded its deadline or its memory. */
  | 'timeout'
  /** A defect of this verifier. It is counted and never stops a run. */
  | 'failed';

/** Result of {@link verifyMath}. */
export interface MathVerdict {
  /** Whether the answer means the same as the gold answer. */
  correct: boolean;
  /** Reason for the verdict. */
  reason: MathReason;
  /** The answer that was found, as the response spells it. */
  extracted?: string;
}

/** Judges a response in the calling thread. No text in a response or gold answer makes it throw. */
export function judgeMath(response: string, gold: string, extraction: Extraction): MathVerdict {
  const extracted = extractAnswer(response, extraction);
  if (extracted === undefined || extracted === '') return { correct: false, reason: 'noAnswer', extracted };
  try {
    const correct = sameMath(gold, extracted);
    return { correct, reason: correct ? 'equal' : 'different', extracted };
  } catch {
    return { correct: false, reason: 'failed', extracted };
  }
}

/** Whether an answer means the same as the gold answer. */
export function sameMath(gold: string, answer: string): boolean {
  if (sameText(gold, answer)) return true;
  if (gold.length > LIMITS.answer || answer.length > LIMITS.answer) return false;
  const a = prepare(gold);
  const b = prepare(answer);
  if (sameText(a.latex, b.latex)) return true;
  const choice = choiceOf(a.latex, true);
  if (choice && choice === choiceOf(b.latex, false)) return true;
  return !!a.answer && !!b.answer && sameAnswer(a.answer, b.answer);
}

/** The letter of a multiple choice: all that a gold answer is; an answer may carry what it stands for, as in (B) 12. */
function choiceOf(latex: string, alone: boolean): string | undefined {
  const match = /^(?:\\text\{)?\s*(?:(?:[oO]ption|[cC]hoice)\s+)?\(?\s*([A-J])\s*(?:[).:]\s*\}?(.*)|\}?)$/s.exec(latex);
  if (!match || (alone && match[2]) || (match[2] && ANOTHER.test(match[2]))) return undefined;
  return match[1];
}

/** (A), (B) chooses nothing. */
const ANOTHER = /^\s*,|(?:^|[\s,])\(?[A-J][).:]/;

/** Answers come again and again: a gold one once for each response to its problem. */
const prepared = new Map<string, { latex: string; answer: Answer | null }>();
const PREPARED = 1000;

function prepare(raw: string) {
  let found = prepared.get(raw);
  if (!found) {
    if (prepared.size >= PREPARED) prepared.clear();
    const latex = normalize(raw);
    found = { latex, answer: structured(latex) };
    prepared.set(raw, found);
  }
  return found;
}

function structured(latex: string): Answer | null {
  if (latex === '' || latex.length > 2 * LIMITS.characters) return null;
  try {
    return structure(latex);
  } catch (error) {
    if (error instanceof NotUnderstood) return null;
    throw error;
  }
}
