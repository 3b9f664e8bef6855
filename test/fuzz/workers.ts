// Workers that die in the middle of calls, while the main thread goes on with its own.
import { Worker } from 'node:worker_threads';
import { nativePath } from '../../lib/kernels/native.js';
import { Making } from './making.js';

/**
 * Plain JavaScript on the bare addon, so that a worker starts in milliseconds. It never ends by itself, but in 'exit'
 * and 'throw'.
 */
const CODE = `
const { parentPort, workerData: { addon: path, work } } = require('node:worker_threads');
const addon = require(path);
addon.initialize(class extends Error { constructor(code, message) { super(message); this.code = code; } });
const tensor = (data, shape = [data.length]) =>
  ({ dtype: data instanceof Int32Array ? 'int32' : 'float32', device: 'cpu', shape, data });
const sizes = { vocab: 31, hidden: 16, intermediate: 24, layers: 2, heads: 2, kvHeads: 1, headDim: 8, maxPositions: 4096 };
const policy = addon.policyCreate({ ...sizes, normEps: 1e-6, qkvBias: false, oBias: false, mlpBias: false, qkNorm: false, tied: true, ropeFactor: 1,
  invFreq: tensor(new Float32Array(4).fill(0.1)), dtype: 'float32' });
addon.policyInit({ policy, seed: 1 });
const ids = tensor(new Int32Array(2000).map((_, i) => i % 31)), cuSeqlens = tensor(new Int32Array([0, 1000, 2000]));
const score = () => addon.policyLogProbs({ policy, ids, cuSeqlens, start: tensor(new Int32Array([1, 1])), temperature: 1, microBatchTokens: 1, entropy: true });
const generate = () => addon.policyGenerate({ policy, ids: tensor(new Int32Array([1, 2])), cuSeqlens: tensor(new Int32Array([0, 2])),
  n: 2, maxNewTokens: 300, maxBatch: 0, mostBatch: 8, temperature: 1, topK: 0, topP: 1, seeds: tensor(new Int32Array(2)),
  streams: tensor(new Int32Array(1)), stop: tensor(new Int32Array(0)), onProgress() {} });
const logits = tensor(new Float32Array(500 * 97), [500, 97]), targets = tensor(new Int32Array(500));
const kernel = () => addon.tokenLogprob({ logits, targets, temperature: 1, logProbs: tensor(new Float32Array(500)) });
const forever = (call) => call().then(() => forever(call));
if (work === 'score' || work === 'dispose') forever(score).catch(() => {});
if (work === 'generate') forever(generate);
parentPort.postMessage('running');
if (work === 'dispose') addon.policyDispose({ policy });
if (work === 'kernel') for (;;) kernel();
if (work === 'exit') { score(); process.exit(0); }
if (work === 'throw') { generate(); throw new Error('thrown by a worker'); }
`;

/** Starts workers, two at a time, and ends each at some moment of its calls. */
export async function killWorkers(count: number, seed: number): Promise<void> {
  const m = new Making(seed, false, 'cpu');
  const one = async () => {
    const work = m.of(['score', 'dispose', 'generate', 'kernel', 'exit', 'throw']);
    const worker = new Worker(CODE, { eval: true, workerData: { addon: nativePath(), work } });
    let error: Error | undefined;
    worker.on('error', (e) => {
      error = e;
    });
    const exited = new Promise<number>((resolve) => worker.once('exit', resolve));
    await Promise.race([new Promise((resolve) => worker.once('message', resolve)), exited]);
    await new Promise((resolve) => setTimeout(resolve, m.int(0, 8)));
    await worker.terminate();
    await exited;
    if (error && !(work === 'throw' && /thrown by a worker/.test(error.message)))
      throw new Error(`a worker that was to die in ${work} failed`, { cause: error });
  };
  const some = async (n: number) => {
    for (let i = 0; i < n; i++) await one();
  };
  await Promise.all([some(Math.ceil(count / 2)), some(Math.floor(count / 2))]);
}
