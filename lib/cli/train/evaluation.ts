// The evaluations of a course, before and after training: their options, files and table.
import { type EvaluationOptions, type EvaluationResult, evaluate, RECORDED_EVALUATION } from '../../eval/evaluate.js';
import type { PolicyLike } from '../../policy/types.js';
import type { Task } from '../../tasks/task.js';
import type { RunFolder } from '../../train/run-folder.js';
import type { Interrupt } from '../kit/interrupt.js';
import { Progress } from '../kit/progress.js';
import { table, withInterval } from '../kit/table.js';

/** One evaluation of a course. */
export interface Exam {
  /** Its name in the files of the run. */
  key: string;
  /** Its name in the closing table. */
  where: string;
  options: EvaluationOptions & { problems: number; n: number };
  /** Live text of the progress bar. */
  live(tokens: number): string;
}

export type Exams = readonly Exam[];
/** The end of a run without exams. */
export const NOT_EVALUATED = 'This run was not evaluated, because --eval-problems is 0.';
/** Results by the keys of the exams. */
export type Results = { [key: string]: EvaluationResult };

export interface Examination {
  folder: RunFolder;
  task: Task;
  exams: Exams;
  interrupt: Interrupt;
}

/** Evaluates the policy after `step` steps of training. Results in the run folder are reused. */
export async function examine(
  { folder, task, exams, interrupt }: Examination,
  when: 'before' | 'after',
  step: number,
  policy: PolicyLike,
  line: (results: Results) => string,
): Promise<Results> {
  if (exams.length === 0) return {};
  const file = `evaluation-${when}.json`;
  const shapes = Object.fromEntries(exams.map(({ key }) => [key, RECORDED_EVALUATION]));
  const known = await folder.readJson(file, { step: 'number', ...shapes });
  // A resumed run may have trained further since that evaluation.
  if (known?.step === step) return known;
  const responses = ({ options: { problems, n } }: Exam) => problems * n;
  const progress = new Progress(
    'evaluation',
    exams.reduce((sum, exam) => sum + responses(exam), 0),
  );
  const results: Results = {};
  let done = 0;
  try {
    for (const exam of exams) {
      results[exam.key] = await evaluate(policy, task, {
        ...exam.options,
        signal: interrupt.signal,
        onProgress: ({ finished, tokens }) => progress.update(done + finished, exam.live(tokens)),
      });
      done += responses(exam);
    }
  } finally {
    progress.stop();
  }
  await folder.writeJson(file, { step, ...results });
  progress.done(`${when} training: ${line(results)}`);
  return results;
}

/** The closing table: several rows per exam, with 95% intervals over problems. */
export function evaluationTable(exams: Exams, before: Results, after: Results): string {
  const rows = [['', 'before', 'after', 'change']];
  for (const { key, where: kind } of exams) {
    const [a, b] = [before[key], after[key]];
    const where = `${kind} (${a.level})`;
    const row = (what: string, name: 'averageAtN' | 'passAtN') => {
      const [from, to] = [a, b].map((result) =>
        withInterval(result[name], result[`${name}Interval`], decimals(3), decimals(2)),
      );
      const change = b[name] - a[name];
      rows.push([`${where}, ${what}`, from, to, `${b[name] >= a[name] ? '+' : ''}${change.toFixed(3)}`]);
    };
    row(`average@${a.n}`, 'averageAtN');
    row(`pass@${a.n}`, 'passAtN');
    rows.push([`${where}, tokens per response`, a.meanLength.toFixed(1), b.meanLength.toFixed(1), '']);
    for (const name of Object.keys(a.measures))
      rows.push([
        `${where}, ${name.replaceAll('_', ' ')}`,
        a.measures[name].toFixed(3),
        b.measures[name]?.toFixed(3) ?? '',
        '',
      ]);
  }
  return table(rows);
}

const decimals = (digits: number) => (value: number) => value.toFixed(digits);

const RATES = ['averageAtN', 'averageAtNInterval', 'passAtN', 'passAtNInterval'] as const;
const FIGURES = [...RATES, 'n', 'level', 'problems', 'meanLength'] as const;

/** The figures of an evaluation for summary.json. */
export const evaluationFigures = (result: EvaluationResult) => ({
  ...Object.fromEntries(FIGURES.map((name) => [name, result[name]])),
  ...result.measures,
});
