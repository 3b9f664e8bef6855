import { LIMITS } from './limits.js';
import { command, opening, type Rule, rewrite, unwrap } from './rewrite.js';
import { unicode } from './unicode.js';
import { units } from './units.js';
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
  [/(\d)(?:\{,\}|,\s*\\!|\\!\s*,?|\\,)(?=\d{3}(?!\d))/g, '$1'],
];

const LOOKS: readonly Rule[] = [
  [/\\\$|\\!/g, ''],
  [/\$|\\[,;:> ]|~/g, ' '],
  [command('quad|qquad|hfill|thinspace|hline|displaystyle|textstyle|scriptstyle|limits|nolimits'), ' '],
  [command('hspace|vspace|phantom|hphantom|label|color', '\\*?\\s*\\{[^{}]*\\}'), ' '],
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
  [/!=|\\not\s*=/g, '\\ne '],
  [/:=|==/g, '='],
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
  [/\\frac\s*(\d)\s*(\d)/g, '\\frac{$1}{$2}'],
  [/\\frac\s*(\d)\s*(?=\{|\\)/g, '\\frac{$1}'],
  [/\\sqrt\s*(\d{2,})/g, '\\sqrt{$1}'],
  // A bar over digits after a decimal point repeats them; elsewhere it is an accent.
  [/(\.\d*)\s*\\(?:overline|bar)\s*\{\s*(\d+)\s*\}/g, '$1\\repeating{$2}'],
  [/(\.\d*)\s*\\(?:overline|bar)\s*(\d)/g, '$1\\repeating{$2}'],
  // Over one letter these make another quantity: a conjugate, a mean, a derivative.
  [/\\(?:overline|bar)\s*(?:\{\s*([a-zA-Z])\s*\}|(?<=\s)([a-zA-Z])(?![a-zA-Z]))/g, '$1$2_{bar}'],
  [/\\(d?)dot\s*(?:\{\s*([a-zA-Z])\s*\}|(?<=\s)([a-zA-Z])(?![a-zA-Z]))/g, '$2$3_{$1dt}'],
];

const ACCENTS: readonly Rule[] = [
  [command('bar|vec|hat|tilde|dot|ddot', '\\s+(?=[a-zA-Z\\\\])'), ''],
  [/\\repeating\{/g, '\\overline{'],
  [command('angle|triangle|measuredangle|odot'), ' '],
];

/**
 * Cleans an answer: it gets one spelling where several exist, and loses everything that only changes its look. The
 * order of the steps matters: each may rely on the earlier ones.
 */
export function normalize(answer: string): string {
  let s = unicode(answer.slice(0, LIMITS.answer))
    .replace(/\\\\(?:\s*\[[\d.]+(?:pt|em|ex|mm|cm)\])?/g, ROW)
    .replace(/\s+/g, ' ');
  for (let n = 0; n < 4 && /\\f?box/.test(s); n++) s = unwrap(s, BOXED, (inner) => inner);
  s = rewrite(thousands(rewrite(s, DELIMITERS)), LOOKS);
  s = rewrite(s, RELATIONS);
  s = words(punctuation(s));
  s = punctuation(units(s));
  s = rewrite(s, NUMBERS);
  s = rewrite(
    unwrap(s, ACCENT, (inner) => inner),
    ACCENTS,
  );
  return s.replaceAll(ROW, ' \\\\ ').replace(/\s+/g, ' ').trim();
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

const END = new RegExp(`[.,;:\\s${ROW}]+$`);

function punctuation(s: string): string {
  const trimmed = s.trim().replace(/^[=:,;\s]+/, '');
  return /\.\.\.$/.test(trimmed) ? trimmed : trimmed.replace(END, '');
}
