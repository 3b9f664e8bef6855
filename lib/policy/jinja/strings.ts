// Functions of texts, as Python has them.
import { characters, SPACE, TemplateError, type Value } from './values.js';

/** @param chars the characters to remove; null: white space */
export function strip(text: string, chars: string | null, left: boolean, right: boolean): string {
  const list = characters(text);
  const space = new RegExp(`^[${SPACE}]$`);
  const goes = chars === null ? (c: string) => space.test(c) : (c: string) => characters(chars).includes(c);
  let [from, to] = [0, list.length];
  while (left && from < to && goes(list[from])) from++;
  while (right && to > from && goes(list[to - 1])) to--;
  return list.slice(from, to).join('');
}

/** @param most splits at most; below 0: all. @param last counts them from the end */
export function splitText(text: string, separator: string | null, most: number, last: boolean): Value[] {
  if (separator === '') throw new TemplateError('empty separator');
  if (separator === null) return splitAtSpaces(text, most, last);
  const parts = text.split(separator);
  if (most < 0 || parts.length <= most + 1) return parts;
  return last
    ? [parts.slice(0, parts.length - most).join(separator), ...parts.slice(parts.length - most)]
    : [...parts.slice(0, most), parts.slice(most).join(separator)];
}

function splitAtSpaces(text: string, most: number, last: boolean): Value[] {
  const words = [...text.matchAll(new RegExp(`[^${SPACE}]+`, 'g'))];
  if (most < 0 || words.length <= most) return words.map(([word]) => word);
  const kept = last ? words.slice(words.length - most) : words.slice(0, most);
  const others = last ? words.slice(0, words.length - most) : words.slice(most);
  if (others.length === 0) return kept.map(([word]) => word);
  const [first, final] = [others[0], others[others.length - 1]];
  const rest = last ? text.slice(0, final.index + final[0].length) : text.slice(first.index);
  return last ? [rest, ...kept.map(([word]) => word)] : [...kept.map(([word]) => word), rest];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these end lines in Python
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g;

export function splitLines(text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let from = 0;
  for (const { 0: end, index } of text.matchAll(LINE_END)) {
    lines.push(text.slice(from, index) + (keepEnds ? end : ''));
    from = index + end.length;
  }
  if (from < text.length) lines.push(text.slice(from));
  return lines;
}

/** Place of a part, in characters; -1: it is not there. */
export function find(text: string, part: string, last: boolean): number {
  const at = last ? text.lastIndexOf(part) : text.indexOf(part);
  return at < 0 ? -1 : characters(text.slice(0, at)).length;
}

export function upperFirst(text: string): string {
  const [first = '', ...rest] = characters(text);
  return titleOf(first) + rest.join('').toLowerCase();
}

/** Letters of two, in upper, title and lower case. */
const DIGRAPHS = ['\u01c4\u01c5\u01c6', '\u01c7\u01c8\u01c9', '\u01ca\u01cb\u01cc', '\u01f1\u01f2\u01f3'];

/** The title case of one character. It differs from upper case for letters such as ß and dž. */
function titleOf(character: string): string {
  const digraph = DIGRAPHS.find((each) => each.includes(character));
  if (digraph && character !== '') return digraph[1];
  const upper = character.toUpperCase();
  const [first = '', ...rest] = characters(upper);
  return rest.length > 0 ? first + rest.join('').toLowerCase() : upper;
}

/** Words begin after anything that has no case. */
export function titleCase(text: string): string {
  let inside = false;
  return characters(text)
    .map((c) => {
      const result = inside ? c.toLowerCase() : titleOf(c);
      inside = isCased(c);
      return result;
    })
    .join('');
}

const isCased = (c: string) => /[\p{Lt}\p{Uppercase}\p{Lowercase}]/u.test(c);

export const isTitle = (text: string): boolean => characters(text).some(isCased) && titleCase(text) === text;

export const swapCase = (text: string): string =>
  characters(text)
    .map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()))
    .join('');

export const caseFold = (text: string): string => text.toUpperCase().toLowerCase();

/** Fills a text up to a width. An odd rest goes where CPython's center puts it. */
export function pad(text: string, width: number, fill: string, left: number, right: number): string {
  const missing = width - characters(text).length;
  if (characters(fill).length !== 1) throw new TemplateError('the fill must be one character');
  if (missing <= 0) return text;
  if (missing > 1 << 20) throw new TemplateError(`the width ${width} is too large`);
  const before = left && right ? (missing >> 1) + (missing & width & 1) : left ? missing : 0;
  return fill.repeat(before) + text + fill.repeat(missing - before);
}
