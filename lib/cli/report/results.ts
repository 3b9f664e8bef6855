// The first lines of the page: what was trained, whether it worked, and by how much.
import { FEWEST_SEEDS, seedInterval } from '../../eval/interval.js';
import { RATED_PHASES } from '../../train/metrics.js';
import { rounded, withInterval } from '../kit/table.js';
import { type Html, html } from './html.js';
import { type EvaluationFigures, optionText, type ReportRun, shortHashes } from './read.js';
import { figure, tableOf } from './sections.js';

/** Runs that differ only in the seed. */
export interface Group {
  label: string;
  /** Index in the palette. */
  color: number;
  runs: readonly ReportRun[];
}

export const groupsOf = (runs: readonly ReportRun[]): Group[] =>
  [...new Set(runs.map(({ label }) => label))].map((label, color) => ({
    ...{ label, color },
    runs: runs.filter((run) => run.label === label),
  }));

/** A share before and after training: the mean over the runs of a group. */
interface Change {
  /** Such as average@8. */
  name: string;
  before?: number;
  after: number;
  /** Interval, or the values of the seeds. */
  detail: string;
  verdict: Verdict;
}
type Verdict = 'improved' | 'got worse' | 'no clear change' | 'not evaluated';

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const signed = (value: number) => rounded(value, 3, true);
const three = (value: number) => rounded(value, 3);

type Rate = 'averageAtN' | 'passAtN';

/** The change of a rate on a level; undefined if a run of the group was not evaluated after training. */
function changeOf({ runs }: Group, level: number, rate: Rate): Change | undefined {
  const after = runs.map((run) => run.after?.[level]).filter((each) => each !== undefined);
  const before = runs.map((run) => run.before?.[level]).filter((each) => each !== undefined);
  if (after.length < runs.length) return undefined;
  const known = before.length === runs.length;
  const name = `${rate === 'averageAtN' ? 'average' : 'pass'}@${after[0].n}`;
  const [from, to] = [before, after].map((figures) => figures.map((each) => each[rate]));
  const detail = runs.length === 1 ? intervalsText(before[0], after[0], rate) : seedsText(to);
  const verdict = !known ? 'not evaluated' : runs.length === 1 ? ofOne(before[0], after[0], rate) : ofSeeds(from, to);
  return { name, before: known ? mean(from) : undefined, after: mean(to), detail, verdict };
}

const intervalsText = (before: EvaluationFigures | undefined, after: EvaluationFigures, rate: Rate) =>
  [before, after]
    .flatMap((each) => (each ? [each[`${rate}Interval`]] : []))
    .map(([low, high]) => `[${rounded(low, 2)}, ${rounded(high, 2)}]`)
    .join(' → ');

function seedsText(values: readonly number[]): string {
  if (values.length < FEWEST_SEEDS) return `seeds ${values.map(three).join(' / ')}`;
  const interval = seedInterval(values, [0, 1]);
  return interval ? `${values.length} seeds, [${three(interval[0])}, ${three(interval[1])}]` : 'all seeds equal';
}

/** The rule of prl train: intervals that overlap show nothing. */
function ofOne(before: EvaluationFigures, after: EvaluationFigures, rate: Rate): Verdict {
  const [a, b] = [before, after].map((each) => each[`${rate}Interval`]);
  return b[0] > a[1] ? 'improved' : b[1] < a[0] ? 'got worse' : 'no clear change';
}

/** Below 5 seeds, all of them must agree. */
function ofSeeds(before: readonly number[], after: readonly number[]): Verdict {
  const changes = after.map((value, i) => value - before[i]);
  const [low, high] = seedInterval(changes) ?? [Math.min(...changes), Math.max(...changes)];
  return low > 0 ? 'improved' : high < 0 ? 'got worse' : 'no clear change';
}

/** Without evaluations: the mean rewards of the first and the last training steps. */
function trainingChange({ runs }: Group): (Change & { steps: number }) | undefined {
  const own = runs
    .map(({ rows }) => rows.map(({ reward }) => reward).filter(Number.isFinite))
    .filter(({ length }) => length > 0);
  if (own.length === 0) return undefined;
  const steps = Math.max(1, Math.round(Math.min(...own.map(({ length }) => length)) / 10));
  const ends = [0, 1].map((end) =>
    mean(own.map((rewards) => mean(end ? rewards.slice(-steps) : rewards.slice(0, steps)))),
  );
  const single = own.every(({ length }) => length === 1);
  return {
    ...{ name: 'reward', detail: '', verdict: 'not evaluated', steps },
    ...(single ? { after: ends[1] } : { before: ends[0], after: ends[1] }),
  };
}

export function resultsSection(runs: readonly ReportRun[]): Html {
  const groups = groupsOf(runs);
  return html`<section class="results"><h2>Results</h2>
${groups.length === 1 ? oneResult(groups[0]) : manyResults(groups)}
${exactFigures(runs)}</section>`;
}

