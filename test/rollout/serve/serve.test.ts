// The server in this process: its answers, its refusals, and clients that are slow, gone or too many.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { characterTokenizer, Policy, PrlError, type ServeOptions, serve, VllmEngine } from '../../../lib/index.js';
import { Batcher } from '../../../lib/rollout/serve/batcher.js';
import { ServedWeights } from '../../../lib/rollout/serve/weights.js';
import { rejectsWith } from '../../policy/rejects.js';
import { tinyConfig, tinyPolicy } from '../../policy/tiny.js';
import { random, throwsError } from '../../reference/numbers.js';

// 23 symbols, as the tiny policy has; its end of sequence is 1 here.
const tokenizer = characterTokenizer('abcdefghijklmnopqrstu');
const model = (seed = 1) => tinyPolicy({ eos_token_id: 1 }, seed);

/** Runs `test` with a server; it is closed afterwards. */
async function serving(options: Partial<ServeOptions>, test: (url: string) => Promise<void>): Promise<void> {
  const server = await serve({ policy: model(), tokenizer, port: 0, servedModelName: 'tiny', ...options });
  try {
    await test(server.url);
  } finally {
    await server.close();
  }
}

// biome-ignore lint/suspicious/noExplicitAny: an answer's JSON
type Json = any;
async function ask(
  url: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: Json; headers: Headers }> {
  const answer = await fetch(url, {
    ...(body !== undefined && {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    }),
    ...(body === undefined && { headers }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text), headers: answer.headers };
}
const complete = (url: string, body: object) => ask(`${url}/v1/completions`, body);

const folder = mkdtempSync(join(tmpdir(), 'prl-serve-'));

const shapes = suite('serve: answers');
shapes('one prompt of ids gets the samples of policy.generate with that seed, bit for bit', () =>
  serving({}, async (url) => {
    const asked = {
      prompt: [3, 4, 5],
      n: 3,
      seed: 42,
      max_tokens: 9,
      temperature: 0.8,
      logprobs: 0,
      return_token_ids: true,
    };
    const { status, body } = await complete(url, { ...asked, stop_token_ids: [7] });
    assert.is(status, 200);
    const reference = model();
    const [{ completions }] = await reference.generate([[3, 4, 5]], {
      n: 3,
      seed: 42,
      maxNewTokens: 9,
      temperature: 0.8,
      stop: [1, 7],
    });
    assert.is(body.object, 'text_completion');
    assert.is(body.model, 'tiny');
    assert.is(body.weight_version, 'default');
    assert.is(body.choices.length, 3);
    completions.forEach(({ tokens, logProbs, finishReason }, i) => {
      const choice = body.choices[i];
      assert.is(choice.index, i);
      assert.equal(choice.token_ids, Array.from(tokens));
      assert.equal(choice.prompt_token_ids, [3, 4, 5]);
      assert.equal(Float32Array.from(choice.logprobs.token_logprobs), logProbs);
      assert.equal(choice.logprobs.token_logprobs, Array.from(logProbs), 'as float64 too');
      assert.is(choice.finish_reason, finishReason);
      assert.is(choice.stop_reason, finishReason === 'stop' ? tokens[tokens.length - 1] : null);
      assert.is(choice.text, tokenizer.decode(tokens));
      assert.is(choice.logprobs.tokens.join(''), choice.text);
      for (const [t, offset] of choice.logprobs.text_offset.entries())
        assert.is(choice.text.slice(offset, offset + choice.logprobs.tokens[t].length), choice.logprobs.tokens[t]);
    });
    const tokens = completions.reduce((sum, completion) => sum + completion.tokens.length, 0);
    assert.equal(body.usage, { prompt_tokens: 3, completion_tokens: tokens, total_tokens: 3 + tokens });
  }),
);
shapes('several prompts get the samples of one policy.generate call, and texts are encoded', () =>
  serving({}, async (url) => {
    const lists = [[3, 4], [5], [6, 7, 8]];
    const { body } = await complete(url, { prompt: lists, n: 2, seed: 5, max_tokens: 6, return_token_ids: true });
    const groups = await model().generate(lists, { n: 2, seed: 5, maxNewTokens: 6 });
    assert.equal(
      body.choices.map(({ token_ids }: Json) => token_ids),
      groups.flatMap(({ completions }) => completions.map(({ tokens }) => Array.from(tokens))),
    );
    assert.equal(
      body.choices.map(({ prompt_token_ids }: Json) => prompt_token_ids),
      [0, 0, 1, 1, 2, 2].map((p) => lists[p]),
    );
    const one = await complete(url, { prompt: 'abc', seed: 5, max_tokens: 6, return_token_ids: true });
    assert.equal(one.body.choices[0].prompt_token_ids, Array.from(tokenizer.encode('abc')));
    assert.is(one.body.choices[0].logprobs, null);
    const two = await complete(url, { prompt: ['abc', 'd'], seed: 5, max_tokens: 6 });
    assert.is(two.body.choices.length, 2);
    assert.not.ok('token_ids' in two.body.choices[0]);
    assert.is((await complete(url, { prompt: 'abc' })).body.choices[0].text.length <= 16, true);
  }),
);
shapes('requests that arrive together are batched and sample as they would alone', () => {
  const policy = model();
  const calls: number[] = [];
  const generate = policy.generate.bind(policy);
  policy.generate = async (prompts, options) => {
    calls.push(prompts.length);
    // The first keeps the policy busy until all have come.
    if (calls.length === 1) await sleep(500);
    return generate(prompts, options);
  };
  return serving({ policy }, async (url) => {
    const asked = Array.from({ length: 24 }, (_, i) => ({
      prompt: [2 + (i % 20), 3],
      seed: 100 + i,
      n: 2,
      max_tokens: i % 3 === 0 ? 5 : 8,
      return_token_ids: true,
      logprobs: 0,
    }));
    const answers = await Promise.all(asked.map((body) => complete(url, body)));
    assert.ok(calls.length < 24, `${calls}`);
    assert.is(
      calls.reduce((a, b) => a + b, 0),
      24,
    );
    const alone = model();
    for (const [i, { prompt, seed, n, max_tokens }] of asked.entries()) {
      const [{ completions }] = await alone.generate([prompt], { seed, n, maxNewTokens: max_tokens });
      assert.equal(
        answers[i].body.choices.map((choice: Json) => [choice.token_ids, choice.logprobs.token_logprobs]),
        completions.map(({ tokens, logProbs }) => [Array.from(tokens), Array.from(logProbs)]),
      );
    }
  });
});
shapes('VllmEngine against serve samples as the policy does with the same seeds', () =>
  serving({}, async (url) => {
    const prompts = Array.from({ length: 12 }, (_, i) => [2 + i, 5]);
    const options = { n: 3, maxNewTokens: 10, temperature: 1.3, seed: prompts.map((_, i) => 7 * i) };
    assert.equal(
      await new VllmEngine({ urls: url, model: 'tiny' }).generate(prompts, { ...options, stop: [1, 9] }),
      await model().generate(prompts, { ...options, stop: [1, 9] }),
    );
    assert.equal(
      await new VllmEngine({ urls: url }).generate(prompts, { ...options, ignoreEos: true }),
      await model().generate(prompts, { ...options, ignoreEos: true }),
    );
  }),
);
shapes('a stream sends a chunk per choice, the usage when asked for, and [DONE]', () =>
  serving({}, async (url) => {
    const asked = { prompt: [3, 4], n: 2, seed: 8, max_tokens: 6, return_token_ids: true };
    const whole = (await complete(url, asked)).body;
    const answer = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...asked, stream: true, stream_options: { include_usage: true } }),
    });
    assert.is(answer.headers.get('content-type'), 'text/event-stream');
    const events = (await answer.text())
      .split('\n\n')
      .filter((line) => line.startsWith('data: '))
      .map((line) => line.slice(6));
    assert.is(events.pop(), '[DONE]');
    const chunks = events.map((text) => JSON.parse(text));
    assert.equal(
      chunks.flatMap(({ choices }) => choices),
      whole.choices,
    );
    assert.equal(chunks[chunks.length - 1].usage, whole.usage);
    assert.is(new Set(chunks.map(({ id }) => id)).size, 1);
  }),
);
shapes('health, models and weight_info answer, and unknown paths are 404', () =>
  serving({}, async (url) => {
    assert.is((await ask(`${url}/health`)).status, 200);
    const { data } = (await ask(`${url}/v1/models`)).body;
    assert.equal(
      data.map(({ id, max_model_len }: Json) => [id, max_model_len]),
      [['tiny', 300]],
    );
    assert.equal((await ask(`${url}/weight_info`)).body, { weight_version: 'default' });
    for (const [path, body] of [
      ['/pause', {}],
      ['/collective_rpc', { method: 'reload_weights' }],
      ['/v1/chat/completions', {}],
      ['/v1/completions', undefined],
      ['/', undefined],
    ] as const) {
      const { status, body: answer } = await ask(`${url}${path}`, body);
      assert.is(status, 404, path);
      assert.is(answer.error.type, 'NotFoundError');
    }
  }),
);
shapes('a server without a tokenizer takes ids only', () =>
  serving({ tokenizer: undefined }, async (url) => {
    const { body } = await complete(url, { prompt: [3], seed: 1, max_tokens: 4, logprobs: 0, return_token_ids: true });
    assert.is(body.choices[0].text, '');
    assert.equal(
      body.choices[0].logprobs.tokens,
      body.choices[0].token_ids.map((id: number) => `token_id:${id}`),
    );
    const text = await complete(url, { prompt: 'abc' });
    assert.is(text.status, 400);
    assert.match(text.body.error.message, /must be token ids, not a text: the model has no tokenizer/);
  }),
);
shapes.run();

