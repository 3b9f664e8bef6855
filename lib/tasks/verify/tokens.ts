/** LaTeX in pieces: commands, escaped characters, single characters. */
export const tokenize = (latex: string): string[] => latex.match(/\\[a-zA-Z]+|\\[\s\S]|[\s\S]/g) ?? [];

const OPEN = new Set(['{', '(', '[', '\\{', '\\langle', '\\lfloor', '\\lceil', '\\begin']);
const CLOSE = new Set(['}', ')', ']', '\\}', '\\rangle', '\\rfloor', '\\rceil', '\\end']);

/**
 * How deep in brackets each token stands; a bracket itself stands outside. Round and square ones may close each other.
 */
export function depths(tokens: readonly string[]): Int32Array {
  const result = new Int32Array(tokens.length);
  let depth = 0;
  tokens.forEach((token, i) => {
    if (CLOSE.has(token)) depth--;
    result[i] = depth;
    if (OPEN.has(token)) depth++;
  });
  return result;
}

/** Cuts at the tokens that are one of `separators` and in no bracket. */
export function splitTop(latex: string, separators: ReadonlySet<string>): { parts: string[]; separators: string[] } {
  let present = false;
  for (const separator of separators) present ||= latex.includes(separator);
  if (!present) return { parts: [latex.trim()], separators: [] };
  const tokens = tokenize(latex);
  const deep = depths(tokens);
  const found: string[] = [];
  const parts = [''];
  tokens.forEach((token, i) => {
    if (deep[i] === 0 && separators.has(token)) {
      found.push(token);
      parts.push('');
    } else parts[parts.length - 1] += token;
  });
  return { parts: parts.map((part) => part.trim()), separators: found };
}

/** What brackets hold that hold all the rest. */
export function enclosed(latex: string): { open: string; close: string; inner: string } | undefined {
  const tokens = tokenize(latex.trim());
  const [open] = tokens;
  const close = tokens[tokens.length - 1];
  if (tokens.length < 2 || !OPEN.has(open) || !CLOSE.has(close) || open === '\\begin') return undefined;
  const deep = depths(tokens);
  if (deep[tokens.length - 1] !== 0 || deep.subarray(1, -1).some((depth) => depth < 1)) return undefined;
  return { open, close, inner: tokens.slice(1, -1).join('').trim() };
}