const whole = (share: number) => `${Math.round(100 * share)}%`;

function oneResult(group: Group): Html {
  if (group.runs.length === 1 && group.runs[0].sft) return sftResult(group.runs[0]);
  const levels = group.runs[0].after ?? [];
  const [main] = levels;
  const changes = levels.flatMap((figures, level) =>
    (['averageAtN', 'passAtN'] as const).flatMap((rate) => {
      const change = changeOf(group, level, rate);
      return change ? [{ change, where: levelText(figures) }] : [];
    }),
  );
  const training = changes.length === 0 ? trainingChange(group) : undefined;
  const [first] = changes;
  return html`<p class="about">${aboutText(group)}</p>
<p class="verdict ${mark(first?.change.verdict)}">${first ? sentence(first.change) : trainingSentence(group, training)}</p>
<div class="cards">${changes.map(({ change, where }) => card(change, where))}${training && card(training, 'training batches')}</div>
${main && first && html`<p class="note">Before → after training, on ${problemsText(main)}${levels.length > 1 && `; the same for level ${levels.slice(1).map(({ level }) => level)}`}. ${group.runs.length === 1 ? 'Brackets are 95% intervals over problems.' : `Means over ${group.runs.length} seeds.`}</p>`}`;
}

/** The result of supervised fine-tuning. */
function sftResult({ rows, options, sft: { before, after } = {} }: ReportRun): Html {
  const last = rows[rows.length - 1];
  const about = `Supervised fine-tuning of ${optionText(options.model)}: ${rows.length} steps, ${Math.round(last.num_tokens)} tokens.`;
  const [worse, better] = before && after ? [after.loss > before.loss, after.loss < before.loss] : [false, false];
  const verdict =
    before && after
      ? `${worse ? 'The loss on held-out demonstrations rose' : 'Loss on held-out demonstrations'}: ${three(before.loss)} → ${three(after.loss)} nats per token. Token accuracy ${whole(before.tokenAccuracy)} → ${whole(after.tokenAccuracy)}.`
      : `${before ? 'The run has not finished' : 'No demonstration was held out'}. The loss of the training steps went from ${three(rows[0].loss)} to ${three(last.loss)} nats per token.`;
  return html`<p class="about">${about}</p>
<p class="verdict ${worse ? 'worse' : better ? 'better' : 'unclear'}">${verdict}</p>
${after && html`<p class="note">On ${after.tokens} learned tokens of held-out demonstrations, before → after training.</p>`}`;
}

function sentence({ name, before, after, verdict }: Change): string {
  if (before === undefined) return `After training ${name} is ${three(after)}. There is no evaluation from before.`;
  if (before === 0 && after === 0)
    return 'No response was right, neither before training nor after: there was nothing to learn from.';
  const what = `${whole(before)} → ${whole(after)} right responses (${name}, ${signed(after - before)}).`;
  return {
    improved: `It worked: ${what}`,
    'got worse': `It got worse: ${what}`,
    'no clear change': `No clear change: ${what} The difference is within chance.`,
    'not evaluated': what,
  }[verdict];
}

function trainingSentence({ runs }: Group, change: ReturnType<typeof trainingChange>): string {
  const unfinished = runs.some((run) => stepsLeft(run));
  const why = unfinished ? 'The run has not finished' : 'No problem was held out for an evaluation';
  if (!change) return `${why}, and no step has a reward.`;
  const steps = change.steps === 1 ? 'step' : `${change.steps} steps`;
  return change.before === undefined
    ? `${why}. The mean reward of its one training step is ${three(change.after)}.`
    : `${why}. The mean reward of its training batches went from ${three(change.before)} (first ${steps}) to ${three(change.after)} (last ${steps}).`;
}

const mark = (verdict: Verdict | undefined) =>
  verdict === 'improved' ? 'better' : verdict === 'got worse' ? 'worse' : 'unclear';
const MARKS = { improved: '▲', 'got worse': '▼', 'no clear change': '●' };
const verdictText = (verdict: Verdict, { runs }: Group) =>
  verdict === 'not evaluated'
    ? ''
    : `${MARKS[verdict]} ${verdict}${runs.length > 1 && runs.length < FEWEST_SEEDS && verdict !== 'no clear change' ? ` in all ${runs.length} seeds` : ''}`;

const levelText = ({ level }: EvaluationFigures) => (level === 'all' ? 'held out' : `level ${level}`);
const problemsText = ({ problems, n, level }: EvaluationFigures) =>
  `${problems} held-out problem${problems === 1 ? '' : 's'}${level === 'all' ? '' : ` of level ${level}`}, ${n} response${n === 1 ? '' : 's'} each`;

