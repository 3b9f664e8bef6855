import { LIMITS } from './limits.js';
import { command, opening, type Rule, rewrite, unwrap } from './rewrite.js';
import { unicode } from './unicode.js';
import { compound, units } from './units.js';
import { words } from './words.js';

/** A new row is set aside: its second backslash begins no command. */
const ROW = '\u0001';
const BOXED = opening('boxed|fbox');
const ACCENT = opening(
  'bar|vec|hat|tilde|dot|ddot|widehat|widetilde|overrightarrow|overleftrightarrow|underline|overline',
);

const DELIMITERS: readonly Rule[] = [
  [/\\[()[\]]/g, ' '],
  // Groups of three digits: 12{,}500, 12,\!500, 12\,500.
  [/(\d)(?:\{,\}\s*|,\s*\\!\s*|\\!\s*,?\s*|\\,\s*)(?=\d{3}(?!\d))/g, '$1'],
  [/\{,\}/g, ','],
];

const LOOKS: readonly Rule[] = [
  [/\\\$|\\!/g, ''],
  [/\$|\\[,;:> ]|~/g, ' '],
  [
    command(
      '(?:scriptsize|footnotesize|tiny|small|normalsize|large|Large|LARGE|huge|Huge|pounds|euro|cents?|therefore)',
    ),
    ' ',
  ],
  [command('quad|qquad|hfill|thinspace|hline|displaystyle|textstyle|scriptstyle|limits|nolimits'), ' '],
  [command('hspace|vspace|phantom|hphantom|label|color|textcolor', '\\*?\\s*\\{[^{}]*\\}'), ' '],
  [command('left|right', '\\s*\\.'), ' '],
  [command('left|right|middle|[bB]igg?[lrm]?'), ''],
  [command('lbrace'), '\\{'],
  [command('rbrace'), '\\}'],
  [command('lbrack'), '['],
  [command('rbrack'), ']'],
  [command('lvert|rvert|vert'), '|'],
  [command('[dtc]frac|sfrac|nicefrac'), '\\frac'],
  [command('[dt]binom'), '\\binom'],
  [/\\mathbb\s*([A-Z])(?![a-zA-Z])/g, '\\mathbb{$1}'],
  [command('varnothing'), '\\emptyset '],
  [command('smallsetminus|backslash'), '\\setminus '],
];

const RELATIONS: readonly Rule[] = [
  [command('leq|leqslant|leqq'), '\\le '],
  [command('geq|geqslant|geqq'), '\\ge '],
  [command('neq'), '\\ne '],
  [command('lt'), '<'],
  [command('gt'), '>'],
  [command('approx|simeq|thickapprox'), '\\approx '],
  [command('cong|doteq|coloneqq|triangleq'), '='],
  [/<=|=</g, '\\le '],
  [/>=/g, '\\ge '],
  // 5!=120 says what a factorial is; x != 5 does not.
  [/(?<=[\d)}\]])!=(?!=)/g, '! = '],
  [/!=|\\not\s*=/g, '\\ne '],
  [/:=|==/g, '='],
  [/-\s*(?=\\\{)/g, '\\setminus '],
  [/(\\cup)\s*\\approx(?![a-z])/g, '$1'],
  [/\\not\s*\\in(?![a-z])/g, '\\notin '],
  [command('colon'), ':'],
  [/\*\*/g, '^'],
  [command('cdotp|ast'), '\\cdot '],
  [/\\pmod\s*\{?\s*(\w+)\s*\}?/g, ' \\pmod{$1}'],
  [/\(\s*(?:\\?mod|\\bmod)\s*(\w+)\s*\)/g, ' \\pmod{$1}'],
];

const NUMBERS: readonly Rule[] = [
  [/(?<![\d.])(\d+)\s+(\d+)\s*\/\s*(\d+)(?![\d.])/g, '$1\\frac{$2}{$3}'],
  [/([_^])\s*(-?\d{2,}|-[\da-z]|\w(?=\s))(?![\d.])/g, '$1{$2}'],
  // A lower index goes before a power.
  [/\^\s*(\{[^{}]*\}|\w)\s*_\s*(\{[^{}]*\}|\w)/g, '_$2^$1'],
  [/(?<![\\a-zA-Z_^}\]])\{([a-zA-Z])\}(?=\s*_)/g, '$1'],
  [/(\.\d*?)(\d{1,12}?)\2{2,}(?:\.\.\.|\\[lc]?dots)\s*$/g, '$1\\repeating{$2}'],
  [/\\frac\s*(\d)\s*(\d)/g, '\\frac{$1}{$2}'],
  [/\\frac\s*(\d)\s*(?=\{|\\)/g, '\\frac{$1}'],
  [/\\sqrt\s*(\d{2,})/g, '\\sqrt{$1}'],
  // A bar over digits after a decimal point repeats them; elsewhere it is an accent.
  [/(\.\d*)\s*\\(?:overline|bar)\s*\{\s*(\d+)\s*\}/g, '$1\\repeating{$2}'],
  [/(\.\d*)\s*\\(?:overline|bar)\s*(\d)/g, '$1\\repeating{$2}'],
  [/(\.\d*)\s*\\dot\s*\{?\s*(\d)\s*\}?(?!\d|\s*\\dot)/g, '$1\\repeating{$2}'],
  // Over one letter these make another quantity: a conjugate, a mean, a derivative.
  [/\\(?:overline|bar)\s*(?:\{\s*([a-zA-Z])\s*\}|(?<=\s)([a-zA-Z])(?![a-zA-Z]))/g, '$1$2_{bar}'],
  [/\\(d?)dot\s*(?:\{\s*([a-zA-Z])\s*\}|(?<=\s)([a-zA-Z])(?![a-zA-Z]))/g, '$2$3_{$1dt}'],
];

