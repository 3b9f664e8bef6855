// Which requests share a call of the policy, and what happens when clients leave or the server pauses.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError } from '../../../lib/index.js';
import { Batcher, type BatchOptions, type BatchPolicy, type Done } from '../../../lib/rollout/serve/batcher.js';
import { rejectsWith } from '../../policy/rejects.js';

/** A policy whose calls end when they are told to; each answer repeats its prompt. */
function gated() {
  const calls: { prompts: number[][]; seed: unknown; n: number; open(): void; fail(error: Error): void }[] = [];
  const policy: BatchPolicy = {
    generate: (prompts, { seed, n = 1, signal }) =>
      new Promise((resolve, reject) => {
        const groups = prompts.map((prompt) => ({
          completions: Array.from({ length: n }, () => ({
            tokens: Int32Array.from(prompt),
            logProbs: new Float32Array(prompt.length),
            finishReason: 'length' as const,
          })),
        }));
        signal!.addEventListener('abort', () => reject(new PrlError('ERR_PRL_ABORTED', 'aborted')));
        calls.push({
          prompts: prompts.map((prompt) => Array.from(prompt)),
          seed,
          n,
          open: () => resolve(groups),
          fail: reject,
        });
      }),
  };
  return { policy, calls };
}

const OPTIONS: BatchOptions = { n: 1, maxNewTokens: 5, temperature: 1, topK: 0, topP: 1, stop: [1] };
/** A client that stays. */
const nobody = () => new AbortController().signal;
const work = (ids: number[][], seed: number, options: Partial<BatchOptions> = {}) => ({
  prompts: ids.map((prompt) => Int32Array.from(prompt)),
  seed,
  options: { ...OPTIONS, ...options },
});
const tokens = ({ groups }: Done) => groups?.map(({ completions }) => Array.from(completions[0].tokens));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((later) => setTimeout(later, 1));
}
const settled = async (promise: Promise<unknown>) =>
  (await Promise.race([promise.then(() => true), new Promise((later) => setTimeout(later, 30))])) === true;

const batches = suite('serve: Batcher');
batches('requests with equal options share one call, oldest first, and each gets its own answer', async () => {
  const { policy, calls } = gated();
  const batcher = new Batcher(policy, 'v');
  const done = [
    batcher.submit(work([[2]], 20), nobody()),
    batcher.submit(work([[3]], 30), nobody()),
    batcher.submit(work([[4]], 40, { maxNewTokens: 6 }), nobody()),
    batcher.submit(work([[5], [6]], 50), nobody()),
    batcher.submit(work([[7]], 70), nobody()),
  ];
  for (let i = 0; i < 3; i++) {
    await until(() => calls.length === i + 1);
    calls[i].open();
  }
  assert.equal(
    calls.map(({ prompts, seed }) => [prompts, seed]),
    [
      [
        [[2], [3], [7]],
        [20, 30, 70],
      ],
      [[[4]], [40]],
      [[[5], [6]], 50],
    ],
  );
  assert.equal(await Promise.all(done.map(async (each) => tokens(await each))), [
    [[2]],
    [[3]],
    [[4]],
    [[5], [6]],
    [[7]],
  ]);
  assert.is((await done[0]).version, 'v');
});
batches('a batch takes no more completions than its limit', async () => {
  const { policy, calls } = gated();
  const batcher = new Batcher(policy, 'v');
  const done = [1, 2, 3].map((seed) => batcher.submit(work([[2]], seed, { n: 2000 }), nobody()));
  for (let i = 0; i < 2; i++) {
    await until(() => calls.length === i + 1);
    calls[i].open();
  }
  await Promise.all(done);
  assert.equal(
    calls.map(({ seed }) => seed),
    [[1, 2], [3]],
  );
});
batches('an error of the policy reaches every request of the batch', async () => {
  const { policy, calls } = gated();
  const batcher = new Batcher(policy, 'v');
  const done = [1, 2].map((seed) => batcher.submit(work([[2]], seed), nobody()));
  await until(() => calls.length === 1);
  calls[0].fail(new PrlError('ERR_PRL_OUT_OF_MEMORY', 'no memory'));
  for (const each of done) await rejectsWith(each, PrlError, 'ERR_PRL_OUT_OF_MEMORY', /no memory/);
});
batches('a request that leaves early is not generated, and a batch ends once all have left', async () => {
  const { policy, calls } = gated();
  const batcher = new Batcher(policy, 'v');
  const leaving = [1, 2, 3].map(() => new AbortController());
  const done = leaving.map(({ signal }, i) => batcher.submit(work([[2 + i]], i), signal));
  for (const each of done) each.catch(() => {});
  leaving[2].abort();
  await until(() => calls.length === 1);
  assert.equal(calls[0].prompts, [[2], [3]]);
  leaving[0].abort();
  await rejectsWith(done[0], PrlError, 'ERR_PRL_ABORTED', /client is gone/);
  const next = batcher.submit(work([[9]], 9), nobody());
  assert.is(await settled(next), false, 'the batch goes on for the other');
  leaving[1].abort();
  await until(() => calls.length === 2);
  calls[1].open();
  assert.equal(tokens(await next), [[9]]);
  await rejectsWith(batcher.submit(work([[2]], 0), AbortSignal.abort()), PrlError, 'ERR_PRL_ABORTED', /gone/);
});
batches('pause with wait finishes queued work, abort ends it, and keep defers it', async () => {
  for (const mode of ['wait', 'abort', 'keep'] as const) {
    const { policy, calls } = gated();
    const batcher = new Batcher(policy, 'old');
    const first = batcher.submit(work([[2]], 0), nobody());
    await until(() => calls.length === 1);
    const second = batcher.submit(work([[3]], 0), nobody());
    const pausing = batcher.pause(mode);
    assert.is(batcher.paused, true);
    const third = batcher.submit(work([[4]], 0), nobody());
    if (mode !== 'abort') assert.is(await settled(pausing), false, 'something is under way');
    calls[0].open();
    if (mode === 'wait') {
      await until(() => calls.length === 2);
      calls[1].open();
    }
    await pausing;
    const begun = calls.length;
    assert.equal(tokens(await first), mode === 'abort' ? undefined : [[2]], mode);
    assert.is(await settled(second), mode !== 'keep', mode);
    assert.is(await settled(third), false, mode);
    batcher.version = 'new';
    batcher.resume();
    await until(() => calls.length === begun + 1);
    calls[begun].open();
    assert.equal(tokens(await third), [[4]]);
    assert.is((await third).version, 'new');
    assert.equal(tokens(await second), mode === 'abort' ? undefined : [[3]], mode);
    assert.is((await second).version, mode === 'keep' ? 'new' : 'old', mode);
  }
});
batches.run();
