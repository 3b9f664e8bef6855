// A task's rewards and measures, and how they get into a rollout.
import { setTimeout as later } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collectRollout } from '../../lib/rollout/rollout.js';
import type { Task } from '../../lib/tasks/task.js';
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
const collect = (verify: Task['verify'], measure?: Task['measure']) =>
  collectRollout(engine as never, { ...echoTask, verify, measure }, problems, {
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
verdicts('a reward that is no finite number is an error that names task and problem', async () => {
  for (const verify of [() => Number.NaN, async () => undefined as never, () => ({ reward: Infinity, measures: {} })]) {
    const error = await collect(verify).then(
      () => assert.unreachable(),
      (e) => e,
    );
    assert.is(error.code, 'ERR_PRL_NON_FINITE');
    assert.match(error.message, /task 'echo' .* problem "0"/);
  }
});
verdicts('a verifier that throws ends the rollout with its error', async () => {
  const error = await collect(({ answer }) => {
    if (answer === '2') throw new Error('no such judge');
    return 1;
  }).catch((e) => e);
  assert.is(error.message, 'no such judge');
});
verdicts.run();
