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
 * - 'any', for evaluation: without a box, the text after the last "answer is", else the last $...$, else the last
 *   number.
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
  const boxed = lastBoxed(text);
  if (boxed !== undefined || extraction === 'boxed') return boxed;
  return afterAnswerIs(text) ?? lastMath(text) ?? lastNumber(text);
}

/**
 * The contents of the last balanced \boxed{} or \fbox{}. One pass, with the open braces on a stack: a response may hold
 * thousands of boxes that never close.
 */
export function lastBoxed(text: string): string | undefined {
  const open: { start: number; boxed: boolean }[] = [];
  let last: { start: number; end: number } | undefined;
  for (const match of text.matchAll(/\\(?:boxed|fbox)\s*\{|\\[\s\S]|[{}]/g)) {
    const end = match.index + match[0].length;
    if (match[0] === '}') {
      const closed = open.pop();
      if (closed?.boxed && closed.start > (last?.start ?? -1)) last = { start: closed.start, end: match.index };
    } else if (match[0].endsWith('{') && match[0] !== '\\{') {
      open.push({ start: end, boxed: match[0] !== '{' });
    }
  }
  return last && text.slice(last.start, last.end).trim();
}

/** Displayed mathematics may span lines. */
const MATH = /^(?:\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\])/s;

/** The mathematics that begins there, else up to the end of its line or sentence. */
function afterAnswerIs(text: string): string | undefined {
  const last = [...text.matchAll(/\banswer(?: is|:|\s*=)\s*:?\s*/gi)].pop();
  if (!last) return undefined;
  const rest = text.slice(last.index + last[0].length);
  const math = MATH.exec(rest);
  const [line] = rest.split('\n', 1);
  return (math ? math.slice(1).join('') : line.replace(/\.(\s.*)?$/, '').replaceAll('*', '')).trim() || undefined;
}

function lastMath(text: string): string | undefined {
  const parts = text.split('$');
  // An odd one out opens what never closes.
  const end = parts.length - (parts.length % 2 === 0 ? 2 : 1);
  for (let i = end - 1; i > 0; i -= 2) if (parts[i].trim()) return parts[i].trim();
  return undefined;
}

function lastNumber(text: string): string | undefined {
  // In 3-5 and x-5 the sign is none of the number's.
  return text.match(/(?:(?<!\w)-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\/\d+)?%?/g)?.pop();
}
