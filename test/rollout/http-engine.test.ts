// VllmEngine and SglangEngine against fake servers that are slow, wrong, lost or found again.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seedOf } from '../../lib/base/random.js';
import { type HttpEngineOptions, PrlError, promptSeeds, SglangEngine, VllmEngine } from '../../lib/index.js';
import {
  type Answer,
  type Asked,
  completionOf,
  type Fake,
  fakeServer,
  sglangAnswer,
  vllmAnswer,
} from '../fakes/rollout-server.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { throwsError } from '../reference/numbers.js';

const PROMPTS = [[5, 6], [7], [8, 9, 10], [11, 2], [3], [4, 4]];
const OPTIONS = { n: 2, maxNewTokens: 3, seed: 9, stop: [1], temperature: 0.7 };
const KINDS = [
  { Engine: VllmEngine, path: '/v1/completions', answer: vllmAnswer },
  { Engine: SglangEngine, path: '/generate', answer: sglangAnswer },
] as const;

/** Runs `test` with as many fakes as there are behaviours; they are gone afterwards. */
async function serving(
  behaviours: ((asked: Asked, n: number) => Answer | undefined | Promise<Answer | undefined>)[],
  test: (urls: string[], fakes: Fake[]) => Promise<void>,
): Promise<void> {
  const fakes = await Promise.all(behaviours.map((respond) => fakeServer(respond)));
  try {
    await test(
      fakes.map(({ url }) => url),
      fakes,
    );
  } finally {
    await Promise.all(fakes.map((fake) => fake.close()));
  }
}
const well = () => undefined;
const engine = (urls: string | string[], more: Partial<HttpEngineOptions> = {}) =>
  new VllmEngine({ urls, retryDelay: 5, ...more });

/** What the fakes say to PROMPTS. */
const expected = (kind: (typeof KINDS)[number] = KINDS[0]) =>
  promptSeeds(OPTIONS.seed, PROMPTS.length).map((seed, p) => ({
    completions: [0, 1].map((sample) => {
      const own = kind.Engine === VllmEngine ? seed + sample : seedOf('sample', seed, sample) >>> 1;
      const { tokens, logProbs, finish } = completionOf(PROMPTS[p], own, OPTIONS.maxNewTokens);
      return { tokens: Int32Array.from(tokens), logProbs: Float32Array.from(logProbs), finishReason: finish };
    }),
  }));

