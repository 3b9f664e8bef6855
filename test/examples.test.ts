import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../lib/native.js';

test('examples/kernels.ts runs and its loss falls', () => {
  // The other's server is tested in test/runtime/cuda-example.test.ts; its train.py needs PyTorch with CUDA.
  assert.equal(readdirSync(join(packageRoot, 'examples')).sort(), ['kernels.ts', 'pytorch-ipc'], 'each has a test');
  const run = spawnSync(process.execPath, ['--import', 'tsx', 'examples/kernels.ts'], {
    cwd: packageRoot,
    encoding: 'utf8',
  });
  assert.is(run.status, 0, run.stderr);
  const losses = [...run.stdout.matchAll(/loss (-?[\d.]+)/g)].map((m) => Number(m[1]));
  assert.is(losses.length, 3);
  assert.ok(losses[0] > losses[1] && losses[1] > losses[2], run.stdout);
  assert.match(run.stdout, /step 1: .* mean ratio 1\.000/);
});
test.run();
