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
  | { kind: 'list' | 'set'; items: Answer[]; or?: boolean }
  /** All values of an expression with parameters: 2k for k in Z. */
  | { kind: 'family'; element: Answer; conditions: Answer }
  /** A time of day in seconds of its half of the day: a or p if that is said, A or P if the hour alone says it. */
  | { kind: 'clock'; seconds: number; half: string }
  /** Points, vectors and intervals: (1, 2]. */
  | { kind: 'tuple'; open: string; close: string; items: Answer[] }
  | { kind: 'union'; operator: string; items: Answer[] }
  | { kind: 'matrix'; rows: Answer[][] }
  | { kind: 'relation'; operators: string[]; parts: Answer[]; latex: string[] }
  | { kind: 'ratio'; items: Answer[] }
  | { kind: 'based'; digits: string; base: string };

const COMMAS = new Set([',', ';', '\\\\']);
const SEMICOLONS = new Set([';']);
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
  const alternatives = splitTop(s, SEMICOLONS).parts.filter(Boolean);
  if (alternatives.length > 1) return { kind: 'list', items: all(alternatives), or: true };
  const list = splitTop(s, COMMAS).parts.filter(Boolean);
  if (list.length > 1) return parametric(list, depth) ?? { kind: 'list', items: all(list) };
  const chain = splitTop(s, RELATIONS);
  if (chain.parts.length > 1 && chain.parts.every(Boolean))
    return { kind: 'relation', operators: chain.separators, parts: all(chain.parts), latex: chain.parts };
  const union = splitTop(s, SETS);
  if (union.parts.length > 1) {
    const [operator] = union.separators;
    if (union.separators.some((other) => other !== operator)) throw new NotUnderstood('several operators on sets');
    return { kind: 'union', operator, items: all(union.parts) };
  }
  const bracketed = brackets(s, inner, all, depth);
  if (bracketed) return bracketed;
  if (/\\(?:pm|mp)(?![a-zA-Z])/.test(s)) return { kind: 'list', items: all(signs(s)) };
  if (/^no (?:real )?solutions?$|^none$/i.test(words(s))) return { kind: 'set', items: [] };
  const digits = basedOf(s) ?? clockOf(s);
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

function brackets(
  s: string,
  inner: (s: string) => Answer,
  all: (parts: string[]) => Answer[],
  depth: number,
): Answer | undefined {
  const found = enclosed(s);
  if (!found) return undefined;
  const { open, close, inner: content } = found;
  const parts = splitTop(content, COMMAS).parts;
  if (open === '\\{' && close === '\\}') {
    if (content === '') return { kind: 'set', items: [] };
    const builder = splitTop(content, BUILDER).parts;
    if (builder.length === 2 && builder.every(Boolean)) return built(builder[0], builder[1], depth);
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

const BUILDER = new Set([':', '|', '\\mid']);
/** k \in \mathbb{Z}, which makes a parameter of k. */
const PARAMETER = /^([a-zA-Z])\s*\\in\s*\\mathbb\s*\{?\s*[ZNQR]\s*\}?/;

/** {x : x > 3} is what its condition says; {2k : k in Z} holds what its expression may be. */
function built(element: string, condition: string, depth: number): Answer {
  const member = /^([a-zA-Z])\s*(?:\\in\s*(.+))?$/s.exec(element);
  if (!member) return family(element, condition, depth);
  const [, variable, domain] = member;
  const conditions = splitTop(condition, COMMAS).parts.filter(Boolean);
  const value = new RegExp(`^${variable}\\s*=([^=]+)$`);
  const defined = conditions.findIndex((part) => value.test(part));
  if (defined >= 0 && conditions.length > 1)
    return family(value.exec(conditions[defined])![1], conditions.toSpliced(defined, 1).join(','), depth);
  const real = domain === undefined || /^\\mathbb\s*\{?\s*R\s*\}?$/.test(domain);
  const all = real ? condition : `${condition},${variable}\\in ${domain}`;
  // The variable is the set's own, and may have any name.
  return structure(letters(all).has('x') ? all : renamed(all, new Map([[variable, 'x']])), depth + 1);
}

/** The same list with a parameter's condition at its end: x = 2k, k \in \mathbb{Z}. */
function parametric(list: string[], depth: number): Answer | undefined {
  const condition = list[list.length - 1];
  const parameter = PARAMETER.exec(condition)?.[1];
  const values = list.slice(0, -1);
  if (parameter === undefined || !values.every((part) => letters(part).has(parameter))) return undefined;
  const named = values.map((part) => /^([a-zA-Z](?:_\{?\w+\}?)?)\s*=([^=]+)$/.exec(part));
  const same = named.every((each) => each && each[1] === named[0]![1] && !letters(each[1]).has(parameter));
  return family((same ? named.map((each) => each![2]) : values).join(','), condition, depth);
}

/** Parameters may have any names: they get the same ones, in the order in which they come. */
function family(element: string, condition: string, depth: number): Answer {
  const bound = letters(condition);
  const names = new Map([...letters(element)].filter((name) => bound.has(name)).map((name, i) => [name, `k_{${i}}`]));
  const part = (latex: string) => structure(renamed(latex, names), depth + 1);
  return { kind: 'family', element: part(element), conditions: part(condition) };
}

/** Single letters outside of commands and texts. */
const letters = (latex: string) =>
  new Set(
    tokenize(latex.replace(/\\(?:text|mathbb|operatorname)\s*\{[^{}]*\}/g, '')).filter((token) =>
      /^[a-zA-Z]$/.test(token),
    ),
  );
const renamed = (latex: string, names: ReadonlyMap<string, string>) =>
  latex.replace(
    /\\(?:text|mathbb|operatorname)\s*\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]/g,
    (token) => names.get(token) ?? token,
  );

function clockOf(s: string): Answer | undefined {
  const match = /^\\clock\{(\d+):(\d+):(\d+)([ap]?)\}$/.exec(s);
  if (!match) return undefined;
  const [, hour, minute, second, half] = match;
  // From 13:00 on, and at 0:00, the hour says which half of the day it is.
  const twelve = Number(hour) % 12;
  const said = half || (Number(hour) > 12 ? 'P' : Number(hour) === 0 ? 'A' : '');
  return { kind: 'clock', seconds: (twelve * 60 + Number(minute)) * 60 + Number(second), half: said };
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
    // One letter is a name, and its case counts.
    .replace(/[a-zA-Z]{2,}/g, (word) => word.toLowerCase())
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