const asking = suite('HTTP engines: requests');
for (const kind of KINDS) {
  const { Engine, path } = kind;
  asking(`${Engine.name} returns ids and log-probabilities bit for bit and in order`, () =>
    serving([well], async ([url], [fake]) => {
      const progress: number[] = [];
      const found = await new Engine({ urls: `${url}/`, model: 'm', apiKey: 'secret' }).generate(
        PROMPTS.map((ids) => Int32Array.from(ids)),
        { ...OPTIONS, onProgress: ({ finished, total }) => progress.push(finished / total) },
      );
      assert.equal(found, expected(kind));
      assert.equal(progress[progress.length - 1], 1);
      const reasons = found.flatMap(({ completions }) => completions.map(({ finishReason }) => finishReason));
      assert.ok(reasons.includes('stop') && reasons.includes('length'), 'both ways to end');
      assert.is(fake.prompts().length, PROMPTS.length);
      for (const asked of fake.asked.filter((one) => one.path === path)) {
        assert.is(asked.headers.authorization, 'Bearer secret');
        assert.is(asked.headers['content-type'], 'application/json');
      }
    }),
  );
}
asking('VllmEngine sends neutral sampling options, the seed and the stop tokens', () =>
  serving([well], async ([url], [fake]) => {
    await engine(url, { model: 'm' }).generate([[5, 6]], { ...OPTIONS, seed: [77] });
    assert.equal(fake.prompts(), [
      {
        model: 'm',
        prompt: [5, 6],
        n: 2,
        seed: 77,
        max_tokens: 3,
        temperature: 0.7,
        ignore_eos: true,
        stop_token_ids: [1],
        return_token_ids: true,
        logprobs: 0,
        ...{ top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 },
      },
    ]);
    await engine(url).generate([[5, 6]], { maxNewTokens: 3 });
    const last = fake.prompts()[1];
    assert.is(last.ignore_eos, false);
    assert.is(last.stop_token_ids, undefined);
    assert.is(last.temperature, 1);
  }),
);
asking('SglangEngine sends neutral sampling options and a seed per sample', () =>
  serving([well], async ([url], [fake]) => {
    await new SglangEngine({ urls: url }).generate([[5, 6]], { ...OPTIONS, seed: [77] });
    const [{ input_ids, sampling_params, return_logprob }] = fake.prompts();
    assert.equal(input_ids, [
      [5, 6],
      [5, 6],
    ]);
    assert.is(return_logprob, true);
    const [one, two] = sampling_params;
    assert.not.equal(one.sampling_seed, two.sampling_seed);
    for (const { sampling_seed, ...rest } of sampling_params) {
      assert.ok(sampling_seed >= 0 && sampling_seed < 2 ** 31);
      assert.equal(rest, {
        max_new_tokens: 3,
        temperature: 0.7,
        ignore_eos: true,
        stop_token_ids: [1],
        no_stop_trim: true,
        ...{ top_p: 1, top_k: -1, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 },
      });
    }
  }),
);
asking('promptSeeds gives every prompt its own seed, the same again for the same seed', () => {
  const seeds = promptSeeds(3, 1000);
  assert.equal(promptSeeds(3, 1000), seeds);
  assert.is(new Set([...seeds, ...promptSeeds(4, 1000)]).size, 2000);
  assert.equal(promptSeeds([5, 6], 2), [5, 6]);
});
asking('greedy decoding asks for one sample and returns it n times', () =>
  serving([well], async ([url], [fake]) => {
    const [{ completions }] = await engine(url).generate([[5]], { ...OPTIONS, n: 3, temperature: 0 });
    assert.is(fake.prompts()[0].n, 1);
    assert.is(completions.length, 3);
    assert.equal(completions[1], completions[0]);
  }),
);
asking('each server has at most concurrency requests at a time, and the least loaded comes first', async () => {
  const now = [0, 0];
  const most = [0, 0];
  const counting = (i: number) => async (asked: Asked) => {
    if (asked.path !== '/v1/completions') return undefined;
    most[i] = Math.max(most[i], ++now[i]);
    await new Promise((done) => setTimeout(done, 80));
    now[i]--;
    return undefined;
  };
  await serving([counting(0), counting(1)], async (urls, fakes) => {
    const many = Array.from({ length: 24 }, (_, i) => [2 + (i % 10)]);
    await engine(urls, { concurrency: 3 }).generate(many, OPTIONS);
    assert.equal(most, [3, 3]);
    for (const fake of fakes) assert.ok(fake.prompts().length >= 6, `${fake.prompts().length}`);
    // Fewer prompts than room: the least loaded comes first.
    const before = fakes.map((fake) => fake.prompts().length);
    await engine(urls, { concurrency: 8 }).generate([[2], [3]], OPTIONS);
    assert.equal(
      fakes.map((fake, i) => fake.prompts().length - before[i]),
      [1, 1],
    );
  });
});
asking.run();

