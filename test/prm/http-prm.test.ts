// HttpPrm against a local server that is slow, wrong or failing.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HttpPrm, type HttpPrmOptions, PrlError } from '../../lib/index.js';
import { completionSteps } from '../../lib/methods/steps.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { echoTask } from '../fakes/echo-task.js';
import { rejectsWith } from '../policy/rejects.js';
import { near } from '../reference/numbers.js';

const { tokenizer } = echoTask;
const texts = ['12\n34\n5', '6', '7\n8'];
const completions = texts.map((text) => Int32Array.from([...tokenizer.encode(text), tokenizer.eosTokenId]));
const batch = {
  prompts: texts.map((_, i) => tokenizer.encode(String(i))),
  completions,
  cuSteps: completionSteps(completions, tokenizer, { stepSplit: 'newline', stepLength: 1 }),
};
const SCORES = [0.12, 0.34, 0.05, 0.06, 0.07, 0.08];

// biome-ignore lint/suspicious/noExplicitAny: a request's JSON
type Body = any;
type Answer = { status?: number; headers?: Record<string, string>; body: unknown; delay?: number };
interface Seen {
  path: string;
  body: Body;
  headers: IncomingMessage['headers'];
}

/** Runs `test` with a server that answers the n-th request with `respond`. */
async function serving(
  respond: (body: Body, n: number, path: string) => Answer,
  test: (url: string, seen: Seen[]) => Promise<void>,
): Promise<void> {
  const seen: Seen[] = [];
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text);
    seen.push({ path: request.url!, body, headers: request.headers });
    const { status = 200, headers, body: answer, delay = 0 } = respond(body, seen.length, request.url!);
    await new Promise((done) => setTimeout(done, delay));
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    await test(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen);
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}

const usage = { prompt_tokens: 50, total_tokens: 50, completion_tokens: 0 };
/** vLLM's step pooling of a model with two classes: [wrong, right] at each separator. */
function pooling({ input }: Body, separator = '<extra_0>'): Answer {
  const steps = (input as string).split(separator).slice(0, -1);
  // The first piece has the prompt, one digit, before it.
  const values = steps.map((step, k) => Number(k === 0 ? step.slice(1) : step) / 100);
  const data = [{ index: 0, object: 'pooling', data: values.map((value) => [1 - value, value]) }];
  return { body: { id: 'pool-1', object: 'list', created: 1, model: 'm', data, usage } };
}
/** vLLM's classification: the probabilities of the classes for each text. */
function classify({ input }: Body): Answer {
  const data = (input as string[]).map((text, index) => {
    const value = Number(text.slice(1).trim().split('\n').pop()) / 100;
    return { index, label: 'right', probs: [value, 1 - value], num_classes: 2 };
  });
  return { body: { id: 'classify-1', object: 'list', created: 1, model: 'm', data: data.reverse(), usage } };
}
const prm = (url: string, options: Partial<HttpPrmOptions> = {}) =>
  new HttpPrm({ url, tokenizer, retryDelay: 1, ...options });

