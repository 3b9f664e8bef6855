import { invalidArgument, outOfRange } from '../base/errors.js';
import { checkChoice, checkInteger, checkOptions, checkStrings, describe } from '../base/options.js';
import { asNumbers, copyInts } from './tensor.js';

/** How to cut a response into steps. */
export type StepSplit =
  /** Every `length` tokens. */
  | { kind: 'length'; length: number }
  /** After each of these token ids. */
  | { kind: 'tokens'; tokens: ArrayLike<number> }
  /** The first token of each step after the first, per response: increasing token positions. */
  | { kind: 'offsets'; offsets: readonly ArrayLike<number>[] }
  /**
   * After each line, or after each blank line ("\n\n"). Newlines that follow directly belong to the step that they end.
   */
  | { kind: 'newline' }
  | { kind: 'blankLine' }
  /** After each occurrence of these strings. */
  | { kind: 'strings'; strings: readonly string[] };

/**
 * Cuts packed responses into steps.
 *
 * Text is matched in the whole decoded response, and a step ends with the token in which a match ends. The reason:
 * byte-pair encodings merge newlines with their neighbours. Many vocabularies have ".\n\n" as one token, so the token
 * id of a newline finds few of them. The rest of that token stays in the step.
 *
 * @param responses the token ids of each response; for the kinds that read text, the text of each token (decoded one by
 *   one; a token may be '')
 * @returns cuSteps, int32 [S + 1]: the first token of each step among the packed tokens, then their number. Every
 *   response begins a step; an empty response has none
 * @throws TypeError for token ids with a kind that reads text, RangeError for offsets that do not increase within a
 *   response
 */
export function splitSteps(
  responses: readonly (ArrayLike<number> | readonly string[])[],
  split: StepSplit,
): Int32Array {
  if (!Array.isArray(responses))
    throw invalidArgument(`responses must be an array with the tokens of each response, not ${describe(responses)}`);
  const begins = beginsOf(split);
  const cuSteps: number[] = [];
  let total = 0;
  for (let i = 0; i < responses.length; i++) {
    const response = tokensOf(`responses[${i}]`, responses[i]);
    const { length } = response;
    if (total + length > 2 ** 31 - 1)
      throw outOfRange(`${total + length} tokens are more than an int32 offset can count`);
    if (length > 0) cuSteps.push(total);
    for (const at of begins(response, i)) cuSteps.push(total + at);
    total += length;
  }
  cuSteps.push(total);
  return new Int32Array(cuSteps);
}

type Tokens = readonly (number | string)[];

/** A copy: a length alone proves nothing. */
function tokensOf(name: string, response: ArrayLike<number> | readonly string[]): Tokens {
  const expected = 'an array of token ids or of the texts of tokens';
  if (!Array.isArray(response)) return asNumbers(name, response as ArrayLike<number>, expected);
  const tokens: (number | string)[] = [];
  for (let t = 0; t < response.length; t++) {
    const token: unknown = response[t];
    if (typeof token !== 'number' && typeof token !== 'string')
      throw invalidArgument(`${name}[${t}] must be a token id or the text of a token, not ${describe(token)}`);
    tokens.push(token);
  }
  return tokens;
}

/**
 * Finds the steps of each response.
 *
 * @param cuSteps [S + 1] as splitSteps returns it
 * @param cuSeqlens [B + 1] the first token of each response, then the number of tokens
 * @returns int32 [B + 1]: response i owns steps result[i] .. result[i + 1] - 1
 * @throws RangeError if a response does not begin a step, or the offsets end at different tokens
 */
