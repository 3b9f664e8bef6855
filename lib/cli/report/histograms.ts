// Distributions of rewards and lengths over the steps of training.
import type { Histogram, SampleRow } from '../../train/sample-log.js';
import { type Html, html } from './html.js';

const COLUMNS = 60;
const BINS = 16;
const [LEFT, WIDTH, TOP, HEIGHT] = [44, 600, 6, 120];

type Rows = readonly { step: number; histogram: Histogram }[];

const short = (value: number) => String(Number(value.toPrecision(3)));

/** The distribution step by step. Darker cells hold a larger share of the step's responses. */
export function histogramOverTime(title: string, rows: Rows): Html | undefined {
  const values = [...new Set(rows.flatMap(({ histogram }) => histogram.map(([value]) => value)))].sort((a, b) => a - b);
  if (values.length === 0) return undefined;
  const [low, high] = [values[0], values[values.length - 1]];
  const exact = values.length <= BINS;
  const bins = exact ? values.length : BINS;
  const binOf = (value: number) =>
    exact ? values.indexOf(value) : Math.min(bins - 1, Math.floor(((value - low) / (high - low)) * bins));
  const last = rows.reduce((max, { step }) => Math.max(max, step), 1);
  const columns = Math.min(COLUMNS, last);
  const counts = Array.from({ length: columns }, () => new Float64Array(bins));
  for (const { step, histogram } of rows) {
    const column = counts[Math.ceil((step / last) * columns) - 1];
    for (const [value, count] of histogram) column[binOf(value)] += count;
  }
  const [width, height] = [WIDTH / columns, HEIGHT / bins];
  const cells = counts.flatMap((column, x) => {
    const total = column.reduce((a, b) => a + b, 0);
    return [...column].map(
      (count, y) =>
        count > 0 &&
        html`<rect x="${(LEFT + x * width).toFixed(1)}" y="${(TOP + HEIGHT - (y + 1) * height).toFixed(1)}" width="${(width + 0.2).toFixed(1)}" height="${(height - 0.5).toFixed(1)}" fill-opacity="${(0.08 + (0.92 * count) / total).toFixed(2)}"/>`,
    );
  });
  const first = rows[0].step;
  const [begin, end] = [first, last].map((at) =>
    short(medianOf(rows.filter(({ step }) => step === at).flatMap(({ histogram }) => histogram))),
  );
  const base = TOP + HEIGHT;
  return html`<figure><figcaption>${title}<span class="note">median ${begin} in step ${first}${last > first ? `, ${end} in step ${last}` : ''}</span></figcaption>
<svg class="histogram" viewBox="0 0 ${LEFT + WIDTH + 6} ${base + 20}" role="img" aria-label="${title} from ${short(low)} to ${short(high)} over ${last} steps; median ${begin} at first, ${end} at last"><g>${cells}</g>
<text x="${LEFT - 6}" y="${base - 2}" text-anchor="end">${short(low)}</text><text x="${LEFT - 6}" y="${TOP + 10}" text-anchor="end">${low < high && short(high)}</text>
<text x="${LEFT}" y="${base + 14}">${last > 1 && 'step 1'}</text><text x="${LEFT + WIDTH}" y="${base + 14}" text-anchor="end">step ${last}</text></svg></figure>`;
}

function medianOf(histogram: Histogram): number {
  histogram = [...histogram].sort(([a], [b]) => a - b);
  const half = histogram.reduce((sum, [, count]) => sum + count, 0) / 2;
  let seen = 0;
  for (const [value, count] of histogram) {
    seen += count;
    if (seen >= half) return value;
  }
  return Number.NaN;
}

/** Histograms of the runs of one label, from their rows of samples.jsonl. */
export function histogramsOf(samples: readonly SampleRow[]): Html | undefined {
  const of = (kind: 'rewards' | 'lengths') =>
    samples.flatMap((row) => ((row[kind] ?? []).length > 0 ? [{ step: row.step, histogram: row[kind] }] : []));
  const rewards = of('rewards').sort((a, b) => a.step - b.step);
  const lengths = of('lengths').sort((a, b) => a.step - b.step);
  if (rewards.length + lengths.length === 0) return undefined;
  const values = [...new Set(rewards.flatMap(({ histogram }) => histogram.map(([value]) => value)))];
  return html`<div class="histograms">${histogramOverTime('Tokens per response', lengths)}${
    values.length > 2
      ? histogramOverTime('Reward', rewards)
      : values.length > 0 &&
        html`<p class="note">Each reward is ${values
          .sort((a, b) => a - b)
          .map(short)
          .join(' or ')}, so the curve of average@n above says all about rewards.</p>`
  }</div>`;
}