const ACCENTS: readonly Rule[] = [
  [command('bar|vec|hat|tilde|dot|ddot', '\\s+(?=[a-zA-Z\\\\])'), ''],
  [/\\repeating\{/g, '\\overline{'],
  [command('angle|triangle|measuredangle|odot'), ' '],
];

/** An answer that is cleaned, and the words after its value. */
export interface Normal {
  latex: string;
  unit: string;
}

/**
 * Cleans an answer: it gets one spelling where several exist, and loses everything that only changes its look. The
 * order of the steps matters: each may rely on the earlier ones.
 */
export function normalize(answer: string): Normal {
  let s = unicode(answer.slice(0, LIMITS.answer))
    .replace(/(?<!\\)\\\s*$/, '')
    .replace(/\\\\(?:\s*\[[\d.]+(?:pt|em|ex|mm|cm)\])?/g, ROW)
    .replace(/\s+/g, ' ');
  for (let n = 0; n < 4 && /\\f?box/.test(s); n++) s = unwrap(s, BOXED, (inner) => inner);
  s = sideBySide(s);
  s = rewrite(thousands(rewrite(s, DELIMITERS)), LOOKS).replace(/\s+/g, ' ');
  s = rewrite(s, RELATIONS);
  s = clock(words(punctuation(onceItself(s))));
  const { value, unit } = units(compound(punctuation(s).replace(CONDITION, '')));
  s = rewrite(punctuation(value), NUMBERS);
  s = rewrite(
    unwrap(s, ACCENT, (inner) => inner),
    ACCENTS,
  );
  return { latex: s.replaceAll(ROW, ' \\\\ ').replace(/\s+/g, ' ').trim(), unit };
}

/** What separates formulas that stand side by side. */
const GAP = /\\q?quad(?![a-zA-Z])|\\[ ;:]|\$\s*[,;]?\s*\$|~/;
const EQUATION = /^[^=<>]*[^\s=<>:!][^=<>]*(?:[=<>]|\\(?:le|ge|ne)q?(?![a-z]))\s*\S/;

/** x=1 \quad y=2 is two equations, and so is x=1 y=2. */
function sideBySide(s: string): string {
  const formulas = s.split(GAP).filter((part) => /[^\s$,;]/.test(part));
  const all = formulas.length > 1 && !s.includes('\\begin');
  if (all && formulas.every((part) => EQUATION.test(part) && isBalanced(part)))
    return formulas.map((part) => part.trim().replace(/[,;]$/, '')).join(' , ');
  return s.replace(/(=\s*-?[\d./]+)\s+(?=[a-zA-Z](?:_(?:\w|\{\w+\}))?\s*=)/g, '$1 , ');
}

function isBalanced(s: string): boolean {
  let depth = 0;
  for (const c of s.replace(/\\./g, '')) {
    if ('([{'.includes(c)) depth++;
    else if (')]}'.includes(c) && --depth < 0) return false;
  }
  return depth === 0;
}

/** 1 \cdot (...) around all of it is nothing. */
function onceItself(s: string): string {
  const match = /^\s*1\s*\\cdot\s*\((.*)\)\s*$/s.exec(s);
  return match && isBalanced(match[1]) ? match[1] : s;
}

/** Where a formula holds, in brackets behind it. */
const CONDITION = /\s*\(\s*[a-zA-Z]\s*\\in\s*\\mathbb\s*\{?N\}?[^()=]*\)$/;

const CLOCK = /^(?:\\text\{)?\s*(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\s*(?:\\text\{)?\s*(?:([ap])\.?\s?m\.?)?\s*\}?$/i;

/** A time of day, as structure() reads it: its hour, minute and second, and a or p. */
function clock(s: string): string {
  const match = CLOCK.exec(s.trim());
  if (!match || Number(match[1]) > 24) return s;
  const [, hour, minute, second = '00', half = ''] = match;
  return `\\clock{${Number(hour)}:${minute}:${second}${half.toLowerCase()}}`;
}

/** Commas between groups of three digits, where no bracket makes a list of them. */
function thousands(s: string): string {
  let depth = 0;
  return s.replace(/\\[{}]|[()[\]]|(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])/g, (m) => {
    if (m === '\\{' || m === '(' || m === '[') depth++;
    else if (m === '\\}' || m === ')' || m === ']') depth--;
    else if (depth <= 0) return m.replaceAll(',', '');
    return m;
  });
}

const END = new RegExp(`[.,;:&\\s${ROW}]+$`);

function punctuation(s: string): string {
  const trimmed = s.trim().replace(/^(?:[=:,;\s]|\\approx(?![a-z]))+/, '');
  return /\.\.\.$/.test(trimmed) ? trimmed : trimmed.replace(END, '');
}
