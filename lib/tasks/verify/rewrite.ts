/** What is replaced, by what, one after the other. */
export type Rule = readonly [pattern: RegExp, replacement: string];

export const rewrite = (s: string, rules: readonly Rule[]): string =>
  rules.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), s);

/** `\name` as a whole, of several names. */
export const command = (names: string, after = '') => new RegExp(`\\\\(?:${names})(?![a-zA-Z])${after}`, 'g');

/** Where `\name{` begins, of several names. */
export const opening = (names: string) => new RegExp(`\\\\(?:${names})\\s*\\{`, 'g');

/** What an `opening` and its brace hold, with both, replaced by what `becomes` makes of it. */
export function unwrap(s: string, start: RegExp, becomes: (inner: string) => string): string {
  let out = '';
  let done = 0;
  start.lastIndex = 0;
  for (let match = start.exec(s); match; match = start.exec(s)) {
    const from = match.index + match[0].length;
    const end = closing(s, from, '{', '}');
    if (end < 0) break;
    out += s.slice(done, match.index) + becomes(s.slice(from, end));
    start.lastIndex = done = end + 1;
  }
  return out + s.slice(done);
}

/** Where the bracket that was opened before `from` closes; -1: nowhere. */
export function closing(s: string, from: number, open: string, close: string): number {
  let depth = 1;
  for (let i = from; i < s.length; i++) {
    if (s[i] === '\\') i++;
    else if (s[i] === open) depth++;
    else if (s[i] === close && --depth === 0) return i;
  }
  return -1;
}
