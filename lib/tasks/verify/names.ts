/** One letter or command, with its indices and primes; or capitals that name points: x, x_1, f', \theta, AB. */
const SYMBOL = String.raw`(?:\\(?!text|frac|sqrt|sin|cos|tan|log|ln|pi(?![a-z]))[a-zA-Z]+|[a-zA-Z]|[A-Z]{2,4})(?:\s*'|\s*_\s*(?:\{[^{}]*\}|\w)|\s*\^\s*\{\s*(?:-1|\\prime|\*)\s*\}|\s*\^\s*\*)*`;
const ARGUMENTS = String.raw`\s*\([^()]*(?:\([^()]*\)[^()]*)*\)`;
const SYMBOL_ALONE = new RegExp(String.raw`^\s*${SYMBOL}\s*$`);
const APPLIED = new RegExp(
  String.raw`^\s*(?:${SYMBOL}|\\(?:min|max|gcd|lcm|det|operatorname\{[a-zA-Z]+\}))(?:${ARGUMENTS}|\s*\\\{[^{}]*\\\})\s*$`,
);
/** sin x, of one symbol; the length of something; the quotient of two lengths; a text; a sum of two names is none. */
const OTHER = [
  new RegExp(String.raw`^\s*\\(?:sin|cos|tan|cot|sec|csc)\s*(?:\(\s*)?${SYMBOL}(?:\s*\))?\s*$`),
  /^\s*(?:\\?\|)+[^|=]*[a-zA-Z][^|=]*\|+\s*$/,
  /^\s*\\\|[^|=]*[a-zA-Z][^|=]*\\\|\s*$/,
  /^\s*\\frac\s*\{\s*[A-Z]{2}\s*\}\s*\{\s*[A-Z]{2}\s*\}\s*$/,
  /^\s*[A-Z]{2}\s*\/\s*[A-Z]{2}\s*$/,
  /^\s*\\text\{[^{}]*\}\s*$/,
];

/** Whether this is what an answer is the value of: one symbol, or a function of arguments. */
export const isName = (latex: string): boolean =>
  SYMBOL_ALONE.test(latex) || isApplied(latex) || OTHER.some((form) => form.test(latex));

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