const failing = suite('HTTP engines: failures');
failing('429, 5xx, a timeout and a broken connection are retried', () =>
  serving(
    [
      ({ path, body }, n) => {
        if (path !== '/v1/completions') return undefined;
        if (n === 1) return { status: 500, body: 'oh' };
        if (n === 2) return { status: 429, headers: { 'retry-after': '0.1' }, body: { error: 'busy' } };
        if (n === 3) return { delay: 30_000, body: vllmAnswer(body) };
        if (n === 4) return { hangUp: 40, body: vllmAnswer(body) };
        return undefined;
      },
    ],
    async ([url], [fake]) => {
      const warnings: string[] = [];
      const start = performance.now();
      const found = await engine(url, {
        concurrency: 1,
        timeout: 1500,
        onWarning: (text) => warnings.push(text),
      }).generate(PROMPTS, OPTIONS);
      assert.equal(found, expected());
      assert.is(fake.prompts().length, PROMPTS.length + 4);
      assert.ok(performance.now() - start > 1500, 'the time that it was given, and the one it asked for');
      assert.is(warnings.length, 3, 'a busy server is not a lost one');
      assert.match(warnings[0], /answered 500: "oh".*the others get its requests/);
    },
  ),
);
failing('after the last retry the error says what the server answered', () =>
  serving(
    [({ path }) => (path === '/v1/completions' ? { status: 503, body: 'loading' } : undefined)],
    async ([url], [fake]) => {
      await rejectsWith(
        engine(url, { retries: 2, concurrency: 1 }).generate(PROMPTS, OPTIONS),
        PrlError,
        'ERR_PRL_HTTP',
        /answered 503: "loading" \(tried 3 times\)/,
      );
      assert.is(fake.prompts().length, 3);
    },
  ),
);
failing('a request that the server refuses is not retried', () =>
  serving(
    [
      ({ path }) =>
        path === '/v1/completions' ? { status: 400, body: { error: { message: 'too long' } } } : undefined,
      well,
    ],
    async (urls, [fake]) => {
      await rejectsWith(
        engine(urls, { concurrency: 1 }).generate(PROMPTS, OPTIONS),
        PrlError,
        'ERR_PRL_HTTP',
        /400: .*too long/,
      );
      assert.is(fake.prompts().length, 1);
    },
  ),
);
failing('a server that cannot be reached is ERR_PRL_HTTP after the retries', async () => {
  let gone: string[] = [];
  await serving([well, well], async (urls) => {
    gone = urls;
  });
  await rejectsWith(
    engine(gone, { retries: 2 }).generate(PROMPTS, OPTIONS),
    PrlError,
    'ERR_PRL_HTTP',
    /cannot reach http.*ECONNREFUSED.*\(tried 3 times\)/,
  );
});
failing('a lost server costs only its running requests and is used again when it returns', async () => {
  let fakes: Fake[] = [];
  let lost = false;
  const slow = ({ path }: Asked) => (path === '/v1/completions' ? { delay: 20 } : undefined);
  const first = await fakeServer(async ({ path, body }) => {
    if (path !== '/v1/completions') return undefined;
    if (!lost) {
      lost = true;
      // In mid-batch: what is under way there is gone, and the port with it.
      setTimeout(() => first.close(), 10);
    }
    return { delay: 30_000, body: vllmAnswer(body) };
  });
  const second = await fakeServer((asked) => (slow(asked) ? { delay: 20, body: vllmAnswer(asked.body) } : undefined));
  fakes = [first, second];
  try {
    const rollouts = engine(
      fakes.map(({ url }) => url),
      { concurrency: 2 },
    );
    const many = Array.from({ length: 30 }, (_, i) => [2 + (i % 15), 3]);
    const found = await rollouts.generate(many, OPTIONS);
    assert.is(found.length, 30);
    assert.is(first.prompts().length, 2, 'what was under way there');
    assert.is(second.prompts().length, 30, 'and everything here');
    const again = await fakeServer(well, Number(new URL(first.url).port));
    fakes.push(again);
    assert.equal(await rollouts.generate(many, OPTIONS), found);
    assert.ok(again.prompts().length > 0, 'it has come back');
  } finally {
    await Promise.all(fakes.map((fake) => fake.close()));
  }
});
failing('a server that hangs is not waited for', () =>
  serving([well, () => ({ delay: 30_000 })], async (urls, fakes) => {
    const start = performance.now();
    assert.equal(await engine(urls).generate(PROMPTS, OPTIONS), expected());
    assert.ok(performance.now() - start < 15_000);
    assert.is(fakes[1].prompts().length, 0);
  }),
);
failing('a completion with finish reason abort is asked for again', () =>
  serving(
    [
      ({ path, body }, n) => {
        if (path !== '/v1/completions' || n > 1) return undefined;
        const { choices, ...rest } = vllmAnswer(body);
        return {
          body: { ...rest, choices: choices.map((choice) => ({ ...choice, token_ids: [], finish_reason: 'abort' })) },
        };
      },
    ],
    async ([url], [fake]) => {
      assert.equal(await engine(url, { concurrency: 1 }).generate(PROMPTS, OPTIONS), expected());
      assert.is(fake.prompts().length, PROMPTS.length + 1);
    },
  ),
);
failing('an abort ends requests, retry delays and health checks at once', async () => {
  for (const respond of [
    ({ path, body }: Asked) => (path === '/v1/completions' ? { delay: 30_000, body: vllmAnswer(body) } : undefined),
    ({ path }: Asked) => (path === '/v1/completions' ? { status: 503, body: '' } : undefined),
    ({ path }: Asked) => (path === '/health' ? { delay: 30_000 } : undefined),
  ])
    await serving([respond], async ([url]) => {
      const start = performance.now();
      const slow = engine(url, { retryDelay: 60_000 });
      await rejectsWith(
        slow.generate(PROMPTS, { ...OPTIONS, signal: AbortSignal.timeout(60) }),
        PrlError,
        'ERR_PRL_ABORTED',
        /was aborted/,
      );
      assert.ok(performance.now() - start < 15_000);
      await rejectsWith(
        slow.generate(PROMPTS, { ...OPTIONS, signal: AbortSignal.abort() }),
        PrlError,
        'ERR_PRL_ABORTED',
        /./,
      );
    });
});
failing.run();

