import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../kernels/native.js';
import { creditOf, sampleTable, spread } from './credit.js';
import { type Chart, chartsOf, curveSources } from './curves.js';
import { Html, html, jsonScript } from './html.js';
import type { ReportRun } from './read.js';
import { histogramsOf, runsSection, settingsSection } from './sections.js';

export interface ReportPage {
  title: string;
  runs: readonly ReportRun[];
  /** First part of the page, such as the table of a comparison. */
  head?: Html;
}

/** Most runs whose responses are shown. Each is the first seed of its label. */
const CREDITED_RUNS = 8;

/**
 * One self-contained page: no script, style or figure comes from elsewhere. Its security policy allows only two
 * scripts, by their hashes, whatever a model wrote.
 */
export async function reportPage({ title, runs, head }: ReportPage): Promise<string> {
  const labels = [...new Set(runs.map(({ label }) => label))];
  const ofLabel = (label: string) => runs.filter((run) => run.label === label);
  const sources = curveSources(runs);
  const { main, other } = chartsOf(sources);
  const seeds = Math.max(...sources.map((source) => source.runs.length));
  const histograms = labels.map((label) =>
    histogramsOf(
      label,
      ofLabel(label).flatMap(({ samples }) => samples),
    ),
  );
  const credited = spread(
    labels.map((label) => ofLabel(label)[0]),
    CREDITED_RUNS,
  ).map(creditOf);
  const { script, style, chartScript, licence } = await assets();
  const hashes = [chartScript, script].map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src ${new Html(hashes.join(' '))}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${new Html(style)}</style></head>
<body><h1>${title}</h1>
${head}
${runsSection(runs)}
<section><h2>Learning curves</h2>
<p class="note">${seeds > 1 && 'Lines are means over seeds; bands are 95% bootstrap intervals. '}Point or tap for numbers, drag to zoom, double-click to go back.</p>
<noscript><p>The curves need JavaScript.</p></noscript>
<div class="charts">${main.map(chartPlace(0))}</div>
${other.length > 0 && html`<details><summary>Other figures</summary><div class="charts">${other.map(chartPlace(main.length))}</div></details>`}</section>
${
  histograms.some(Boolean) &&
  html`<section><h2>Rewards and lengths</h2>
<p class="note">Each column is a step, or several neighbouring steps. Darker cells hold a larger share of its responses.</p>
<div class="charts">${histograms}</div></section>`
}
${
  credited.some(Boolean) &&
  html`<section><h2>Credit of each step</h2>
<p class="note">Responses sampled in training. The colour of a reasoning step shows its advantage: <span class="step up" style="--w:1">pushed up</span> <span class="step down" style="--w:1">pushed down</span>. Point or tap for the numbers.
<label><input type="checkbox" id="numbers"> show advantages</label>
<label><input type="checkbox" id="relative"> colour only differences within a response: what the steps add to the outcome</label></p>
${credited}</section>`
}
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

const chartPlace = (offset: number) => (chart: Chart, i: number) =>
  html`<figure class="chart" data-chart="${offset + i}"><figcaption>${chart.title}${chart.doc && html`<span class="note">${chart.doc}</span>`}</figcaption></figure>`;

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
