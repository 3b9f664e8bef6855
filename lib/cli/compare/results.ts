import { invalidArgument, PrlError } from '../../base/errors.js';
import type { Shape } from '../../base/json.js';
import { quoted } from '../../base/text.js';
import { EVALUATION } from '../../eval/evaluate.js';
import { FEWEST_SEEDS, seedInterval } from '../../eval/interval.js';
import { RESUMABLE_OPTIONS } from '../../train/options.js';
import { readJsonFile } from '../../train/run-folder.js';
import { rounded, withInterval } from '../kit/table.js';
import type { EvaluationFigures } from '../report/read.js';
import type { CellResult, WarmResult } from './jobs.js';
import { type CellJob, type CompareJob, isDone, resultFile } from './plan.js';

export interface Measure {
  name: string;
  digits: number;
  /** Largest value, if there is one. No measure but the drift is negative. */
  most?: number;
  of(cell: CellResult): number;
  /** The measure of the policy before training. */
  before?(warm: WarmResult): number;
}

export interface Figure {
  mean: number;
  /** 95% t interval over seeds. Absent with fewer than 5 seeds, and if all seeds are equal. */
  interval?: [number, number];
  /** Number of seeds. */
  seeds: number;
  /** The value of each seed. */
  bySeed: { [seed: string]: number };
}

export interface Finished {
  cells: CellResult[];
  warm: WarmResult[];
}

/** Reads the results of the finished jobs. */
export async function readFinished(jobs: readonly CompareJob[]): Promise<Finished> {
  const results = async <R>(kind: 'cell' | 'warm', shape: Shape) => {
    const done = jobs.filter((job) => job.kind === kind && isDone(job));
    return (await Promise.all(done.map((job) => readJsonFile(resultFile(job), shape)))) as R[];
  };
  const found = { cells: await results<CellResult>('cell', CELL), warm: await results<WarmResult>('warm', WARM) };
  const levels = new Set([...found.cells, ...found.warm].map((result) => result.levels.length));
  if (levels.has(0) || levels.size > 1)
    throw new PrlError(
      'ERR_PRL_CORRUPT',
      `the results in ${jobs[0].folder} and beside it must have the same levels, at least one`,
    );
  return found;
}

/** Resumable options that decide how far a cell is trained. */
const LENGTH = ['maxSteps', 'maxTokens'];

/** Throws if a finished cell was made with other options than the request has now. */
export async function checkFinished(jobs: readonly CompareJob[]): Promise<void> {
  for (const job of jobs) {
    if (job.kind !== 'cell' || !isDone(job)) continue;
    const { options } = await readJsonFile(resultFile(job), CELL);
    for (const [name, value] of Object.entries(job.options)) {
      if ((RESUMABLE_OPTIONS as readonly string[]).includes(name) && !LENGTH.includes(name)) continue;
      if (JSON.stringify(options[name]) !== JSON.stringify(value))
        throw invalidArgument(
          `${job.arm} was trained with ${name} ${options[name] === undefined ? 'unset' : quoted(options[name])}, not ${JSON.stringify(value)}: give it another name (NAME=METHOD), or choose another folder`,
        );
    }
  }
}

/** The parts of a result file that are used. */
const WARM: Shape = { seed: 'number', levels: [EVALUATION], seconds: 'number' };
const CELL: Shape = {
  ...{ arm: 'text', seed: 'number', options: {}, levels: [EVALUATION], seconds: { training: 'number', prm: 'number' } },
  ...{ tokens: { policy: 'number', prm: 'number' }, 'wrongPushedUp?': 'number', 'wrongPushedUpNaive?': 'number' },
};

export function measuresOf({ levels }: { levels: readonly EvaluationFigures[] }): Measure[] {
  const byLevel = levels.flatMap(({ level, n }, i): Measure[] => {
    const of = (name: string, value: (figures: EvaluationFigures) => number): Measure => ({
      name: `${name} ${level}`,
      digits: 3,
      most: 1,
      of: (cell) => value(cell.levels[i]),
      before: (warm) => value(warm.levels[i]),
    });
    return [of(`average@${n}`, ({ averageAtN }) => averageAtN), of(`pass@${n}`, ({ passAtN }) => passAtN)];
  });
  const trained = (name: string, digits: number, value: (figures: EvaluationFigures) => number): Measure => ({
    ...{ name, digits },
    of: (cell) => value(cell.levels[0]),
    before: (warm) => value(warm.levels[0]),
  });
  const share = (name: string, of: (cell: CellResult) => number | undefined): Measure => ({
    ...{ name, digits: 3, most: 1 },
    of: (cell) => of(cell) ?? Number.NaN,
  });
  return [
    ...byLevel,
    trained('tokens per response', 1, ({ meanLength }) => meanLength),
    trained('entropy', 3, ({ entropy }) => entropy!),
    { name: DRIFT, digits: 3, of: (cell) => cell.levels[0].kl! },
    share('wrong pushed up', ({ wrongPushedUp }) => wrongPushedUp),
    share('wrong pushed up by raw scores', ({ wrongPushedUpNaive }) => wrongPushedUpNaive),
    { name: 'seconds', digits: 1, of: ({ seconds }) => seconds.training + seconds.prm },
    { name: 'policy tokens (k)', digits: 0, of: ({ tokens }) => tokens.policy / 1000 },
    { name: 'PRM tokens (k)', digits: 0, of: ({ tokens }) => tokens.prm / 1000 },
  ];
}

