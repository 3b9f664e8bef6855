// Cuts a template into tokens, with the settings of transformers: trim_blocks and lstrip_blocks.
import { escaped } from './text.js';
import { SPACE, TemplateError } from './values.js';

export interface Token {
  type: 'text' | '{{' | '}}' | '{%' | '%}' | 'name' | 'string' | 'integer' | 'float' | 'operator' | 'end';
  value: string;
  line: number;
}

const OPENING = /\{[{%#]/g;
const SPACES_BEFORE = new RegExp(`[${SPACE}]+$`);
const SPACES = new RegExp(`[${SPACE}]*`, 'y');
const RAW = new RegExp(`\\{%[-+]?[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})`, 'y');
const END_OF_RAW = new RegExp(`\\{%([-+]?)[${SPACE}]*endraw[${SPACE}]*(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`, 'g');
const END_OF_COMMENT = new RegExp(`\\+#\\}|-#\\}[${SPACE}]*|#\\}\\n?`, 'g');
const END = {
  '{{': { type: '}}', pattern: new RegExp(`-\\}\\}[${SPACE}]*|\\}\\}`, 'y') },
  '{%': { type: '%}', pattern: new RegExp(`\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?`, 'y') },
} as const;
const PARTS = [
  ['float', /(?<!\.)\d+(?:_\d+)*(?:(?:\.\d+(?:_\d+)*)?[eE][+-]?\d+(?:_\d+)*|\.\d+(?:_\d+)*)/y],
  ['integer', /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y],
  ['name', /[\p{L}_][\p{L}\p{N}\p{M}_]*/uy],
  ['string', /'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"/sy],
  ['operator', /\/\/|\*\*|[=!<>]=|[-+*/%~[\](){}<>=.:|,;]/y],
] as const;
const PAIRS: { [close: string]: string } = { ')': '(', ']': '[', '}': '{' };

/** @throws TemplateError that names the line */
export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  const tokens: Token[] = [];
  let at = 0;
  /** Whether what was read last ended a line. A template begins with a new line. */
  let lineStarts = true;
  let [line, counted] = [1, 0];
  const lineAt = (place: number) => {
    for (; counted < place; counted++) if (source[counted] === '\n') line++;
    return line;
  };
  const fail = (message: string): never => {
    throw new TemplateError(`line ${lineAt(at)}: ${message}`);
  };
  const match = (pattern: RegExp, from = at) => {
    pattern.lastIndex = from;
    return pattern.exec(source);
  };
  const push = (type: Token['type'], value: string) => tokens.push({ type, value, line: lineAt(at) });
  /** Moves past what was read. */
  const pass = (end: number) => {
    if (end > at) lineStarts = source[end - 1] === '\n';
    at = end;
  };
  /** Text before a tag, without the white space that belongs to the tag. */
  const text = (end: number, sign: string, isExpression: boolean) => {
    let content = source.slice(at, end);
    if (sign === '-') content = content.replace(SPACES_BEFORE, '');
    else if (sign !== '+' && !isExpression) {
      const begin = content.lastIndexOf('\n') + 1;
      if ((begin > 0 || lineStarts) && SPACES_BEFORE.exec(content.slice(begin))?.index === 0)
        content = content.slice(0, begin);
    }
    if (content !== '') push('text', content);
  };

  const firstPart = () => {
    for (const [kind, pattern] of PARTS) {
      const found = match(pattern)?.[0];
      if (found) return [kind, found];
    }
  };
  const comment = () => {
    const end = match(END_OF_COMMENT) ?? fail('missing end of comment');
    pass(end.index + end[0].length);
  };
  const raw = (begin: RegExpExecArray) => {
    pass(begin.index + begin[0].length);
    const end = match(END_OF_RAW) ?? fail('missing {% endraw %}');
    text(end.index, end[1], false);
    pass(end.index + end[0].length);
  };
  const tag = (kind: '{{' | '{%') => {
    const { type, pattern } = END[kind];
    const open: string[] = [];
    for (;;) {
      pass(at + match(SPACES)![0].length);
      const end = open.length === 0 ? match(pattern) : null;
      if (end) {
        push(type, '');
        return pass(at + end[0].length);
      }
      const part = firstPart();
      if (!part) return fail(at < source.length ? `unexpected character '${source[at]}'` : `missing ${type}`);
      const [kind, value] = part as [Token['type'], string];
      if (kind === 'operator' && '([{'.includes(value)) open.push(value);
      if (kind === 'operator' && PAIRS[value] && open.pop() !== PAIRS[value]) fail(`unexpected '${value}'`);
      push(kind, kind === 'string' ? unescaped(value.slice(1, -1), fail) : value);
      pass(at + value.length);
    }
  };

  for (;;) {
    const opening = match(OPENING);
    if (!opening) break;
    const kind = opening[0];
    const sign = /^[-+]/.exec(source.slice(opening.index + 2, opening.index + 3))?.[0] ?? '';
    text(opening.index, sign, kind === '{{');
    const isRaw = match(RAW, opening.index);
    if (isRaw) raw(isRaw);
    else {
      pass(opening.index + 2 + sign.length);
      if (kind === '{#') comment();
      else {
        push(kind as '{{' | '{%', '');
        tag(kind as '{{' | '{%');
      }
    }
  }
  if (at < source.length) push('text', source.slice(at));
  push('end', '');
  return tokens;
}

const SIMPLE: { [character: string]: string } = {
  ...{ '\\': '\\', "'": "'", '"': '"', a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\n': '' },
};
const ESCAPE = /\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{1,3}|.)/gsu;

/** The text of a string literal. An unknown escape stays as it is, as in Python. */
function unescaped(literal: string, fail: (message: string) => never): string {
  return literal.replace(ESCAPE, (found) => {
    const rest = found.slice(1);
    if (SIMPLE[rest] !== undefined) return SIMPLE[rest];
    if (/^[0-7]/.test(rest)) return String.fromCodePoint(Number.parseInt(rest, 8));
    if (/^[xuU]./.test(rest)) {
      const code = Number.parseInt(rest.slice(1), 16);
      return code > 0x10ffff ? fail(`the escape ${found} is no character`) : String.fromCodePoint(code);
    }
    if (/^[xuUN]/.test(rest)) return fail(`the escape \\${rest} in a string is not supported`);
    return rest.codePointAt(0)! > 127 ? escaped(rest).replace('\\', '\\\\').slice(1) : found;
  });
}
