import type { Histogram, SampleRow } from '../../train/sample-log.js';
import { withInterval } from '../kit/table.js';
import { type Html, html } from './html.js';
import { type EvaluationFigures, optionText, type ReportRun } from './read.js';

/** A figure as text. A missing one is empty; null is JSON's form of a number that is not finite. */
export const figure = (value: number | undefined | null, digits = 3) =>
  Number.isFinite(value) ? value!.toFixed(digits) : '';

export function tableOf(head: readonly (string | Html)[], rows: readonly (readonly (string | Html)[])[]): Html {
  return html`<div class="scroll"><table><thead><tr>${head.map((cell) => html`<th>${cell}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>\n`)}</tbody></table></div>`;
}

/** One line per run: its steps, rewards and evaluations. */
export function runsSection(runs: readonly ReportRun[]): Html {
  const evaluations = runs.some(({ after }) => after);
  const levels = runs.find(({ after }) => after)?.after ?? [];
  const head = levels.flatMap(({ level, n }) => [`average@${n} ${level}`, `pass@${n} ${level}`]);
  const change = (before: number | undefined, after: number) =>
    before === undefined ? figure(after) : `${figure(before)} → ${figure(after)}`;
  const cells = ({ before, after }: ReportRun) =>
    levels.flatMap((_, i) => {
      const [a, b] = [before?.[i], after?.[i]];
      return b ? [change(a?.averageAtN, b.averageAtN), change(a?.passAtN, b.passAtN)] : ['', ''];
    });
  return html`<section><h2>${runs.length === 1 ? 'Run' : 'Runs'}</h2>
${tableOf(
  ['run', 'what', 'seed', 'steps', 'reward', 'tokens', 'seconds', ...(evaluations ? head : [])],
  runs.map((run) => {
    const { rows, options } = run;
    const [first, last] = [rows[0], rows[rows.length - 1]];
    const seconds = rows.reduce((sum, row) => sum + (row['seconds/step'] ?? 0), 0);
    return [
      run.name,
      run.label,
      String(options.seed ?? ''),
      `${last.step}${typeof options.maxSteps === 'number' && last.step < options.maxSteps ? ` of ${options.maxSteps}` : ''}`,
      `${figure(first.reward)} → ${figure(last.reward)}`,
      String(last.num_tokens ?? ''),
      seconds.toFixed(0),
      ...(evaluations ? cells(run) : []),
    ];
  }),
)}
${evaluations && html`<p class="note">Held-out problems, before → after training, by level. ${runs.map(intervals)}</p>`}</section>`;
}

/** The intervals of a single run's evaluations. With several runs, the spread over seeds says more. */
function intervals({ before, after }: ReportRun, _: number, runs: readonly ReportRun[]): string {
  if (runs.length > 1 || !after) return '';
  const one =
    (when: string) =>
    ({ level, n, averageAtN, averageAtNInterval }: EvaluationFigures) =>
      `${when} ${level}: average@${n} ${withInterval(averageAtN, averageAtNInterval, figure)}`;
  return `95% intervals over problems: ${[...(before ?? []).map(one('before')), ...after.map(one('after'))].join('; ')}.`;
}

export function settingsSection(runs: readonly ReportRun[]): Html {
  const names = [...new Set(runs.flatMap(({ options }) => Object.keys(options)))].sort();
  const rows = names.map((name) => [
    name,
    [...new Set(runs.map(({ options }) => optionText(options[name])))].join(' | '),
  ]);
  return html`<section><details><summary><h2>Settings</h2></summary>${tableOf(['option', 'value'], rows)}</details></section>`;
}

const COLUMNS = 48;
const BINS = 16;

/** The distribution of rewards or lengths, step by step. Darker cells hold a larger share of the step's responses. */
export function histogramOverTime(
  title: string,
  rows: readonly { step: number; histogram: Histogram }[],
): Html | undefined {
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
  const [left, width, height] = [36, 300 / columns, 96 / bins];
  const cells = counts.flatMap((column, x) => {
    const total = column.reduce((a, b) => a + b, 0);
    return [...column].map(
      (count, y) =>
        count > 0 &&
        html`<rect x="${(left + x * width).toFixed(1)}" y="${(96 - (y + 1) * height).toFixed(1)}" width="${(width + 0.2).toFixed(1)}" height="${(height - 0.5).toFixed(1)}" fill-opacity="${(0.08 + (0.92 * count) / total).toFixed(2)}"/>`,
    );
  });
  const short = (value: number) => String(Number(value.toPrecision(3)));
  return html`<figure><figcaption>${title}</figcaption>
<svg class="histogram" viewBox="0 0 340 114" role="img" aria-label="${title} from ${short(low)} to ${short(high)} over ${last} steps"><g>${cells}</g>
<text x="32" y="94" text-anchor="end">${short(low)}</text><text x="32" y="10" text-anchor="end">${low < high && short(high)}</text>
<text x="36" y="109">1</text><text x="336" y="109" text-anchor="end">step ${last}</text></svg></figure>`;
}

/** Histograms of the runs of one label, from their rows of samples.jsonl. */
export function histogramsOf(label: string, samples: readonly SampleRow[]): Html | undefined {
  if (samples.length === 0) return undefined;
  const of = (kind: 'rewards' | 'lengths') => samples.map((row) => ({ step: row.step, histogram: row[kind] ?? [] }));
  return html`<div><h3>${label}</h3>${histogramOverTime('Reward', of('rewards'))}${histogramOverTime('Tokens per response', of('lengths'))}</div>`;
}
