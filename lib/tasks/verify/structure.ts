import { NotUnderstood } from './expression.js';
import { LIMITS } from './limits.js';
import { Scalar } from './scalar.js';
import { enclosed, splitTop, tokenize } from './tokens.js';

/** What kind of thing an answer is; its parts are answers again. */
export type Answer =
  | { kind: 'scalar'; scalar: Scalar }
  | { kind: 'percent' | 'degrees'; scalar: Scalar }
  | { kind: 'text'; text: string }
  /** Several answers in any order: 1, 2 and {1, 2}. */
  | { kind: 'list' | 'set'; items: Answer[] }
  /** Points, vectors and intervals: (1, 2]. */
  | { kind: 'tuple'; open: string; close: string; items: Answer[] }
  | { kind: 'union'; operator: string; items: Answer[] }
  | { kind: 'matrix'; rows: Answer[][] }
  | { kind: 'relation'; operators: string[]; parts: Answer[]; latex: string[] }
  | { kind: 'ratio'; items: Answer[] }
  | { kind: 'based'; digits: string; base: string };

const COMMAS = new Set([',', ';', '\\\\']);
const RELATIONS = new Set([
  '=',
  '<',
  '>',
  '\\le',
  '\\ge',
  '\\ne',
  '\\in',
  '\\notin',
  '\\equiv',
  '\\approx',
  '\\to',
  '\\sim',
  '\\subset',
]);
const SETS = new Set(['\\cup', '\\cap', '\\setminus']);
const MATRIX =
  /^(.*?)\\begin\s*\{([bBpvV]?(?:small)?matrix|array|cases)\}(?:\s*\{[lcr|\s]*\})?(.*)\\end\s*\{\2\}(.*)$/s;
const LINES = /\\(?:begin|end)\s*\{(?:align|aligned|gather|gathered|split|equation|eqnarray)\*?\}/g;
const WORD_NUMBERS = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
];

/** Takes a cleaned answer apart. Each step looks only at parts outside brackets. */
export function structure(latex: string, depth = 0): Answer {
  const s = latex.trim();
  if (depth > LIMITS.depth) throw new NotUnderstood('nested too deeply');
  const inner = (part: string) => structure(part, depth + 1);
  const all = (parts: string[]) => {
    if (parts.length > LIMITS.parts) throw new NotUnderstood(`more than ${LIMITS.parts} parts`);
    return parts.map(inner);
  };
  if (s.includes('\\begin')) {
    const lines = s.replace(LINES, ' ');
    if (lines !== s) return inner(lines.replaceAll('&', ' '));
    const matrix = matrixOf(s, all);
    if (matrix) return matrix;
  }
  const list = splitTop(s, COMMAS).parts.filter(Boolean);
  if (list.length > 1) return { kind: 'list', items: all(list) };
  const chain = splitTop(s, RELATIONS);
  if (chain.parts.length > 1 && chain.parts.every(Boolean))
    return { kind: 'relation', operators: chain.separators, parts: all(chain.parts), latex: chain.parts };
  const union = splitTop(s, SETS);
  if (union.parts.length > 1) {
    const [operator] = union.separators;
    if (union.separators.some((other) => other !== operator)) throw new NotUnderstood('several operators on sets');
    return { kind: 'union', operator, items: all(union.parts) };
  }
  const bracketed = brackets(s, inner, all);
  if (bracketed) return bracketed;
  if (/\\(?:pm|mp)(?![a-zA-Z])/.test(s)) return { kind: 'list', items: all(signs(s)) };
  if (/^no (?:real )?solutions?$|^none$/i.test(words(s))) return { kind: 'set', items: [] };
  const digits = basedOf(s);
  if (digits) return digits;
  if (isText(s)) return text(s);
  return number(s, all);
}

function number(s: string, all: (parts: string[]) => Answer[]): Answer {
  const percent = /^(.+?)\s*\\%$/s.exec(s);
  if (percent) return { kind: 'percent', scalar: new Scalar(percent[1]) };
  const degrees = /^(.+?)\s*\^\{\\circ\}$/s.exec(s);
  // In the argument of a function they are a part of the number.
  if (degrees && !/\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])/.test(degrees[1]))
    return { kind: 'degrees', scalar: new Scalar(degrees[1]) };
  const ratio = splitTop(s, new Set([':']));
  if (ratio.parts.length > 1 && ratio.parts.every(Boolean)) return { kind: 'ratio', items: all(ratio.parts) };
  if (/\d\s+\d/.test(s) || s.includes('\\notin')) return text(s);
  return { kind: 'scalar', scalar: new Scalar(s) };
}