const DRIFT = 'drift';

type Bounds = [least: number, most: number];
const boundsOf = ({ name, most = Infinity }: Measure): Bounds => [name === DRIFT ? -Infinity : 0, most];
const differenceBounds = ({ most = Infinity }: Measure): Bounds => [-most, most];

/** A value of a seed. */
type Seeded = readonly [seed: number, value: number];

/** The figure over the finite values. Some arms lack some measures. */
export function figureOf(all: readonly Seeded[], bounds?: Bounds): Figure | undefined {
  const finite = all.filter(([, value]) => Number.isFinite(value));
  if (finite.length === 0) return undefined;
  const values = finite.map(([, value]) => value);
  const interval = seedInterval(values, bounds);
  return {
    mean: values.reduce((a, b) => a + b, 0) / values.length,
    ...(interval && { interval }),
    seeds: values.length,
    bySeed: Object.fromEntries(finite),
  };
}

/** The difference from another arm, over the seeds that both have finished. */
export function pairedFigure(
  cells: readonly CellResult[],
  arm: string,
  against: string,
  measure: Measure,
): Figure | undefined {
  const others = new Map(cells.filter((cell) => cell.arm === against).map((cell) => [cell.seed, cell]));
  const pairs = cells.filter((cell) => cell.arm === arm && others.has(cell.seed));
  return figureOf(
    pairs.map((cell) => [cell.seed, measure.of(cell) - measure.of(others.get(cell.seed)!)]),
    differenceBounds(measure),
  );
}

export interface Summary {
  measures: Measure[];
  /** A row for the policies before training, then one per arm; a figure per measure. */
  rows: { name: string; figures: (Figure | undefined)[] }[];
  /** A row per arm after the first: its difference from the first. */
  paired: { name: string; figures: (Figure | undefined)[] }[];
  first: string;
}

/** undefined if no cell is finished. */
export function summarize({ cells, warm }: Finished, arms: readonly string[]): Summary | undefined {
  if (cells.length === 0) return undefined;
  const measures = measuresOf(cells[0]);
  const [first, ...others] = arms;
  const over = <R extends { seed: number }>(results: readonly R[], measure: Measure, of?: (result: R) => number) =>
    of &&
    figureOf(
      results.map((result) => [result.seed, of(result)]),
      boundsOf(measure),
    );
  return {
    measures,
    first,
    rows: [
      { name: 'before', figures: measures.map((measure) => over(warm, measure, measure.before)) },
      ...arms.map((name) => {
        const own = cells.filter(({ arm }) => arm === name);
        return { name, figures: measures.map((measure) => over(own, measure, measure.of)) };
      }),
    ],
    paired: others.map((name) => ({
      name: `${name} - ${first}`,
      figures: measures.map((measure) => pairedFigure(cells, name, first, measure)),
    })),
  };
}

export const armNames = (jobs: readonly CompareJob[]): string[] => [
  ...new Set(jobs.filter((job): job is CellJob => job.kind === 'cell').map(({ arm }) => arm)),
];

/** How the tables show figures. */
export const FIGURES_DOC =
  'Figures are means over seeds. With 5 seeds or more, brackets hold a 95% t interval. With fewer there is no interval: parentheses list the seeds, in their order.';

/** A figure with its interval, or with its seeds if they are too few for one: `0.500 (0.200 / 0.800)`. */
export function figureText(figure: Figure | undefined, digits: number, sign = false): string {
  if (!figure) return '';
  const text = (value: number) => rounded(value, digits, sign);
  const { mean, interval, bySeed } = figure;
  if (interval) return withInterval(mean, interval, text);
  const seeds = Object.values(bySeed);
  return seeds.length === 1 || seeds.length >= FEWEST_SEEDS
    ? text(mean)
    : `${text(mean)} (${seeds.map(text).join(' / ')})`;
}

/** The tables as text, with their titles: a line per measure, a column per arm. */
export function summaryTables({ measures, rows, paired }: Summary): [title: string, rows: string[][]][] {
  const table = (columns: Summary['rows'], sign: boolean) => [
    ['', ...columns.map(({ name }) => name)],
    ...measures.map(({ name, digits }, i) => [
      name,
      ...columns.map(({ figures }) => figureText(figures[i], digits, sign)),
    ]),
  ];
  const results: [string, string[][]] = ['Results', table(rows, false)];
  return paired.length > 0 ? [results, ['Paired by seed', table(paired, true)]] : [results];
}
