import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Rollout } from '../../lib/rollout/rollout.js';
import { creditMetrics } from '../../lib/train/metrics.js';
import { histogram, keepsResponses, sampleRow } from '../../lib/train/sample-log.js';
import { echoTask } from '../fakes/echo-task.js';
import { near } from '../reference/numbers.js';

/** Groups of responses given as [text, reward]. */
function rollout(groups: [text: string, reward: number][][]): Rollout {
  const all = groups.flatMap((responses, group) => responses.map(([text, reward]) => ({ text, reward, group })));
  const completions = all.map(({ text }) => echoTask.tokenizer.encode(text));
  const cuSeqlens = [0];
  for (const { length } of completions) cuSeqlens.push(cuSeqlens[cuSeqlens.length - 1] + length);
  return {
    problems: groups.map((_, i) => ({ prompt: String(i), answer: String(i) })),
    groupIds: Int32Array.from(all, ({ group }) => group),
    prompts: all.map(({ group }) => echoTask.tokenizer.encode(String(group))),
    completions,
    texts: all.map(({ text }) => text),
    finished: all.map(({ text }) => text.length < 4),
    rewards: Float32Array.from(all, ({ reward }) => reward),
    measures: {},
    cuSeqlens: Int32Array.from(cuSeqlens),
    logProbs: new Float32Array(cuSeqlens[all.length]),
  };
}

const log = suite('samples.jsonl');
log('a row has histograms and the groups that teach, best and worst responses first', () => {
  const made = rollout([
    [
      ['11', 0],
      ['12', 0],
    ],
    [
      ['5', 0.25],
      ['5', 0.25],
      ['6\n77', 1],
      ['8', 0.25],
      ['9', 0],
      ['4', 0.25],
    ],
  ]);
  const tokens = made.cuSeqlens[8];
  const row = sampleRow(echoTask, {
    step: 2,
    rollout: made,
    advantages: Float32Array.from({ length: tokens }, (_, t) => t / 10),
    cuSteps: Int32Array.from([0, 2, 4, 5, 6, 8, 10, 11, 12, 13]),
    stepScores: Float32Array.from({ length: 9 }, (_, s) => s),
  });
  assert.equal(row.rewards, [
    [0, 3],
    [0.25, 4],
    [1, 1],
  ]);
  assert.equal(row.lengths, [
    [1, 5],
    [2, 2],
    [4, 1],
  ]);
  const [first, second] = row.groups!;
  assert.equal([first.prompt, first.n, second.prompt, second.n], ['1', 6, '0', 2]);
  near([first.mean], [2 / 6], 1e-5);
  const text = ({ steps }: { steps: { text: string }[] }) => steps.map((step) => step.text).join('|');
  assert.equal(first.responses.map(text), ['6\n|77', '9', '5', '8']);
  assert.equal(second.responses.map(text), ['11', '12']);
  const [best, worst] = first.responses;
  assert.equal([best.reward, best.finished, worst.reward, worst.finished], [1, false, 0, true]);
  assert.equal(best.steps, [
    { text: '6\n', tokens: 2, advantage: 0.65, score: 4 },
    { text: '77', tokens: 2, advantage: 0.85, score: 5 },
  ]);
  assert.is(worst.steps[0].score, 7);
});

log('the log is bounded: some steps keep responses, and long responses are cut', () => {
  const kept = (last: number) => Array.from({ length: last }, (_, i) => i + 1).filter(keepsResponses).length;
  assert.is(kept(16), 16);
  assert.is(kept(32), 24);
  assert.ok(kept(100_000) < 130, `${kept(100_000)}`);
  assert.is(sampleRow(echoTask, empty(17)).groups, undefined);
  const long = '1'.repeat(60 * 500);
  const made = rollout([[[long, 0]]]);
  const cuSteps = Int32Array.from({ length: 61 }, (_, s) => s * 500);
  const row = sampleRow(echoTask, { step: 16, rollout: made, advantages: new Float32Array(long.length), cuSteps });
  const [response] = row.groups![0].responses;
  assert.is(response.steps.length, 48);
  assert.is(response.omitted, 12);
  assert.ok(JSON.stringify(row).length < 25_000);
});

const empty = (step: number) => ({
  step,
  rollout: rollout([[['', 0]]]),
  advantages: new Float32Array(0),
  cuSteps: Int32Array.from([0]),
});

log('an empty response has no steps', () => {
  const [response] = sampleRow(echoTask, empty(1)).groups![0].responses;
  assert.equal(response, { reward: 0, finished: true, steps: [] });
});

log('a histogram of many values has 32 bins', () => {
  assert.equal(histogram([]), []);
  assert.equal(histogram([2, 1, 2]), [
    [1, 1],
    [2, 2],
  ]);
  const bins = histogram(Array.from({ length: 640 }, (_, i) => i));
  assert.is(bins.length, 32);
  for (const [, count] of bins) near([count], [20], 1);
  assert.is(
    bins.reduce((sum, [, count]) => sum + count, 0),
    640,
  );
});

log('creditMetrics gives the share of wrong responses that are pushed up', () => {
  const made = rollout([
    [
      ['1', 1],
      ['22', 0],
      ['3', 0],
    ],
  ]);
  assert.equal(creditMetrics(made, Float32Array.from([1, 3, -1, -0.5])), { 'advantage/wrong_positive_ratio': 0.5 });
  made.rewards.fill(1);
  assert.equal(creditMetrics(made, new Float32Array(4)), {});
});
log.run();
