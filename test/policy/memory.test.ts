// estimateMemory against what a process takes, and the refusal of settings that cannot fit.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { availableMemory, estimateMemory, type MemoryOptions, Policy, PrlError } from '../../lib/index.js';
import { largestThatFits } from '../../lib/policy/memory-check.js';
import { throwsError } from '../reference/numbers.js';
import { rejectsWith } from './rejects.js';
import { tinyConfig, tokens } from './tiny.js';

const child = fileURLToPath(new URL('memory-child.ts', import.meta.url));
const config = {
  model_type: 'qwen3',
  vocab_size: 3000,
  hidden_size: 64,
  intermediate_size: 192,
  num_hidden_layers: 16,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 4096,
  tie_word_embeddings: true,
} as const;

/** Of the matrix products, which no policy owns (native/model/cpu/memory.cc). */
const SCRATCH = 12 * 2 ** 20;

const test = suite('memory of a policy');

if (process.platform === 'linux') {
  const cases: [string, object, MemoryOptions][] = [
    ['an update', {}, { training: true, microBatchTokens: 4096 }],
    [
      'in bfloat16, recomputing',
      { hidden_size: 512, intermediate_size: 1500, num_hidden_layers: 4, vocab_size: 8000 },
      { training: true, microBatchTokens: 512, dtype: 'bfloat16', gradientCheckpointing: true },
    ],
    [
      'generation',
      { num_key_value_heads: 4 },
      { training: false, microBatchTokens: 1, maxBatch: 128, promptTokens: 72, maxNewTokens: 72 },
    ],
  ];
  for (const [name, change, options] of cases) {
    test(`estimateMemory is within 15% of the peak and at least what native code allocates: ${name}`, () => {
      const model = { ...config, ...change };
      const { total, kvCache } = estimateMemory(model, options);
      const argument = JSON.stringify({ config: model, options });
      const output = execFileSync(process.execPath, ['--expose-gc', ...process.execArgv, child, argument], {
        encoding: 'utf8',
      });
      const { peak, allocated } = JSON.parse(output);
      assert.ok(total > 100e6, `${total} is more than a process varies by`);
      assert.ok(Math.abs(total / peak - 1) < 0.15, `${name}: estimated ${total / 1e6} MB, measured ${peak / 1e6} MB`);
      // A cache as large as this one is given back at the end.
      const share = allocated / (total - kvCache - SCRATCH);
      assert.ok(share <= 1 && share > 0.95, `${name}: native code took ${share} of what it had said`);
    });
  }
}

test('policies that nobody disposes of are collected before they add up', async () => {
  // Small objects of JavaScript before much memory: it is the latter that has to make the collector run.
  const shallow = { ...config, vocab_size: 20_000, num_hidden_layers: 1 };
  const policy = Policy.create(shallow, { seed: 1, memoryCheck: false });
  const bytes = 4 * policy.parameterCount;
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 200; i++) {
    policy.clone();
    // The collector's finalizers have their turn here.
    await new Promise(setImmediate);
  }
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 100 * bytes, `${grown / 1e6} MB after 200 copies of ${bytes / 1e6} MB`);
  policy.dispose();
});

test('estimateMemory splits its total into the parts that the options say', () => {
  const policy = Policy.create(config, { seed: 1 });
  const n = policy.parameterCount;
  const wide = estimateMemory(config);
  const narrow = estimateMemory(config, { dtype: 'bfloat16' });
  assert.is(wide.weights, 4 * n);
  assert.is(narrow.weights, 2 * n);
  assert.is(wide.gradients, 4 * n);
  assert.is(wide.weights + wide.optimizer, narrow.weights + narrow.optimizer, 'masters are the rest of the weights');
  assert.is(wide.kvCache, 0);
  for (const { total, ...parts } of [wide, narrow]) {
    assert.is(
      Object.values(parts).reduce((a, b) => a + b),
      total,
    );
  }
  const scoring = estimateMemory(config, { training: false });
  assert.is(scoring.gradients + scoring.optimizer, 0);
  assert.ok(scoring.activations < wide.activations / 3);
  const recomputed = estimateMemory(config, { gradientCheckpointing: true });
  assert.ok(recomputed.activations < wide.activations / 2);
  assert.is(estimateMemory(config, { reference: true, dtype: 'bfloat16' }).weights, 4 * n);
  const cache = estimateMemory(config, { maxBatch: 3, promptTokens: 10, maxNewTokens: 22 }).kvCache;
  assert.is(cache, 3 * 16 * 2 * 2 * 16 * 32 * 4); // rows, layers, keys and values, heads, width, positions, bytes
  // 1.5 G parameters on a machine of some tens of GiB.
  const qwen = {
    model_type: 'qwen2',
    vocab_size: 151936,
    hidden_size: 1536,
    intermediate_size: 8960,
    num_hidden_layers: 28,
    num_attention_heads: 12,
    num_key_value_heads: 2,
    tie_word_embeddings: true,
  } as const;
  const options = { dtype: 'bfloat16', reference: true, gradientCheckpointing: true } as const;
  const { weights, total } = estimateMemory(qwen, options);
  assert.is(weights, 4 * 1543714304);
  assert.ok(total > 27e9 && total < 33e9, `${total}`);
});

