// What goes wrong between client and server: waits, refusals, broken connections, restarts, cancellation, secrets.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type PolicyBatch, PrlError } from '../../../lib/index.js';
import type { Answer, Asked, FakeOptions } from '../../fakes/tinker-server.js';
import { throwsError } from '../../reference/numbers.js';
import { rejectsWith } from '../rejects.js';
import { connected } from './connected.js';

const BATCH: PolicyBatch = {
  prompts: [[3, 4], [5]],
  completions: [[6, 7, 8], [9]],
  advantages: Float32Array.of(1, -1),
};
const STEP = { learningRate: 0.01 };
const SAMPLING = { n: 2, maxNewTokens: 4, seed: 3 };

/** Answers the requests of one path, by their number; the server answers the others. */
const on = (path: string, ...answers: (Answer | undefined)[]): FakeOptions => ({
  respond: (asked: Asked) => (asked.path === path ? answers[asked.n] : undefined),
});

test('a result that is not there is asked for again, and the state of the queue is shown', () => {
  const shown: string[] = [];
  const waits = on(
    'retrieve_future',
    { body: { type: 'try_again', queue_state: 'paused_capacity' } },
    { status: 408, body: { queue_state: 'paused_rate_limit' } },
    { status: 408, body: 'no JSON of ours' },
  );
  return connected(waits, { onStatus: (text) => shown.push(text) }, async ({ policy }) => {
    const [{ completions }] = await policy.generate([[3, 4]], SAMPLING);
    assert.is(completions.length, 2);
    assert.equal(shown.slice(0, 3), [
      'the server has no capacity now',
      'the server limits the rate of requests',
      'waiting for asample',
    ]);
    assert.is(shown.at(-1), '');
  });
});

test('the same seed gives the same samples, prompts get seeds far apart, and progress is told', () =>
  connected({}, {}, async ({ policy, fake }) => {
    const prompts = [[3, 4], [3, 4], [5]];
    const told: unknown[] = [];
    const first = await policy.generate(prompts, { ...SAMPLING, onProgress: (progress) => told.push(progress) });
    assert.equal(await policy.generate(prompts, SAMPLING), first);
    assert.is(told.length, 3);
    const seeds = fake.of('asample').map(({ body }) => body.sampling_params.seed);
    assert.ok(Math.abs(seeds[0] - seeds[1]) > 1000);
    assert.ok(seeds.every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31));
    const [{ completions }] = await policy.generate([[3]], { ...SAMPLING, temperature: 0.5 });
    assert.ok(completions[0].logProbs.every(Number.isNaN), 'the server gives those of temperature 1');
  }));

test('a busy server gets the request again after the time that it asks for', () =>
  connected(
    on('optim_step', { status: 429, headers: { 'retry-after': '0.05' } }, { status: 503 }),
    {},
    async ({ policy, fake }) => {
      const begun = performance.now();
      assert.is((await policy.update(BATCH, STEP)).applied, true);
      assert.ok(performance.now() - begun >= 45);
      assert.is(fake.of('optim_step').length, 3);
    },
  ));

/** Log-probabilities after one update. */
async function updated(fake: FakeOptions): Promise<{ logProbs: Float32Array; forwards: number }> {
  let result = { logProbs: new Float32Array(0) as Float32Array, forwards: 0 };
  await connected(fake, {}, async ({ policy, fake: server }) => {
    await policy.update(BATCH, STEP);
    const forwards = server.of('forward').length;
    result = { logProbs: (await policy.logProbs([[3, 4, 6, 7, 8]])).logProbs, forwards };
  });
  return result;
}

test('a request whose connection broke is sent again where the server knows its number, and runs once', async () => {
  const whole = await updated({});
  for (const path of ['forward_backward', 'optim_step'])
    for (const hangUp of ['before', 'after'] as const) {
      const broken = await updated(on(path, { hangUp }));
      assert.equal(broken.logProbs, whole.logProbs, `${path}, ${hangUp}`);
      assert.is(broken.forwards, whole.forwards + 2, 'two forward passes ask whether it knows numbers');
    }
});

