import { existsSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { makeFolder } from '../../base/atomic.js';
import { invalidArgument, outOfRange, PrlError } from '../../base/errors.js';
import { lockFolder } from '../../base/lock.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { TRAINER_OPTIONS } from '../../train/options.js';
import { checkTrainer } from '../../train/setup.js';
import { LiveTable } from '../compare/live.js';
import {
  type CompareRequest,
  DATA_OPTIONS,
  mergeRequests,
  planJobs,
  readRequest,
  writeRequest,
} from '../compare/plan.js';
import { checkFinished, FIGURES_DOC, summaryTables } from '../compare/results.js';
import { runJobs } from '../compare/run-jobs.js';
import { type Comparison, readComparison, writeResults } from '../compare/write.js';
import { type Command, part, type Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { withOptionsOfRun } from '../kit/model-run.js';
import { PRESET_NAMES } from '../kit/presets.js';
import { newRunPath } from '../kit/run-path.js';
import { table } from '../kit/table.js';
import { warn } from '../kit/warn.js';

const { method: _method, seed: _seed, ...TRAINER } = TRAINER_OPTIONS;

const OPTIONS = {
  methods: {
    type: 'string',
    doc: 'Methods, separated by commas; NAME=METHOD adds a method again; the others are compared with the first (default: grpo,raft,prl,frpo,progrs)',
  },
  seeds: {
    type: 'integer',
    min: 1,
    max: 1000,
    doc: 'Number of seeds; intervals need 5, and fewer are listed one by one (default: 5)',
  },
  firstSeed: {
    type: 'integer',
    min: 0,
    max: 2 ** 30,
    doc: 'First seed; tune on other seeds than you report (default: 0)',
  },
  preset: {
    type: 'choice',
    choices: PRESET_NAMES,
    doc: 'Preset of model, warm start and other defaults (default: quickstart)',
  },
  output: { type: 'string', doc: 'Folder of the comparison (default: a new one in runs/)' },
  resume: { type: 'boolean', doc: 'Resume the comparison in --output; you may add seeds and methods' },
  jobs: {
    type: 'integer',
    default: 1,
    min: 1,
    max: 256,
    doc: "Processes at a time, which share the machine's threads",
  },
  model: { type: 'string', doc: 'Start from this policy instead of a warm start per seed' },
  prm: { type: 'string', doc: 'Process reward model for progrs, instead of one per seed' },
  prmProblems: {
    type: 'integer',
    min: 1,
    doc: "Problems that each seed's process reward model learns from (default: 200)",
  },
  cache: {
    type: 'string',
    doc: 'Folder of warm starts and process reward models, which comparisons can share (default: in --output)',
  },
} as const satisfies OptionTable;

export const compareCommand: Command = {
  name: 'compare',
  summary: 'Trains with several methods from the same warm starts and compares the results, seed by seed.',
  groups: [
    { title: 'Comparison', options: OPTIONS },
    { title: 'Dataset and model, instead of the arithmetic task and its warm starts', options: DATA_OPTIONS },
    { title: 'Trainer options of all methods', options: TRAINER },
  ],
  common: [
    ...['methods', 'seeds', 'firstSeed', 'preset', 'output', 'resume', 'jobs', 'model', 'level', 'maxSteps'],
    ...['promptsPerStep', 'numGenerations', 'maxCompletionLength', 'learningRate', 'evalProblems'],
  ],
  operands: { name: 'settings', usage: '[METHOD.option=value ...]' },
  notes: `METHOD.option=value sets an option of one method. The folder keeps everything: results.md, results.json, report.html, and a run folder
per method and seed in cells/. You can stop a comparison at any moment and resume it: finished work is not done again.`,
  examples: [
    ['prl compare --preset smoke --seeds 2', 'All methods in a minute or two'],
    [
      'prl compare --methods grpo,prl --seeds 5 prl.eta=20 --output runs/c',
      'Two methods, one with an option of its own',
    ],
    ['prl compare --methods prl,steep=prl steep.eta=5 --preset rare-success', 'One method with two settings'],
    ['prl compare --output runs/c --resume --seeds 10', 'Resume with more seeds'],
    [
      'prl compare --methods grpo,prl --model runs/sft --dataset train.jsonl --eval-share 0.1 --max-steps 30',
      'A model of yours on problems of yours',
    ],
  ],
  run: compare,
};

async function compare({ output, resume, jobs, ...given }: Values): Promise<number> {
  const { jobs: parallel } = resolveOptions('prl compare', { jobs: OPTIONS.jobs }, { jobs });
  if (resume && output === undefined) throw invalidArgument('--resume needs --output, the folder of the comparison');
  const folder = resolve((output as string | undefined) ?? newRunPath('compare'));
  const known = await knownRequest(folder, resume === true);
  const request = mergeRequests(known, withAbsolutePaths(given));
  if (!known && request.data) request.data = await withOptionsOfRun(request.model!, request.data, warn);
  const all = planJobs(folder, request);
  for (const job of all) {
    if (job.kind !== 'cell') continue;
    if (job.options.evalProblems === 0) throw outOfRange('evalProblems must be above 0, to compare methods');
    checkTrainer(job.options, { processRewardModel: job.prm });
  }
  await checkFinished(all);
  await makeFolder(folder);
  const unlock = await lockFolder(folder);
  try {
    await writeRequest(folder, request);
    const interrupt = new Interrupt();
    const live = new LiveTable(all);
    await live.begin();
    const failed = await runJobs(all, {
      jobs: parallel,
      signal: interrupt.signal,
      onEvent: (...event) => live.onEvent(...event),
    });
    await live.end();
    const comparison = await readComparison(folder, request, failed, parallel);
    await writeResults(folder, comparison);
    tell(folder, comparison, interrupt.exitCode !== undefined);
    return interrupt.exitCode ?? (failed.size > 0 ? 1 : 0);
  } finally {
    await unlock();
  }
}

/** The request of the comparison to resume; undefined for a new one. */
async function knownRequest(folder: string, resume: boolean): Promise<CompareRequest | undefined> {
  const known = await readRequest(folder);
  if (!known && existsSync(join(folder, 'config.json')))
    throw new PrlError('ERR_PRL_IO', `${folder} holds something other than a comparison: choose another folder`);
  if (resume && !known) throw invalidArgument(`there is no comparison in ${folder} to resume`);
  if (!resume && known)
    throw new PrlError('ERR_PRL_IO', `${folder} already holds a comparison: resume it, or choose another folder`);
  return known;
}

/** Other processes do the jobs, and a resume may start in another working directory. */
function withAbsolutePaths(given: Values): Values {
  const { model, prm, cache } = OPTIONS;
  const { dataset, evalDataset } = DATA_OPTIONS;
  const paths = Object.entries(part(given, { model, prm, cache }) as Record<string, string>);
  const absolute = (path: string) => (isAbsolute(path) || /^https?:\/\//.test(path) ? path : resolve(path));
  // What is not here may be a model or a dataset of the hub.
  const present = (path: string) => (existsSync(path) ? resolve(path) : path);
  const sources = Object.entries(part(given, { dataset, evalDataset }) as Record<string, string[]>);
  return {
    ...given,
    ...Object.fromEntries(paths.map(([name, path]) => [name, name === 'model' ? present(path) : absolute(path)])),
    ...Object.fromEntries(sources.map(([name, list]) => [name, list.map(present)])),
  };
}

/** Prints the tables, what failed, and where everything is. */
function tell(folder: string, { summary, failed }: Comparison, interrupted: boolean): void {
  for (const [, rows] of summary ? summaryTables(summary) : []) console.log(`\n${table(rows)}`);
  if (summary) console.log(`\n${FIGURES_DOC}`);
  const shown = relative('', folder) || '.';
  for (const [id, why] of failed) console.error(`prl: ${id} failed: ${why}`);
  if (interrupted || failed.size > 0) console.log(`\nTo resume: prl compare --resume --output ${shown}`);
  console.log(`\n${shown}: results.md, results.json, report.html`);
}