const wrong = suite('HTTP engines: wrong answers');
// biome-ignore lint/suspicious/noExplicitAny: an answer to spoil
type Spoil = (answer: any) => unknown;
const spoilt = (
  Engine: typeof VllmEngine | typeof SglangEngine,
  spoil: Spoil,
  message: RegExp,
  code = 'ERR_PRL_ROLLOUT',
) =>
  serving(
    [
      ({ path, body }) => {
        if (path === '/v1/completions') return { body: spoil(vllmAnswer(body)) };
        if (path === '/generate') return { body: spoil(sglangAnswer(body)) };
        return undefined;
      },
    ],
    async ([url], [fake]) => {
      await rejectsWith(new Engine({ urls: url, concurrency: 1 }).generate([[5, 6]], OPTIONS), PrlError, code, message);
      assert.is(fake.prompts().length, 1, 'another attempt would be no better');
    },
  );
const inChoice = (change: object) => (answer: { choices: object[] }) => ({
  ...answer,
  choices: answer.choices.map((choice, i) => (i === 0 ? { ...choice, ...change } : choice)),
});
wrong('a wrong answer of vLLM is refused once, with what was expected and what came', async () => {
  for (const [spoil, message] of [
    [() => null, /an array `choices`, not null/],
    [() => ({ choices: 5 }), /an array `choices`/],
    [(answer) => ({ ...answer, choices: answer.choices.slice(1) }), /2 completions, not 1/],
    [(answer) => ({ ...answer, choices: [...answer.choices, ...answer.choices] }), /2 completions, not 4/],
    [inChoice({ token_ids: null }), /token ids of each completion, not null/],
    [inChoice({ logprobs: null }), /log-probabilities of each completion, not nothing/],
    [inChoice({ token_ids: [] }), /1 to 3 tokens, not 0/],
    [inChoice({ token_ids: [2, 3, 4, 1] }), /1 to 3 tokens, not 4/],
    [
      inChoice({ token_ids: [2, 3, 1], logprobs: { token_logprobs: [-1, -2] } }),
      /3 log-probabilities, one per token, not 2/,
    ],
    [inChoice({ token_ids: [2, 1.5], logprobs: { token_logprobs: [-1, -2] } }), /token ids from 0 to .*, not 1\.5/],
    [inChoice({ token_ids: [-2, 1], logprobs: { token_logprobs: [-1, -2] } }), /token ids from 0 to .*, not -2/],
    [inChoice({ token_ids: ['2', 1], logprobs: { token_logprobs: [-1, -2] } }), /token ids from 0 to .*, not "2"/],
    [
      inChoice({ token_ids: [2, 1], logprobs: { token_logprobs: [null, -2] } }),
      /finite log-probabilities of at most 0, not null/,
    ],
    [
      inChoice({ token_ids: [2, 1], logprobs: { token_logprobs: [0.5, -2] } }),
      /finite log-probabilities of at most 0, not 0\.5/,
    ],
    [
      inChoice({ token_ids: [2, 3], logprobs: { token_logprobs: [-1, -2] }, finish_reason: 'stop' }),
      /stop at one of 1, not 3/,
    ],
    [
      inChoice({ token_ids: [1, 3, 4], logprobs: { token_logprobs: [-1, -2, -3] }, finish_reason: 'length' }),
      /end at the first of 1, not \[1,3,4\]/,
    ],
    [inChoice({ finish_reason: 'tool_calls' }), /'stop' or 'length', not "tool_calls"/],
    [inChoice({ prompt_token_ids: [5, 7] }), /the prompt ids that it was sent, not \[5,7\]/],
    [inChoice({ prompt_token_ids: [5] }), /the prompt ids that it was sent/],
  ] as [Spoil, RegExp][])
    await spoilt(VllmEngine, spoil, message);
  await spoilt(VllmEngine, () => '<html>proxy</html>', /must answer with JSON, not "<html>/, 'ERR_PRL_HTTP');
});
wrong('a wrong answer of SGLang is refused once, with what was expected and what came', async () => {
  const inItem =
    (change: object, meta: object = {}) =>
    (items: { meta_info: object }[]) =>
      items.map((item) => ({ ...item, ...change, meta_info: { ...item.meta_info, ...meta } }));
  for (const [spoil, message] of [
    [() => ({}), /output_token_logprobs/],
    [(items) => items.slice(1), /2 completions, not 1/],
    [inItem({ output_ids: [19, 19, 19] }, {}), /output_ids that agree/],
    [inItem({ output_ids: [] }, { output_token_logprobs: [5, 6] }), /output_ids that agree/],
    [inItem({ output_ids: undefined }, { output_token_logprobs: [5] }), /token ids from 0/],
    [
      inItem({ output_ids: undefined }, { output_token_logprobs: [[Number.NaN, 1, null]] }),
      /finite log-probabilities.*null/,
    ],
    [inItem({}, { prompt_tokens: 3 }), /a prompt of 2 tokens, not 3/],
    [inItem({}, { finish_reason: null }), /'stop' or 'length', not nothing/],
  ] as [Spoil, RegExp][])
    await spoilt(SglangEngine, spoil, message);
});
wrong('SglangEngine accepts output_ids without the stop token', () =>
  serving(
    [
      ({ path, body }) =>
        path === '/generate'
          ? {
              body: sglangAnswer(body).map((item: { output_ids: number[] }) => ({
                ...item,
                output_ids: item.output_ids.filter((id) => id !== 1),
              })),
            }
          : undefined,
    ],
    async ([url]) => {
      assert.equal(await new SglangEngine({ urls: url }).generate(PROMPTS, OPTIONS), expected(KINDS[1]));
    },
  ),
);
wrong('wrong options are refused by name', async () => {
  for (const [options, code, message] of [
    [{ urls: [] }, 'INVALID_ARGUMENT', /at least one server/],
    [{ urls: 'localhost:8000' }, 'INVALID_ARGUMENT', /http address/],
    [{ urls: ['http://a', 'http://a/'] }, 'INVALID_ARGUMENT', /has http:\/\/a twice/],
    [{ urls: 'http://a', concurrency: 0 }, 'OUT_OF_RANGE', /concurrency/],
    [{ urls: 'http://a', retry: 1 }, 'UNKNOWN_OPTION', /'retries'/],
    [{ urls: 'http://a', apiKey: '' }, 'INVALID_ARGUMENT', /apiKey/],
  ] as const)
    throwsError(() => new VllmEngine(options as never), Error, `ERR_PRL_${code}`, message);
  const one = engine('http://127.0.0.1:1');
  for (const [more, code, message] of [
    [{ topP: 0.9 }, 'INVALID_ARGUMENT', /does not take topP: .*truncated/],
    [{ topK: 5 }, 'INVALID_ARGUMENT', /does not take topK/],
    [{ seed: [1] }, 'INVALID_ARGUMENT', /one entry per prompt, 6, not 1/],
    [{ maxNewTokens: 0 }, 'OUT_OF_RANGE', /maxNewTokens/],
    [{ minP: 1 }, 'UNKNOWN_OPTION', /generate has no option 'minP'/],
  ] as const)
    await rejectsWith(one.generate(PROMPTS, { ...OPTIONS, ...more } as never), Error, `ERR_PRL_${code}`, message);
});
wrong.run();

const sync = suite('HTTP engines: weight sync');
let folder: string;
sync.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'prl-sync-'));
});
sync.after.each(() => rmSync(folder, { recursive: true }));
const policy = new TablePolicy(20);

