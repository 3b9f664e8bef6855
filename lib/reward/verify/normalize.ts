import { LIMITS } from './limits.js';

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ';
const SUBSCRIPTS = '₀₁₂₃₄₅₆₇₈₉₊₋₍₎';
const PLAIN = '0123456789+-()ni';
const SYMBOLS: Record<string, string> = {
  ...{ '×': '\\times', '·': '\\cdot', '⋅': '\\cdot', '∙': '\\cdot', '•': '\\cdot', '÷': '\\div', '∕': '/', '⁄': '/' },
  ...{ '−': '-', '–': '-', '—': '-', '‐': '-', '‑': '-', '＋': '+', '±': '\\pm', '∓': '\\mp', '∗': '*' },
  ...{ '≤': '\\le', '⩽': '\\le', '≥': '\\ge', '⩾': '\\ge', '≠': '\\ne', '≈': '\\approx', '≡': '\\equiv', '∣': '\\mid' },
  ...{
    '∞': '\\infty',
    '°': '^{\\circ}',
    '∪': '\\cup',
    '∩': '\\cap',
    '∈': '\\in',
    '∅': '\\emptyset',
    '∖': '\\setminus',
  },
  ...{ π: '\\pi', θ: '\\theta', α: '\\alpha', β: '\\beta', γ: '\\gamma', δ: '\\delta', λ: '\\lambda' },
  ...{ μ: '\\mu', ω: '\\omega', φ: '\\phi', ϕ: '\\phi', σ: '\\sigma', ρ: '\\rho', Δ: '\\Delta', ε: '\\epsilon' },
  ...{ ℝ: '\\mathbb{R}', ℤ: '\\mathbb{Z}', '⟨': '\\langle', '⟩': '\\rangle', '⌊': '\\lfloor', '⌋': '\\rfloor' },
  ...{
    '⌈': '\\lceil',
    '⌉': '\\rceil',
    '′': "'",
    '’': "'",
    '“': '"',
    '”': '"',
    '…': '\\ldots',
    '→': '\\to',
    '€': '',
    '£': '',
    '¥': '',
  },
  ...{
    '½': '\\frac12',
    '⅓': '\\frac13',
    '⅔': '\\frac23',
    '¼': '\\frac14',
    '¾': '\\frac34',
    '⅕': '\\frac15',
    '⅛': '\\frac18',
  },
};
const SYMBOL = new RegExp(`[${Object.keys(SYMBOLS).join('')}]`, 'gu');
const UP = new RegExp(`[${SUPERSCRIPTS}]+`, 'g');
const DOWN = new RegExp(`[${SUBSCRIPTS}]+`, 'g');

const ROW = '\u0001';

const script = (from: string, mark: string) => (run: string) =>
  `${mark}{${[...run].map((c) => PLAIN[from.indexOf(c)]).join('')}}`;

function unicode(s: string): string {
  if (/^[\x20-\x7e]*$/.test(s)) return s;
  return s
    .replace(UP, script(SUPERSCRIPTS, '^'))
    .replace(DOWN, script(SUBSCRIPTS, '_'))
    .replace(/√\s*\(([^()]*)\)/g, '\\sqrt{$1}')
    .replace(/√\s*(\d+|[a-z])?/gi, (_, what) => (what ? `\\sqrt{${what}}` : '\\sqrt '))
    .replace(SYMBOL, (c) => (/[a-z]$/.test(SYMBOLS[c]) ? `${SYMBOLS[c]} ` : SYMBOLS[c]))
    .normalize('NFKC');
}

/** `\name` as a whole, of several names. */
const command = (names: string, after = '') => new RegExp(`\\\\(?:${names})(?![a-zA-Z])${after}`, 'g');

const TEXT = 'text|textbf|textit|textrm|textsf|texttt|textnormal|textup|mbox|hbox|emph';
const FONT = 'mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathfrak|mathnormal|boldsymbol|bm|pmb|rm|bf|it';
/** Braces in a text would only be in the way. */
const textOf = (inner: string) => (/^[\s,;.:]*$/.test(inner) ? inner : ` \\text{${inner.replace(/[{}]/g, '')}}`);