/** 243_6: digits in a base that is written below them. */
function basedOf(s: string): Answer | undefined {
  const based = /^\(?\s*([\dA-Z.]*\d[\dA-Z.]*|[A-F]+)\s*\)?\s*_\s*(?:\{\s*(?:\\text\{)?\s*(\w+)\s*\}?\s*\}|(\d))$/.exec(
    s,
  );
  return based ? { kind: 'based', digits: based[1], base: wordNumber(based[2] ?? based[3]) } : undefined;
}

function matrixOf(s: string, all: (parts: string[]) => Answer[]): Answer | undefined {
  const match = MATRIX.exec(s);
  if (!match || match[3].includes('\\begin')) return undefined;
  const [, before, name, body, after] = match;
  // Determinants are numbers; cases are lines.
  const factor = before
    .replace(/\\cdot\s*$/, '')
    .replace(/[([|]\s*$/, '')
    .trim();
  if (/^[vV]/.test(name) || !/^[)\]|.\s]*$/.test(after)) return undefined;
  const lines = splitTop(body, new Set(['\\\\'])).parts.filter(Boolean);
  const rows = lines.map((line) =>
    all(
      splitTop(line, new Set(['&'])).parts.map((cell) =>
        factor ? `${factor === '-' ? '-1' : factor}(${cell})` : cell,
      ),
    ),
  );
  if (name === 'cases' && rows.every(({ length }) => length === 1) && !factor)
    return { kind: 'list', items: rows.map(([line]) => line) };
  return { kind: 'matrix', rows };
}

function brackets(s: string, inner: (s: string) => Answer, all: (parts: string[]) => Answer[]): Answer | undefined {
  const found = enclosed(s);
  if (!found) return undefined;
  const { open, close, inner: content } = found;
  const parts = splitTop(content, COMMAS).parts;
  if (open === '\\{' && close === '\\}') {
    if (content === '') return { kind: 'set', items: [] };
    // {x : x > 3} is what its condition says.
    const builder = /^([^:|]+?)\s*(?::|\||\\mid)\s*(.+)$/s.exec(content);
    if (builder && parts.length === 1) return inner(builder[2]);
    return { kind: 'set', items: all(parts.filter(Boolean)) };
  }
  if (open === '{' && close === '}') return inner(content);
  if (open === '\\lfloor' || open === '\\lceil') return undefined;
  if (parts.length > 1 && parts.every(Boolean)) {
    const vector = open === '\\langle';
    return { kind: 'tuple', open: vector ? '(' : open, close: vector ? ')' : close, items: all(parts) };
  }
  return (open === '(' && close === ')') || (open === '[' && close === ']') ? inner(content) : undefined;
}

/** Both signs, or all combinations of them where there are several \pm; with a \mp they go together. */
function signs(s: string): string[] {
  const tokens = tokenize(s);
  const places = tokens.flatMap((token, i) => (token === '\\pm' || token === '\\mp' ? [i] : []));
  const together = tokens.includes('\\mp') || places.length > 3;
  return Array.from({ length: together ? 2 : 2 ** places.length }, (_, choice) =>
    tokens
      .map((token, i) => {
        const place = places.indexOf(i);
        if (place < 0) return token;
        const minus = ((choice >> (together ? 0 : place)) & 1) === 1;
        return minus === (token === '\\pm') ? '-' : '+';
      })
      .join('')
      .replace(/^\s*\+/, ''),
  );
}

const text = (s: string): Answer => ({ kind: 'text', text: words(s) });

/** What two texts are compared by. */
function words(s: string): string {
  const said = s
    .replace(/\\text\{([^{}]*)\}?/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}+\-*/^_\\<>=]+/gu, ' ')
    .trim();
  return wordNumber(said);
}

function wordNumber(word: string): string {
  const n = WORD_NUMBERS.indexOf(word);
  return n < 0 ? word : String(n);
}

/** Words rather than products of variables: four letters in a row, capitals in a row, or anything in a \text{}. */
function isText(s: string): boolean {
  if (s.includes('\\text')) return true;
  const bare = s.replace(/\\[a-zA-Z]+(?:\{[a-z]+\})?/g, (m) => (m.startsWith('\\operatorname') ? '\\f' : '\\f '));
  return (
    /[a-zA-Z]{4,}|[a-zA-Z] +[a-zA-Z]{2,}/.test(bare) ||
    /^[a-zA-Z]*[A-Z][a-zA-Z]+$/.test(bare) ||
    /^[A-Z]{2,}$/.test(bare)
  );
}
