// The patterns that split text. @huggingface/tokenizers translates them; they come with the model, and may never end.
import * as library from '@huggingface/tokenizers';

/** The part of the library that is used. TypeScript does not find its types: its own imports lack extensions. */
const { SplitPreTokenizer } = library as unknown as { SplitPreTokenizer: new (part: object) => { pattern: RegExp } };

/** A pattern as tokenizer.json writes it. */
export type PatternJson = { Regex: string } | { String: string };

/** @throws SyntaxError for a pattern that is no expression */
export const patternOf = (pattern: PatternJson): RegExp =>
  new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: false }).pattern;

/** The matches in a text, and what is between them. */
export function splitBy(pattern: RegExp, text: string): string[] {
  const found: string[] = text.match(pattern) ?? [];
  let length = 0;
  for (const match of found) length += match.length;
  if (length === text.length) return found.includes('') ? found.filter((match) => match !== '') : found;
  const pieces: string[] = [];
  let done = 0;
  for (const { index, 0: match } of text.matchAll(pattern)) {
    if (done < index) pieces.push(text.slice(done, index));
    if (match !== '') pieces.push(match);
    done = index + match.length;
  }
  if (done < text.length) pieces.push(text.slice(done));
  return pieces;
}

/** Steps of a pattern's machine that end before any deadline: they take less than a second. */
const MOST_STEPS = 1e8;

/** The longest text that the patterns split in a bounded time, whatever it holds. */
export function safeLength(patterns: readonly RegExp[]): number {
  const steps = (length: number) => patterns.reduce((sum, pattern) => sum + mostSteps(pattern, length), 0);
  let length = 0;
  for (let longer = 64; longer < 2 ** 20 && steps(longer) <= MOST_STEPS; longer *= 1.25) length = longer;
  return length;
}

const SYMBOL = /\[(?:\\.|[^\]\\])*\]|\\[pP]\{[^}]*\}|\\u\{?[\dA-Fa-f]{1,6}\}?|\\./gs;
const GROUP = /\(\?(?:[:=!]|<[=!]|<\w+>|[a-z-]+:)/g;
const QUANTIFIER = /(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/y;

/**
 * A bound for the steps in which a backtracking machine splits a text: at each place it tries the alternatives, one
 * after the other, and each repetition of a symbol with every length. Infinity for a repeated group of several symbols
 * and for back-references.
 */
function mostSteps({ source, flags }: RegExp, length: number): number {
  if (flags.includes('v') || /\\[1-9k]/.test(source)) return Infinity;
  const symbols = source.replace(SYMBOL, 'x').replace(GROUP, '(');
  let at = 0;
  const alternatives = (inner: boolean): number => {
    let [sum, product, count] = [0, 1, 0];
    for (; at < symbols.length && symbols[at] !== ')'; count++) {
      if (symbols[at] === '|') {
        sum += product * count;
        [product, count] = [1, -1];
        at++;
        continue;
      }
      const own = symbols[at++] === '(' ? alternatives(true) : 1;
      QUANTIFIER.lastIndex = at;
      const [{ length: width }, sign, least, comma, most] = QUANTIFIER.exec(symbols) ?? [''];
      at += width;
      // What ends an expression has no need to try again.
      const last = !inner && (at === symbols.length || symbols[at] === '|');
      if (width === 0) product *= own;
      else if (sign === '?') product *= own + 1;
      else if (own > 1) return Infinity;
      else if (!last) product *= least === undefined || (comma && !most) ? length : Math.min(length, +(most || least));
    }
    at++; // the parenthesis
    return Math.max(1, sum + product * count);
  };
  return length * alternatives(false);
}