const ACCENT = 'bar|vec|hat|tilde|dot|ddot|widehat|widetilde|overrightarrow|overleftrightarrow|underline|overline';
/** Functions that the parser knows under these names; written without a backslash or as an operator name, they get one. */
const FUNCTIONS =
  'sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|lg|exp|max|min|gcd|lcm|det|sqrt|pi|infty|theta|alpha|beta';
const FUNCTION_ALONE = new RegExp(`^(?:${FUNCTIONS}|arccot|arcsec|arccsc|arcsinh|arccosh|arctanh|mod)$`);
/** Units, where no \text{} says what is one. */
const UNITS = new RegExp(
  `^(?:${[
    'mm|cm|dm|km|nm|in|ft|yd|mi|inch(es)?|foot|feet|yards?|miles?|met(er|re)s?|(centi|milli|kilo)met(er|re)s?',
    'sq|square|cubic|units?|sec|secs|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|months?|years?|mph|kph',
    'kg|mg|lbs?|pounds?|ounces?|oz|grams?|kilograms?|tons?|ml|mL|lit(er|re)s?|gal|gallons?|cups?|quarts?|pints?',
    'dollars?|cents?|usd|USD|euros?|rupees?|degrees?|radians?|rad|Hz|kHz|eV|keV|MeV|kJ|kW|Pa|mol|erg|ergs|AU|pc|Mpc|kpc|ly',
  ].join('|')})$`,
);
const VALUE_END = /(?:[\d})\]|!%]|\\(?:pi|infty|%)|[\d}) ][a-z])\s*$/;

/**
 * An answer cleaned up: one spelling for what has several, and nothing that says only how it looks. The order of the steps
 * matters; each may count on what the earlier ones have done.
 */
export function normalize(answer: string): string {
  // A new row is set aside: its second backslash begins no command.
  let s = unicode(answer.slice(0, LIMITS.answer))
    .replace(/\\\\(?:\s*\[[\d.]+(?:pt|em|ex|mm|cm)\])?/g, ROW)
    .replace(/\s+/g, ' ');
  s = looks(s);
  s = relations(s);
  s = words(punctuation(s));
  s = units(s);
  s = punctuation(s);
  return numbers(s).replaceAll(ROW, ' \\\\ ').replace(/\s+/g, ' ').trim();
}

