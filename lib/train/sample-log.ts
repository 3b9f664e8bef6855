import type { Shape } from '../base/json.js';
import type { Rollout } from '../rollout/rollout.js';
import type { Task } from '../tasks/task.js';
import type { Step } from './step.js';

/** Sorted values with their counts. Many different values are counted in equal bins, at their middles. */
export type Histogram = [value: number, count: number][];

export interface SampledStep {
  text: string;
  tokens: number;
  /** Mean advantage over the step's tokens. */
  advantage: number;
  /** Score of the process reward model, if there is one. */
  score?: number;
}

export interface SampledResponse {
  reward: number;
  finished: boolean;
  steps: SampledStep[];
  /** Number of further steps, left out to limit the length. */
  omitted?: number;
}

export interface SampledGroup {
  prompt: string;
  answer: string;
  /** Mean reward of the whole group. */
  mean: number;
  n: number;
  responses: SampledResponse[];
}

/** A row of samples.jsonl: histograms of rewards and lengths for every step, and responses for some steps. */
export interface SampleRow {
  step: number;
  rewards: Histogram;
  lengths: Histogram;
  groups?: SampledGroup[];
}

const BINS: Shape = [['number', 'number']];
const STEP: Shape = { text: 'text', tokens: 'number', advantage: 'number or null', 'score?': 'number or null' };
const RESPONSE: Shape = { reward: 'number', finished: 'boolean', steps: [STEP], 'omitted?': 'number' };
/** The shape that a row in a file must have. */
export const SAMPLE_ROW: Shape = {
  ...{ step: 'number', rewards: BINS, lengths: BINS },
  'groups?': [{ prompt: 'text', answer: 'text', mean: 'number', n: 'number', responses: [RESPONSE] }],
};

const MAX_BINS = 32;
const GROUPS = 2;
const RESPONSES = 4;
const MAX_STEPS = 48;
const MAX_CHARACTERS = 400;

/**
 * Whether a step's responses are kept: all steps up to 16, then 8 to 16 steps in each doubling, so that the file of a
 * long run stays small. It depends only on the step's number: a resumed run keeps the same ones.
 */
export const keepsResponses = (step: number): boolean => step % 2 ** Math.max(0, Math.floor(Math.log2(step)) - 3) === 0;

export function sampleRow(task: Task, step: Step): SampleRow {
  const { rewards, completions } = step.rollout;
  return {
    step: step.step,
    rewards: histogram(Array.from(rewards, round)),
    lengths: histogram(completions.map(({ length }) => length)),
    ...(keepsResponses(step.step) && { groups: sampleGroups(task, step) }),
  };
}

/** Drops digits that a float32 value does not have, for shorter JSON. */
const round = (value: number) => Number(value.toPrecision(5));

export function histogram(values: readonly number[]): Histogram {
  const counts = new Map<number, number>();
  const add = (value: number) => counts.set(value, (counts.get(value) ?? 0) + 1);
  if (new Set(values).size <= MAX_BINS) values.forEach(add);
  else {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const width = (high - low) / MAX_BINS;
    for (const value of values) {
      const bin = Math.min(MAX_BINS - 1, Math.floor((value - low) / width));
      add(round(low + (bin + 0.5) * width));
    }
  }
  return [...counts].sort(([a], [b]) => a - b);
}

/** Picks problems, those with right and wrong responses first: they teach the most. */
function sampleGroups(task: Task, step: Step): SampledGroup[] {
  const { problems, groupIds, rewards } = step.rollout;
  const groups = problems.map((problem, group) => ({
    problem,
    members: [...groupIds.keys()].filter((i) => groupIds[i] === group),
  }));
  const isMixed = ({ members }: { members: number[] }) => members.some((i) => rewards[i] !== rewards[members[0]]);
  return [...groups.filter(isMixed), ...groups.filter((group) => !isMixed(group))]
    .slice(0, GROUPS)
    .map(({ problem, members }) => ({
      prompt: problem.prompt,
      answer: problem.answer,
      mean: round(members.reduce((sum, i) => sum + rewards[i], 0) / members.length),
      n: members.length,
      responses: chooseResponses(step.rollout, members).map((i) => sampleResponse(task, step, i)),
    }));
}

/** Picks the best response, the worst, then others in their order. No text appears twice. */
function chooseResponses({ rewards, texts }: Rollout, members: readonly number[]): number[] {
  const ranked = [...members].sort((a, b) => rewards[b] - rewards[a] || a - b);
  const seen = new Set<string>();
  return [ranked[0], ranked[ranked.length - 1], ...members]
    .filter((i) => !seen.has(texts[i]) && seen.add(texts[i]))
    .slice(0, RESPONSES);
}

function sampleResponse(task: Task, { rollout, advantages, cuSteps, stepScores }: Step, i: number) {
  const { cuSeqlens, completions, rewards, finished } = rollout;
  const [from, to] = [cuSeqlens[i], cuSeqlens[i + 1]];
  const own = [...cuSteps.keys()].filter((s) => cuSteps[s] >= from && cuSteps[s] < to);
  const steps = own.slice(0, MAX_STEPS).map((s): SampledStep => {
    const tokens = completions[i].subarray(cuSteps[s] - from, cuSteps[s + 1] - from);
    const values = advantages.subarray(cuSteps[s], cuSteps[s + 1]);
    const text = task.tokenizer.decode(tokens);
    return {
      text: text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS)}...` : text,
      tokens: tokens.length,
      advantage: round(values.reduce((a, b) => a + b, 0) / values.length),
      ...(stepScores && { score: round(stepScores[s]) }),
    };
  });
  return {
    reward: round(rewards[i]),
    finished: finished[i],
    steps,
    ...(own.length > MAX_STEPS && { omitted: own.length - MAX_STEPS }),
  };
}