test('where the server does not know numbers, the update is given up, and the policy can be restored', () =>
  connected(
    { ...on('optim_step', undefined, { hangUp: 'after' }), knowsRepeats: false },
    {},
    async ({ policy, folder, fake }) => {
      await policy.update(BATCH, STEP);
      const saved = join(folder, 'saved');
      await policy.save(saved);
      const sequence = [[3, 4, 6, 7, 8]];
      const before = await policy.logProbs(sequence);
      await rejectsWith(
        policy.update(BATCH, STEP),
        PrlError,
        'ERR_PRL_ENGINE',
        /optim_step or not .* cannot be sent twice/,
      );
      assert.is(fake.of('optim_step').length, 2);
      for (const call of [() => policy.logProbs(sequence), () => policy.save(saved), () => policy.update(BATCH, STEP)])
        await rejectsWith(
          call(),
          PrlError,
          'ERR_PRL_ENGINE',
          /broke off .* uncertain: resume from the last checkpoint/,
        );
      const restored = await policy.restore(saved);
      assert.equal(await restored.logProbs(sequence), before);
    },
  ));

test('a batch that the server refuses changes nothing: no step is sent, and the policy goes on', () =>
  connected(on('forward_backward', { status: 400, body: { detail: 'bad loss' } }), {}, async ({ policy, fake }) => {
    await rejectsWith(policy.update(BATCH, STEP), PrlError, 'ERR_PRL_ENGINE', /refused forward_backward .* "bad loss"/);
    assert.is(fake.of('optim_step').length, 0);
    assert.is((await policy.update(BATCH, STEP)).applied, true);
  }));

test('a failed result names the server and what it was for', () =>
  connected(on('retrieve_future', { body: { error: 'out of memory', category: 'server' } }), {}, async ({ policy }) => {
    const expected = /the server http:.* refused asample \(server\): "out of memory"/;
    await rejectsWith(policy.generate([[3]], SAMPLING), PrlError, 'ERR_PRL_ENGINE', expected);
  }));

test('a server that was restarted is a lost session, with the way back', async () => {
  const lost = /does not know the session or the model .* Connect again, and resume from the last checkpoint/;
  await connected({}, {}, async ({ policy, fake }) => {
    await policy.update(BATCH, STEP);
    fake.models.clear();
    await rejectsWith(policy.update(BATCH, STEP), PrlError, 'ERR_PRL_SESSION_LOST', lost);
    await rejectsWith(policy.logProbs([[3, 4]]), PrlError, 'ERR_PRL_SESSION_LOST', /resume from the last checkpoint/);
  });
  const forgot = { status: 400, body: { detail: 'Model m1 not loaded (likely stale request from previous server)' } };
  await connected(on('retrieve_future', undefined, forgot), {}, ({ policy }) =>
    rejectsWith(policy.update(BATCH, STEP), PrlError, 'ERR_PRL_SESSION_LOST', lost),
  );
});

test('a server that does not answer is an error after the stated time, which says what was waited for', async () => {
  await connected(on('asample', { silent: true }, { silent: true }), { timeout: 30, retries: 1 }, ({ policy }) =>
    rejectsWith(
      policy.generate([[3]], SAMPLING),
      PrlError,
      'ERR_PRL_TIMEOUT',
      /within 30 ms .*2 times.* asked for asample/,
    ),
  );
  const never: FakeOptions = {
    respond: ({ path }) =>
      path === 'retrieve_future' ? { body: { type: 'try_again', queue_state: 'active' } } : undefined,
  };
  await connected(never, { resultTimeout: 60 }, ({ policy }) =>
    rejectsWith(policy.generate([[3]], SAMPLING), PrlError, 'ERR_PRL_TIMEOUT', /no result of asample .* within 60 ms/),
  );
});

test('a server that is away is an error after the last attempt', () =>
  connected({}, { retries: 1 }, async ({ policy, fake }) => {
    await fake.close();
    await rejectsWith(policy.generate([[3]], SAMPLING), PrlError, 'ERR_PRL_HTTP', /cannot reach .* \(tried 2 times\)/);
  }));

