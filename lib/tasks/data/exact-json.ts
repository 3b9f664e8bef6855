// Parses JSON without hiding a loss: a double keeps 15 digits of a number, and JSON.parse rounds the others away.
import { randomUUID } from 'node:crypto';

/** Marks a number that a double cannot hold, between two passes. No text can hold it by chance. */
const MARK = `number ${randomUUID()} `;
/** 16 digits or more. Fewer are always exact. */
const LONG = /\d(?:\.?\d){15}/;
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;

/**
 * JSON.parse, with a boxed number (`instanceof Number`) for each number that has more digits than a double holds.
 *
 * @throws SyntaxError as JSON.parse
 */
export function parseExact(text: string): unknown {
  if (!LONG.test(text)) return JSON.parse(text);
  JSON.parse(text); // an error must show the text as it is
  const marked = text.replace(TOKEN, (token) =>
    token[0] === '"' || isExact(token) ? token : JSON.stringify(MARK + token),
  );
  return JSON.parse(marked, (_, value) =>
    typeof value === 'string' && value.startsWith(MARK) ? new Number(value.slice(MARK.length)) : value,
  );
}

const isExact = (literal: string): boolean => digitsOf(literal) === digitsOf(String(Number(literal)));

/** Digits and exponent, the same for all spellings of a number: '15e-1' for 1.5 and 15.0E-1. */
function digitsOf(literal: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(literal) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  return `${sign}${kept}e${kept === '' ? 0 : Number(exponent) - fraction.length + digits.length - kept.length}`;
}
