import { FUNCTION_ALONE, FUNCTIONS } from './functions.js';
import { closing, command, opening, type Rule, rewrite, unwrap } from './rewrite.js';
import { isUnitLetter } from './units.js';

const TEXT = opening('text|textbf|textit|textrm|textsf|texttt|textnormal|textup|mbox|hbox|emph');
const NAME = opening('operatorname\\*?|mathop');
const FONT = opening('mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathfrak|mathnormal|boldsymbol|bm|pmb|rm|bf|it');
/** Braces in a text would only be in the way. */
const textOf = (inner: string) => (/^[\s,;.:]*$/.test(inner) ? inner : ` \\text{${inner.replace(/[{}]/g, '')}}`);
const nameOf = (inner: string) =>
  FUNCTION_ALONE.test(inner.trim()) ? ` \\operatorname{${inner.trim()}}` : textOf(inner);

const LETTERS: readonly Rule[] = [
  [/\^\s*\{?\s*\\text\{\s*(st|nd|rd|th)\s*\}\s*\}?/g, '\\text{$1}'],
  [command('rm|bf|it'), ' '],
  // A text that is the whole answer, unless it is words alone: those stay marked as no product of variables.
  [/^\s*\\text\{([^{}]*(?:[^{}a-zA-Z\s]|\sand\s|\sor\s)[^{}]*|\s*[a-zA-Z]\s*)\}\s*$/, '$1'],
  [new RegExp(`\\\\operatorname\\{(${FUNCTIONS})\\}`, 'g'), '\\$1 '],
  [new RegExp(`(?<![a-zA-Z\\\\{])(${FUNCTIONS})(?![a-zA-Z])`, 'g'), '\\$1 '],
  [/(?<![\\a-zA-Z])inf(?:inity)?(?![a-zA-Z])/g, '\\infty '],
  [/\\sqrt\s*\(/g, '\\sqrt('],
];

/** Which values a parameter has, as a formula. */
const PARAMETERS: readonly Rule[] = [
  [/,?\s*\(\s*([a-zA-Z]\s*\\in\s*\\mathbb\s*\{?\s*Z\s*\}?)\s*\)\s*$/g, ' , $1'],
  [
    /,?\s*\\text\{[\s,]*(?:for|where|with)?\s*(?:any|all|every|some)?\s*(?:integers?)?\s*\}\s*(?=[a-zA-Z]\s*\\in)/g,
    ' , ',
  ],
  [/([a-zA-Z])\s*\\text\{\s*(?:is\s+)?an?\s+integer\s*\}/g, '$1\\in\\mathbb{Z}'],
];

const CONJUNCTIONS: readonly Rule[] = [
  [/(?:\beither\s+|\\text\{\s*either\s*\})(?=.*\bor\b)/g, ' '],
  // An 'or' binds less than a comma.
  [/[,;]?\s*\\text\{[\s,;]*or\s*\}/g, ' ; '],
  [/[,;]?\s*\\text\{[\s,;]*and\s*\}/g, ' , '],
  [/[,;]?(?:\s|(?<=[\d)\]}]))or(?:\s|(?=[\d(\\[-]|[a-z]\s*=))/g, ' ; '],
  [/[,;]?(?:\s|(?<=[\d)\]}]))and(?:\s|(?=[\d(\\[-]|[a-z]\s*=))/g, ' , '],
];

const MEANINGS: readonly Rule[] = [
  [command('lor|vee'), ';'],
  [command('land|wedge'), ','],
  [/\\text\{\s*(?:percent|per cent|%|\\%)\s*\}|\bper ?cent\b|(?<!\\)%/g, '\\% '],
  [/\\text\{\s*(?:degrees?|deg)\s*\}|(?<=[\d}) ])\bdegrees?\b/g, '^{\\circ}'],
  [/\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-z]))|\\degree(?![a-z])/g, '^{\\circ}'],
];

const ANSWER = String.raw`(?:the\s+)?(?:final\s+)?(?:answer\s*(?:is\b\s*:?|[:=])|ans\b\s*[.:=]?)\s*`;
/** Words that only announce the answer are dropped; others before a colon are its name. */
const LABELS: readonly Rule[] = [
  [new RegExp(String.raw`^\s*\\text\{\s*${ANSWER}\}\s*[:=]?(?=\s*\S)`, 'i'), ''],
  [new RegExp(String.raw`^\s*\\text\{\s*${ANSWER}(?=[^\s{}])`, 'i'), '\\text{'],
  [/^\s*(?:final\s+)?(?:answer\s*:|ans\s*[.:])\s*(?=\S)/i, ''],
  [/\\text\{\s*([^{}:\d]*[a-zA-Z]{2}[^{}:\d]*?)\s*(?::\s*\}|\}\s*:)(?=\s*\S)/g, '\\text{$1}='],
];

const TENS: Record<string, number> = { hundred: 2, thousand: 3, million: 6, billion: 9, trillion: 12 };
const MULTIPLIER =
  /(?<=[\d)}])\s*(?:\\text\{\s*(hundred|thousand|million|billion|trillion|dozen)\b([^{}]*)\}|\s(hundred|thousand|million|billion|trillion|dozen)(?![a-zA-Z]))/gi;

/** 1.5 million as a number; what else the text says stays behind it. */
const multiplied = (_: string, word: string | undefined, rest: string | undefined, bare: string | undefined) => {
  const name = (word ?? bare)!.toLowerCase();
  return `\\cdot ${name === 'dozen' ? '12' : `10^{${TENS[name]}}`}${rest?.trim() ? `\\text{ ${rest.trim()}}` : ''}`;
};

/** Text commands become \text{...} or what they hold; words that mean something become what they mean. */
export function words(s: string): string {
  s = unwrap(s, TEXT, textOf);
  s = unwrap(s, NAME, nameOf);
  // 5\mathrm{m}: a unit, unless it is the number i or e.
  s = s.replace(/(?<=[\d})/]\s*)\\(?:mathrm|text)\s*\{\s*([a-df-hj-zA-Z])\s*\}/g, (_, letter) =>
    isUnitLetter(letter) ? textOf(letter) : ` ${letter} `,
  );
  s = unwrap(s, FONT, (inner) => {
    const word = inner.replace(/\\(?:cdot|times)(?![a-z])/g, '·');
    return /^\s*[a-zA-Z][a-zA-Z\s/·^{}\d-]+$/.test(word) ? nameOf(word) : inner;
  });
  s = rewrite(rewrite(s, LABELS), LETTERS);
  for (let n = 0; n < 2; n++) s = s.replace(MULTIPLIER, multiplied);
  for (let at = s.indexOf('\\sqrt('); at >= 0; at = s.indexOf('\\sqrt(', at + 1)) {
    const end = closing(s, at + 6, '(', ')');
    if (end > 0) s = `${s.slice(0, at)}\\sqrt{${s.slice(at + 6, end)}}${s.slice(end + 1)}`;
  }
  s = /\\in(?![a-z])|integer/.test(s) ? rewrite(s, PARAMETERS) : s;
  return rewrite(/or|and/.test(s) ? rewrite(s, CONJUNCTIONS) : s, MEANINGS);
}
