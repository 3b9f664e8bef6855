import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { PrlError } from '../../base/errors.js';
import { EVALUATION, type EvaluationResult } from '../../eval/evaluate.js';
import { RESUMABLE_OPTIONS } from '../../train/options.js';
import { ROW, type Row, readJsonFile, readRows } from '../../train/run-folder.js';
import { SAMPLE_ROW, type SampleRow } from '../../train/sample-log.js';

export type EvaluationFigures = Omit<EvaluationResult, 'records'>;

export interface ReportRun {
  /** Runs of one label differ in nothing but the seed: their curves become one with a band. */
  label: string;
  name: string;
  /** The trainer's options, as far as the run (maybe an older one) has them. */
  options: { [name: string]: unknown };
  rows: Row[];
  samples: SampleRow[];
  /** In distribution and harder; absent where the run has not got there. */
  before?: EvaluationFigures[];
  after?: EvaluationFigures[];
}

/** Reads the folder of a run, finished or not, without taking hold of it. */
export async function readRun(path: string): Promise<ReportRun> {
  if (!existsSync(path)) throw new PrlError('ERR_PRL_IO', `there is no folder ${path}`);
  const config = await readJsonFile(join(path, 'config.json'), {
    'command?': {},
    'trainer?': { 'method?': 'text' },
  });
  if (config === undefined)
    throw new PrlError('ERR_PRL_IO', `${path} holds no run: it has no config.json. prl train writes such folders`);
  const rows = await readRows(join(path, 'metrics.jsonl'), ROW);
  if (rows.length === 0)
    throw new PrlError('ERR_PRL_IO', `the run in ${path} has no finished step yet: there is nothing to report`);
  const evaluation = async (when: string) => {
    const found = await readJsonFile(join(path, `evaluation-${when}.json`), {
      trained: EVALUATION,
      'harder?': EVALUATION,
    });
    return found && ([found.trained, found.harder].filter(Boolean) as EvaluationFigures[]);
  };
  const options = { ...(config.command as object), ...(config.trainer as object) };
  return {
    label: '',
    name: basename(resolve(path)),
    options,
    rows,
    samples: await readRows<SampleRow>(join(path, 'samples.jsonl'), SAMPLE_ROW),
    before: await evaluation('before'),
    after: await evaluation('after'),
  };
}

export const optionText = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value);

/** Options that do not make another experiment of a run. */
const INCIDENTAL = ['seed', 'task', 'method', 'model', ...RESUMABLE_OPTIONS];

/** Names each run after its method and the options in which the runs differ. */
export function labelRuns(runs: ReportRun[]): void {
  const names = new Set(runs.flatMap(({ options }) => Object.keys(options)));
  const differing = [...names].filter(
    (name) => !INCIDENTAL.includes(name) && new Set(runs.map(({ options }) => JSON.stringify(options[name]))).size > 1,
  );
  for (const run of runs) {
    const settings = differing
      .filter((name) => run.options[name] !== undefined)
      .map((name) => `${name} ${optionText(run.options[name])}`);
    run.label = [String(run.options.method ?? run.name), ...settings].join(', ');
  }
}
