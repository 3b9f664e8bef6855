import { checkChoice, checkString } from '../../base/options.js';
import { LIMITS } from './limits.js';

export const EXTRACTIONS = ['boxed', 'any', 'whole'] as const;
/** Where in a response the answer is. See {@link extractAnswer}. */
export type Extraction = (typeof EXTRACTIONS)[number];

/**
 * The answer of a response, or undefined if it gives none. Only the text after its last </think> counts, and only its
 * last 20,000 characters. A response that is still thinking gives none.
 *
 * - 'boxed': the contents of the last balanced \boxed{}. Use it for training: a response is rewarded for the answer
 *   that it declares, not for any text that matches.
 * - 'any', for evaluation: a last line that begins with "####", "A:" or "Answer:"; else the last box, also without
 *   braces; else the text after the last "answer is"; else the last mathematics, between $...$, $$...$$, \(...\) or
 *   \[...\]; else the last number.
 * - 'whole': the whole response.
 */
export function extractAnswer(response: string, extraction: Extraction): string | undefined {
  checkString('response', response);
  checkChoice('extraction', extraction, EXTRACTIONS);
  const thought = response.lastIndexOf('</think>');
  if (response.lastIndexOf('<think>') > thought) return undefined;
  const text = response
    .slice(Math.max(thought < 0 ? 0 : thought + '</think>'.length, response.length - LIMITS.response))
    .trim();
  if (extraction === 'whole') return text || undefined;
  if (extraction === 'boxed') return lastBoxed(text);
  return (
    markedLine(text) ??
    lastBoxed(text) ??
    lastBareBox(text) ??
    afterAnswerIs(text) ??
    lastMath(text) ??
    lastNumber(text)
  );
}

/**
 * The contents of the last balanced \boxed{} or \fbox{}; of boxes in a box, those of the outer one. One pass, with the
 * open braces on a stack: a response may hold thousands of boxes that never close.
 */
export function lastBoxed(response: string): string | undefined {
  const first = /\\(?:boxed|fbox)\s*\{/.exec(response);
  if (!first) return undefined;
  const text = response.slice(first.index);
  const open: { start: number; boxed: boolean }[] = [];
  let last: { start: number; end: number } | undefined;
  for (const match of text.matchAll(/\\(?:boxed|fbox)\s*\{|\\[\s\S]|[{}]/g)) {
    const end = match.index + match[0].length;
    if (match[0] === '}') {
      const closed = open.pop();
      if (closed?.boxed) last = { start: closed.start, end: match.index };
    } else if (match[0].endsWith('{') && match[0] !== '\\{') {
      open.push({ start: end, boxed: match[0] !== '{' });
    }
  }
  return last && text.slice(last.start, last.end).trim();
}

/** \boxed 5: TeX puts one digit or command in the box, but a number is meant. */
function lastBareBox(text: string): string | undefined {
  const last = [...text.matchAll(/\\(?:boxed|fbox)\s+(-?\d[\d.,/]*\d|-?\d|[a-zA-Z](?![a-zA-Z])|\\[a-zA-Z]+)/g)].pop();
  return last?.[1];
}

/** The last line, if it begins with a mark for the answer. */
export function markedLine(text: string): string | undefined {
  const line = text.slice(text.lastIndexOf('\n') + 1);
  const marked = /^[\s>*_]*(?:####|#*\s*(?:[fF]inal\s+)?(?:[aA]nswer|ANSWER|A)\s*:)[\s*_]*(.*)$/s.exec(line);
  return marked ? (lastBoxed(marked[1]) ?? stated(marked[1])) : undefined;
}

/** The mathematics that begins there, else up to the end of its line or sentence. */
function afterAnswerIs(text: string): string | undefined {
  const last = [...text.matchAll(/\banswer(?: is|:|\s*=)\s*:?\s*/gi)].pop();
  return last && stated(text.slice(last.index + last[0].length));
}

function stated(rest: string): string | undefined {
  const math = MATH.exec(rest);
  const [line] = rest.split('\n', 1);
  const found = math && !isMoney(math[2]) ? math.slice(1).join('') : line.replace(/\.(\s.*)?$/, '').replaceAll('*', '');
  return found.trim() || undefined;
}

/** Displayed mathematics may span lines. */
const MATH = /^(?:\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\])/s;

/** 3 for tea and: what stands between two sums of dollars. */
const isMoney = (inner: string | undefined) =>
  inner !== undefined &&
  (/^\d[\d,.]*(?:\s*[-–]|\s+[a-zA-Z]{2,}|[.,;]?\s*$)/.test(inner) || /^\d.*[^\\\s]\s+(?!\\)[a-z]{2,}\s/.test(inner)) &&
  !/\\[a-zA-Z]/.test(inner);

/**
 * The last mathematics. A dollar before a number opens mathematics only if another closes it, with no space before it
 * and no digit behind it, and if no words stand between them: $3 for tea and $5.
 */
function lastMath(text: string): string | undefined {
  let last: string | undefined;
  for (let at = 0; at < text.length; ) {
    const next = /\\\$|\$\$|\$|\\\(|\\\[/g;
    next.lastIndex = at;
    const opened = next.exec(text);
    if (!opened) break;
    const start = opened.index + opened[0].length;
    at = start;
    if (opened[0] === '\\$') continue;
    const close = { $$: '$$', $: '$', '\\(': '\\)', '\\[': '\\]' }[opened[0]]!;
    const end = text.indexOf(close, start);
    if (end < 0) continue;
    const inner = text.slice(start, end);
    if (opened[0] === '$' && !isMath(inner, text[end + 1])) continue;
    if (inner.trim()) last = inner.trim();
    at = end + close.length;
  }
  return last;
}

function isMath(inner: string, next: string | undefined): boolean {
  if (inner.includes('\n') || /\d/.test(next ?? '')) return false;
  if (/^\s/.test(inner) !== /\s$/.test(inner)) return false;
  // $5$ is closed at once; $5 for one and a half ... $ is not.
  return /^\s*-?[\d.,]+%?\s*$/.test(inner) || !isMoney(inner);
}

function lastNumber(text: string): string | undefined {
  // In 3-5 and x-5 the sign is none of the number's.
  return text.match(/(?:(?<!\w)-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\/\d+)?%?/g)?.pop();
}
