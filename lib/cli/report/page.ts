import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../kernels/native.js';
import { creditOf, sampleTable, spread } from './credit.js';
import { type Chart, chartsOf, curveSources, PALETTE } from './curves.js';
import { histogramsOf } from './histograms.js';
import { Html, html, jsonScript } from './html.js';
import type { ReportRun } from './read.js';
import { type Group, groupsOf, resultsSection } from './results.js';
import { settingsSection, tableOf } from './sections.js';

export interface ReportPage {
  title: string;
  runs: readonly ReportRun[];
  /** What stands after the results, such as the tables of a comparison. */
  head?: Html;
}

/** Most runs whose responses and histograms are shown. Each is the first seed of its label. */
const CREDITED_RUNS = 8;

/** With fewer points a curve is not smoothed unless the reader asks. */
const SMOOTHED_POINTS = 20;

/**
 * One self-contained page: no script, style or figure comes from elsewhere. Its security policy allows only two
 * scripts, by their hashes, whatever a model wrote.
 */
export async function reportPage({ title, runs, head }: ReportPage): Promise<string> {
  const groups = groupsOf(runs);
  const { main, other } = chartsOf(curveSources(runs));
  const { script, style, chartScript, licence } = await assets();
  const hashes = [chartScript, script].map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src ${new Html(hashes.join(' '))}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${new Html(style)}</style></head>
<body><h1>${title}</h1>
${resultsSection(runs)}
${head}
${curvesSection(groups, main, other)}
${histogramsSection(groups)}
${creditSection(groups)}
${sampleTable(runs)}
${settingsSection(runs)}
${jsonScript('charts', [...main, ...other])}
<!--
${new Html(licence)}
-->
<script>${new Html(chartScript)}</script>
<script>${new Html(script)}</script>
</body></html>
`;
  return page.text;
}

/** The charts under one legend, which stays in sight and switches the runs in all of them. */
function curvesSection(groups: readonly Group[], main: readonly Chart[], other: readonly Chart[]): Html {
  const points = Math.max(0, ...main.map(({ steps }) => steps.length));
  const seeds = groups.some(({ runs }) => runs.length > 1);
  const legend = groups.map(
    ({ label, color }) =>
      html`<button type="button" data-run="${color}" aria-pressed="true" style="--c:var(--c${color % PALETTE})"${color >= PALETTE && new Html(' class="dashed"')}>${label}</button>`,
  );
  return html`<section class="curves"><h2>Learning curves</h2>
<noscript><p>The curves need JavaScript. Their first and last values stand under “Numbers”.</p></noscript>
<div class="bar">${groups.length > 1 && html`<div class="legend" role="group" aria-label="Runs: press to hide or show">${legend}</div>`}
<label class="smoothing">Smoothing <input type="range" id="smoothing" min="0" max="0.95" step="0.05" value="${points < SMOOTHED_POINTS ? 0 : 0.6}"><output>0</output></label></div>
<p class="note">Smoothing is an exponential average with this weight on the past; the faint line is the data. ${groups.length > 1 && 'Press a name to hide or show its run in all charts, point at it to bring it out. '}${seeds && 'Lines are means over seeds. Around the run that is brought out stand its seeds and, with 5 seeds or more, the 95% t interval of the mean. '}Point at a chart for numbers, drag to zoom, double-click to go back.</p>
<div class="charts">${main.map(chartPlace(0))}</div>
${other.length > 0 && html`<details><summary>${other.length} more figures</summary><div class="charts">${other.map(chartPlace(main.length))}</div></details>`}</section>`;
}

const chartPlace = (offset: number) => (chart: Chart, i: number) =>
  html`<figure class="chart" data-chart="${offset + i}"><figcaption>${chart.title}${chart.doc && html`<span class="note">${chart.doc}</span>`}${chart.zoomed && html`<span class="note zoom">axis from 0 to ${chart.range[1]!}, not to 1</span>`}</figcaption>
${numbersOf(chart)}</figure>`;

/** The chart as a table, for readers who cannot see it and for exact values. */
function numbersOf({ title, curves, steps }: Chart): Html {
  const text = (value: number | null) => (value === null ? '' : String(Number(value.toPrecision(4))));
  const rows = curves.map(({ label, mean }) => {
    const known = mean.flatMap((value, i) => (value === null ? [] : [{ value, step: steps[i] }]));
    const values = known.map(({ value }) => value);
    const [first, last] = [known[0], known[known.length - 1]];
    const extreme = (pick: (a: number, b: number) => number) => text(values.reduce((a, b) => pick(a, b)));
    return [
      label,
      `${text(first.value)} (${first.step})`,
      `${text(last.value)} (${last.step})`,
      extreme(Math.min),
      extreme(Math.max),
    ];
  });
  return html`<details class="numbers"><summary aria-label="Numbers of ${title}">Numbers</summary>${tableOf(['run', 'first (step)', 'last (step)', 'lowest', 'highest'], rows)}</details>`;
}

function histogramsSection(groups: readonly Group[]): Html | undefined {
  const shown = spread(groups, CREDITED_RUNS).flatMap(({ label, runs }) => {
    const drawn = histogramsOf(runs.flatMap(({ samples }) => samples));
    return drawn ? [{ label, drawn }] : [];
  });
  if (shown.length === 0) return undefined;
  return html`<section><h2>Distribution of lengths and rewards</h2>
<p class="note">Each column is a step, or several neighbouring steps. Darker cells hold a larger share of its responses.</p>
${shown.map(({ label, drawn }, i) => (groups.length === 1 ? drawn : html`<details${i === 0 && new Html(' open')}><summary>${label}</summary>${drawn}</details>`))}</section>`;
}

function creditSection(groups: readonly Group[]): Html | undefined {
  const credited = spread(groups, CREDITED_RUNS).flatMap(
    ({ label, runs: [run] }, i) => creditOf(run, label, i === 0) ?? [],
  );
  if (credited.length === 0) return undefined;
  return html`<section><h2>Credit of each step</h2>
<p class="note">Responses sampled in training. The colour of a reasoning step shows its advantage: <span class="step up" style="--w:1;--r:1">pushed up</span> <span class="step down" style="--w:1;--r:1">pushed down</span>. The deepest colour is the largest advantage of that training step. Point, tap or tab for the numbers.
<label><input type="checkbox" id="numbers"> show advantages</label>
<label><input type="checkbox" id="relative"> colour only differences within a response: what the steps add to the outcome</label></p>
${credited}</section>`;
}

async function assets() {
  const read = (file: string) => readFile(file, 'utf8');
  const own = (name: string) => read(join(packageRoot, 'lib', 'cli', 'report', 'page', name));
  const library = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  const [script, ownStyle, chartScript, chartStyle, licence] = await Promise.all([
    own('page.js'),
    own('page.css'),
    read(join(library, 'dist', 'uPlot.iife.min.js')),
    read(join(library, 'dist', 'uPlot.min.css')),
    read(join(library, 'LICENSE')),
  ]);
  return {
    script,
    chartScript,
    style: `${chartStyle}\n${ownStyle}`,
    licence: `uPlot:\n${licence.replaceAll('--', '- -')}`,
  };
}
