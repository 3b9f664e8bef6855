import { closing, command, opening, type Rule, rewrite, unwrap } from './rewrite.js';

const TEXT = opening('text|textbf|textit|textrm|textsf|texttt|textnormal|textup|mbox|hbox|emph');
const NAME = opening('operatorname\\*?|mathop');
const FONT = opening('mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathfrak|mathnormal|boldsymbol|bm|pmb|rm|bf|it');
/**
 * Functions that the parser knows under these names; written without a backslash or as an operator name, they get one.
 */
const FUNCTIONS =
  'sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|lg|exp|max|min|gcd|lcm|det|sqrt|pi|infty|theta|alpha|beta';
export const FUNCTION_ALONE = new RegExp(`^(?:${FUNCTIONS}|arccot|arcsec|arccsc|arcsinh|arccosh|arctanh|mod)$`);

/** Braces in a text would only be in the way. */
const textOf = (inner: string) => (/^[\s,;.:]*$/.test(inner) ? inner : ` \\text{${inner.replace(/[{}]/g, '')}}`);
const nameOf = (inner: string) =>
  FUNCTION_ALONE.test(inner.trim()) ? ` \\operatorname{${inner.trim()}}` : textOf(inner);

const LETTERS: readonly Rule[] = [
  [command('rm|bf|it'), ' '],
  // A text that is the whole answer, unless it is words alone: those stay marked as no product of variables.
  [/^\s*\\text\{([^{}]*(?:[^{}a-zA-Z\s]|\sand\s|\sor\s)[^{}]*|\s*[a-zA-Z]\s*)\}\s*$/, '$1'],
  [new RegExp(`\\\\operatorname\\{(${FUNCTIONS})\\}`, 'g'), '\\$1 '],
  [new RegExp(`(?<![a-zA-Z\\\\{])(${FUNCTIONS})(?![a-zA-Z])`, 'g'), '\\$1 '],
  [/(?<![\\a-zA-Z])inf(?:inity)?(?![a-zA-Z])/g, '\\infty '],
  [/\\sqrt\s*\(/g, '\\sqrt('],
];

const MEANINGS: readonly Rule[] = [
  [/,?\s*\\text\{[\s,]*(?:and|or)\s*\}/g, ' , '],
  [/,?\s(?:and|or)\s/g, ' , '],
  [command('land|lor|wedge|vee'), ','],
  [/\\text\{\s*(?:percent|per cent|%|\\%)\s*\}|\bper ?cent\b|(?<!\\)%/g, '\\% '],
  [/\\text\{\s*(?:degrees?|deg)\s*\}|(?<=[\d}) ])\bdegrees?\b/g, '^{\\circ}'],
  [/\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-z]))|\\degree(?![a-z])/g, '^{\\circ}'],
];

/** Text commands become \text{...} or what they hold; words that mean something become what they mean. */
export function words(s: string): string {
  s = unwrap(s, TEXT, textOf);
  s = unwrap(s, NAME, nameOf);
  // 5\mathrm{m}: a unit, unless it is the number i or e.
  s = s.replace(/(?<=[\d})/]\s*)\\mathrm\s*\{\s*([a-df-hj-zA-Z])\s*\}/g, (_, unit) => textOf(unit));
  s = unwrap(s, FONT, (inner) => (/^\s*[a-zA-Z][a-zA-Z\s/·^{}\d]+$/.test(inner) ? nameOf(inner) : inner));
  s = rewrite(s, LETTERS);
  for (let at = s.indexOf('\\sqrt('); at >= 0; at = s.indexOf('\\sqrt(', at + 1)) {
    const end = closing(s, at + 6, '(', ')');
    if (end > 0) s = `${s.slice(0, at)}\\sqrt{${s.slice(at + 6, end)}}${s.slice(end + 1)}`;
  }
  return rewrite(s, MEANINGS);
}