const arrow = ({ before, after }: Change) =>
  before === undefined ? three(after) : `${three(before)} → ${three(after)}`;

function card(change: Change, where: string): Html {
  return html`<div class="card"><span class="name">${change.name}<span class="note"> ${where}</span></span>
<b>${arrow(change)}</b>${change.before !== undefined && html`<span class="change ${mark(change.verdict)}">${signed(change.after - change.before)}</span>`}
${rangeBar(change, 0)}<span class="note">${change.detail}</span></div>`;
}

/** The way from before to after on an axis from 0 to 1. */
function rangeBar({ before, after }: Change, color: number): Html | false {
  const from = before ?? after;
  const inside = (value: number) => value >= 0 && value <= 1;
  if (!inside(from) || !inside(after)) return false;
  const percent = (value: number) => `${(100 * value).toFixed(1)}%`;
  return html`<span class="range" role="img" aria-label="${arrow({ before, after } as Change)} on an axis from 0 to 1" style="--c:var(--c${color % 8})"><i style="left:${percent(Math.min(from, after))};width:${percent(Math.abs(after - from))}"></i>${before !== undefined && html`<u style="left:${percent(from)}"></u>`}<s style="left:${percent(after)}"></s></span>`;
}

/** A row per group. Runs of different problems stand in one table, so each row names its problems. */
function manyResults(groups: readonly Group[]): Html {
  const levels = Math.max(...groups.map(({ runs }) => runs[0].after?.length ?? 0));
  const cell = (change: Change | undefined, color?: number) =>
    change === undefined
      ? ''
      : html`${color !== undefined && rangeBar(change, color)}<b>${arrow(change)}</b><span class="note exact">${change.detail}</span>`;
  const rows = groups.map((group) => {
    const main = changeOf(group, 0, 'averageAtN') ?? trainingChange(group);
    const [figures] = group.runs[0].after ?? [];
    return [
      html`<span class="swatch" style="--c:var(--c${group.color % 8})"></span>${group.label}<span class="note">${methodText(group)}</span>`,
      html`${cell(main, group.color)}`,
      html`${main?.before !== undefined && html`<span class="change ${mark(main.verdict)}">${signed(main.after - main.before)}</span>`}<span class="note">${main && verdictText(main.verdict, group)}</span>`,
      cell(changeOf(group, 0, 'passAtN')),
      html`${taskText(group)}<span class="note">${main && 'steps' in main ? 'reward of training batches: first and last steps' : figures && problemsText(figures)}</span>`,
      ...Array.from({ length: Math.max(0, levels - 1) }, (_, i) => {
        const harder = changeOf(group, i + 1, 'averageAtN');
        return harder ? html`${cell(harder)}<span class="note">level ${group.runs[0].after![i + 1].level}</span>` : '';
      }),
      html`${stepsText(group)}<span class="note">${tokensText(group)}, ${secondsText(group)}</span>`,
    ];
  });
  const others = Array.from({ length: Math.max(0, levels - 1) }, () => 'average@n, other level');
  return html`${gains(groups)}${tableOf(['run', 'average@n', 'change', 'pass@n', 'on', ...others, 'steps'], rows)}
<p class="note">Before → after training. The bar goes from 0 to 1: the line is before, the dot after. ${notes(groups)}</p>`;
}

/** The meaning of the brackets. */
function notes(groups: readonly Group[]): string {
  const single = groups.some(({ runs }) => runs.length === 1 && runs[0].after);
  const seeds = groups.filter(({ runs }) => runs.length > 1).map(({ runs }) => runs.length);
  return [
    single ? 'Brackets of a single run are 95% intervals over problems. ' : '',
    seeds.some((count) => count >= FEWEST_SEEDS) ? 'Brackets of several seeds are 95% t intervals of their mean. ' : '',
    seeds.some((count) => count < FEWEST_SEEDS) ? 'Fewer than 5 seeds are listed, and have no interval. ' : '',
    'No clear change: before and after differ by no more than chance.',
  ].join('');
}

/** How many runs improved, and which gained most. */
function gains(groups: readonly Group[]): Html {
  const changes = groups.flatMap((group) => {
    const change = changeOf(group, 0, 'averageAtN');
    return change?.before === undefined ? [] : [{ label: group.label, gain: change.after - change.before, ...change }];
  });
  if (changes.length === 0)
    return html`<p class="verdict">No run has been evaluated on held-out problems. These are the rewards of the first and the last training steps.</p>`;
  const improved = changes.filter(({ verdict }) => verdict === 'improved').length;
  const best = changes.reduce((a, b) => (b.gain > a.gain ? b : a));
  const most = improved > 0 ? ` Largest gain: ${best.label}, ${arrow(best)} (${best.name}, ${signed(best.gain)}).` : '';
  return html`<p class="verdict ${improved > 0 && 'better'}">${improved} of ${changes.length} improved.${most}</p>`;
}

