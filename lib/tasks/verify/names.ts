/** What stands below a symbol, and primes and the like above it. */
const SCRIPTS = String.raw`(?:\s*'|\s*_\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w)|\s*\^\s*\{\s*(?:-1|\\prime|\*)\s*\}|\s*\^\s*\*)*`;
/** One letter or command, or capitals that name points: x, x_1, f', \theta, AB, \Delta x. */
const SYMBOL = String.raw`(?:\\Delta\s*)?(?:\\mathbb\{[A-Z]\}|\\(?!text|frac|sqrt|sin|cos|tan|log|ln|lim|max|min|pi(?![a-z])|mathbb|operatorname)[a-zA-Z]+|[a-zA-Z]|[A-Z]{2,4})${SCRIPTS}`;
const ARGUMENTS = String.raw`(?:\s*\([^()]*(?:\([^()]*\)[^()]*)*\)|\s*\[[^[\]]*\]|\s*\\\{[^{}]*\\\})`;
const SYMBOL_ALONE = new RegExp(String.raw`^\s*${SYMBOL}\s*$`);
const HEAD = String.raw`(?:${SYMBOL}|\\(?:min|max|gcd|lcm|det)|\\(?:operatorname|text)\{[a-zA-Z]+\})`;
const APPLIED = new RegExp(String.raw`^\s*${HEAD}${ARGUMENTS}\s*$`);
/** sin x; |AB|; max f; an area [ABC]; an angle m B; a quotient of lengths; a derivative; a limit; a text. */
const OTHER = [
  new RegExp(String.raw`^\s*\\(?:sin|cos|tan|cot|sec|csc|max|min)\s*(?:\(\s*)?${SYMBOL}(?:\s*\))?\s*$`),
  /^\s*(?:\\?\|)+[^|=]*[a-zA-Z][^|=]*\|+\s*$/,
  /^\s*\\\|[^|=]*[a-zA-Z][^|=]*\\\|\s*$/,
  /^\s*\[\s*[A-Z]{2,5}\s*\]\s*$/,
  /^\s*m\s+[A-Z]{1,3}\s*$/,
  /^\s*\\frac\s*\{\s*[A-Z]{2}\s*\}\s*\{\s*[A-Z]{2}\s*\}\s*$/,
  /^\s*[A-Z]{2}\s*\/\s*[A-Z]{2}\s*$/,
  /^\s*\\frac\s*\{\s*d\s*[a-zA-Z]\s*\}\s*\{\s*d\s*[a-zA-Z]\s*\}\s*$/,
  /^\s*d\s*[a-zA-Z]\s*\/\s*d\s*[a-zA-Z]\s*$/,
  new RegExp(String.raw`^\s*\\lim\s*_\s*\{[^{}]*\}\s*${HEAD}${ARGUMENTS}?\s*$`),
  /^\s*\\text\{[^{}]*\}\s*$/,
];

/** Whether this is what an answer is the value of: one symbol, or a function of arguments. */
export const isName = (latex: string): boolean =>
  SYMBOL_ALONE.test(latex) || isApplied(latex) || OTHER.some((form) => form.test(latex));

/** The letter whose appearance in the value makes an equation of a definition: y of y', of y(x) and of dy/dx. */
export const letterOf = (name: string): string =>
  /^\s*(?:\\frac\s*\{\s*d|d)\s*([a-zA-Z])\s*[}/]/.exec(name)?.[1] ??
  new RegExp(String.raw`^\s*(${SYMBOL})${ARGUMENTS}\s*$`).exec(name)?.[1] ??
  name;

/** f(x), P(A). */
export const isApplied = (latex: string): boolean => APPLIED.test(latex);

/** f(x) of one symbol: the values of a function, which may be called y as well. */
export const isFunction = (latex: string): boolean =>
  new RegExp(String.raw`^\s*[a-zA-Z](?:_\s*(?:\{[^{}]*\}|\w))?\s*\(\s*${SYMBOL}\s*\)\s*$`).test(latex);

/** Two spellings of a name are the same name. */
export const plainName = (latex: string): string =>
  latex
    .replace(/\s+|\\(?:angle|left|right)(?![a-z])/g, '')
    .replace(/_\{(\w)\}/g, '_$1')
    .replace(/\^\{?\\prime\}?/g, "'");