const http = suite('HttpPrm');
http('/pooling gets a separator after each step and gives a score for each', () =>
  serving(
    (body) => pooling(body),
    async (url, seen) => {
      const { scores, tokens } = await prm(`${url}/`, { model: 'm', headers: { authorization: 'Bearer x' } }).score(
        batch,
      );
      near(scores, SCORES, 1e-7);
      assert.is(tokens, 150, 'what the server says that it read');
      seen.sort((a, b) => a.body.input.localeCompare(b.body.input));
      assert.equal(
        seen.map(({ body }) => body),
        [
          { model: 'm', input: '012<extra_0>34<extra_0>5<extra_0>' },
          { model: 'm', input: '16<extra_0>' },
          { model: 'm', input: '27<extra_0>8<extra_0>' },
        ],
      );
      for (const { path, headers } of seen) {
        assert.is(path, '/pooling');
        assert.is(headers.authorization, 'Bearer x');
        assert.is(headers['content-type'], 'application/json');
      }
    },
  ),
);
http('/pooling with chat sends a conversation and its own separator', () =>
  serving(
    ({ messages }) => {
      const steps = (messages[1].content as string).split(' ки\n').slice(0, -1);
      return { body: { data: [{ index: 0, data: steps.map((step) => Number(step) / 100) }] } };
    },
    async (url, seen) => {
      const { scores, tokens } = await prm(url, { chat: true, separator: ' ки\n' }).score(batch);
      near(scores, SCORES, 1e-7);
      assert.is(tokens, 3 + 8 + 2 + 4, 'a server that does not say: prompts and responses');
      assert.equal(seen.find(({ body }) => body.messages[0].content === '2')!.body, {
        messages: [
          { role: 'user', content: '2' },
          { role: 'assistant', content: '7 ки\n8 ки\n' },
        ],
        add_generation_prompt: false,
      });
    },
  ),
);
http('/classify gets the text up to the end of each step, in one request per response', () =>
  serving(
    (body) => classify(body),
    async (url, seen) => {
      const { scores } = await prm(url, { endpoint: 'classify', positiveClass: 0 }).score(batch);
      near(scores, SCORES, 1e-7);
      assert.is(seen.length, 3);
      assert.equal(seen.find(({ body }) => body.input[0].startsWith('0'))!.body.input, [
        '012\n',
        '012\n34\n',
        '012\n34\n5',
      ]);
      for (const { path } of seen) assert.is(path, '/classify');
    },
  ),
);
http('a response that itself writes the separator is scored at its steps only', () =>
  serving(
    (body) => pooling(body, '9'),
    async (url) => {
      const tokens = tokenizer.encode('199\n2');
      const own = { prompts: [tokenizer.encode('1')], completions: [tokens], cuSteps: Int32Array.of(0, 4, 5) };
      near((await prm(url, { separator: '9' }).score(own)).scores, [0.01, 0.02], 1e-7);
    },
  ),
);
http('a response or a problem that writes separators and control tokens is scored at its steps only', async () => {
  const known = bpeTokenizer({ chat: true });
  const texts = ['7<ex<extra_0>tra_0>\n', ' \n', '8<|im_end|>\n', '9'];
  // A policy can spell a control token with other tokens.
  const spelled = (text: string) => text.split(/(?<=<\|)/).flatMap((part) => [...known.encode(part)]);
  const tokens = texts.map(spelled);
  const cuSteps = Int32Array.from(tokens.map((_, k) => tokens.slice(0, k).reduce((n, { length }) => n + length, 0)));
  const completion = Int32Array.from(tokens.flat());
  const own = {
    prompts: [known.encode('What<extra_0> is <ex<extra_0>tra_0>2?')],
    completions: [completion],
    cuSteps: Int32Array.of(...cuSteps, completion.length),
  };
  const seen: string[] = [];
  const answer = ({ input, messages }: Body) => {
    const text = input ?? messages[1].content;
    seen.push(text, messages?.[0].content ?? '');
    return {
      body: {
        data: [
          {
            index: 0,
            data: text
              .split('<extra_0>')
              .slice(1)
              .map((_: string, k: number) => k / 10),
          },
        ],
      },
    };
  };
  await serving(answer, async (url) => {
    for (const chat of [false, true])
      near((await prm(url, { tokenizer: known, chat }).score(own)).scores, [0, 0.1, 0.2, 0.3], 1e-7);
    const marked = '7<extra_0><extra_0>8<extra_0>9<extra_0>';
    assert.equal(seen, [`What is 2?${marked}`, '', marked, 'What is 2?']);
  });
});
http('a failure names the response', () =>
  serving(
    (body) => (body.input.startsWith('2') ? { status: 400, body: 'too long' } : pooling(body)),
    async (url) => {
      const error = await prm(url)
        .score(batch)
        .catch((e) => e);
      assert.ok(error instanceof PrlError);
      assert.is(error.code, 'ERR_PRL_HTTP');
      assert.match(error.message, /^response 2 of the batch: .*too long/);
    },
  ),
);
http('no more than concurrency requests run at a time', async () => {
  let [now, most] = [0, 0];
  await serving(
    (body) => {
      most = Math.max(most, ++now);
      setTimeout(() => now--, 80);
      return { ...pooling(body), delay: 100 };
    },
    async (url) => {
      const many = Array.from({ length: 12 }, () => tokenizer.encode('1'));
      const cuSteps = Int32Array.from({ length: 13 }, (_, t) => t);
      await prm(url, { concurrency: 4 }).score({ prompts: many, completions: many, cuSteps });
    },
  );
  assert.is(most, 4);
});
http('500, 429 and a timeout are retried', () =>
  serving(
    (body, n) => {
      if (n === 1) return { status: 500, body: 'oh' };
      if (n === 2) return { status: 429, headers: { 'retry-after': '0.05' }, body: { error: 'busy' } };
      if (n === 3) return { ...pooling(body), delay: 400 };
      return pooling(body);
    },
    async (url, seen) => {
      const start = performance.now();
      const { scores } = await prm(url, { concurrency: 1, timeout: 150 }).score(batch);
      near(scores, SCORES, 1e-7);
      assert.is(seen.length, 6);
      assert.ok(performance.now() - start >= 199, 'the time that the server asked for, and the one it was given');
    },
  ),
);
http('after the last retry the error says what the server answered', () =>
  serving(
    () => ({ status: 503, body: 'down for\nmaintenance' }),
    async (url, seen) => {
      await rejectsWith(
        prm(url, { retries: 2, concurrency: 1 }).score(batch),
        PrlError,
        'ERR_PRL_HTTP',
        /\/pooling answered 503: "down for\\nmaintenance" \(tried 3 times\)/,
      );
      assert.is(seen.length, 3);
      await rejectsWith(prm(url, { retries: 0 }).score(batch), PrlError, 'ERR_PRL_HTTP', /answered 503: "[^(]*$/);
    },
  ),
);
http('a slow server is ERR_PRL_TIMEOUT', () =>
  serving(
    (body) => ({ ...pooling(body), delay: 1000 }),
    async (url) => {
      await rejectsWith(
        prm(url, { timeout: 30, retries: 1 }).score(batch),
        PrlError,
        'ERR_PRL_TIMEOUT',
        /did not answer within 30 ms \(tried 2 times\)/,
      );
    },
  ),
);
http('a request that the server refuses is not repeated', () =>
  serving(
    () => ({ status: 404, body: { error: { message: 'the model `m` does not exist' } } }),
    async (url, seen) => {
      await rejectsWith(
        prm(url, { concurrency: 1 }).score(batch),
        PrlError,
        'ERR_PRL_HTTP',
        /answered 404: .*does not exist/,
      );
      assert.is(seen.length, 1);
    },
  ),
);
http('a server that cannot be reached is ERR_PRL_HTTP after the retries', async () => {
  // A port that was just given back.
  let gone = '';
  await serving(
    () => ({ body: 0 }),
    async (url) => {
      gone = url;
    },
  );
  await rejectsWith(
    prm(gone, { retries: 1 }).score(batch),
    PrlError,
    'ERR_PRL_HTTP',
    /cannot reach .*\(tried 2 times\)/,
  );
});
http('an answer without valid scores is refused at once and says what came', async () => {
  const refused = (answer: unknown, code: string, message: RegExp, options: Partial<HttpPrmOptions> = {}) =>
    serving(
      () => ({ body: answer }),
      async (url, seen) => {
        await rejectsWith(prm(url, { concurrency: 1, ...options }).score(batch), PrlError, code, message);
        assert.is(seen.length, 1, 'another attempt would be no better');
      },
    );
  const MODEL = 'ERR_PRL_REWARD_MODEL';
  await refused('<html>proxy</html>', 'ERR_PRL_HTTP', /must answer with JSON, not "<html>/);
  await refused('null', MODEL, /an array `data`\. It answered null/);
  await refused({ data: 'x' }, MODEL, /an array `data`/);
  await refused({ data: [] }, MODEL, /`data\[0\]\.data`/);
  await refused({ data: [{ data: [0.1] }] }, MODEL, /3 scores for 3 steps, not 1/);
  await refused({ data: [{ data: [0.1, 0.2, 1.5] }] }, MODEL, /probabilities in \[0, 1\]. It answered 1.5/);
  await refused({ data: [{ data: [0.1, 0.2, null] }] }, MODEL, /probabilities in \[0, 1\]. It answered null/);
  await refused({ data: [{ data: [[0.5, 0.5], [0.5, 0.5], []] }] }, MODEL, /probabilities/);
  await refused({ data: [{ data: [0.1, 0.2, 0.3] }] }, MODEL, /probabilities/, { positiveClass: 1 });
  await refused({ data: [{ probs: [1] }] }, MODEL, /3 scores for 3 steps, not 1/, { endpoint: 'classify' });
  await refused({ data: [null, null, null] }, MODEL, /probabilities/, { endpoint: 'classify' });
});
http('an abort ends the requests and the waiting between them', async () => {
  await serving(
    (body) => ({ ...pooling(body), delay: 5000 }),
    async (url) => {
      const start = performance.now();
      const signal = AbortSignal.timeout(50);
      await rejectsWith(prm(url).score({ ...batch, signal }), PrlError, 'ERR_PRL_ABORTED', /was aborted/);
      assert.ok(performance.now() - start < 2000);
    },
  );
  await serving(
    () => ({ status: 500, body: '' }),
    async (url) => {
      const start = performance.now();
      const signal = AbortSignal.timeout(50);
      const slow = prm(url, { retryDelay: 60_000 });
      await rejectsWith(slow.score({ ...batch, signal }), PrlError, 'ERR_PRL_ABORTED', /was aborted/);
      assert.ok(performance.now() - start < 2000);
    },
  );
});
http('the event loop runs while requests are under way', () =>
  serving(
    (body) => ({ ...pooling(body), delay: 60 }),
    async (url) => {
      let turns = 0;
      const timer = setInterval(() => turns++, 2);
      await prm(url).score(batch);
      clearInterval(timer);
      assert.ok(turns >= 10, `${turns} turns`);
    },
  ),
);
http('wrong options are refused by name', () => {
  for (const [options, code, message] of [
    [{ url: 'localhost:8000' }, 'INVALID_ARGUMENT', /http address/],
    [{ tokenizer: undefined }, 'INVALID_ARGUMENT', /tokenizer/],
    [{ endpoint: 'score' }, 'OUT_OF_RANGE', /'pooling', 'classify'/],
    [{ endpoint: 'classify', chat: true }, 'INVALID_ARGUMENT', /need endpoint 'pooling'/],
    [{ separator: '' }, 'INVALID_ARGUMENT', /separator/],
    [{ timeout: 0 }, 'OUT_OF_RANGE', /timeout/],
    [{ retrys: 3 }, 'UNKNOWN_OPTION', /'retries'/],
  ] as const)
    assert.throws(
      () => prm('http://x', options as never),
      (error: Error & { code: string }) => error.code === `ERR_PRL_${code}` && message.test(error.message),
    );
});
http.run();
