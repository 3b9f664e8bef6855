import asciichart from 'asciichart';
import { joined } from '../../base/packed.js';
import { seedOf } from '../../base/random.js';
import type { EvaluationResult } from '../../eval/evaluate.js';
import type { PolicyLike } from '../../policy/types.js';
import type { ProcessRewardModel } from '../../prm/process-reward-model.js';
import { scoreSteps } from '../../prm/score-steps.js';
import { collectRollout } from '../../rollout/rollout.js';
import type { Problem, Task } from '../../tasks/task.js';
import { computeAdvantages, rolloutSteps } from '../../train/advantages.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import type { Row } from '../../train/run-folder.js';

export interface Evaluations {
  trained: EvaluationResult;
  harder: EvaluationResult;
}

const figure = (value: number, [low, high]: [number, number]) =>
  `${value.toFixed(3)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;

/** The closing table: some rows per evaluation, with 95% intervals over problems. */
export function evaluationTable(
  evaluations: readonly { where: string; before: EvaluationResult; after: EvaluationResult }[],
): string {
  const rows = [['', 'before', 'after', 'change']];
  for (const { where: kind, before: a, after: b } of evaluations) {
    const where = `${kind} (${a.level})`;
    const row = (what: string, x: number, xi: [number, number], y: number, yi: [number, number]) =>
      rows.push([`${where}, ${what}`, figure(x, xi), figure(y, yi), `${y >= x ? '+' : ''}${(y - x).toFixed(3)}`]);
    row(`average@${a.n}`, a.averageAtN, a.averageAtNInterval, b.averageAtN, b.averageAtNInterval);
    row(`pass@${a.n}`, a.passAtN, a.passAtNInterval, b.passAtN, b.passAtNInterval);
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

/** Columns as wide as their widest cell, a line under the header. */
export function table(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '));
  return lines.join('\n');
}

export interface ExplainedSample {
  problem: Problem;
  group: { right: number; n: number };
  right: boolean;
  steps: { text: string; advantage: number }[];
}

/** One response per problem with the advantage that the method gives each of its steps, in its group of n. */
export async function explainSamples(
  policy: PolicyLike,
  base: PolicyLike,
  task: Task,
  problems: readonly Problem[],
  options: ResolvedTrainerOptions,
  model?: ProcessRewardModel,
): Promise<ExplainedSample[]> {
  const { numGenerations: n, maxCompletionLength, temperature, seed } = options;
  const rollout = await collectRollout(policy, task, problems, {
    n,
    maxCompletionLength,
    temperature,
    seed: seedOf(seed, 'samples'),
  });
  const { logProbs: refLogProbs } = await base.logProbs(
    rollout.prompts.map((prompt, i) => joined(prompt, rollout.completions[i])),
    { temperature, start: rollout.prompts.map(({ length }) => length) },
  );
  const cuSteps = await rolloutSteps(rollout, task.tokenizer, options);
  const stepScores = model && (await scoreSteps(model, { ...rollout, cuSteps })).scores;
  const { advantages } = computeAdvantages(rollout, { cuSteps, refLogProbs, stepScores }, options);
  return problems.map((problem, group) => {
    const members = [...rollout.groupIds.keys()].filter((i) => rollout.groupIds[i] === group);
    const shown = members[0];
    const [from, to] = [rollout.cuSeqlens[shown], rollout.cuSeqlens[shown + 1]];
    const begins = Array.from(cuSteps).filter((at) => at >= from && at < to);
    return {
      problem,
      group: { right: members.filter((i) => rollout.rewards[i] > 0).length, n },
      right: rollout.rewards[shown] > 0,
      steps: begins.map((begin, k) => ({
        text: task.tokenizer.decode(rollout.completions[shown].subarray(begin - from, (begins[k + 1] ?? to) - from)),
        advantage: advantages[begin],
      })),
    };
  });
}

export function samplesText(before: ExplainedSample[], after: ExplainedSample[]): string {
  const one = (when: string, { group, right, steps }: ExplainedSample) => {
    const head = `  ${when.padEnd(6)}  ${right ? 'right' : 'wrong'} (${group.right} of ${group.n} are right)`;
    const lines = steps.map(({ text, advantage }) => {
      const visible = text.replace(/\n$/, '') || '(nothing)';
      return `      ${visible.padEnd(24)} ${advantage >= 0 ? '+' : ''}${advantage.toFixed(3)}`;
    });
    return [head, ...lines].join('\n');
  };
  return before
    .map(
      (sample, i) =>
        `${sample.problem.prompt}${sample.problem.answer}\n${one('before', sample)}\n${one('after', after[i])}`,
    )
    .join('\n\n');
}

/** The course of the run in the terminal. */
export function plots(rows: readonly Row[]): string {
  if (rows.length < 2) return '';
  const series = [
    ['reward', 'average reward of the training batch (average@n)', 2],
    ['share_step_by_step', 'share of responses that show their work', 2],
    ['completions/mean_length', 'tokens per response', 1],
    ['first_token_entropy', 'entropy of the first token, nats', 2],
  ] as const;
  return series
    .filter(([name]) => rows.every((row) => Number.isFinite(row[name])))
    .map(([name, title, digits]) => {
      const values = stretch(
        rows.map((row) => row[name]),
        60,
      );
      const format = (value: number) => value.toFixed(digits).padStart(8);
      // A flat series has no range to scale by.
      const flat = values.every((value) => value === values[0]);
      const chart = flat ? format(values[0]) : asciichart.plot(values, { height: 7, format });
      return `${title}, steps ${rows[0].step} to ${rows[rows.length - 1].step}\n${chart}`;
    })
    .join('\n\n');
}

/** `values` drawn over `width` columns: repeated where there are fewer, averaged where there are more. */
function stretch(values: number[], width: number): number[] {
  return Array.from({ length: width }, (_, column) => {
    const from = Math.floor((column * values.length) / width);
    const to = Math.max(from + 1, Math.floor(((column + 1) * values.length) / width));
    return values.slice(from, to).reduce((a, b) => a + b, 0) / (to - from);
  });
}
