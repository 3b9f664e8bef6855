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
    '₹': '',
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

const script = (from: string, mark: string) => (run: string) =>
  `${mark}{${[...run].map((c) => PLAIN[from.indexOf(c)]).join('')}}`;

/** Characters that LaTeX has commands for, as these; whatever else only looks different, as what it stands for. */
export function unicode(s: string): string {
  if (/^[\x20-\x7e]*$/.test(s)) return s;
  return s
    .replace(UP, script(SUPERSCRIPTS, '^'))
    .replace(DOWN, script(SUBSCRIPTS, '_'))
    .replace(/√\s*\(([^()]*)\)/g, '\\sqrt{$1}')
    .replace(/√\s*(\d+|[a-z])?/gi, (_, what) => (what ? `\\sqrt{${what}}` : '\\sqrt '))
    .replace(SYMBOL, (c) => (/[a-z]$/.test(SYMBOLS[c]) ? `${SYMBOLS[c]} ` : SYMBOLS[c]))
    .normalize('NFKC');
}