/** Every evaluation of every run, with its intervals. */
function exactFigures(runs: readonly ReportRun[]): Html | undefined {
  const rows = runs.flatMap(({ name, before, after = [] }) =>
    after.flatMap((figures, i) =>
      (['averageAtN', 'passAtN'] as const).map((rate) => {
        const a = before?.[i];
        const text = (each: EvaluationFigures) => withInterval(each[rate], each[`${rate}Interval`], three);
        return [
          name,
          figures.level,
          `${rate === 'averageAtN' ? 'average' : 'pass'}@${figures.n}`,
          String(figures.problems),
          a ? text(a) : '',
          text(figures),
          a ? signed(figures[rate] - a[rate]) : '',
          a ? `${figure(a.meanLength, 1)} → ${figure(figures.meanLength, 1)}` : figure(figures.meanLength, 1),
        ];
      }),
    ),
  );
  if (rows.length === 0) return undefined;
  return html`<details><summary>Exact figures, run by run</summary>${tableOf(['run', 'level', 'figure', 'problems', 'before', 'after', 'change', 'tokens per response'], rows)}
<p class="note">Brackets are 95% intervals over problems.</p></details>`;
}

const SECONDS = 'seconds/step';
const sumOf = ({ runs }: Group, value: (run: ReportRun) => number) => runs.reduce((sum, run) => sum + value(run), 0);
const lastOf = ({ rows }: ReportRun) => rows[rows.length - 1];

const methodText = ({ runs: [{ options }] }: Group) => String(options.method ?? '');
function taskText({ runs: [{ options }] }: Group): string {
  const { task, level } = options;
  return [task, level].filter((each) => typeof each === 'string' && each !== '').join(' ');
}
const sizeOf = (tokens: number) =>
  tokens < 1000 ? `${tokens}` : tokens < 1e6 ? `${(tokens / 1e3).toFixed(0)} k` : `${(tokens / 1e6).toFixed(1)} M`;
const tokensText = (group: Group) => `${sizeOf(sumOf(group, (run) => lastOf(run).num_tokens || 0))} tokens`;
function secondsText(group: Group): string {
  const seconds = sumOf(group, ({ rows }) => rows.reduce((sum, row) => sum + (row[SECONDS] || 0), 0));
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 6000 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
/** Whether a run ended before its last step. */
function stepsLeft(run: ReportRun): boolean {
  const { maxSteps, maxTokens = Infinity } = run.options as { maxSteps?: number; maxTokens?: number };
  const { step, num_tokens } = lastOf(run);
  return maxSteps !== undefined && step < maxSteps && !(num_tokens >= maxTokens);
}

/** Tokens per second of each phase, over all steps. */
function ratesText({ runs }: Group): string {
  const rows = runs.flatMap((run) => run.rows);
  const rates = RATED_PHASES.flatMap((phase) => {
    const timed = rows.filter((row) => row[`tokens_per_second/${phase}`] > 0);
    const seconds = timed.reduce((sum, row) => sum + row[`seconds/${phase}`], 0);
    const tokens = timed.reduce((sum, row) => sum + row[`seconds/${phase}`] * row[`tokens_per_second/${phase}`], 0);
    return seconds > 0 ? [`${phase} ${Number((tokens / seconds).toPrecision(3))}`] : [];
  });
  return rates.length > 0 ? ` (tokens/s: ${rates.join(', ')})` : '';
}
function stepsText({ runs }: Group): string {
  const texts = runs.map((run) => {
    const { step } = lastOf(run);
    return stepsLeft(run) ? `${step} of ${run.options.maxSteps}` : String(step);
  });
  return [...new Set(texts)].join(', ');
}

/** What was trained, on what, at what cost. */
function aboutText(group: Group): string {
  const [{ options }] = group.runs;
  const { preset, model, dataset, seed } = options;
  const steps = stepsText(group);
  const parts = [
    ['Method', methodText(group)],
    ['task', taskText(group)],
    ['data', typeof dataset === 'string' ? shortHashes(dataset) : undefined],
    ['from', typeof model === 'string' ? model : undefined],
    ['preset', typeof preset === 'string' ? preset : undefined],
    [
      group.runs.length > 1 ? 'seeds' : 'seed',
      group.runs.map(() => seed)[0] === undefined ? undefined : group.runs.map((run) => run.options.seed).join(', '),
    ],
  ].filter(([, value]) => value !== undefined && value !== '');
  return [
    ...parts.map(([name, value]) => `${name} ${value}`),
    `${steps} step${steps === '1' ? '' : 's'}`,
    `${tokensText(group)} sampled`,
    `${secondsText(group)} of training${ratesText(group)}`,
  ].join(' · ');
}