/** A server that takes weights, and says which it has. */
function updatable(kind: 'vllm' | 'sglang', settings: { fails?: number; mute?: boolean; forgets?: boolean } = {}) {
  const state = { version: 'default', loaded: '', updates: 0, paused: false, fails: settings.fails ?? 0 };
  const respond = ({ path, body }: Asked): Answer | undefined => {
    const report = settings.mute ? undefined : state.version;
    switch (path) {
      case '/pause?mode=wait':
        state.paused = true;
        return { body: { status: 'paused' } };
      case '/resume':
        state.paused = false;
        return { body: { status: 'resumed' } };
      case '/collective_rpc':
      case '/update_weights_from_disk': {
        if (state.fails-- > 0) return { status: 500, body: 'out of memory' };
        assert.ok(kind === 'sglang' || state.paused);
        state.loaded = body.model_path ?? body.kwargs.weights_path;
        assert.ok(existsSync(join(state.loaded, 'table.json')), 'the weights are there when they are asked for');
        state.updates++;
        if (body.weight_version && !settings.forgets) state.version = body.weight_version;
        return { body: kind === 'vllm' ? { results: [null] } : { success: true, message: 'Succeeded' } };
      }
      case '/update_weight_version':
        if (settings.mute) return undefined;
        if (!settings.forgets) state.version = body.new_version;
        return { body: { success: true, new_version: body.new_version } };
      case '/weight_info':
      case '/model_info':
        return report === undefined ? undefined : { body: { weight_version: report } };
      case '/v1/completions':
        assert.not.ok(state.paused);
        return { body: vllmAnswer(body) };
      case '/generate':
        return { body: sglangAnswer(body, report) };
    }
    return undefined;
  };
  return { state, respond };
}