export function stepsOfResponses(cuSteps: ArrayLike<number>, cuSeqlens: ArrayLike<number>): Int32Array {
  const steps = copyInts('cuSteps', cuSteps);
  const sequences = copyInts('cuSeqlens', cuSeqlens);
  if (steps.length === 0) throw invalidArgument('cuSteps must hold at least one offset');
  if (sequences.length === 0) throw invalidArgument('cuSeqlens must hold at least one offset');
  const owned = new Int32Array(sequences.length);
  let k = 0;
  for (let i = 0; i < sequences.length; i++) {
    while (k < steps.length - 1 && steps[k] < sequences[i]) {
      if (steps[k + 1] <= steps[k])
        throw outOfRange(`cuSteps[${k + 1}] = ${steps[k + 1]} must be above the offset before it, ${steps[k]}`);
      k++;
    }
    if (steps[k] !== sequences[i])
      throw outOfRange(`cuSteps must hold the start of every response, but not cuSeqlens[${i}] = ${sequences[i]}`);
    owned[i] = k;
  }
  if (k !== steps.length - 1)
    throw outOfRange(
      `cuSteps must end at ${sequences[sequences.length - 1]}, the number of tokens, not at ${steps.at(-1)}`,
    );
  return owned;
}

/** Makes the function that finds the beginnings of the steps after the first. */
function beginsOf(split: StepSplit): (response: Tokens, i: number) => Iterable<number> {
  const known = {
    length: 'length',
    tokens: 'tokens',
    offsets: 'offsets',
    newline: null,
    blankLine: null,
    strings: 'strings',
  };
  if (typeof split !== 'object' || split === null)
    throw invalidArgument(`split must be an object such as { kind: 'newline' }, not ${describe(split)}`);
  split = { ...split };
  const kind = checkChoice('kind', split.kind, Object.keys(known) as StepSplit['kind'][]);
  split = checkOptions(`splitSteps with kind '${kind}'`, split, ['kind', known[kind] ?? []].flat());
  switch (split.kind) {
    case 'length': {
      const step = checkInteger('length', split.length, 1);
      return ({ length }) => {
        const begins: number[] = [];
        for (let at = step; at < length; at += step) begins.push(at);
        return begins;
      };
    }
    case 'tokens': {
      const ids = new Set(asNumbers('tokens', split.tokens, 'an array of token ids'));
      if (ids.size === 0) throw invalidArgument('tokens must name at least one token id');
      return (response) => after(response.length, (t) => ids.has(response[t] as number));
    }
    case 'offsets':
      return (response, i) => checkOffsets(split.offsets, i, response.length);
    case 'newline':
      return (response, i) => afterMatches(pieces(response, i), (text) => text.matchAll(/\n+/g));
    case 'blankLine':
      return (response, i) => afterMatches(pieces(response, i), (text) => text.matchAll(/\n{2,}/g));
    case 'strings': {
      const strings = checkStrings('strings', split.strings);
      return (response, i) => afterMatches(pieces(response, i), (text) => occurrences(text, strings));
    }
  }
}

/** t + 1 for each token t that ends a step, except the last token. */
function* after(length: number, endsStep: (t: number) => boolean): Iterable<number> {
  for (let t = 0; t + 1 < length; t++) if (endsStep(t)) yield t + 1;
}

function pieces(response: Tokens, i: number): readonly string[] {
  if (response.some((piece) => typeof piece !== 'string'))
    throw invalidArgument(`responses[${i}] must hold the text of each token: steps of this kind are found in text`);
  return response as readonly string[];
}

function* occurrences(text: string, strings: readonly string[]): Iterable<{ index: number; 0: string }> {
  for (const string of strings)
    for (let index = text.indexOf(string); index >= 0; index = text.indexOf(string, index + 1))
      yield { index, 0: string };
}

function afterMatches(
  response: readonly string[],
  matches: (text: string) => Iterable<{ index?: number; 0: string }>,
): Iterable<number> {
  const ends = new Set<number>(); // positions of the last characters of matches
  for (const match of matches(response.join(''))) ends.add(match.index! + match[0].length - 1);
  let position = 0;
  return after(response.length, (t) => {
    let found = false;
    for (const end = position + response[t].length; position < end; position++) found ||= ends.has(position);
    return found;
  });
}

function checkOffsets(offsets: readonly ArrayLike<number>[], i: number, length: number): number[] {
  const own = asNumbers(`offsets[${i}]`, offsets?.[i], "the positions for each response, with kind 'offsets'");
  own.forEach((at, k) => {
    if (!Number.isInteger(at) || at <= (k > 0 ? own[k - 1] : 0) || at >= length)
      throw outOfRange(`offsets[${i}][${k}] = ${at} must rise and lie between 0 and ${length}, the response's tokens`);
  });
  return own;
}
