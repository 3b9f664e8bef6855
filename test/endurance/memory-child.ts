// A child process of memory.test.ts: does some work many times and says what memory it takes in between.
//   node --expose-gc --import tsx memory-child.ts WORK
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Policy, policyLossFromLogits, Tensor, tokenLogProbs } from '../../lib/index.js';
import { native } from '../../lib/kernels/native.js';
import { Trainer } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';

/** Resident memory without what is mapped from files: pages of code come as they are first run. */
function anonymousBytes(): number {
  try {
    return 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
  } catch {
    return process.memoryUsage.rss();
  }
}

async function say(): Promise<void> {
  // Finalizers run on the event loop.
  for (let i = 0; i < 3; i++) {
    global.gc!();
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  console.log(JSON.stringify({ native: anonymousBytes(), heap: heapUsed, external }));
}

const config = {
  model_type: 'llama' as const,
  vocab_size: 2000,
  hidden_size: 256,
  intermediate_size: 512,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  tie_word_embeddings: true,
  eos_token_id: 1,
};

const WORK: { [name: string]: () => Promise<void> } = {
  async kernels() {
    const [tokens, vocab] = [16, 160];
    const logits = Float32Array.from({ length: tokens * vocab }, (_, i) => Math.sin(i));
    const targets = Int32Array.from({ length: tokens }, (_, i) => (7 * i) % vocab);
    const advantages = Float32Array.from({ length: tokens }, (_, i) => Math.cos(i));
    const cuSeqlens = Int32Array.of(0, 5, tokens);
    for (let call = 1; call <= 10_000; call++) {
      tokenLogProbs(Tensor.from(logits, [tokens, vocab]), targets);
      policyLossFromLogits({ logits: Tensor.from(logits, [tokens, vocab]), targets, advantages, cuSeqlens });
      try {
        tokenLogProbs(Tensor.from(logits, [tokens, vocab]), targets.subarray(1));
      } catch {}
      if (call % 1000 === 0) await say();
      else if (call % 100 === 0) await setImmediate();
    }
  },
  async training() {
    const policy = nativePolicy(echoTask);
    const trainer = new Trainer({
      ...{ policy, task: echoTask, method: 'prl', maxSteps: 200, promptsPerStep: 4, numGenerations: 4 },
      ...{ maxCompletionLength: 6, learningRate: 1e-3, seed: 1, evalSteps: 10, evalProblems: 5, evalSamples: 2 },
    });
    for await (const { step } of trainer.run()) if (step % 20 === 0) await say();
  },
  /** Policies that are forgotten, without a word and without a collection that is asked for. */
  async policies() {
    for (let i = 1; i <= 50; i++) {
      const policy = Policy.create(config, { seed: i });
      await policy.logProbs([Int32Array.of(1, 2, 3)]);
      await setImmediate();
      console.log(JSON.stringify({ native: anonymousBytes(), heap: 0, external: process.memoryUsage().external }));
    }
  },
  async accounting() {
    // process.memoryUsage().external counts buffers of JavaScript alone.
    const external = (): number => native().externalMemory({});
    const before = external();
    const since = () => external() - before;
    const policy = Policy.create(config, { seed: 1 });
    const made = since();
    const sequence = Int32Array.from({ length: 64 }, (_, i) => i);
    const batch = { prompts: [sequence], completions: [sequence], advantages: Float32Array.of(1) };
    await policy.update(batch, { learningRate: 1e-3 });
    const trained = since();
    policy.resetOptimizer();
    const reset = since();
    const copy = policy.clone();
    const cloned = since();
    copy.dispose();
    policy.dispose();
    policy.dispose();
    console.log(JSON.stringify({ bytes: 4 * policy.parameterCount, made, trained, reset, cloned, after: since() }));
  },
  /** The same of one that is forgotten in the middle of a call. */
  async forgotten() {
    const before: number = native().externalMemory({});
    for (let i = 0; i < 3; i++)
      await Policy.create(config, { seed: i }).logProbs([Int32Array.from({ length: 200 }, (_, j) => j)]);
    await say();
    console.log(JSON.stringify({ after: native().externalMemory({}) - before }));
  },
};
await WORK[process.argv[2]]();
