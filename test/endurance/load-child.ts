// A child process of load.test.ts: threads of JavaScript that call kernels, all at once, and the threads that the
// process has for it.
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import {
  groupAdvantages,
  linearPolicyLoss,
  policyLossFromLogits,
  prlAdvantages,
  setThreads,
  Tensor,
  tokenLogProbs,
} from '../../lib/index.js';

const WORKERS = 8;
const ROUNDS = 3;
const [tokens, vocab, width] = [96, 1501, 64];

/** Hashes of what a round of kernels gives; the rounds differ. */
function rounds(): string[] {
  const wave = (length: number, step: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * step));
  const targets = Int32Array.from({ length: tokens }, (_, i) => (37 * i) % vocab);
  const cuSeqlens = Int32Array.of(0, 30, 31, tokens);
  const rewards = Float32Array.of(1, 0, 0.5);
  return Array.from({ length: ROUNDS }, (_, round) => {
    const hash = createHash('sha256');
    const take = (...tensors: (Tensor | undefined)[]) => {
      for (const tensor of tensors) hash.update(new Uint8Array((tensor!.data as Float32Array).slice().buffer));
    };
    const logits = () => Tensor.from(wave(tokens * vocab, 0.7 + round), [tokens, vocab]);
    const { logProbs, entropy } = tokenLogProbs(logits(), targets);
    take(logProbs, entropy);
    const advantages = groupAdvantages(rewards, Int32Array.of(0, 0, 0));
    take(advantages);
    const { dLogits } = policyLossFromLogits({ logits: logits(), targets, advantages, cuSeqlens });
    take(dLogits);
    const [hidden, head] = [wave(tokens * width, 0.3 + round), wave(vocab * width, 0.9)];
    const { dHidden, dHead } = linearPolicyLoss({
      ...{ hidden: Tensor.from(hidden, [tokens, width]), head: Tensor.from(head, [vocab, width]) },
      ...{ targets, advantages, cuSeqlens },
    });
    take(dHidden, dHead);
    const refLogProbs = wave(tokens, 0.1);
    const cuSteps = Int32Array.of(0, 10, 30, 31, 60, tokens);
    take(
      prlAdvantages({ outcomeAdvantages: advantages, oldLogProbs: logProbs, refLogProbs, cuSeqlens, cuSteps, eta: 50 }),
    );
    return hash.digest('hex');
  });
}

const threads = () => readdirSync('/proc/self/task').length;
if (!isMainThread) {
  parentPort!.postMessage('ready');
  parentPort!.on('message', () => parentPort!.postMessage(rounds()));
} else {
  const [loader, self] = [import.meta.resolve('tsx/esm/api'), import.meta.url].map((each) => JSON.stringify(each));
  const code = `import(${loader}).then(({ register }) => (register(), import(${self})))`;
  const workers = Array.from({ length: WORKERS }, () => new Worker(code, { eval: true }));
  const answer = (worker: Worker) =>
    new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await Promise.all(workers.map(answer));
  const before = threads();
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, threads());
  }, 1);
  const answers = workers.map(answer);
  for (const worker of workers) worker.postMessage('go');
  const found = await Promise.all(answers);
  clearInterval(watch);
  await Promise.all(workers.map((worker) => worker.terminate()));
  setThreads(1);
  console.log(JSON.stringify({ before, most, found, expected: rounds() }));
}