test('an aborted call ends at once; before the update is sent, the policy is unchanged and goes on', () =>
  connected(on('forward', { silent: true }), { lossPath: 'surrogate' }, async ({ policy, fake }) => {
    const stop = new AbortController();
    const update = policy.update(BATCH, { ...STEP, signal: stop.signal });
    while (fake.of('forward').length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort();
    await rejectsWith(update, PrlError, 'ERR_PRL_ABORTED', /aborted/);
    assert.is(fake.of('forward_backward').length, 0);
    assert.is((await policy.update(BATCH, STEP)).applied, true);
  }));

test('an update that is aborted after it was sent leaves the policy to be restored', () =>
  connected(on('optim_step', { silent: true }), {}, async ({ policy, fake }) => {
    const stop = new AbortController();
    const update = policy.update(BATCH, { ...STEP, signal: stop.signal });
    while (fake.of('optim_step').length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort();
    await rejectsWith(update, PrlError, 'ERR_PRL_ABORTED', /aborted/);
    await rejectsWith(policy.update(BATCH, STEP), PrlError, 'ERR_PRL_ENGINE', /resume from the last checkpoint/);
  }));

test('the key is sent with every request, and stands in no message and no file', async () => {
  const apiKey = 'tml-secret-8471';
  const echo = on('asample', { status: 400, body: { detail: `the key ${apiKey} may not sample` } });
  await connected(echo, { apiKey }, async ({ policy, fake, folder }) => {
    const error = await policy.generate([[3]], SAMPLING).catch((thrown) => thrown);
    assert.match(error.message, /the key \*\*\* may not sample/);
    assert.not(`${error.stack} ${JSON.stringify(error)} ${error.cause?.message}`.includes(apiKey));
    await policy.update(BATCH, STEP);
    await policy.save(join(folder, 'saved'));
    await policy.saveOptimizer(join(folder, 'saved', 'optimizer.bin'));
    for (const name of readdirSync(join(folder, 'saved')))
      assert.not(readFileSync(join(folder, 'saved', name), 'utf8').includes(apiKey), name);
    assert.ok(fake.asked.every(({ headers }) => headers['x-api-key'] === apiKey));
  });
});

test('a server that reads protobuf only gets protobuf', () =>
  connected({ protobuf: true }, {}, async ({ policy, fake }) => {
    assert.is((await policy.update({ ...BATCH, oldLogProbs: new Float32Array(4).fill(-3) }, STEP)).applied, true);
    const passes = [...fake.of('forward'), ...fake.of('forward_backward')];
    const json = passes.filter(({ headers }) => headers['content-type'] === 'application/json');
    assert.is(json.length, 1, 'one attempt with JSON');
  }));

test('what needs logits, another temperature or an unknown option is refused before anything is sent', () =>
  connected({}, {}, async ({ policy, connect, fake }) => {
    const sent = fake.asked.length;
    const refuse = (call: () => unknown, code: string, message: RegExp) => throwsError(call, Error, code, message);
    for (const options of [{ entropyCoef: 0.1 }, { topEntropyQuantile: 0.5 }, { entropyThreshold: 1 }])
      refuse(() => policy.checkUpdate(options), 'ERR_PRL_UNSUPPORTED', /needs the logits of every token/);
    refuse(() => policy.checkUpdate({ temperature: 0.7 }), 'ERR_PRL_INVALID_ARGUMENT', /temperature must be 1/);
    refuse(() => policy.resetOptimizer(), 'ERR_PRL_UNSUPPORTED', /cannot clear an optimizer/);
    await rejectsWith(
      policy.logProbs([[3, 4]], { entropy: true }),
      PrlError,
      'ERR_PRL_UNSUPPORTED',
      /needs the logits/,
    );
    await rejectsWith(
      policy.update(BATCH, { ...STEP, entropyCoef: 1 }),
      PrlError,
      'ERR_PRL_UNSUPPORTED',
      /entropyCoef/,
    );
    assert.is(fake.asked.length, sent);
    await rejectsWith(connect({ baseModel: 'other' }), PrlError, 'ERR_PRL_UNSUPPORTED', /model other; it has base/);
    await rejectsWith(connect({ url: 'http://me:pw@x' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /pass apiKey/);
  }));

test('an unusable answer is an error that names the server and what it lacks', async () => {
  const samples = (sequences: unknown) => on('retrieve_future', { body: { sequences } });
  const sequence = { tokens: [5, 1], logprobs: [-1, -1], stop_reason: 'stop' };
  for (const [bad, message] of [
    [{ ...sequence, tokens: [1, 5] }, /stops at the token 5/],
    [{ ...sequence, tokens: [1, 1] }, /continues after a stop token/],
    [{ ...sequence, tokens: [5, 99] }, /the token 99/],
    [{ ...sequence, logprobs: [-1] }, /1 logprobs for 2 tokens/],
    [{ ...sequence, logprobs: null }, /no logprobs for 2 tokens/],
    [{ ...sequence, logprobs: [0.5, -1] }, /above 0/],
    [{ ...sequence, stop_reason: 'tired' }, /'stop' or 'length'/],
  ] as const)
    await connected(samples([bad]), {}, ({ policy }) =>
      rejectsWith(policy.generate([[3]], { maxNewTokens: 4 }), PrlError, 'ERR_PRL_ENGINE', message),
    );
});

test.run();
