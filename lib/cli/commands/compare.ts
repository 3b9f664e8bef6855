import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { writeFileAtomic } from '../../base/atomic.js';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { quoted } from '../../base/json.js';
import { lockFolder } from '../../base/lock.js';
import { type OptionTable, resolveOptions } from '../../base/options-table.js';
import { RESUMABLE_OPTIONS, TRAINER_OPTIONS } from '../../train/options.js';
import { readJsonFile } from '../../train/run-folder.js';
import { LiveTable } from '../compare/live.js';
import { type CompareJob, mergeRequests, planJobs, RESULT_FILE, readRequest } from '../compare/plan.js';
import { CELL, summaryTables } from '../compare/results.js';
import { isDone, runJobs } from '../compare/run-jobs.js';
import { readComparison, writeResults } from '../compare/write.js';
import type { Command, Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { PRESET_NAMES } from '../kit/presets.js';
import { table } from '../kit/table.js';

const { method: _method, seed: _seed, ...TRAINER } = TRAINER_OPTIONS;

const OPTIONS = {
  methods: {
    type: 'string',
    doc: 'What to compare, between commas: methods, or NAME=METHOD for one more of a method; the first is what the others are compared with (default: grpo,raft,prl,frpo,progrs)',
  },
  seeds: { type: 'integer', min: 1, max: 1000, doc: 'How many seeds (default: 5)' },
  firstSeed: {
    type: 'integer',
    min: 0,
    max: 2 ** 30,
    doc: 'The first of them: tune on other seeds than you report (default: 0)',
  },
  preset: { type: 'choice', choices: PRESET_NAMES, doc: 'Model, warm start and other defaults (default: quickstart)' },
  output: { type: 'string', doc: 'Folder of the comparison (default: a new one in runs/)' },
  resume: { type: 'boolean', doc: 'Go on with the comparison in --output; seeds and methods may be added' },
  jobs: { type: 'integer', default: 1, min: 1, max: 256, doc: "Processes at once; the machine's threads are divided" },
  model: { type: 'string', doc: 'Start from this policy instead of a warm start per seed' },
  prm: { type: 'string', doc: 'Process reward model for progrs, instead of one per seed' },
  prmProblems: {
    type: 'integer',
    min: 1,
    doc: "Problems that a seed's process reward model learns from (default: 200)",
  },
  cache: {
    type: 'string',
    doc: 'Folder of warm starts and process reward models, which comparisons may share (default: in --output)',
  },
} as const satisfies OptionTable;

export const compareCommand: Command = {
  name: 'compare',
  summary: 'Trains with several methods from the same warm starts and compares what becomes of them, seed by seed.',
  groups: [
    { title: 'Comparison', options: OPTIONS },
    { title: 'Trainer, for all methods', options: TRAINER },
  ],
  operands: { name: 'settings', usage: '[METHOD.option=value ...]' },
  notes: `METHOD.option=value sets an option of one method. Everything is kept in the folder: results.md, results.json, report.html, and a run
folder per method and seed in cells/. It can be stopped at any moment; what is finished is not done again.`,
  examples: [
    ['prl compare --preset smoke --seeds 2', 'All methods in a minute or two'],
    ['prl compare --methods grpo,prl --seeds 5 prl.eta=20 --output runs/c', 'Two methods, one of them with an option'],
    ['prl compare --methods prl,steep=prl steep.eta=5 --preset rare-success', 'One method with two settings'],
    ['prl compare --output runs/c --resume --seeds 10', 'Go on, with more seeds'],
  ],
  run: compare,
};

async function compare(values: Values): Promise<number> {
  const { output: given, resume, jobs: wanted, ...request } = values;
  if (resume && given === undefined) throw invalidArgument('--resume needs --output, the folder of the comparison');
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');
  const output = resolve((given as string | undefined) ?? `runs/compare-${stamp}`);
  const { jobs: parallel } = resolveOptions('prl compare', { jobs: OPTIONS.jobs }, { jobs: wanted });
  const configFile = join(output, 'config.json');
  const known = await readRequest(output);
  if (existsSync(configFile) && !known)
    throw new PrlError('ERR_PRL_IO', `${output} holds something else than a comparison`);
  if (resume && !known) throw invalidArgument(`there is no comparison in ${output} to resume`);
  if (!resume && known)
    throw new PrlError('ERR_PRL_IO', `${output} holds a comparison already: resume it, or choose another folder`);
  for (const name of ['model', 'prm', 'cache'])
    if (typeof request[name] === 'string' && !isAddress(request[name])) request[name] = absolute(request[name]);
  const merged = mergeRequests(known, request);
  const all = planJobs(output, merged);
  await checkFinished(all);
  await mkdir(output, { recursive: true });
  const unlock = await lockFolder(output);
  try {
    await writeFileAtomic(configFile, `${JSON.stringify({ compare: merged }, null, 2)}\n`);
    const interrupt = new Interrupt();
    const live = new LiveTable(all);
    await live.begin();
    const failed = await runJobs(all, {
      jobs: parallel,
      signal: interrupt.signal,
      onEvent: (...event) => live.onEvent(...event),
    });
    await live.end();
    const comparison = await readComparison(output, merged, failed, parallel);
    await writeResults(output, comparison);
    if (comparison.summary)
      for (const rows of Object.values(summaryTables(comparison.summary)))
        if (rows.length > 0) console.log(`\n${table(rows)}`);
    const shown = relative('', output) || '.';
    for (const [id, why] of failed) console.error(`prl: ${id} failed: ${why}`);
    if (interrupt.exitCode !== undefined || failed.size > 0)
      console.log(`\nGo on with: prl compare --resume --output ${shown}`);
    console.log(`\n${shown}: results.md, results.json, report.html`);
    return interrupt.exitCode ?? (failed.size > 0 ? 1 : 0);
  } finally {
    await unlock();
  }
}

const isAddress = (text: string) => /^https?:\/\//.test(text);
/** Jobs are done by other processes, maybe resumed from another folder. */
const absolute = (path: string) => (isAbsolute(path) ? path : resolve(path));

/** Cells that are finished must have been made with the options that are asked for now. */
async function checkFinished(jobs: readonly CompareJob[]): Promise<void> {
  for (const job of jobs) {
    if (job.kind !== 'cell' || !isDone(job)) continue;
    const { options } = await readJsonFile(join(job.folder, RESULT_FILE.cell), CELL);
    for (const [name, value] of Object.entries(job.options)) {
      if ((RESUMABLE_OPTIONS as readonly string[]).includes(name) && name !== 'maxSteps') continue;
      if (JSON.stringify(options[name]) !== JSON.stringify(value))
        throw invalidArgument(
          `${job.arm} has been trained with ${name} ${options[name] === undefined ? 'unset' : quoted(options[name])}, not ${JSON.stringify(value)}: give it another name (NAME=METHOD), or choose another folder`,
        );
    }
  }
}
