// A child process of loop.test.ts: how long the main thread computes at a stretch while calls of a second or more run.
//   node --import tsx loop-child.ts [clock]      clock: what a watch would see, on a quiet machine
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { evaluate } from '../../lib/eval/evaluate.js';
import { datasetTask, Policy } from '../../lib/index.js';
import { Trainer } from '../../lib/train/trainer.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { longestTurn } from './main-thread.js';

const tokenizer = bpeTokenizer({ chat: false });
const problem = (i: number) => ({ prompt: `What is ${i} and ${i}?`, answer: String(2 * i) });
const task = datasetTask({
  train: Array.from({ length: 100 }, (_, i) => problem(i)),
  test: Array.from({ length: 60 }, (_, i) => problem(1000 + i)),
  tokenizer,
});
const config = {
  ...{ model_type: 'llama' as const, vocab_size: 320, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1 },
  ...{ num_attention_heads: 2, max_position_embeddings: 1024, tie_word_embeddings: true, eos_token_id: 300 },
};
// Small, so that it is JavaScript's part of the work that is large.
const policy = Policy.create(config, { seed: 1 });
const folder = mkdtempSync(join(tmpdir(), 'prl-loop-'));

/** Everything once; `size` responses of up to 500 tokens. */
async function all(size: number, output: string): Promise<{ [name: string]: () => Promise<unknown> }> {
  const prompts = Array.from({ length: size / 8 }, (_, i) => tokenizer.encode(problem(i).prompt));
  const options = { n: 8, maxNewTokens: 500, temperature: 1, seed: 1, ignoreEos: true };
  const groups = await policy.generate(prompts, options);
  const completions = groups.flatMap((group) => group.completions.map(({ tokens }) => tokens));
  const repeated = completions.map((_, i) => prompts[Math.floor(i / 8)]);
  const sequences = completions.map((tokens, i) => Int32Array.from([...repeated[i], ...tokens]));
  const advantages = Float32Array.from(completions, (_, i) => (i % 2 === 0 ? 1 : -1));
  const trainer = new Trainer({
    ...{ policy: policy.clone(), task, method: 'prl', maxSteps: 1, promptsPerStep: size / 8, numGenerations: 8 },
    ...{ maxCompletionLength: 500, learningRate: 1e-4, output, seed: 1 },
  });
  const large = Policy.create({ ...config, vocab_size: 12_800 * size, hidden_size: 8 }, { seed: 1 });
  const checkpoint = `${output}-checkpoint`;
  return {
    save: () => large.save(checkpoint),
    load: async () => (await Policy.load(checkpoint)).dispose(),
    generate: () => policy.generate(prompts, options),
    logProbs: () => policy.logProbs(sequences),
    update: () => policy.update({ prompts: repeated, completions, advantages }, { learningRate: 1e-4 }),
    evaluate: () => evaluate(policy, task, { problems: size / 8, n: 8, maxCompletionLength: 500 }),
    step: async () => {
      for await (const _ of trainer.run()) {
      }
    },
  };
}

// The first time code runs it is compiled: not what is measured.
for (const work of Object.values(await all(16, join(folder, 'small')))) await work();
const result: { [name: string]: object } = {};
for (const [name, work] of Object.entries(await all(384, join(folder, 'large')))) {
  if (process.argv[2] !== 'clock') {
    result[name] = await longestTurn(work);
    continue;
  }
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const begin = performance.now();
  delay.enable();
  await work();
  delay.disable();
  const ms = (nanoseconds: number) => Number((nanoseconds / 1e6).toFixed(1));
  const seconds = (performance.now() - begin) / 1000;
  result[name] = { max: ms(delay.max), p99: ms(delay.percentile(99)), seconds: Number(seconds.toFixed(1)) };
}
console.log(JSON.stringify(result));
rmSync(folder, { recursive: true });
process.exit(0);
