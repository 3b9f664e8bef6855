import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { PrlError } from '../../base/errors.js';
import { EVALUATION, type EvaluationResult } from '../../eval/evaluate.js';
import { RESUMABLE_OPTIONS } from '../../train/options.js';
import { ROW, type Row, readJsonFile, readRows } from '../../train/run-folder.js';
import { SAMPLE_ROW, type SampleRow } from '../../train/sample-log.js';

export type EvaluationFigures = Omit<EvaluationResult, 'records'>;

export interface ReportRun {
  /** Runs of one label differ only in the seed. Their curves become one curve with a band. */
  label: string;
  name: string;
  /** The options of command and trainer in config.json. Older runs may lack some. */
  options: { [name: string]: unknown };
  rows: Row[];
  samples: SampleRow[];
  /** Results in distribution and on the harder level. Absent if the run has not reached the evaluation. */
  before?: EvaluationFigures[];
  after?: EvaluationFigures[];
}

/** Reads the folder of a run, finished or not. It takes no lock. */
export async function readRun(path: string): Promise<ReportRun> {
  if (!existsSync(path)) throw new PrlError('ERR_PRL_IO', `there is no folder ${path}`);
  const config = await readJsonFile(join(path, 'config.json'), {
    'command?': {},
    'trainer?': { 'method?': 'text' },
  });
  if (config === undefined)
    throw new PrlError('ERR_PRL_IO', `${path} must be a run folder of prl train, and has no config.json`);
  const rows = await readRows(join(path, 'metrics.jsonl'), ROW);
  if (rows.length === 0)
    throw new PrlError('ERR_PRL_IO', `a report needs a finished step, and the run in ${path} has none yet`);
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

/** Options that do not tell experiments apart. */
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
