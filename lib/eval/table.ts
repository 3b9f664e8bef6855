import { mean } from '../methods/method.js';
import { ratesInterval } from './interval.js';
import { passAtK } from './metrics.js';
import type { Tally } from './record.js';

type Interval = [low: number, high: number];

/**
 * Rates from 0 to 1 with their 95% intervals over problems: bootstrap intervals, or Wilson's score intervals with fewer
 * than 10 problems and where all problems have the same rate.
 */
export interface EvaluationRates {
  /** Mean over problems of right responses / n. */
  averageAtN: number;
  /** Its 95% interval. */
  averageAtNInterval: Interval;
  /** The chance that one of k responses is right, for each power of two below n, and for n. */
  passAtK: { k: number; value: number; interval: Interval }[];
  /** Share of problems whose most frequent answer is right. Absent if the verifier finds no answers. */
  majAtN?: number;
  /** Its 95% interval. */
  majAtNInterval?: Interval;
}

/** Figures of one set. */
export interface SetFigures extends EvaluationRates {
  /** Name of the set. */
  name: string;
  /** Number of problems. */
  problems: number;
  /** Mean length of a response in tokens. Absent for responses made elsewhere. */
  meanLength?: number;
  /** Share of responses cut at the length limit. */
  clippedRatio: number;
  /** Share of responses with an answer. Absent if the verifier finds no answers. */
  answeredRatio?: number;
  /** The verifier's other measures: means over responses. */
  measures: Record<string, number>;
}

/** The table of the papers: a column per set, and the averages. */
export interface EvaluationTable {
  /** Responses per problem. */
  n: number;
  /** Figures of each set, in the order of the options. */
  sets: SetFigures[];
  /** Figures over the problems of all sets. */
  allProblems: SetFigures;
  /** Mean of the sets' figures, with equal weight per set. Problems are resampled within their sets. */
  meanOfSets: EvaluationRates;
}

/** 1, 2, 4 ... and n. */
export function passCounts(n: number): number[] {
  const counts = [];
  for (let k = 1; k < n; k *= 2) counts.push(k);
  return [...counts, n];
}

/** @param sets the problems of each set, at least one */
export async function evaluationTable(
  sets: readonly { name: string; tallies: readonly Tally[] }[],
  n: number,
): Promise<EvaluationTable> {
  const lists = sets.map(({ tallies }) => tallies);
  const figures: SetFigures[] = [];
  for (const set of sets) figures.push(await figuresOf(set, n));
  return {
    n,
    sets: figures,
    allProblems: await figuresOf({ name: 'all problems', tallies: lists.flat() }, n),
    meanOfSets: await ratesOf(lists, n),
  };
}

async function figuresOf(
  { name, tallies }: { name: string; tallies: readonly Tally[] },
  n: number,
): Promise<SetFigures> {
  const perResponse = (values: readonly number[]) => mean(values) / n;
  const known = (values: readonly (number | undefined)[]): values is number[] => !values.includes(undefined);
  const tokens = tallies.map(({ tokens }) => tokens);
  const answered = tallies.map(({ answered }) => answered);
  const measures = [...new Set(tallies.flatMap(({ measures }) => Object.keys(measures)))];
  return {
    name,
    problems: tallies.length,
    ...(await ratesOf([tallies], n)),
    ...(known(tokens) && { meanLength: perResponse(tokens) }),
    clippedRatio: perResponse(tallies.map(({ clipped }) => clipped)),
    ...(known(answered) && { answeredRatio: perResponse(answered) }),
    // A measure that some responses lack counts as 0 there.
    measures: Object.fromEntries(
      measures.map((name) => [name, perResponse(tallies.map(({ measures }) => measures[name] ?? 0))]),
    ),
  };
}

async function ratesOf(sets: readonly (readonly Tally[])[], n: number): Promise<EvaluationRates> {
  const rate = async (value: (tally: Tally) => number): Promise<{ value: number; interval: Interval }> => {
    const lists = sets.map((tallies) => tallies.map(value));
    return { value: mean(lists.map((values) => mean(values))), interval: await ratesInterval(lists) };
  };
  const average = await rate(({ correct }) => correct / n);
  const voted = sets.every((tallies) => tallies.every(({ majority }) => majority !== undefined));
  const vote = voted ? await rate(({ majority }) => (majority ? 1 : 0)) : undefined;
  const passes: EvaluationRates['passAtK'] = [];
  // Of one response it is the average.
  for (const k of passCounts(n))
    passes.push({ k, ...(k === 1 ? average : await rate(({ correct }) => passAtK(n, correct, k))) });
  return {
    averageAtN: average.value,
    averageAtNInterval: average.interval,
    passAtK: passes,
    ...(vote && { majAtN: vote.value, majAtNInterval: vote.interval }),
  };
}
