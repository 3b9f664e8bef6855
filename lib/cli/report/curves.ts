import { seedInterval } from '../../eval/interval.js';
import type { Row } from '../../train/run-folder.js';

/** Number of colours. Further curves repeat them, dashed. */
export const PALETTE = 8;

export interface Curve {
  label: string;
  /** Index in the palette. Curves of one label have one colour in all charts. */
  color: number;
  mean: (number | null)[];
  /** 95% t interval of the mean over seeds. Absent with fewer than 5 seeds. */
  low?: (number | null)[];
  high?: (number | null)[];
  /** The curve of each seed. Absent with one seed. */
  seeds?: (number | null)[][];
}

export interface Chart {
  title: string;
  /** Meaning of the figure, in a sentence. */
  doc?: string;
  /** Ends of the vertical axis. An end that is null follows the data. */
  range: [low: number | null, high: number | null];
  /** Whether a share has an axis that ends below 1. */
  zoomed?: boolean;
  steps: number[];
  curves: Curve[];
}

/** Something to compare, with the rows of each seed. */
export interface CurveSource {
  label: string;
  runs: readonly (readonly Row[])[];
}

/** Groups runs by label: runs of one label differ only in the seed. */
export const curveSources = (runs: readonly { label: string; rows: readonly Row[] }[]): CurveSource[] =>
  [...new Set(runs.map(({ label }) => label))].map((label) => ({
    label,
    runs: runs.filter((run) => run.label === label).map(({ rows }) => rows),
  }));

/** A share has an axis from 0 to 1. A small share may end earlier, at a round number that the chart names. */
type Kind = 'share' | 'small share' | 'number';

export interface ChartSpec {
  metric: string;
  title: string;
  doc?: string;
  kind: Kind;
}

const number = (metric: string, title: string, doc?: string): ChartSpec => ({ metric, title, doc, kind: 'number' });
const share = (metric: string, title: string, doc?: string): ChartSpec => ({ metric, title, doc, kind: 'share' });
const small = (metric: string, title: string, doc?: string): ChartSpec => ({ metric, title, doc, kind: 'small share' });

export const CHARTS: readonly ChartSpec[] = [
  share('reward', 'average@n', 'Mean reward of the training batch, before the step learns from it'),
  share('pass_at_n', 'pass@n', 'Share of training problems with a right response among the n of their group'),
  share('eval/average_at_n', 'average@n, held out', 'Mean over held-out problems of the share of right responses'),
  share('eval/pass_at_n', 'pass@n, held out', 'Share of held-out problems with a right response among n'),
  share('share_step_by_step', 'Responses that show their work', 'Share of responses with more than one line'),
  number('completions/mean_length', 'Tokens per response'),
  small('completions/clipped_ratio', 'Responses cut', 'Share that hit the length limit'),
  number('entropy', 'Entropy', 'Mean over tokens, in nats'),
  number('first_token_entropy', 'Entropy of the first token', 'Uncertainty of the policy about how to begin, in nats'),
  number('kl', 'Drift', 'KL divergence to the frozen reference per token (k3), for runs with a reference'),
  number(
    'approx_kl',
    'Distance to the sampling policy',
    'Mean of old minus new log-probability over a step: the distance that updates go',
  ),
  small('clip_ratio/low_mean', 'Tokens clipped low', 'Share of tokens that teach nothing: their ratio is too low'),
  small('clip_ratio/high_mean', 'Tokens clipped high', 'Share of tokens that teach nothing: their ratio is too high'),
  number('process_reward/mean', 'Process reward', 'Mean over steps'),
  number('step_count/mean', 'Steps per response'),
  number('future_kl/mean', 'Future KL', 'Mean over tokens'),
  number('prm/score_mean', "Process reward model's score", 'Mean over steps'),
  number('prm/coherence_mean', 'Coherence', 'Mean over responses'),
  share(
    'advantage/wrong_positive_ratio',
    'Wrong responses pushed up',
    'Share of wrong responses with a positive advantage',
  ),
  share(
    'prm/wrong_positive_share_naive',
    'Wrong responses pushed up by raw scores',
    "Share of wrong responses with a positive advantage if the process reward model's scores were not centred",
  ),
  share(
    'frac_reward_zero_std',
    'Groups of one outcome',
    'Share of groups whose outcome rewards are all equal, so that they teach nothing by themselves',
  ),
  share(
    'mean_token_accuracy',
    'Token accuracy',
    'Share of learned tokens that are the most likely ones, before the step learns them',
  ),
  share('eval_mean_token_accuracy', 'Token accuracy, held out'),
  number('loss', 'Loss'),
  number('eval_loss', 'Loss, held out'),
  number('grad_norm', 'Gradient norm', 'Before clipping'),
];

