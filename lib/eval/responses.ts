// Responses that were made elsewhere: lines of JSON, each with the responses to one problem.

import { PrlError } from '../base/errors.js';
import type { Json } from '../base/json.js';
import { corruptLine } from '../base/lines.js';
import { isCount } from '../base/options.js';
import { readObjects } from '../base/records.js';
import { quoted } from '../base/text.js';
import { RECORDS } from './record.js';
import type { Sample } from './score.js';
import type { EvaluationSet } from './types.js';

const MAX_RESPONSES = 2 ** 20;

export interface GivenResponses {
  /** Index of the set, and of the problem in it. */
  set: number;
  index: number;
  samples: Sample[];
}

/**
 * Reads the responses problem by problem, in the order of the file. @throws PrlError ERR_PRL_CORRUPT that names the
 * line
 */
export async function* readResponses(
  file: string,
  sets: readonly EvaluationSet[],
): AsyncGenerator<GivenResponses, void, void> {
  const find = problemFinder(sets);
  const seen = new Map<string, number>();
  let n: number | undefined;
  for await (const { line: number, value } of readObjects(file, { skipBlank: true })) {
    // The record of another evaluation.
    if (number === 1 && value.format === RECORDS.format) continue;
    const place = find(value);
    if (typeof place === 'string') throw corruptLine(file, number, place);
    const key = `${place.set} ${place.index}`;
    if (seen.has(key)) throw corruptLine(file, number, `this problem is already on line ${seen.get(key)}`);
    seen.set(key, number);
    const samples = samplesOf(value.responses);
    if (typeof samples === 'string') throw corruptLine(file, number, samples);
    n ??= samples.length;
    if (samples.length !== n)
      throw corruptLine(file, number, `expected ${n} responses, as for earlier problems, not ${samples.length}`);
    yield { ...place, samples };
  }
}

/**
 * How many responses each problem has.
 *
 * @throws PrlError ERR_PRL_CORRUPT unless the file has those of every problem
 */
export async function checkResponses(file: string, sets: readonly EvaluationSet[]): Promise<number> {
  const missing = sets.map(({ problems }) => new Set(problems.keys()));
  let n = 0;
  for await (const { set, index, samples } of readResponses(file, sets)) {
    missing[set].delete(index);
    n = samples.length;
  }
  sets.forEach(({ name, problems }, set) => {
    const { size } = missing[set];
    if (size === 0) return;
    const [first] = missing[set];
    throw new PrlError(
      'ERR_PRL_CORRUPT',
      `${file} has no responses to ${size} of the ${problems.length} problems of ${name}; the first of them: ${quoted(problems[first].id ?? problems[first].prompt)}`,
    );
  });
  return n;
}

/** Finds the problem of a line, by its id or its prompt. If there is none, or several, it returns what is wrong. */
function problemFinder(sets: readonly EvaluationSet[]): (line: Json) => { set: number; index: number } | string {
  const index = (key: 'id' | 'prompt') => {
    const found = new Map<string, { set: number; index: number }[]>();
    sets.forEach(({ problems }, set) => {
      problems.forEach((problem, index) => {
        const text = problem[key];
        if (text === undefined) return;
        const places = found.get(text);
        if (places) places.push({ set, index });
        else found.set(text, [{ set, index }]);
      });
    });
    return found;
  };
  const [byId, byPrompt] = [index('id'), index('prompt')];
  const names = sets.map(({ name }) => name);
  return ({ id, prompt, set }) => {
    if (set !== undefined && !names.includes(set as string))
      return `set must be one of ${names.join(', ')}, not ${quoted(set)}`;
    const of = (places: { set: number; index: number }[] | undefined) =>
      (places ?? []).filter((at) => set === undefined || names[at.set] === set);
    const isId = typeof id === 'string' || Number.isSafeInteger(id);
    if (!isId && typeof prompt !== 'string')
      return "expected 'id', or 'prompt' with the text of the problem in the data";
    const found = isId ? of(byId.get(String(id))) : [];
    const places = found.length > 0 || typeof prompt !== 'string' ? found : of(byPrompt.get(prompt));
    const which = `problem ${isId ? `with the id ${quoted(String(id))}` : `that reads ${quoted(prompt)}`}`;
    if (places.length > 1)
      return `more than one ${which}: in ${[...new Set(places.map((at) => names[at.set]))].join(', ')}. Add 'set' to choose one`;
    if (places.length === 1) return places[0];
    return `no ${which}${isId && byId.size === 0 ? ': set idField to the field of the data that holds ids' : ''}`;
  };
}

/** Strings, or objects with `text` and optionally `finished` and `tokens`, as in a record. */
function samplesOf(value: unknown): Sample[] | string {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_RESPONSES)
    return `responses must be an array of 1 to ${MAX_RESPONSES} strings`;
  const samples: Sample[] = [];
  for (const [i, item] of value.entries()) {
    const {
      text,
      finished = true,
      tokens,
    } = (typeof item === 'string' ? { text: item } : (item ?? {})) as Partial<Sample>;
    const isRight =
      typeof text === 'string' && typeof finished === 'boolean' && (tokens === undefined || isCount(tokens));
    if (!isRight) return `responses[${i}] must be a string, or an object with text, finished and tokens`;
    samples.push({ text, finished, ...(tokens !== undefined && { tokens }) });
  }
  return samples;
}
