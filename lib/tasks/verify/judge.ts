import { sameAnswer } from './compare.js';
import { NotUnderstood } from './expression.js';
import { type Extraction, extractAnswer } from './extract.js';
import { LIMITS } from './limits.js';
import { normalize } from './normalize.js';
import { equalScalars, Scalar, sameText } from './scalar.js';
import { type Answer, structure } from './structure.js';
import { conversion, sameWords } from './units.js';

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
  const chosen = sameChoice(gold, answer);
  if (chosen !== undefined) return chosen;
  const [a, b] = [prepare(gold), prepare(answer)];
  if (sameMeaning(a, b)) return true;
  // 100,200,300 is one number, unless several are asked for.
  const several = a.answer?.kind === 'set' || a.answer?.kind === 'list';
  return several && /^\s*\d{1,3}(?:,\d{3})+\s*$/.test(answer) && sameMeaning(a, prepare(answer.replaceAll(',', ', ')));
}

function sameMeaning(gold: Prepared, answer: Prepared): boolean {
  if (!sameWords(gold.unit, answer.unit)) return false;
  const factors = conversion(gold.unit, answer.unit);
  if (factors && gold.answer?.kind === 'scalar' && answer.answer?.kind === 'scalar') {
    const [a, b] = [gold.answer, answer.answer].map(({ scalar }, k) => scalar.call('Multiply', new Scalar(factors[k])));
    return !!a && !!b && equalScalars(a, b);
  }
  if (sameText(gold.latex, answer.latex)) return true;
  return !!gold.answer && !!answer.answer && sameAnswer(gold.answer, answer.answer);
}

/**
 * Of a multiple choice the letters decide, where both answers have one. Where one has a letter and a value, as in
 * (B) 12, and the other only a value, the values do. undefined: neither has a letter that could be a choice.
 */
function sameChoice(gold: string, answer: string): boolean | undefined {
  const a = prepare(gold).choice;
  const b = prepare(answer).choice;
  if (!a && !b) return undefined;
  if (a && b) {
    if (a.letter !== b.letter) return false;
    return !a.value || !b.value || sameMeaning(prepare(a.value), prepare(b.value));
  }
  const { value, sure } = (a ?? b)!;
  if (!value || !sure) return undefined;
  return sameMeaning(prepare(a ? value : gold), prepare(b ? value : answer)) || undefined;
}

interface Choice {
  letter: string;
  /** What it stands for; '': that is not said. */
  value: string;
  /** The letter is in brackets, or in a text: it is no variable. */
  sure: boolean;
}

function choiceOf(raw: string): Choice | undefined {
  if (!/[A-J]/.test(raw)) return undefined;
  const latex = raw
    .replace(/^\s*\\f?box(?:ed)?\s*\{(.*)\}\s*$/s, '$1')
    .replace(/\$|\\[ ,;:!]|~|\\(?:quad|qquad|left|right|displaystyle|boxed)(?![a-zA-Z])/g, ' ')
    .replace(/\\(?:textbf|textit|textrm|mathrm|mathbf|mbox|text(?:normal)?|bf|rm)\s*(?=\{)/g, ' ')
    .replace(/^\s*\{([^{}]*)\}\s*\.?\s*$/, '$1')
    .trim();
  const match =
    /^\{?\s*(?:(?:[oO]ption|[cC]hoice)\s+)?\{?\s*(?:\(\s*([A-J])\s*\)\s*[.:]?|([A-J])\s*[).:]|([A-J])(?=\s*\}?\s*$))\s*\}?\s*(.*)$/s.exec(
      latex,
    );
  if (!match) return undefined;
  const [, bracketed, marked, bare, rest] = match;
  const value = rest.replace(/^\}\s*|[.\s]+$/g, '');
  if (ANOTHER.test(value)) return undefined;
  return { letter: bracketed ?? marked ?? bare, value, sure: bare === undefined || raw.includes('\\') };
}

/** What begins another choice, or takes one back: (A), (B) chooses nothing. */
const ANOTHER =
  /^\s*(?:[,;:/|&+*=<>^_!'-]|\\[a-zA-Z]*(?:to|arrow|cup|cap|vee|wedge|lor|land|approx|cdot|times|pm|setminus|in|sim)\b|[a-zA-Z]\s*$)|\(\s*[A-J]\s*\)|(?:^|[\s,;/|&{}])[A-J]\s*[).:](?!\d)|^[A-J](?:[\s,;|/&.]+[A-J])*$|\b(?:or|and|not|unless|except|but)\b/;

interface Prepared {
  latex: string;
  unit: string;
  answer: Answer | null;
  choice: Choice | undefined;
}

/** Answers come again and again: a gold one once for each response to its problem. */
const prepared = new Map<string, Prepared>();
const PREPARED = 1000;

function prepare(raw: string): Prepared {
  let found = prepared.get(raw);
  if (!found) {
    if (prepared.size >= PREPARED) prepared.clear();
    const { latex, unit } = normalize(raw);
    found = { latex, unit, answer: structured(latex), choice: choiceOf(raw) };
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
