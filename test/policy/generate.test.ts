import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, PrlError, setThreads } from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import type { GenerateOptions, PolicyConfig } from '../../lib/policy/types.js';
import { near, throwsError } from '../reference/numbers.js';
import { softmaxRow } from '../reference/softmax.js';

const CONFIG: PolicyConfig = {
  model_type: 'qwen3',
  vocab_size: 37,
  hidden_size: 48,
  intermediate_size: 72,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 128,
  eos_token_id: 3,
};

/** A policy whose distributions are far from uniform: a random one has its matrices scaled up. */
function makePolicy(config: PolicyConfig = CONFIG) {
  const policy = Policy.create(config, { seed: 5 });
  for (const { name, shape } of policy.parameters) {
    if (shape.length < 2) continue;
    const values = policy.readParameter(name).data as Float32Array;
    const factor = name.includes('embed') ? 40 : 2;
    policy.writeParameter(
      name,
      values.map((x) => x * factor),
    );
  }
  return policy;
}

const PROMPTS = Array.from({ length: 9 }, (_, p) =>
  Array.from({ length: 1 + ((p * 5) % 11) }, (_, i) => (p * 7 + i * 3) % 37),
);
const policy = makePolicy();

async function rejects(run: () => Promise<unknown>, kind: new (...a: never[]) => Error, code: string, message: RegExp) {
  let outcome: unknown = new Error('nothing was thrown');
  try {
    await run();
  } catch (error) {
    outcome = error;
  }
  throwsError(
    () => {
      throw outcome;
    },
    kind,
    code,
    message,
  );
}

const plain = (results: { completions: { tokens: Int32Array; logProbs: Float32Array; finishReason: string }[] }[]) =>
  results.map((r) => r.completions.map((c) => [[...c.tokens], [...c.logProbs], c.finishReason]));

const sampling = suite('Policy.generate');

sampling('generate draws the same samples for any batch size, thread count, order and number of samples', async () => {
  const options: GenerateOptions = { n: 3, maxNewTokens: 20, seed: 11 };
  const whole = plain(await policy.generate(PROMPTS, options));
  const { threads } = nativeInfo();
  for (const [maxBatch, count] of [
    [1, 1],
    [4, 2],
    [7, 3],
    [256, 8],
  ]) {
    setThreads(count);
    assert.equal(plain(await policy.generate(PROMPTS, { ...options, maxBatch })), whole, `maxBatch ${maxBatch}`);
  }
  setThreads(threads);
  assert.equal(plain(await policy.generate(PROMPTS.slice(0, 4), options)), whole.slice(0, 4), 'fewer prompts');
  assert.equal(
    plain(await policy.generate(PROMPTS, { ...options, n: 1 })),
    whole.map((c) => c.slice(0, 1)),
    'fewer samples',
  );
  const seeds = PROMPTS.map((_, p) => 2 ** 40 + p);
  const own = plain(await policy.generate(PROMPTS, { ...options, seed: seeds }));
  const reversed = plain(await policy.generate([...PROMPTS].reverse(), { ...options, seed: [...seeds].reverse() }));
  assert.equal(reversed.reverse(), own, 'a seed per prompt: order does not matter');
  assert.not.equal(own, whole);
});

sampling('generate returns the log-probs that policy.logProbs computes', async () => {
  for (const temperature of [1, 0.6, 0]) {
    const results = await policy.generate(PROMPTS, { n: 4, maxNewTokens: 24, temperature, seed: 2 });
    const sequences: number[][] = [];
    const start: number[] = [];
    const got: number[] = [];
    results.forEach((r, p) => {
      for (const c of r.completions) {
        sequences.push([...PROMPTS[p], ...c.tokens]);
        start.push(PROMPTS[p].length);
        got.push(...c.logProbs);
      }
    });
    const { logProbs } = await policy.logProbs(sequences, { start, temperature: temperature || 1 });
    // Two orders of float32 additions over sums of 48 to 72 terms, two layers deep, divided by the temperature.
    near(got, logProbs, 2e-5 / (temperature || 1), `temperature ${temperature}`);
    assert.ok(Math.min(...got) < -0.5 || temperature === 0, 'the distributions are not trivial');
  }
});

sampling('greedy decoding takes the largest logit at each step', async () => {
  const [{ completions }] = await policy.generate([PROMPTS[3]], { maxNewTokens: 12, temperature: 0, ignoreEos: true });
  const sequence = [...PROMPTS[3]];
  for (const token of completions[0].tokens) {
    const logits = (await policy.logits(sequence)).data as Float32Array;
    const last = logits.subarray(logits.length - 37);
    assert.is(token, last.indexOf(Math.max(...last)));
    sequence.push(token);
  }
});