test('availableMemory takes the least of the machine and the cgroups around the process', () => {
  const root = mkdtempSync(join(tmpdir(), 'prl-memory-'));
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  try {
    put('proc/meminfo', 'MemTotal:       64 kB\nMemAvailable:    2000 kB\n');
    assert.is(availableMemory(root), 2000 * 1024);
    put('proc/self/cgroup', '0::/a/b\n');
    put('sys/fs/cgroup/a/b/memory.max', 'max\n');
    assert.is(availableMemory(root), 2000 * 1024);
    put('sys/fs/cgroup/a/memory.max', '1000000\n');
    put('sys/fs/cgroup/a/memory.current', '700000\n');
    put('sys/fs/cgroup/a/memory.stat', 'anon 1\ninactive_file 50000\n');
    assert.is(availableMemory(root), 350_000);
    put('sys/fs/cgroup/memory.max', '10\n');
    put('sys/fs/cgroup/memory.current', '20\n');
    assert.is(availableMemory(root), 0, 'never less than nothing');
    put('proc/self/cgroup', '12:cpu:/x\n5:memory:/docker/c\n');
    put('sys/fs/cgroup/memory/memory.limit_in_bytes', '9223372036854771712\n');
    put('sys/fs/cgroup/memory/docker/c/memory.limit_in_bytes', '5000\n');
    put('sys/fs/cgroup/memory/docker/c/memory.usage_in_bytes', '1000\n');
    assert.is(availableMemory(root), 4000);
  } finally {
    rmSync(root, { recursive: true });
  }
  assert.ok(availableMemory() > 1e6);
});

test('largestThatFits finds the largest setting within the memory, or undefined', () => {
  const square = (n: number) => n * n;
  assert.is(largestThatFits(1, 100, 50, square), 7);
  assert.is(largestThatFits(1, 100, 49, square), 7);
  assert.is(largestThatFits(1, 5, 50, square), 5);
  assert.is(largestThatFits(8, 100, 50, square), undefined);
});

// Settings that no machine has the memory for.
const HUGE = { max_position_embeddings: 2 ** 31 - 1 };
const CODE = 'ERR_PRL_OUT_OF_MEMORY';

test('weights, an update or a generation too large for memory is refused with a setting that fits', async () => {
  throwsError(
    () => Policy.create({ ...tinyConfig(), hidden_size: 2 ** 20, intermediate_size: 2 ** 22 }, { seed: 0 }),
    PrlError,
    CODE,
    /a policy of \d+ parameters in float32 needs about \d+ GiB of memory more, and [\d.]+ GiB are available/,
  );
  const policy = Policy.create(tinyConfig(HUGE), { seed: 1 });
  const prompts = [[1, 2, 3]];
  const generate = (maxNewTokens: number, maxBatch?: number) =>
    policy.generate(prompts, { n: 2 ** 20, maxNewTokens, ...(maxBatch !== undefined && { maxBatch }) });
  await rejectsWith(generate(2 ** 31 - 100), PrlError, CODE, /generation \(3 \+ \d+ tokens, 1 at once\).*maxNewTokens/);
  await rejectsWith(generate(1e6, 2 ** 20), PrlError, CODE, /1048576 at once\) needs .*: maxBatch \d+ fits/);
  // A wide network and a long batch.
  const wide = Policy.create({ ...tinyConfig(HUGE), hidden_size: 4, intermediate_size: 2 ** 21 }, { seed: 1 });
  const batch = {
    prompts: Array.from({ length: 5000 }, (_, i) => tokens(2, i)),
    completions: Array.from({ length: 5000 }, (_, i) => tokens(18, i)),
    advantages: new Float32Array(5000).fill(1),
  };
  for (const call of [
    () => wide.update(batch, { learningRate: 0, microBatchTokens: 100_000 }),
    () => wide.computeGradients(batch, { microBatchTokens: 100_000 }),
  ]) {
    await rejectsWith(
      call(),
      PrlError,
      CODE,
      /micro-batches of 100000 tokens\) needs about \d+ GiB .*: microBatchTokens \d+ fits, and \d+ with gradientCheckpointing/,
    );
  }
  const sequences = batch.prompts.map((prompt, i) => [...prompt, ...batch.completions[i]]);
  await rejectsWith(
    wide.logProbs(sequences, { microBatchTokens: 100_000 }),
    PrlError,
    CODE,
    /scoring \(micro-batches of 100000 tokens\) needs about \d+ GiB .*: microBatchTokens \d+ fits/,
  );
  const many = Policy.create({ ...tinyConfig(HUGE), hidden_size: 4, vocab_size: 2 ** 20 }, { seed: 1 });
  await rejectsWith(
    many.logits(tokens(1e6, 1)),
    PrlError,
    CODE,
    /logits of 1000000 tokens needs .*: those of \d+ tokens fit/,
  );
  const options = { training: true, microBatchTokens: 2 ** 30 };
  throwsError(() => policy.checkMemory(options), PrlError, CODE, /the run needs about/);
  policy.checkMemory({ training: true, microBatchTokens: 16 });
  Policy.create(policy.config, { seed: 1, memoryCheck: false }).checkMemory(options);
});
test.run();