/** Most points of a curve. Neighbouring steps of longer runs are averaged. */
const MAX_POINTS = 250;

/** The charts with data: those of `CHARTS`, then one for each other metric. */
export function chartsOf(sources: readonly CurveSource[]): { main: Chart[]; other: Chart[] } {
  const known = new Set(['step', ...CHARTS.map(({ metric }) => metric)]);
  const rows = sources.flatMap(({ runs }) => runs.flat());
  const rest = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => !known.has(name)).sort();
  const draw = (specs: readonly ChartSpec[]) =>
    specs.map((spec) => chartOf(spec, sources)).filter(({ curves }) => curves.length > 0);
  const specOf = (name: string) => (/clip_ratio\/|_ratio$|share|^frac_/.test(name) ? small : number)(name, name);
  return { main: draw(CHARTS), other: draw(rest.map(specOf)) };
}

function chartOf({ metric, title, doc, kind }: ChartSpec, sources: readonly CurveSource[]): Chart {
  const last = Math.max(...sources.flatMap(({ runs }) => runs.map((rows) => rows[rows.length - 1]?.step ?? 0)));
  const width = Math.ceil(last / MAX_POINTS);
  const points = Math.ceil(last / width);
  const steps = Array.from({ length: points }, (_, i) => (i + 1) * width);
  const curves = sources.flatMap(({ label, runs }, color): Curve[] => {
    const binned = runs.map((rows) => binMeans(rows, metric, width, points));
    const seen = binned.flat().filter((value) => value !== null);
    // Older runs without a reference wrote a drift of 0 in every row. It was not measured.
    if (seen.length === 0 || (metric === 'kl' && seen.every((value) => value === 0))) return [];
    return [{ label, color, ...meanWithBand(binned, points, kind) }];
  });
  return { title, doc, steps, curves, ...axisOf(kind, curves) };
}

/** A share has the whole axis from 0 to 1. What is never negative has an axis from 0. */
function axisOf(kind: Kind, curves: readonly Curve[]): Pick<Chart, 'range' | 'zoomed'> {
  const values = curves.flatMap(({ mean, seeds = [] }) => [mean, ...seeds].flat()).filter((value) => value !== null);
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  if (values.some((value) => value < 0)) return { range: [null, null] };
  if (kind === 'number' || most > 1) return { range: [0, null] };
  const end = kind === 'share' ? 1 : roundUp(most);
  return end < 1 ? { range: [0, end], zoomed: true } : { range: [0, 1] };
}

/** The next of 1, 2 and 5 times a power of ten, at least 0.01; 1 from 0.5 on. */
function roundUp(share: number): number {
  if (share > 0.5) return 1;
  return [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((end) => share <= end)!;
}

/** Means of neighbouring steps; null without a finite value. */
function binMeans(rows: readonly Row[], metric: string, width: number, points: number): (number | null)[] {
  const sums = new Float64Array(points);
  const counts = new Int32Array(points);
  for (const row of rows) {
    const value = row[metric];
    if (!Number.isFinite(value)) continue;
    const bin = Math.ceil(row.step / width) - 1;
    sums[bin] += value;
    counts[bin]++;
  }
  return Array.from(sums, (sum, i) => (counts[i] > 0 ? round(sum / counts[i]) : null));
}

const round = (value: number) => Number(value.toPrecision(5));

/** The mean over the seeds that have reached each step, and its interval where they are enough. */
function meanWithBand(seeds: (number | null)[][], points: number, kind: Kind): Omit<Curve, 'label' | 'color'> {
  if (seeds.length === 1) return { mean: seeds[0] };
  const mean: (number | null)[] = [];
  const low: (number | null)[] = [];
  const high: (number | null)[] = [];
  for (let i = 0; i < points; i++) {
    const values = seeds.map((seed) => seed[i]).filter((value) => value !== null);
    const interval = seedInterval(values, kind === 'number' ? undefined : [0, 1]);
    mean.push(values.length > 0 ? round(values.reduce((a, b) => a + b, 0) / values.length) : null);
    low.push(interval ? round(interval[0]) : null);
    high.push(interval ? round(interval[1]) : null);
  }
  const banded = low.some((value) => value !== null);
  return { mean, ...(banded && { low, high }), seeds };
}