/** A policy whose calls are watched, and whose first does not end by itself. */
function watched() {
  const policy = model();
  const outcomes: string[] = [];
  let started = 0;
  let open = () => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  const generate = policy.generate.bind(policy);
  policy.generate = (prompts, options) => {
    const { signal } = options;
    const left = new Promise((done) => signal!.addEventListener('abort', done));
    const first = ++started === 1;
    const call = (async () => {
      if (first) await Promise.race([gate, left]);
      return generate(prompts, options);
    })();
    call.then(
      () => outcomes.push(`${prompts.length} done`),
      (error) => outcomes.push(`${prompts.length} ${error.code}`),
    );
    return call;
  };
  return { policy, outcomes, started: () => started, open: () => open() };
}
const ENDLESS = { n: 512, max_tokens: 290, ignore_eos: true };
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}

const refusals = suite('serve: refusals');
refusals('a request that cannot be served is 400 and says why', () =>
  serving({ maxCompletions: 10 }, async (url) => {
    for (const [body, message] of [
      [{}, /prompt must be/],
      [{ prompt: [] }, /prompt must be/],
      [{ prompt: [[]] }, /prompt\[0\] must be an array of token ids/],
      [{ prompt: [[3], 'a', 4] }, /prompt\[2\] must be/],
      [{ prompt: '' }, /at least one token/],
      [{ prompt: 'ABC' }, /"A", which the model's vocabulary cannot spell/],
      [{ prompt: [23] }, /prompt\[0\] must be an integer from 0 to 22, not 23/],
      [{ prompt: [3, 1.5] }, /prompt\[1\]/],
      [{ prompt: [3, null] }, /prompt\[1\]/],
      [{ prompt: [3], n: 11 }, /at most 10 completions, not 1 prompts with n = 11/],
      [{ prompt: [[3], [4]], n: 6 }, /at most 10 completions, not 2 prompts with n = 6/],
      [{ prompt: Array.from({ length: 11 }, () => [3]) }, /at most 10 prompts, not 11/],
      [{ prompt: [3], max_tokens: 0 }, /max_tokens/],
      [{ prompt: [3], max_tokens: 300 }, /must fit in the model's 300 positions, but are 1 and 300 tokens/],
      [{ prompt: Array.from({ length: 40_000 }, () => 3) }, /must fit in the model's 300 positions/],
      [{ prompt: 'a'.repeat(40_000) }, /must fit in the model's 300 positions/],
      [{ prompt: [3], temperature: -1 }, /temperature/],
      [{ prompt: [3], temperature: 'hot' }, /temperature must be a number/],
      [{ prompt: [3], top_p: 0 }, /top_p/],
      [{ prompt: [3], seed: -1 }, /seed/],
      [{ prompt: [3], logprobs: 5 }, /logprobs must be 0/],
      [{ prompt: [3], stop_token_ids: [23] }, /stop_token_ids/],
      [{ prompt: [3], stop_token_ids: 7 }, /stop_token_ids/],
      [{ prompt: [3], stop: ['\n'] }, /stop is not supported here: use stop_token_ids/],
      [{ prompt: [3], min_p: 0.1 }, /min_p is not supported/],
      [{ prompt: [3], repetition_penalty: 1.1 }, /repetition_penalty is not supported here, except 1/],
      [{ prompt: [3], echo: true }, /echo/],
      [{ prompt: [3], logit_bias: { 3: 1 } }, /logit_bias/],
      [{ prompt: [3], stream: 'yes' }, /stream must be true or false/],
      [{ prompt: [3], max_token: 5 }, /no option 'max_token'. Did you mean 'max_tokens'/],
      [{ prompt: [3], [`x${'y'.repeat(200)}`]: 5 }, /the name of a field must have at most 100 characters/],
    ] as [object, RegExp][]) {
      const { status, body: answer } = await complete(url, body);
      assert.is(status, 400, JSON.stringify(body).slice(0, 100));
      assert.match(answer.error.message, message);
      assert.is(answer.error.type, 'BadRequestError');
    }
    const neutral = {
      top_k: -1,
      min_p: 0,
      repetition_penalty: 1,
      stop: [],
      echo: false,
      user: 'me',
      best_of: null,
      seed: null,
    };
    assert.is((await complete(url, { prompt: [3], ...neutral })).status, 200);
  }),
);
refusals('hostile JSON bodies are 400 and the server stays up', () =>
  serving({ maxBodyBytes: 2_000_000 }, async (url) => {
    const path = `${url}/v1/completions`;
    const status = async (body: string, headers = {}) => (await ask(path, body, headers)).status;
    assert.is(await status('{'), 400);
    assert.is(await status(''), 415 === (await status('', { 'content-type': 'text/plain' })) ? 400 : 0);
    assert.is(await status('[1]'), 400);
    assert.is(await status('null'), 400);
    const deep = (open: string, close: string) => open.repeat(300_000) + close.repeat(300_000);
    assert.is(await status(deep('[', ']')), 400);
    assert.is(await status(`{"prompt":${deep('[', ']')}}`), 400);
    assert.is(await status(`{"prompt":[3],"min_p":${deep('[', ']')}}`), 400);
    assert.is(await status(`{"prompt":[3],"stop":${deep('{"a":', '}').replace(':}', ':1}')}}`), 400);
    assert.is(await status(`{"prompt":[3],"__proto__":{"n":5}}`), 400);
    assert.is(await status(`{"prompt":[3],"constructor":1}`), 400);
    assert.is(await status(`{"prompt":[1e400]}`), 400);
    assert.is(await status(`{"prompt":[3],"seed":1e400}`), 400);
    assert.is((await ask(`${url}/health`)).status, 200, 'still there');
  }),
);
refusals('any random request is answered or refused and never an internal error', () => {
  const errors: Error[] = [];
  const next = random(5);
  const pick = <T>(list: T[]): T => list[Math.floor(next() * list.length)];
  const scalars = [
    null,
    true,
    false,
    0,
    1,
    -1,
    1.5,
    8,
    1e308,
    -1e308,
    2 ** 31,
    2 ** 53,
    5e-324,
    '',
    'abc',
    '\ud800',
    'a'.repeat(500),
  ];
  const value = (depth: number): unknown => {
    const kind = next();
    if (kind < 0.7 || depth > 3) return pick<unknown>(scalars);
    const items = Array.from({ length: Math.floor(next() * 4) }, () => value(depth + 1));
    return kind < 0.85
      ? items
      : Object.fromEntries(items.map((item) => [pick(['a', '__proto__', 'length', '0']), item]));
  };
  const names = [
    ...[
      'prompt',
      'n',
      'max_tokens',
      'temperature',
      'top_p',
      'top_k',
      'seed',
      'stop_token_ids',
      'ignore_eos',
      'logprobs',
    ],
    ...['return_token_ids', 'stream', 'stream_options', 'stop', 'logit_bias', 'min_p', 'model', 'kwargs', 'method'],
  ];
  const paths = [
    '/collective_rpc',
    '/update_weight_version',
    '/pause?mode=x',
    '/%00',
    '//',
    '/..//?',
    '/v1/completions?x=%',
  ];
  return serving({ syncFolder: folder, maxCompletions: 20, onError: (error) => errors.push(error) }, async (url) => {
    const statuses = new Set<number>();
    for (let i = 0; i < 300; i++) {
      const body: { [name: string]: unknown } =
        next() < 0.8 ? { prompt: pick([[3, 4], 'ab', [[3], [4]]]), max_tokens: 3 } : {};
      for (let k = Math.floor(next() * 3); k >= 0; k--) body[pick(names)] = value(0);
      const answer = await fetch(`${url}${next() < 0.9 ? '/v1/completions' : pick(paths)}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      await answer.text();
      statuses.add(answer.status);
    }
    assert.equal([...statuses].sort(), [200, 400, 404]);
    assert.equal(errors, []);
  });
});
refusals('a body over the limit is 413, with or without a content-length', () =>
  serving({ maxBodyBytes: 1000 }, async (url) => {
    const long = await ask(`${url}/v1/completions`, { prompt: 'a'.repeat(2000) });
    assert.is(long.status, 413);
    assert.match(long.body.error.message, /1000 bytes/);
    const chunked = await new Promise<number>((resolve, reject) => {
      const request = httpRequest(`${url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
      });
      request.on('response', (response) => {
        resolve(response.statusCode!);
        request.destroy();
      });
      request.on('error', reject);
      request.write('"');
      request.write('a'.repeat(2000));
    });
    assert.is(chunked, 413);
  }),
);
refusals('a slow body is cut off and holds up nobody', () =>
  serving({ bodyTimeout: 300 }, async (url) => {
    const { port } = new URL(url);
    const socket = connect(Number(port), '127.0.0.1');
    let said = '';
    socket.on('data', (chunk) => (said += chunk));
    socket.on('error', () => {});
    socket.write(
      'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"prompt"',
    );
    const start = performance.now();
    assert.is((await complete(url, { prompt: [3] })).status, 200);
    await new Promise((closed) => socket.once('close', closed));
    assert.ok(performance.now() - start < 20_000);
    assert.match(said, /^HTTP\/1\.1 408|^$/);
  }),
);
refusals('every path but health needs the API key', () =>
  serving({ apiKey: 'open sesame' }, async (url) => {
    for (const headers of [
      {},
      { authorization: 'Bearer open' },
      { authorization: 'open sesame' },
      { authorization: 'Bearer open sesame!' },
    ])
      assert.is((await ask(`${url}/v1/completions`, { prompt: [3] }, headers as Record<string, string>)).status, 401);
    assert.is((await ask(`${url}/v1/models`)).status, 401);
    assert.is((await ask(`${url}/health`)).status, 200);
    assert.is((await ask(`${url}/v1/models`, undefined, { authorization: 'Bearer open sesame' })).status, 200);
    const prompts = [[3], [4]];
    await new VllmEngine({ urls: url, apiKey: 'open sesame' }).generate(prompts, { maxNewTokens: 3 });
    await rejectsWith(
      new VllmEngine({ urls: url }).generate(prompts, { maxNewTokens: 3 }),
      PrlError,
      'ERR_PRL_HTTP',
      /answered 401/,
    );
  }),
);
refusals('requests beyond maxRequests are 429 with retry-after, and VllmEngine retries them', () => {
  const { policy, open } = watched();
  return serving({ policy, maxRequests: 2 }, async (url) => {
    const body = { prompt: [3], max_tokens: 5 };
    const statuses: number[] = [];
    const answers = Array.from({ length: 5 }, async () => {
      const answer = await complete(url, body);
      statuses.push(answer.status);
      return answer;
    });
    await until(() => statuses.length === 3);
    assert.equal(statuses, [429, 429, 429]);
    open();
    const all = await Promise.all(answers);
    assert.equal(all.map(({ status }) => status).sort(), [200, 200, 429, 429, 429]);
    assert.is(all.find(({ status }) => status === 429)!.headers.get('retry-after'), '1');
    const prompts = Array.from({ length: 6 }, (_, i) => [2 + i]);
    const options = { n: 4, maxNewTokens: 20, seed: prompts.map((_, i) => i) };
    assert.equal(
      await new VllmEngine({ urls: url, concurrency: 3 }).generate(prompts, { ...options, stop: [1] }),
      await model().generate(prompts, { ...options, stop: [1] }),
    );
  });
});
refusals('a port in use is ERR_PRL_IO, and an unknown option is refused', async () => {
  await serving({}, async (url) => {
    const taken = serve({ policy: model(), port: Number(new URL(url).port) });
    await rejectsWith(taken, PrlError, 'ERR_PRL_IO', /cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/);
  });
  await rejectsWith(serve({ policy: model(), prot: 1 } as never), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'port'/);
});
refusals.run();

const nobody = new AbortController().signal;
const clients = suite('serve: clients that leave');
clients('work that no client waits for is aborted, or never begun', async () => {
  const { policy, outcomes, started } = watched();
  const asked: AbortSignal[] = [];
  const { submit } = Batcher.prototype;
  Batcher.prototype.submit = function (work, signal) {
    asked.push(signal);
    return submit.call(this, work, signal);
  };
  await serving({ policy }, async (url) => {
    const leaving = (prompt: number[]) => {
      const leave = new AbortController();
      const request = fetch(`${url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt, ...ENDLESS }),
        signal: leave.signal,
      }).catch(() => {});
      return { request, leave: () => leave.abort() };
    };
    const first = leaving([3]);
    await until(() => started() === 1);
    // These wait for the batch of the first; one of them leaves before it has begun.
    const patient = complete(url, { prompt: [4], max_tokens: 3 });
    const second = leaving([5]);
    await until(() => asked.length === 3);
    second.leave();
    await until(() => asked.some(({ aborted }) => aborted));
    first.leave();
    assert.is((await patient).status, 200);
    await Promise.all([first.request, second.request]);
    assert.equal(outcomes, ['1 ERR_PRL_ABORTED', '1 done']);
  }).finally(() => {
    Batcher.prototype.submit = submit;
  });
});
clients('close aborts running work and disposes the policy', async () => {
  const { policy, outcomes, started } = watched();
  const server = await serve({ policy, port: 0 });
  const asked = complete(server.url, { prompt: [3], ...ENDLESS }).catch((error) => error);
  await until(() => started() === 1);
  await server.close();
  assert.instance(await asked, Error);
  assert.equal(outcomes, ['1 ERR_PRL_ABORTED']);
  await rejectsWith(policy.generate([[3]], { maxNewTokens: 1, signal: nobody }), PrlError, 'ERR_PRL_DISPOSED', /./);
});
clients.run();

const weights = suite('serve: weights');
weights.before(async () => {
  mkdirSync(join(folder, 'sync'));
  await model(2).save(join(folder, 'sync', 'two'));
  await model(2).save(join(folder, 'outside'));
  await tinyPolicy({ eos_token_id: 1, num_hidden_layers: 1 }).save(join(folder, 'sync', 'other'));
});
weights.after(() => rmSync(folder, { recursive: true }));
const synced = (
  test: (url: string, post: (path: string, body?: object) => Promise<{ status: number; body: Json }>) => Promise<void>,
) => serving({ syncFolder: join(folder, 'sync') }, (url) => test(url, (path, body = {}) => ask(`${url}${path}`, body)));

weights('after pause, reload and resume the samples are those of the new weights', () =>
  synced(async (url, post) => {
    const asked = { prompt: [3, 4], seed: 9, max_tokens: 8, return_token_ids: true };
    const sampled = async () => (await complete(url, asked)).body.choices[0].token_ids;
    const of = async (policy: Policy) =>
      Array.from((await policy.generate([[3, 4]], { seed: 9, maxNewTokens: 8 }))[0].completions[0].tokens);
    assert.equal(await sampled(), await of(model()));
    assert.equal((await post('/pause?mode=wait')).body, { status: 'paused' });
    assert.equal((await ask(`${url}/is_paused`)).body, { is_paused: true });
    const waiting = sampled();
    const { status, body } = await post('/collective_rpc', {
      method: 'reload_weights',
      kwargs: { weights_path: join(folder, 'sync', 'two') },
    });
    assert.equal([status, body], [200, { results: [null] }]);
    assert.equal((await ask(`${url}/weight_info`)).body, { weight_version: 'reload-1' });
    assert.equal((await post('/update_weight_version', { new_version: 'mine' })).body, {
      success: true,
      new_version: 'mine',
    });
    assert.equal((await post('/resume')).body, { status: 'resumed' });
    assert.equal(await waiting, await of(model(2)), 'what came during the pause');
    assert.equal((await complete(url, asked)).body.weight_version, 'mine');
    assert.equal((await ask(`${url}/weight_info`)).body, { weight_version: 'mine' });
  }),
);
weights('pause with mode abort ends running requests with finish reason abort', async () => {
  const { policy, started, outcomes } = watched();
  await serving({ policy, syncFolder: join(folder, 'sync') }, async (url) => {
    const broken = complete(url, { ...ENDLESS, prompt: [3], n: 2, return_token_ids: true });
    await until(() => started() === 1);
    assert.equal((await ask(`${url}/pause?mode=abort`, {})).body, { status: 'paused' });
    const { choices, usage } = (await broken).body;
    assert.equal(
      choices.map((choice: Json) => [choice.index, choice.finish_reason, choice.token_ids]),
      [
        [0, 'abort', []],
        [1, 'abort', []],
      ],
    );
    assert.is(usage.completion_tokens, 0);
    await ask(`${url}/resume`, {});
    assert.is((await complete(url, { prompt: [3] })).status, 200);
    assert.equal(outcomes, ['1 ERR_PRL_ABORTED', '1 done']);
  });
});
weights('weights from outside the folder, of another model, or absent are refused and change nothing', () =>
  synced(async (url, post) => {
    const reload = (weights_path?: unknown) =>
      post('/collective_rpc', { method: 'reload_weights', kwargs: { weights_path } });
    for (const [path, status, message] of [
      [join(folder, 'outside'), 403, /not inside/],
      [join(folder, 'sync', '..', 'outside'), 403, /not inside/],
      [join(folder, 'sync', 'nothing'), 400, /there is no folder/],
      [join(folder, 'sync'), 400, /cannot load/],
      [join(folder, 'sync', 'other'), 400, /must hold the served model with other weights/],
      [undefined, 400, /needs kwargs\.weights_path/],
      [{}, 400, /needs kwargs\.weights_path/],
    ] as const) {
      const answer = await reload(path);
      assert.is(answer.status, status, String(path));
      assert.match(answer.body.error.message, message);
    }
    assert.is((await post('/collective_rpc', { method: 'shutdown' })).status, 400);
    assert.is((await post('/pause?mode=later')).status, 400);
    assert.is((await post('/update_weight_version', {})).status, 400);
    assert.equal((await ask(`${url}/weight_info`)).body, { weight_version: 'default' });
    assert.is((await complete(url, { prompt: [3] })).status, 200);
  }),
);
weights('two reloads at once with running requests both succeed', () =>
  synced(async (url) => {
    const reload = () =>
      ask(`${url}/collective_rpc`, { method: 'reload_weights', kwargs: { weights_path: join(folder, 'sync', 'two') } });
    const body = { prompt: [3], n: 16, max_tokens: 100, ignore_eos: true };
    const answers = await Promise.all([
      complete(url, body),
      reload(),
      complete(url, body),
      reload(),
      complete(url, body),
      sleep(5).then(() => complete(url, body)),
    ]);
    for (const answer of answers) assert.is(answer.status, 200);
    assert.equal((await ask(`${url}/weight_info`)).body, { weight_version: 'reload-2' });
  }),
);
weights('of two reloads the later one stays, even when the earlier one takes longer', async () => {
  const served = new ServedWeights(new Batcher(model(), 'default'), model(), join(folder, 'sync'));
  await model(3).save(join(folder, 'sync', '..three'));
  const load = Policy.load;
  let loads = 0;
  Policy.load = async (...args) => {
    const first = ++loads === 1;
    const loaded = await load.apply(Policy, args);
    if (first) await sleep(100);
    return loaded;
  };
  try {
    await Promise.all(['two', '..three'].map((name) => served.reload(join(folder, 'sync', name))));
  } finally {
    Policy.load = load;
  }
  const name = 'model.norm.weight';
  assert.equal(served.policy.readParameter(name).data, model(3).readParameter(name).data);
  const late = served.reload(join(folder, 'sync', 'two')).catch((error) => error);
  await served.close();
  assert.match((await late).message, /cannot load .*aborted/);
  throwsError(() => served.policy.readParameter(name), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
});
weights('VllmEngine.sync gives the server new weights and reports a refusal', () =>
  synced(async (url) => {
    const engine = new VllmEngine({ urls: url, syncFolder: join(folder, 'sync') });
    const trained = model(5);
    await engine.sync(trained, 3);
    const options = { n: 2, maxNewTokens: 12, seed: [1, 2], stop: [1] };
    assert.equal(await engine.generate([[3], [4]], options), await trained.generate([[3], [4]], options));
    assert.is(Policy.create(tinyConfig(), { seed: 1 }).config.vocab_size, 23);
    await rejectsWith(
      engine.sync(tinyPolicy({ num_hidden_layers: 1 }), 4),
      PrlError,
      'ERR_PRL_WEIGHT_SYNC',
      /must hold the served model with other weights/,
    );
  }),
);
weights.run();