function looks(s: string): string {
  for (let n = 0; n < 4 && /\\f?boxed|\\fbox/.test(s); n++) s = unwrap(s, 'boxed|fbox', (inner) => inner);
  s = s.replace(/\\[()[\]]/g, ' ');
  // Groups of three digits: 12{,}500, 12,\!500, 12\,500, and 12,500 outside of brackets.
  s = s.replace(/(\d)(?:\{,\}|,\s*\\!|\\!\s*,?|\\,)(?=\d{3}(?!\d))/g, '$1');
  return thousands(s)
    .replace(
      /\\\$|\$|\\[,;:> ]|~|\\(?:quad|qquad|hfill|thinspace|hline|displaystyle|textstyle|scriptstyle|limits|nolimits)(?![a-zA-Z])/g,
      (m) => (m === '\\$' ? '' : ' '),
    )
    .replace(/\\!/g, '')
    .replace(command('hspace|vspace|phantom|hphantom|label|color', '\\*?\\s*\\{[^{}]*\\}'), ' ')
    .replace(command('left|right', '\\s*\\.'), ' ')
    .replace(command('left|right|middle|[bB]igg?[lrm]?'), '')
    .replace(command('lbrace'), '\\{')
    .replace(command('rbrace'), '\\}')
    .replace(command('lbrack'), '[')
    .replace(command('rbrack'), ']')
    .replace(command('lvert|rvert|vert'), '|')
    .replace(command('[dtc]frac|sfrac|nicefrac'), '\\frac')
    .replace(command('[dt]binom'), '\\binom')
    .replace(command('varnothing'), '\\emptyset ')
    .replace(command('smallsetminus|backslash'), '\\setminus ');
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

function relations(s: string): string {
  return s
    .replace(command('leq|leqslant|leqq'), '\\le ')
    .replace(command('geq|geqslant|geqq'), '\\ge ')
    .replace(command('neq'), '\\ne ')
    .replace(command('lt'), '<')
    .replace(command('gt'), '>')
    .replace(command('approx|simeq|cong|doteq|coloneqq|triangleq'), '=')
    .replace(/<=|=</g, '\\le ')
    .replace(/>=/g, '\\ge ')
    .replace(/!=/g, '\\ne ')
    .replace(/:=|==/g, '=')
    .replace(/\\not\s*=/g, '\\ne ')
    .replace(/\\not\s*\\in(?![a-z])/g, '\\notin ')
    .replace(command('colon'), ':')
    .replace(/\*\*/g, '^')
    .replace(command('cdotp|ast'), '\\cdot ')
    .replace(/\\pmod\s*\{?\s*(\w+)\s*\}?|\(\s*(?:\\?mod|\\bmod)\s*(\w+)\s*\)/g, (_, a, b) => ` \\pmod{${a ?? b}}`);
}

/** Text commands become \text{...} or what they hold; words that mean something become what they mean. */
function words(s: string): string {
  const name = (inner: string) =>
    FUNCTION_ALONE.test(inner.trim()) ? ` \\operatorname{${inner.trim()}}` : textOf(inner);
  s = unwrap(s, TEXT, textOf);
  s = unwrap(s, 'operatorname\\*?|mathop', name);
  // 5\mathrm{m}: a unit, unless it is the number i or e.
  s = s.replace(/(?<=[\d})/]\s*)\\mathrm\s*\{\s*([a-df-hj-zA-Z])\s*\}/g, (_, unit) => textOf(unit));
  s = unwrap(s, FONT, (inner) => (/^\s*[a-zA-Z][a-zA-Z\s/·^{}\d]+$/.test(inner) ? name(inner) : inner));
  s = s
    .replace(command('rm|bf|it'), ' ')
    .replace(/^\s*\\text\{([^{}]*(?:[^{}a-zA-Z\s]|\sand\s|\sor\s)[^{}]*|\s*[a-zA-Z]\s*)\}\s*$/, '$1');
  s = s.replace(new RegExp(`\\\\operatorname\\{(${FUNCTIONS})\\}`, 'g'), '\\$1 ');
  s = s.replace(new RegExp(`(?<![a-zA-Z\\\\{])(${FUNCTIONS})(?![a-zA-Z])`, 'g'), '\\$1 ');
  s = s.replace(/\\sqrt\s*\(/g, '\\sqrt(');
  for (let at = s.indexOf('\\sqrt('); at >= 0; at = s.indexOf('\\sqrt(', at + 1)) {
    const end = closing(s, at + 6, '(', ')');
    if (end > 0) s = `${s.slice(0, at)}\\sqrt{${s.slice(at + 6, end)}}${s.slice(end + 1)}`;
  }
  return s
    .replace(/\binf(?:inity)?\b(?!\w)/g, (m, at: number) => (s[at - 1] === '\\' ? m : '\\infty '))
    .replace(/,?\s*(?:\\text\{[\s,]*(?:and|or)\s*\}|(?<![\w\\}])\s+(?:and|or)\s+)/g, ' , ')
    .replace(/\s(?:and|or)\s/g, ' , ')
    .replace(command('land|lor|wedge|vee'), ',')
    .replace(/\\text\{\s*(?:percent|per cent|%|\\%)\s*\}|\bper ?cent\b|(?<!\\)%/g, '\\% ')
    .replace(
      /\\text\{\s*(?:degrees?|deg)\s*\}|(?<=[\d}) ])\bdegrees?\b|\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-z]))|\\degree(?![a-z])/g,
      '^{\\circ}',
    );
}

/** What stands after a value and only says of what. */
function units(s: string): string {
  for (let n = 0; n < 6; n++) {
    const unit = TEXT_UNIT.exec(s) ?? WORD_UNIT.exec(s);
    if (!unit || !VALUE_END.test(unit[1]) || !/\d|\\(?:pi|frac|sqrt|infty)/.test(unit[1])) return s;
    if (DENIAL.test(s.slice(unit[1].length))) return s;
    if (unit[2] !== undefined && !areUnits(unit[2], / $/.test(unit[1]))) return s;
    s = unit[1].trim();
  }
  return s;
}

