import { existsSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic.js';
import { PRESETS, type Preset } from '../kit/presets.js';
import { chartsOf, curveSources } from '../report/curves.js';
import { html } from '../report/html.js';
import { type ReportPage, reportPage } from '../report/page.js';
import { type ReportRun, readRun } from '../report/read.js';
import { tableOf } from '../report/sections.js';
import { chartSvg } from '../report/svg.js';
import { type CellJob, type CompareJob, type CompareRequest, planJobs } from './plan.js';
import {
  armNames,
  FIGURES_DOC,
  type Finished,
  readFinished,
  type Summary,
  summarize,
  summaryTables,
} from './results.js';
import { threadsOf } from './run-jobs.js';

/** Charts that are written as files beside results.md. */
const PLOTS: readonly [title: string, file: string][] = [
  ['average@n, held out', 'held-out-average'],
  ['pass@n, held out', 'held-out-pass'],
  ['average@n', 'average'],
  ['pass@n', 'pass'],
  ['Tokens per response', 'length'],
  ['Entropy', 'entropy'],
  ['Groups of one outcome', 'one-outcome'],
  ['Wrong responses pushed up', 'wrong-pushed-up'],
];

export interface Comparison {
  request: CompareRequest;
  jobs: readonly CompareJob[];
  finished: Finished;
  summary: Summary | undefined;
  failed: ReadonlyMap<string, string>;
  /** Processes at a time. */
  parallel: number;
}

export async function readComparison(
  output: string,
  request: CompareRequest,
  failed: ReadonlyMap<string, string> = new Map(),
  parallel = 1,
): Promise<Comparison> {
  const jobs = planJobs(output, request);
  const finished = await readFinished(jobs);
  return { request, jobs, finished, summary: summarize(finished, armNames(jobs)), failed, parallel };
}

/** The page of a comparison, with every cell that has begun. */
export async function comparisonPage(comparison: Comparison): Promise<ReportPage> {
  const { jobs, summary, request, finished } = comparison;
  const runs: ReportRun[] = [];
  for (const job of jobs) {
    if (job.kind !== 'cell' || !existsSync(join(job.folder, 'metrics.jsonl'))) continue;
    const run = await readRun(job.folder).catch(() => undefined); // it has no step yet
    if (!run) continue;
    const before = finished.warm.find(({ seed }) => seed === job.seed)?.levels;
    const after = finished.cells.find(({ arm, seed }) => arm === job.arm && seed === job.seed)?.levels;
    runs.push({ ...run, label: job.arm, before, after });
  }
  const [results, ...others] = (summary ? summaryTables(summary) : []).map(([title, rows]) => ({
    title,
    table: tableOf(rows[0], rows.slice(1)),
  }));
  const head =
    results &&
    html`<section><h2>All figures</h2><p class="note">${settingsText(comparison)}</p>${results.table}
${others.map(({ title, table }) => html`<h3>${title}</h3>${table}`)}</section>`;
  return { title: `Comparison ${subjectOf(request)}: ${armNames(jobs).join(', ')}`, runs, head };
}

/** results.json, results.md with its plots, and report.html. */
export async function writeResults(output: string, comparison: Comparison): Promise<void> {
  const { summary, finished, request, failed } = comparison;
  const page = await comparisonPage(comparison);
  const plain = (rows: Summary['rows']) =>
    rows.map(({ name, figures }) => ({
      name,
      figures: Object.fromEntries(summary!.measures.map((measure, i) => [measure.name, figures[i] ?? null])),
    }));
  const json = {
    request,
    ...(summary && { results: plain(summary.rows), paired: plain(summary.paired) }),
    ...finished,
    failed: Object.fromEntries(failed),
  };
  const plots = await writePlots(output, page.runs);
  await writeFileAtomic(join(output, 'results.json'), `${JSON.stringify(json, null, 1)}\n`);
  await writeFileAtomic(join(output, 'results.md'), markdown(comparison, plots));
  if (page.runs.length > 0) await writeFileAtomic(join(output, 'report.html'), await reportPage(page));
}

async function writePlots(output: string, runs: readonly ReportRun[]): Promise<string[]> {
  if (runs.length === 0) return [];
  const { main } = chartsOf(curveSources(runs));
  const plots: string[] = [];
  for (const [title, name] of PLOTS) {
    const chart = main.find((each) => each.title === title);
    if (!chart) continue;
    const file = `results-${name}.svg`;
    await writeFileAtomic(join(output, file), chartSvg(chart));
    plots.push(`![${title}](${file})`);
  }
  return plots;
}

/** What a comparison trains on, for titles. */
const subjectOf = ({ data, preset }: CompareRequest): string =>
  data ? data.dataset!.map((source) => basename(source, extname(source))).join(', ') : preset;

function settingsText({ request, jobs, parallel }: Comparison): string {
  const { doc, levels } = PRESETS[request.preset] as Preset;
  const { data, model } = request;
  const cell = jobs.find((job): job is CellJob => job.kind === 'cell')!;
  const { promptsPerStep, numGenerations, maxSteps, maxTokens, evalProblems, evalSamples } = cell.options;
  return [
    `${data ? `Problems of ${data.dataset!.join(', ')}, model ${model}` : `Preset ${request.preset}: ${doc}`}. ${request.seeds} seed${request.seeds === 1 ? '' : 's'} from ${request.firstSeed} up; the methods of a seed start from the same policy.`,
    `${maxSteps} steps of ${promptsPerStep} problems x ${numGenerations} responses${maxTokens === undefined ? '' : `, or fewer: training ends with the step that reaches ${maxTokens} sampled tokens`}, unless an arm sets them otherwise.`,
    `Evaluation: ${evalProblems} held-out problems${data ? '' : ' per level'}, ${evalSamples} responses each${data ? '' : `; levels ${levels.join(', ')} (training uses the first)`}.`,
    FIGURES_DOC,
    ...(data ? [] : ['Drift is log p minus log p before training, averaged over the tokens of the responses.']),
    `Seconds cover training, and the collection and training of a process reward model, on ${threadsOf(parallel)} thread(s). PRM tokens are the tokens generated for that model and the tokens that it read.`,
  ].join(' ');
}

function markdown(comparison: Comparison, plots: readonly string[]): string {
  const { request, jobs, summary, failed } = comparison;
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const table = ([head, ...rows]: string[][]) =>
    [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');
  const arms = jobs.filter((job): job is CellJob => job.kind === 'cell' && job.seed === request.firstSeed);
  // Options that all arms share are listed once.
  const names = Object.keys(arms[0].options) as (keyof CellJob['options'])[];
  const differ = names.filter((name) => new Set(arms.map(({ options }) => JSON.stringify(options[name]))).size > 1);
  const shown = (value: unknown) => (value === undefined ? '' : JSON.stringify(value).replaceAll('"', ''));
  const common = names.filter((name) => !differ.includes(name) && name !== 'seed');
  const parts = [
    `# ${arms.map(({ arm }) => arm).join(', ')}: ${subjectOf(request)}`,
    settingsText(comparison),
    ...(summary
      ? summaryTables(summary).flatMap(([title, rows]) => [`## ${title}`, table(rows)])
      : ['No cell is finished.']),
    ...(failed.size > 0 ? ['## Failed', [...failed].map(([id, why]) => `- ${id}: ${cell(why)}`).join('\n')] : []),
    ...(plots.length > 0 ? ['## Curves', plots.join('\n')] : []),
    '## Settings',
    table([
      ['', ...arms.map(({ arm }) => arm)],
      ...differ.map((name) => [name, ...arms.map(({ options }) => shown(options[name]))]),
    ]),
    `All: ${common.map((name) => `${name} ${shown(arms[0].options[name])}`).join(', ')}.`,
  ];
  return `${parts.join('\n\n')}\n`;
}