sampling('sampled tokens follow the distribution (chi-square over 20,000 draws)', async () => {
  const prompt = PROMPTS[4];
  const logits = (await policy.logits(prompt)).data as Float32Array;
  for (const [options, tau, kept] of [
    [{ temperature: 1 }, 1, 37],
    [{ temperature: 2 }, 2, 37],
    [{ temperature: 2, topK: 5 }, 2, 5],
    [{ temperature: 2, topP: 0.6 }, 2, 0],
  ] as const) {
    const { probabilities } = softmaxRow(logits.subarray(logits.length - 37), 0, tau);
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    let count: number = kept;
    if (count === 0) for (let mass = 0; mass < 0.6; count++) mass += probabilities[order[count]];
    const support = order.slice(0, count);
    const mass = support.reduce((sum, j) => sum + probabilities[j], 0);
    const n = 20000;
    const [{ completions }] = await policy.generate([prompt], { n, maxNewTokens: 1, seed: 3, ...options });
    const seen = new Array(37).fill(0);
    for (const c of completions) seen[c.tokens[0]]++;
    let chi = 0;
    let cells = 0;
    for (const j of support) {
      const expected = (n * probabilities[j]) / mass;
      if (expected < 5) continue;
      chi += (seen[j] - expected) ** 2 / expected;
      cells++;
    }
    for (let j = 0; j < 37; j++) if (!support.includes(j)) assert.is(seen[j], 0, `token ${j} was cut`);
    // Mean cells - 1, deviation sqrt(2 (cells - 1)): six deviations above is far past 1e-6.
    assert.ok(
      chi <= cells + 6 * Math.sqrt(2 * cells) + 6,
      `chi-square ${chi} over ${cells} cells for ${JSON.stringify(options)}`,
    );
  }
});

sampling('a stop token ends a completion and stays in it, and ignoreEos samples past it', async () => {
  const stopped = await policy.generate(PROMPTS, { n: 8, maxNewTokens: 40, seed: 1 });
  const all = stopped.flatMap((r) => r.completions);
  assert.ok(all.some((c) => c.finishReason === 'stop'));
  for (const c of all) {
    assert.is(c.tokens.indexOf(3), c.finishReason === 'stop' ? c.tokens.length - 1 : -1);
    assert.is(c.finishReason === 'length', c.tokens.length === 40 && c.tokens[39] !== 3);
    assert.is(c.logProbs.length, c.tokens.length);
  }
  const on = (await policy.generate(PROMPTS, { n: 8, maxNewTokens: 40, seed: 1, ignoreEos: true })).flatMap(
    (r) => r.completions,
  );
  on.forEach((c, i) => {
    assert.is(c.tokens.length, 40);
    assert.equal(c.tokens.slice(0, all[i].tokens.length), all[i].tokens, 'the same samples up to the stop');
  });
  const other = (await policy.generate(PROMPTS, { n: 2, maxNewTokens: 40, seed: 1, stop: [5, 9] })).flatMap(
    (r) => r.completions,
  );
  assert.ok(other.some((c) => [5, 9].includes(c.tokens.at(-1)!)));
});

sampling('generate returns nothing for no prompts and stops after one token', async () => {
  assert.equal(await policy.generate([], { maxNewTokens: 4 }), []);
  const [{ completions }] = await policy.generate([[1]], { maxNewTokens: 1 });
  assert.is(completions[0].tokens.length, 1);
});

