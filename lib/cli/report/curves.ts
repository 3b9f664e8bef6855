import { bootstrapInterval } from '../../eval/bootstrap.js';
import type { Row } from '../../train/run-folder.js';

export interface Curve {
  label: string;
  /** Index in the palette. Curves of one label have one colour in all charts. */
  color: number;
  mean: (number | null)[];
  /** 95% bootstrap interval of the mean over seeds. Absent with one seed. */
  low?: (number | null)[];
  high?: (number | null)[];
}

export interface Chart {
  title: string;
  /** Meaning of the figure, in a sentence. */
  doc?: string;
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

export interface ChartSpec {
  title: string;
  doc?: string;
  metrics: readonly { name: string; label: string }[];
}

const one = (name: string, title: string, doc?: string): ChartSpec => ({
  title,
  doc,
  metrics: [{ name, label: title }],
});

export const CHARTS: readonly ChartSpec[] = [
  one('reward', 'average@n', 'Mean reward of the training batch, before the step learns from it'),
  one('pass_at_n', 'pass@n', 'Share of training problems with a right response among the n of their group'),
  one('eval/average_at_n', 'average@n, held out', 'Mean over held-out problems of the share of right responses'),
  one('eval/pass_at_n', 'pass@n, held out', 'Share of held-out problems with a right response among n'),
  one('share_step_by_step', 'Responses that show their work', 'Share of responses with more than one line'),
  one('completions/mean_length', 'Tokens per response'),
  one('completions/clipped_ratio', 'Responses cut', 'Share that hit the length limit'),
  one('entropy', 'Entropy', 'Mean over tokens, in nats'),
  one('first_token_entropy', 'Entropy of the first token', 'Uncertainty of the policy about how to begin, in nats'),
  one('kl', 'Drift', 'KL divergence to the frozen reference per token (k3), for runs with a reference'),
  one(
    'approx_kl',
    'Distance to the sampling policy',
    'Mean of old minus new log-probability over a step: the distance that updates go',
  ),
  {
    title: 'Clip fractions',
    doc: 'Share of tokens that teach nothing, as their ratio is outside the clip range',
    metrics: [
      { name: 'clip_ratio/low_mean', label: 'clipped low' },
      { name: 'clip_ratio/high_mean', label: 'clipped high' },
    ],
  },
  one('process_reward/mean', 'Process reward', 'Mean over steps'),
  one('step_count/mean', 'Steps per response'),
  one('future_kl/mean', 'Future KL', 'Mean over tokens'),
  one('prm/score_mean', "Process reward model's score", 'Mean over steps'),
  one('prm/coherence_mean', 'Coherence', 'Mean over responses'),
  one(
    'advantage/wrong_positive_ratio',
    'Wrong responses pushed up',
    'Share of wrong responses with a positive advantage',
  ),
  one(
    'prm/wrong_positive_share_naive',
    'Wrong responses pushed up by raw scores',
    "Share of wrong responses with a positive advantage if the process reward model's scores were not centred",
  ),
  one(
    'frac_reward_zero_std',
    'Groups of one outcome',
    'Share of groups whose outcome rewards are all equal, so that they teach nothing by themselves',
  ),
  one('loss', 'Loss'),
  one('grad_norm', 'Gradient norm', 'Before clipping'),
];

/** Most points of a curve. Neighbouring steps of longer runs are averaged. */
const MAX_POINTS = 250;

/** The charts with data: those of `CHARTS`, then one for each other metric. */
export function chartsOf(sources: readonly CurveSource[]): { main: Chart[]; other: Chart[] } {
  const known = new Set(['step', ...CHARTS.flatMap(({ metrics }) => metrics.map(({ name }) => name))]);
  const rows = sources.flatMap(({ runs }) => runs.flat());
  const rest = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => !known.has(name)).sort();
  const draw = (specs: readonly ChartSpec[]) =>
    specs.flatMap((spec) => split(spec, sources)).filter(({ curves }) => curves.length > 0);
  return { main: draw(CHARTS), other: draw(rest.map((name) => one(name, name))) };
}

/**
 * With one label, all metrics of `spec` share a chart. With several, each metric has a chart with a curve per label.
 */
function split({ title, doc, metrics }: ChartSpec, sources: readonly CurveSource[]): Chart[] {
  if (metrics.length === 1) return [{ title, doc, ...chartOf(metrics[0].name, sources) }];
  if (sources.length > 1)
    return metrics.map(({ name, label }) => ({ title: `${title}: ${label}`, doc, ...chartOf(name, sources) }));
  const parts = metrics.map(({ name, label }, color) => {
    const { steps, curves } = chartOf(name, sources);
    return { steps, curves: curves.map((curve) => ({ ...curve, label, color })) };
  });
  return [{ title, doc, steps: parts[0].steps, curves: parts.flatMap(({ curves }) => curves) }];
}

function chartOf(metric: string, sources: readonly CurveSource[]): Pick<Chart, 'steps' | 'curves'> {
  const last = Math.max(...sources.flatMap(({ runs }) => runs.map((rows) => rows[rows.length - 1]?.step ?? 0)));
  const width = Math.ceil(last / MAX_POINTS);
  const points = Math.ceil(last / width);
  const steps = Array.from({ length: points }, (_, i) => (i + 1) * width);
  const curves = sources.flatMap(({ label, runs }, color): Curve[] => {
    const binned = runs.map((rows) => binMeans(rows, metric, width, points));
    const seen = binned.flat().filter((value) => value !== null);
    // Older runs without a reference wrote a drift of 0 in every row. It was not measured.
    if (seen.length === 0 || (metric === 'kl' && seen.every((value) => value === 0))) return [];
    return [{ label, color, ...meanWithBand(binned, points) }];
  });
  return { steps, curves };
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
  return Array.from(sums, (sum, i) => (counts[i] > 0 ? sum / counts[i] : null));
}

const round = (value: number) => Number(value.toPrecision(5));

function meanWithBand(runs: (number | null)[][], points: number): Pick<Curve, 'mean' | 'low' | 'high'> {
  const mean: (number | null)[] = [];
  const low: (number | null)[] = [];
  const high: (number | null)[] = [];
  for (let i = 0; i < points; i++) {
    const values = runs.map((run) => run[i]).filter((value) => value !== null);
    const interval = values.length > 1 ? bootstrapInterval(values, 400) : undefined;
    mean.push(values.length > 0 ? round(values.reduce((a, b) => a + b, 0) / values.length) : null);
    low.push(interval ? round(interval[0]) : null);
    high.push(interval ? round(interval[1]) : null);
  }
  return runs.length > 1 ? { mean, low, high } : { mean };
}
