// A task's rewards and measures, and how they get into a rollout.
import { setTimeout as later } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scoreResponses } from '../../lib/eval/score.js';
import { collectRollout } from '../../lib/rollout/rollout.js';
import { datasetTask } from '../../lib/tasks/dataset.js';
import { judge } from '../../lib/tasks/judge.js';
import type { Problem, Task } from '../../lib/tasks/task.js';
import { echoTask } from '../fakes/echo-task.js';

const problems = Array.from({ length: 4 }, (_, i) => ({ prompt: String(i), answer: String(i) }));
const [seven] = echoTask.tokenizer.encode('7');
/** Repeats the prompt, then in the second response a 7. */
const engine = {
  generate: async (prompts: ArrayLike<number>[]) =>
    prompts.map((prompt) => ({
      completions: [0, 1].map((more) => ({
        tokens: Int32Array.from([...Array.from(prompt), ...new Array(more).fill(seven)]),
        logProbs: new Float32Array(1 + more),
        finishReason: 'stop' as const,
      })),
    })),
};
const collect = (verify: Task['verify'], measure?: Task['measure'], task = echoTask) =>
  collectRollout(engine as never, { ...task, verify, measure }, problems, {
    n: 2,
    maxCompletionLength: 4,
    temperature: 1,
    seed: 0,
  });

const verdicts = suite('collectRollout: verdicts');
verdicts('promised rewards are awaited all at once and kept in order', async () => {
  let running = 0;
  let most = 0;
  const rollout = await collect(async ({ answer }, response) => {
    most = Math.max(most, ++running);
    await later(20 - 5 * Number(answer)); // the last one is ready first
    running--;
    return Number(answer) / 4 + (response.length > 1 ? 0.125 : 0);
  });
  assert.is(most, 8);
  assert.equal([...rollout.rewards], [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]);
  assert.equal(rollout.measures, {});
});
verdicts('measures of the verifier and of the task become means over responses', async () => {
  const rollout = await collect(
    ({ answer }, response) => ({
      reward: response === answer ? 1 : 0,
      measures: { length: response.length, ...(response.length > 1 && { long: 1 }) },
    }),
    (problem) => ({ answer: Number(problem.answer) }),
  );
  assert.equal([...rollout.rewards], [1, 0, 1, 0, 1, 0, 1, 0]);
  assert.equal(rollout.measures, { length: 1.5, long: 0.5, answer: 1.5 });
});
/** The error of a rollout whose responses are verified like this. */
const failureOf = (verify: Task['verify'], task = echoTask) =>
  collect(verify, undefined, task).then(
    () => assert.unreachable(),
    (error) => error,
  );
verdicts('a reward that is no finite number is an error that names task, problem and response', async () => {
  const rewards = [Number.NaN, Infinity, undefined, null, '1', true, 1n, [1], Symbol('1'), { measures: {} }, () => 1];
  for (const reward of rewards)
    for (const verdict of [reward, { reward, measures: {} }])
      for (const promised of [false, true]) {
        const verify = ({ answer }: Problem, response: string) =>
          (answer !== '2' || response === '2' ? 1 : promised ? Promise.resolve(verdict) : verdict) as number;
        const error = await failureOf(verify);
        assert.is(error.code, 'ERR_PRL_NON_FINITE');
        assert.match(error.message, /^response 1 to problem 2: .*task 'echo' must .* problem "2"/);
      }
});
verdicts('a measure that is no number is an error that names it', async () => {
  const error = await failureOf(() => ({ reward: 1, measures: { right: 1, why: 'because' as never } }));
  assert.is(error.code, 'ERR_PRL_VERIFIER');
  assert.match(error.message, /^response 0 to problem 0: the measure 'why' must be a number.*problem "0"/);
});
verdicts(
  'a verifier that throws or rejects is an error that names problem and response, and keeps the cause',
  async () => {
    for (const thrown of [new Error('no such judge'), new TypeError('no such judge'), 'no such judge', undefined])
      for (const promised of [false, true]) {
        const error = await failureOf(({ answer }) => {
          if (answer !== '2') return 1;
          if (promised) return Promise.reject(thrown);
          throw thrown;
        });
        assert.is(error.code, 'ERR_PRL_VERIFIER');
        assert.match(
          error.message,
          /^response 0 to problem 2: .*task 'echo' failed for the problem "2": (no such|undef)/,
        );
        assert.is(error.cause, thrown);
      }
  },
);
verdicts('a verifier function must give 0 to 1, alone and in a task of a dataset', async () => {
  for (const reward of [2, -1, Number.NaN, '1', true]) {
    const named = function mine() {
      return reward as number;
    };
    const task = datasetTask({ tokenizer: echoTask.tokenizer, train: problems, verifier: named });
    const error = await failureOf(task.verify, task as never);
    assert.is(error.code, 'ERR_PRL_VERIFIER');
    assert.match(
      error.message,
      /^response 0 to problem 0: the verifier 'mine' must give a reward from 0 to 1, not .*"0"/,
    );
    const scored = await scoreResponses({ id: 'p7', ...problems[3] }, [{ text: '', finished: true }], named).catch(
      (e) => e,
    );
    assert.is(scored.code, 'ERR_PRL_VERIFIER');
    assert.match(scored.message, /^response 0 to problem p7: the verifier 'mine' must .*"3"/);
  }
});
verdicts('a verifier that never answers is ERR_PRL_TIMEOUT, if no other does', async () => {
  const judged = { problem: problems[1], response: '1', finished: true };
  const hung = { name: 'hung', verify: () => new Promise<number>(() => {}) };
  let answered = 0;
  const slow = { name: 'slow', verify: () => later(100).then(() => answered++) };
  // While verdicts come, the other waits: for 100 ms at the least, then for its own 60.
  const busy = (async () => {
    for (let i = 0; i < 3; i++) await judge(slow, { ...judged, place: 'response 0' }, 10_000);
  })();
  const began = performance.now();
  const error = await judge(hung, { ...judged, place: 'response 3 to problem 1' }, 250).catch((e) => e);
  assert.is(error.code, 'ERR_PRL_TIMEOUT');
  assert.match(error.message, /^response 3 to problem 1: the verifier did not judge the problem "1"/);
  assert.ok(performance.now() - began >= 249, 'not before its time');
  assert.ok(answered >= 1);
  await busy;
});
verdicts.run();
