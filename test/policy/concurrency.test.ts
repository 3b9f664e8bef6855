// Concurrent calls, abort, dispose and worker threads.
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError } from '../../lib/index.js';
import { normals, throwsError } from '../reference/numbers.js';
import { rejectsWith } from './rejects.js';
import { tinyBatch, tinyPolicy, tokens } from './tiny.js';

const { sequences, ...batch } = tinyBatch();
const life = suite('Policy: concurrent calls, abort, dispose');
// Long enough to be caught in the middle: a micro-batch per sequence.
const long = {
  prompts: Array.from({ length: 400 }, (_, i) => tokens(20, i)),
  completions: Array.from({ length: 400 }, (_, i) => tokens(40, i)),
  advantages: normals(400, 1),
};
const slow = { learningRate: 1e-3, microBatchTokens: 1 };

life('calls on one policy run one after the other, in order', async () => {
  const one = tinyPolicy();
  const two = tinyPolicy();
  const [, between] = await Promise.all([one.update(batch, { learningRate: 1e-2 }), one.logProbs(sequences)]);
  await two.update(batch, { learningRate: 1e-2 });
  assert.equal(between, await two.logProbs(sequences));
});

life('calls that return at once are ERR_PRL_BUSY while another call runs', async () => {
  const busy = tinyPolicy();
  const running = busy.update(batch, { learningRate: 1e-3 });
  for (const run of [
    () => busy.readParameter('model.norm.weight'),
    () => busy.writeParameter('model.norm.weight', new Float32Array(24)),
    () => busy.gradients(),
    () => busy.clone(),
    () => busy.resetOptimizer(),
  ])
    throwsError(run, PrlError, 'ERR_PRL_BUSY', /busy/);
  await running;
  busy.clone();
});

life('aborting an update leaves the policy as it was', async () => {
  const policy = tinyPolicy();
  const before = (await policy.logProbs(sequences)).logProbs;
  const controller = new AbortController();
  const running = policy.update(long, { ...slow, signal: controller.signal });
  setTimeout(() => controller.abort(), 5);
  await rejectsWith(running, PrlError, 'ERR_PRL_ABORTED', /aborted/);
  assert.is(await running.catch((error) => error.name), 'AbortError');
  await rejectsWith(
    policy.logProbs(sequences, { signal: controller.signal }),
    PrlError,
    'ERR_PRL_ABORTED',
    /the call was aborted/,
  );
  assert.equal((await policy.logProbs(sequences)).logProbs, before);
  throwsError(() => policy.gradients(), PrlError, 'ERR_PRL_UNSUPPORTED', /no gradients/);
});

life('dispose ends running and waiting calls with ERR_PRL_DISPOSED', async () => {
  const policy = tinyPolicy();
  const calls = [policy.update(long, slow), policy.logProbs(sequences), policy.save('unused')];
  await new Promise((resolve) => setTimeout(resolve, 5));
  policy.dispose();
  policy.dispose();
  for (const call of calls) await rejectsWith(call, PrlError, 'ERR_PRL_DISPOSED', /disposed/);
  await rejectsWith(policy.logProbs(sequences), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
  throwsError(() => policy.clone(), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
});

life('two policies at work at once do not disturb each other', async () => {
  const [a, b] = [tinyPolicy({}, 1), tinyPolicy({ model_type: 'qwen3' }, 2)];
  const [fromA, fromB] = [await a.logProbs(sequences), await b.logProbs(sequences)];
  const together = await Promise.all([a.logProbs(sequences), b.logProbs(sequences), a.logProbs(sequences)]);
  assert.equal(together, [fromA, fromB, fromA]);
});

life('worker threads compute the same numbers, and a worker may die in the middle of a call', async () => {
  const script = (after: string) => `
    const { parentPort } = require('node:worker_threads');
    import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(new URL('./tiny.js', import.meta.url).href.replace('.js', '.ts'))}); }).then(async ({ tinyPolicy, tinyBatch }) => {
      const policy = tinyPolicy();
      ${after}
    });`;
  const expected = (await tinyPolicy().logProbs(sequences)).logProbs;
  const worker = new Worker(
    script('parentPort.postMessage((await policy.logProbs(tinyBatch().sequences)).logProbs);'),
    { eval: true },
  );
  const found = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  assert.equal(found, expected);
  await worker.terminate();
  const die = async () => {
    const dying = new Worker(
      script(`const { sequences, ...batch } = tinyBatch();
        for (let i = 0; i < 50; i++) policy.update(batch, { learningRate: 1e-3, microBatchTokens: 1 });
        parentPort.postMessage('running');`),
      { eval: true },
    );
    await new Promise((resolve, reject) => dying.once('message', resolve).once('error', reject));
    await dying.terminate();
  };
  await Promise.all([die(), die(), die()]);
  assert.equal((await tinyPolicy().logProbs(sequences)).logProbs, expected);

  // A generation of minutes ends with its worker, soon.
  const generating = new Worker(
    script(`policy.generate([[1]], { n: 2 ** 18, maxNewTokens: 100, ignoreEos: true });
      setImmediate(() => parentPort.postMessage('running'));`),
    { eval: true },
  );
  await new Promise((resolve, reject) => generating.once('message', resolve).once('error', reject));
  const before = process.cpuUsage();
  await generating.terminate();
  const { user } = process.cpuUsage(before);
  assert.ok(user < 10e6, `${user / 1e6} s of work after the worker's end`);
});
life.run();
