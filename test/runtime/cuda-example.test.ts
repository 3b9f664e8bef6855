// examples/pytorch-ipc/server.ts with this process as the trainer. `npm run test:cuda` and `test:emulated` run it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { policyLossFromLogits, synchronize, Tensor } from '../../lib/index.js';
import { place } from '../reference/device.js';
import { near, normals, UNIT_ROUNDOFF } from '../reference/numbers.js';

const server = fileURLToPath(new URL(`../../examples/pytorch-ipc/server${extname(import.meta.url)}`, import.meta.url));

function start() {
  const child = spawn(process.execPath, [...process.execArgv, server], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, 'close');
  return {
    async ask(request: object | string) {
      child.stdin.write(`${typeof request === 'string' ? request : JSON.stringify(request)}\n`);
      const { value, done } = await lines.next();
      assert.not(done, 'the server ended without an answer');
      return JSON.parse(value);
    },
    async end() {
      child.stdin.end();
      return (await ended)[0];
    },
  };
}

const example = suite('examples/pytorch-ipc');
for (const dtype of ['float32', 'bfloat16'] as const) {
  example(`the server replaces ${dtype} logits of this process by their gradient`, async () => {
    const [rows, vocab] = [6, 501];
    const batch = {
      targets: [3, 500, 0, 77, 250, 9],
      advantages: [1, -1, 0.5, 2, -0.25, 1],
      oldLogProbs: [-6.5, -6, -7, -5.5, -6.25, -8],
      cuSeqlens: [0, 2, 2, 6],
    };
    const before = place([1, 2, 3]); // so that the logits are not where their memory begins
    const logits = place(normals(rows * vocab, 5), [rows, vocab], dtype);
    const after = place([4, 5, 6]);
    const cpu = Tensor.from(await logits.read(), [rows, vocab], { dtype });
    const expected = policyLossFromLogits({
      logits: cpu,
      ...batch,
      advantages: Float32Array.from(batch.advantages),
      oldLogProbs: Float32Array.from(batch.oldLogProbs),
      gradient: 'inplace',
    });
    await synchronize();
    const { handle, offset } = logits.exportIpc();
    const request = { handle: Buffer.from(handle).toString('base64'), offset, shape: [rows, vocab], dtype, ...batch };

    const { ask, end } = start();
    assert.match((await ask('no JSON')).error, /JSON/);
    assert.match((await ask({ ...request, targets: [1] })).error, /^ERR_PRL_/);
    const said = await ask(request);
    // Rows are summed in another order than on the CPU: a few roundings of float32 on log-probabilities of about 7.
    near([said.loss], [expected.loss], 1e-5, 'loss');
    assert.is(said.metrics.clipRatioRegion, expected.metrics.clipRatioRegion);
    // Probabilities follow the log-probabilities; the last rounding to the storage type may fall to the other side.
    near(await logits.read(), await cpu.read(), 1e-7, 'gradient', 1e-5 + 2 * UNIT_ROUNDOFF[dtype]);
    near(await before.read(), [1, 2, 3], 0, 'before');
    near(await after.read(), [4, 5, 6], 0, 'after');
    assert.is(await end(), 0);
  });
}
example.run();