sampling('generate reports progress, stops on abort, and leaves the policy usable', async () => {
  const big = makePolicy({ ...CONFIG, max_position_embeddings: 4096, eos_token_id: undefined });
  const seen: number[] = [];
  const controller = new AbortController();
  const run = big.generate(PROMPTS, {
    n: 200,
    maxNewTokens: 4000,
    signal: controller.signal,
    onProgress: ({ finished, total, tokens }) => {
      assert.is(total, 1800);
      assert.ok(finished <= total);
      seen.push(tokens);
      controller.abort();
    },
  });
  await rejects(() => run, PrlError, 'ERR_PRL_ABORTED', /abort/);
  assert.ok(seen.length > 0 && seen[0] > 0);
  assert.is((await big.generate([[1, 2]], { maxNewTokens: 3 }))[0].completions[0].tokens.length, 3);
  big.dispose();
  await rejects(() => big.generate([[1]], { maxNewTokens: 1 }), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
});

sampling('an error that onProgress throws ends generate with that very error', async () => {
  const big = makePolicy({ ...CONFIG, max_position_embeddings: 4096, eos_token_id: undefined });
  const error = new Error('from onProgress');
  let calls = 0;
  const run = big.generate(PROMPTS, {
    n: 200,
    maxNewTokens: 4000,
    onProgress: () => {
      calls++;
      throw error;
    },
  });
  await run.then(
    () => assert.unreachable(),
    (thrown: unknown) => assert.is(thrown, error),
  );
  assert.is(calls, 1);
  // The policy goes on; that it is disposed of meanwhile changes nothing.
  await big.generate([[1]], { maxNewTokens: 3 });
  const disposed = big.generate(PROMPTS, {
    n: 200,
    maxNewTokens: 4000,
    onProgress: () => {
      big.dispose();
      throw error;
    },
  });
  await disposed.then(
    () => assert.unreachable(),
    (thrown: unknown) => assert.is(thrown, error),
  );
});

sampling('generate refuses wrong arguments with typed errors that name the argument', async () => {
  const go = (prompts: unknown, options: object) => () =>
    policy.generate(prompts as number[][], options as GenerateOptions);
  const ok = { maxNewTokens: 2 };
  await rejects(go('text', ok), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /prompts/);
  await rejects(go([[]], ok), RangeError, 'ERR_PRL_OUT_OF_RANGE', /empty/);
  await rejects(go([[1, 37]], ok), RangeError, 'ERR_PRL_OUT_OF_RANGE', /37, outside the vocabulary \[0, 37\)/);
  await rejects(go([[1.5]], ok), RangeError, 'ERR_PRL_OUT_OF_RANGE', /1.5/);
  await rejects(go([[1]], {}), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /maxNewTokens/);
  await rejects(go([[1]], { maxNewTokens: 200 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /maxNewTokens/);
  await rejects(go([new Array(127).fill(1)], ok), RangeError, 'ERR_PRL_OUT_OF_RANGE', /max_position_embeddings/);
  await rejects(go([[1]], { ...ok, temperature: -1 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /temperature/);
  await rejects(go([[1]], { ...ok, temperature: Number.NaN }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /temperature/);
  await rejects(go([[1]], { ...ok, topP: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /topP/);
  await rejects(go([[1]], { ...ok, topk: 3 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'topK'/);
  for (const temperature of [1e-50, 1e-39, 1e39, Infinity])
    await rejects(go([[1]], { ...ok, temperature }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /temperature must be/);
  await rejects(go([[1]], { ...ok, stop: [99] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /stop/);
  await rejects(go([[1]], { ...ok, stop: 5 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /stop must be an array/);
  await rejects(go([[1]], { ...ok, ignoreEos: 'no' }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /ignoreEos/);
  await rejects(
    go([[1]], { ...ok, seed: [1, 2] }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /seed must have one entry per prompt, 1, not 2/,
  );
  await rejects(go([[1]], { ...ok, n: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /n must be/);
});

sampling('a key-value cache of 2^64 bytes is ERR_PRL_OUT_OF_MEMORY', async () => {
  const [width, positions, n] = [2 ** 10, 2 ** 31 - 1, 2 ** 20];
  // 2 x width x positions x n floats are 2^64 bytes.
  const config = { ...policy.config, num_attention_heads: 8, num_key_value_heads: 8, head_dim: width / 8 };
  const wide = Policy.create({ ...config, max_position_embeddings: positions }, { seed: 1, memoryCheck: false });
  const call = wide.generate([[1]], { n, maxBatch: n, maxNewTokens: positions - 1 });
  await rejects(() => call, PrlError, 'ERR_PRL_OUT_OF_MEMORY', /out of memory/);
  assert.is((await wide.generate([[1]], { maxNewTokens: 3 }))[0].completions.length, 1);
});

sampling('generate with a NaN in the weights is ERR_PRL_NON_FINITE', async () => {
  const broken = makePolicy();
  const norm = broken.readParameter('model.norm.weight').data as Float32Array;
  norm[0] = Number.NaN;
  broken.writeParameter('model.norm.weight', norm);
  await rejects(() => broken.generate([[1]], { maxNewTokens: 3 }), PrlError, 'ERR_PRL_NON_FINITE', /diverged/);
});
sampling.run();