const POWER = String.raw`(?:\s*\^\s*(?:\d|\{\s*-?\d\s*\}))?\s*[.,]?\s*$`;
const TEXT_UNIT = new RegExp(
  String.raw`^(.*?)\s*(?:[/·]|\\cdot|\\times)?\s*(?:\\text\{[^{}]*\}|\^\{\\circ\}\s*(?:[CF]|\\text\{\s*[CF]\s*\}))${POWER}`,
  's',
);
const WORD_UNIT = new RegExp(String.raw`^(.*[\d})]\s?|.*\\[a-z]+ )(?<![\\a-zA-Z])([a-zA-Z][a-zA-Z\s/.]*)${POWER}`, 's');

const PER = /^(?:k?m|cm|mi|ft|k?g|J|N|W|mol)\/(?:s|h|hr|min|sec|m?L|K|kg|mol|k?m)$/;
/** In a text after a value, these do not say of what it is. */
const DENIAL = /\b(?:not|no|wrong|incorrect|if|when|unless|except|or|than)\b/i;

/** Words all, known ones or, after a space, long enough not to be a product of variables. */
function areUnits(words: string, apart: boolean): boolean {
  if (apart && PER.test(words)) return true;
  const all = words.split(/[\s/.]+/).filter(Boolean);
  return all.every((word) => UNITS.test(word) || (apart && word.length > 2 && !FUNCTION_ALONE.test(word)));
}

function punctuation(s: string): string {
  s = s.trim().replace(/^[=:,;\s]+/, '');
  return /\.\.\.$/.test(s) ? s : s.replace(/[.,;:\s]+$/, '');
}

function numbers(s: string): string {
  s = s
    .replace(/(?<![\d.])(\d+)\s+(\d+)\s*\/\s*(\d+)(?![\d.])/g, '$1\\frac{$2}{$3}')
    .replace(/([_^])\s*(-?\d{2,}|-[\da-z]|\w(?=\s))(?![\d.])/g, '$1{$2}')
    .replace(/\\frac\s*(\d)\s*(\d)/g, '\\frac{$1}{$2}')
    .replace(/\\frac\s*(\d)\s*(?=\{|\\)/g, '\\frac{$1}')
    .replace(/\\sqrt\s*(\d{2,})/g, '\\sqrt{$1}');
  // A bar over digits after a decimal point repeats them; elsewhere it is an accent.
  s = s.replace(
    /(\.\d*)\s*\\(?:overline|bar)\s*(?:\{\s*(\d+)\s*\}|(\d))/g,
    (_, head, many, one) => `${head}\\overline{${many ?? one}}`,
  );
  const kept = /(\.\d*)\\overline\{/g;
  s = s.replace(kept, '$1\\repeating{');
  s = unwrap(s, ACCENT, (inner) => inner);
  return s
    .replace(command('bar|vec|hat|tilde|dot|ddot', '\\s+(?=[a-zA-Z\\\\])'), '')
    .replace(/\\repeating\{/g, '\\overline{')
    .replace(command('angle|triangle|measuredangle|odot'), ' ');
}

/** `\name{inner}`, of several names, replaced by what `becomes` makes of `inner`. */
function unwrap(s: string, names: string, becomes: (inner: string) => string): string {
  const start = new RegExp(`\\\\(?:${names})\\s*\\{`, 'g');
  let out = '';
  let done = 0;
  for (let match = start.exec(s); match; match = start.exec(s)) {
    const from = match.index + match[0].length;
    const end = closing(s, from, '{', '}');
    if (end < 0) break;
    out += s.slice(done, match.index) + becomes(s.slice(from, end));
    start.lastIndex = done = end + 1;
  }
  return out + s.slice(done);
}

function closing(s: string, from: number, open: string, close: string): number {
  let depth = 1;
  for (let i = from; i < s.length; i++) {
    if (s[i] === '\\') i++;
    else if (s[i] === open) depth++;
    else if (s[i] === close && --depth === 0) return i;
  }
  return -1;
}