for (const [kind, Engine] of [
  ['vllm', VllmEngine],
  ['sglang', SglangEngine],
] as const) {
  sync(`${kind}: sync gives every server the weights once and deletes old folders`, async () => {
    const servers = [updatable(kind), updatable(kind)];
    await serving(
      servers.map(({ respond }) => respond),
      async (urls, fakes) => {
        const rollouts = new Engine({ urls, syncFolder: folder });
        await rollouts.sync(policy, 0);
        await rollouts.sync(policy, 1);
        const [name, ...others] = readdirSync(folder);
        assert.equal(others, []);
        assert.match(name, /^step-000001-[0-9a-f]{8}$/);
        for (const { state } of servers) {
          assert.is(state.version, name);
          assert.is(state.loaded, join(folder, name));
          assert.is(state.updates, 2);
          assert.is(state.paused, false);
        }
        await rollouts.generate(PROMPTS, OPTIONS);
        for (const { state } of servers) assert.is(state.updates, 2, 'nothing more to do');
        if (kind === 'vllm') return;
        const updates = fakes[0].asked.filter(({ path }) => path === '/update_weights_from_disk');
        assert.equal(updates[1].body, { model_path: join(folder, name), weight_version: name, flush_cache: true });
      },
    );
  });
}
sync('sync retries a failed update and resumes vLLM after each attempt', async () => {
  const { state, respond } = updatable('vllm', { fails: 2 });
  await serving([respond], async ([url], [fake]) => {
    await engine(url, { syncFolder: folder }).sync(policy, 3);
    assert.is(state.updates, 1);
    assert.is(fake.asked.filter(({ path }) => path === '/resume').length, 3);
  });
});
sync('an abort in the middle of an update does not leave vLLM paused', async () => {
  const { state, respond } = updatable('vllm');
  const abort = new AbortController();
  await serving(
    [
      (asked) => {
        if (asked.path !== '/collective_rpc') return respond(asked);
        abort.abort();
        return { delay: 30_000 };
      },
    ],
    async ([url]) => {
      const rollouts = engine(url, { syncFolder: folder });
      await rejectsWith(rollouts.sync(policy, 0, { signal: abort.signal }), PrlError, 'ERR_PRL_ABORTED', /was aborted/);
      assert.is(state.paused, false);
      assert.is(state.updates, 0);
    },
  );
});
sync('a server that does not report its weights gets them again after a failure', async () => {
  const { state, respond } = updatable('vllm', { mute: true });
  let hangUp = false;
  await serving(
    [
      (asked) => {
        if (asked.path === '/v1/completions' && hangUp) {
          hangUp = false;
          return { hangUp: 5, body: 'gone with the weights' };
        }
        return respond(asked);
      },
    ],
    async ([url]) => {
      const rollouts = engine(url, { syncFolder: folder });
      await rollouts.sync(policy, 0);
      await rollouts.generate(PROMPTS, OPTIONS);
      assert.is(state.updates, 1);
      hangUp = true;
      await rollouts.generate(PROMPTS, OPTIONS);
      assert.is(state.updates, 2);
    },
  );
});
sync('a server that misses an update gets no requests until it has the weights', async () => {
  const [good, bad] = [updatable('vllm'), updatable('vllm', { fails: 1000 })];
  await serving([good.respond, bad.respond], async (urls, fakes) => {
    const warnings: string[] = [];
    const rollouts = engine(urls, {
      syncFolder: folder,
      retries: 1,
      retryDelay: 1,
      onWarning: (text) => warnings.push(text),
    });
    await rollouts.sync(policy, 0);
    assert.match(
      warnings[0],
      new RegExp(`${urls[1]} did not take the weights of step 0 and gets no requests.*out of memory`),
    );
    assert.equal(await rollouts.generate(PROMPTS, OPTIONS), expected());
    assert.is(fakes[1].prompts().length, 0);
    bad.state.fails = 0;
    await rollouts.generate(
      Array.from({ length: 40 }, () => [5]),
      OPTIONS,
    );
    assert.ok(fakes[1].prompts().length > 0);
    assert.is(bad.state.version, good.state.version);
  });
});
sync('weights that cannot be saved leave no folder and keep the servers as they were', async () => {
  const { state, respond } = updatable('vllm');
  await serving([respond], async ([url]) => {
    const rollouts = engine(url, { syncFolder: folder });
    await rollouts.sync(policy, 0);
    const full = new TablePolicy(20);
    full.save = async (path) => {
      await policy.save(path);
      throw new PrlError('ERR_PRL_IO', 'no space left');
    };
    await rejectsWith(rollouts.sync(full, 1), PrlError, 'ERR_PRL_IO', /no space/);
    assert.equal(readdirSync(folder), [state.version]);
    assert.equal(await rollouts.generate(PROMPTS, OPTIONS), expected());
    assert.is(state.updates, 1);
  });
});
sync('sync fails with ERR_PRL_WEIGHT_SYNC when no server takes the weights', async () => {
  const fails = { fails: 1000 };
  await serving([updatable('vllm', fails).respond, updatable('vllm', fails).respond], async (urls) => {
    await rejectsWith(
      engine(urls, { syncFolder: folder, retries: 1 }).sync(policy, 7),
      PrlError,
      'ERR_PRL_WEIGHT_SYNC',
      /no server took the weights of step 7: .*out of memory.*; .*out of memory/,
    );
  });
  await serving([updatable('vllm', { forgets: true }).respond], async ([url]) => {
    await rejectsWith(
      engine(url, { syncFolder: folder }).sync(policy, 7),
      PrlError,
      'ERR_PRL_WEIGHT_SYNC',
      /must report the weights step-000007-.* not "default"/,
    );
  });
  await serving([well], async ([url]) => {
    await rejectsWith(
      engine(url, { syncFolder: folder }).sync(policy, 7),
      PrlError,
      'ERR_PRL_WEIGHT_SYNC',
      /VLLM_SERVER_DEV_MODE=1/,
    );
    await rejectsWith(engine(url).sync(policy, 7), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /needs syncFolder/);
  });
  await serving(
    [({ path }) => (path === '/update_weights_from_disk' ? { body: { success: false, message: 'shape' } } : undefined)],
    async ([url]) => {
      await rejectsWith(
        new SglangEngine({ urls: url, syncFolder: folder }).sync(policy, 1),
        PrlError,
        'ERR_PRL_WEIGHT_SYNC',
        /"message":"shape"/,
      );
    },
  );
});
sync('a restarted server gets the weights before it is asked', async () => {
  const { state, respond } = updatable('vllm');
  await serving([respond], async ([url]) => {
    const rollouts = engine(url, { syncFolder: folder });
    await rollouts.sync(policy, 0);
    state.version = 'default';
    await rollouts.generate(PROMPTS, OPTIONS);
    assert.is(state.updates, 2);
  });
});
sync('an answer sampled with other weights is not used', async () => {
  const { state, respond } = updatable('sglang');
  let stale = 1;
  await serving(
    [
      (asked) => {
        if (asked.path === '/generate' && stale-- > 0) {
          state.version = 'default';
          return { body: sglangAnswer(asked.body, 'default') };
        }
        return respond(asked);
      },
    ],
    async ([url], [fake]) => {
      const rollouts = new SglangEngine({ urls: url, syncFolder: folder, concurrency: 1, retryDelay: 1 });
      await rollouts.sync(policy, 0);
      assert.equal(await rollouts.generate(PROMPTS, OPTIONS), expected(KINDS[1]));
      assert.is(fake.prompts().length, PROMPTS.length + 1);
      assert.is(state.updates, 2);
    },
  );
});
sync('ids are checked against the vocabulary of the synced policy', async () => {
  const { respond } = updatable('vllm');
  await serving(
    [
      (asked) =>
        asked.path === '/v1/completions'
          ? {
              body: inChoice({ token_ids: [20], logprobs: { token_logprobs: [-1] }, finish_reason: 'length' })(
                vllmAnswer(asked.body),
              ),
            }
          : respond(asked),
    ],
    async ([url]) => {
      const rollouts = engine(url, { syncFolder: folder });
      await rollouts.sync(policy, 0);
      await rejectsWith(
        rollouts.generate(PROMPTS, OPTIONS),
        PrlError,
        'ERR_PRL_ROLLOUT',
        /token ids from 0 to 19, not 20/,
      );
      await rejectsWith(rollouts.generate([[20]], OPTIONS), RangeError, 'ERR_PRL_OUT_OF_RANGE', /prompts\[0\]/);
    },
  );
});
sync.run();
