import { existsSync } from 'node:fs';
import { basename, join, resolve, sep } from 'node:path';
import { PrlError } from '../../base/errors.js';
import type { Shape } from '../../base/json.js';
import { EVALUATION, type EvaluationResult } from '../../eval/evaluate.js';
import { wilsonInterval } from '../../eval/interval.js';
import { RESUMABLE_OPTIONS } from '../../train/options.js';
import { ROW, type Row, readJsonFile, readRows } from '../../train/run-folder.js';
import { SAMPLE_ROW, type SampleRow } from '../../train/sample-log.js';
import type { SftEvaluation } from '../../train/sft-trainer.js';

export type EvaluationFigures = Omit<EvaluationResult, 'records'>;

export interface ReportRun {
  /** Runs of one label differ only in the seed. Their curves become one curve, their mean. */
  label: string;
  /** The shortest end of the folder's path that tells it from the other runs'. */
  name: string;
  /** The whole path of the folder. */
  path: string;
  /** The options of command and trainer in config.json. Older runs may lack some. */
  options: { [name: string]: unknown };
  rows: Row[];
  samples: SampleRow[];
  /** Results in distribution and on the harder level. Absent if the run has not reached the evaluation. */
  before?: EvaluationFigures[];
  after?: EvaluationFigures[];
  /** Results on held-out demonstrations, of a run of supervised fine-tuning. */
  sft?: { before?: SftEvaluation; after?: SftEvaluation };
}

const SFT_EVALUATION: Shape = { loss: 'number', tokenAccuracy: 'number', tokens: 'number' };

/** Reads the folder of a run, finished or not. It takes no lock. */
export async function readRun(path: string): Promise<ReportRun> {
  if (!existsSync(path)) throw new PrlError('ERR_PRL_IO', `there is no folder ${path}`);
  const config = await readJsonFile(join(path, 'config.json'), {
    'command?': {},
    'trainer?': { 'method?': 'text' },
    'sft?': {},
  });
  if (config === undefined)
    throw new PrlError('ERR_PRL_IO', `${path} must be a run folder of prl train or prl sft, and has no config.json`);
  const rows = await readRows(join(path, 'metrics.jsonl'), ROW);
  if (rows.length === 0)
    throw new PrlError('ERR_PRL_IO', `a report needs a finished step, and the run in ${path} has none yet`);
  const options = { ...(config.command as object), ...(config.trainer as object), ...(config.sft as object) };
  const common = { label: '', name: basename(resolve(path)), path: resolve(path), options, rows };
  if (config.sft) {
    const ofSft = (when: string) => readJsonFile(join(path, `evaluation-${when}.json`), SFT_EVALUATION);
    return {
      ...common,
      options: { method: 'sft', ...options },
      samples: [],
      sft: { before: await ofSft('before'), after: await ofSft('after') },
    };
  }
  const evaluation = async (when: string) => {
    const found = await readJsonFile(join(path, `evaluation-${when}.json`), {
      trained: EVALUATION,
      'harder?': EVALUATION,
    });
    return found && ([found.trained, found.harder].filter(Boolean) as EvaluationFigures[]).map(withoutPoints);
  };
  return {
    ...common,
    samples: await readRows<SampleRow>(join(path, 'samples.jsonl'), SAMPLE_ROW),
    before: await evaluation('before'),
    after: await evaluation('after'),
  };
}

/** Older runs gave a point as interval where all problems had the same rate. */
function withoutPoints(figures: EvaluationFigures): EvaluationFigures {
  const { problems, averageAtN, averageAtNInterval, passAtN, passAtNInterval } = figures;
  const repaired = (rate: number, interval: [number, number]) =>
    interval[0] === interval[1] && problems > 0 ? wilsonInterval(rate, problems) : interval;
  return {
    ...figures,
    averageAtNInterval: repaired(averageAtN, averageAtNInterval),
    passAtNInterval: repaired(passAtN, passAtNInterval),
  };
}

export const optionText = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value);

/** The text with its hashes cut to 8 digits. */
export const shortHashes = (text: string): string =>
  text.replace(/\b[0-9a-f]{16,}\b/g, (hash) => `${hash.slice(0, 8)}…`);

/** Options that do not tell experiments apart. */
const INCIDENTAL = ['seed', ...RESUMABLE_OPTIONS];

/** Names each run after its folder, and labels alike the runs that differ only in the seed. */
export function labelRuns(runs: ReportRun[]): void {
  const names = shortestNames(runs.map(({ path }) => path));
  runs.forEach((run, i) => {
    run.name = names[i];
    run.label = run.name;
  });
  const settings = ({ options }: ReportRun) =>
    JSON.stringify(Object.entries(options).filter(([name]) => !INCIDENTAL.includes(name)));
  for (const key of new Set(runs.map(settings))) {
    const alike = runs.filter((run) => settings(run) === key);
    // The same seed twice is the same run twice, whatever the folders are called.
    const seeds = new Set(alike.map(({ options }) => options.seed));
    if (alike.length === 1 || seeds.size < alike.length) continue;
    const label = `${sharedName(alike.map(({ name }) => name))} (${alike.length} seeds)`;
    for (const run of alike) run.label = label;
  }
}

/** The shortest ends of the paths that tell them apart: `grpo`, or `a/grpo` and `b/grpo`. */
export function shortestNames(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split(sep).filter(Boolean));
  const end = (own: readonly string[], count: number) => own.slice(-count).join('/');
  return parts.map((own) => {
    const others = parts.filter((each) => each.join('/') !== own.join('/'));
    let count = 1;
    while (count < own.length && others.some((other) => end(other, count) === end(own, count))) count++;
    return end(own, count);
  });
}

/** What names have in common: `grpo` of `grpo-seed-0` and `grpo-seed-1`. Without a common start, the first name. */
function sharedName(names: readonly string[]): string {
  const [first] = names;
  let length = 0;
  while (names.every((name) => name.length > length && name[length] === first[length])) length++;
  return first.slice(0, length).replace(/[-_./ ]*(seeds?|s)?[-_.=/ ]*$/i, '') || first;
}
