import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../lib/kernels/native.js';

function output(example: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, `examples/${example}`], {
    cwd: packageRoot,
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  return stdout;
}
/** Every number that the pattern captures. */
const numbers = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, number]) => Number(number));
const REWARD = /^step \d+: reward ([\d.]+)/gm;

const examples = suite('examples');
examples('every example has a test', () => {
  // The server of pytorch-ipc is tested in test/runtime/cuda-example.test.ts; its train.py needs PyTorch with CUDA.
  // word-problems.mjs is tested in test/word-problems.test.ts.
  assert.equal(readdirSync(join(packageRoot, 'examples')).sort(), [
    'kernels.ts',
    'pytorch-ipc',
    'reward.ts',
    'task.ts',
    'word-problems.mjs',
  ]);
});

examples('kernels.ts learns to count with a trainer of its own', () => {
  const stdout = output('kernels.ts');
  const rewards = numbers(stdout, REWARD);
  assert.is(rewards.length, 9);
  // 640 digits of which one in ten is right by chance (deviation 0.012). After training .95 and more in 25 runs.
  assert.ok(rewards[0] < 0.16, stdout);
  assert.ok(rewards[8] > 0.8, stdout);
  const entropies = numbers(stdout, /entropy ([\d.]+)/g);
  assert.ok(Math.abs(entropies[0] - Math.log(10)) < 1e-3 && entropies[8] < 1, 'from all digits alike to one of them');
});

examples('reward.ts learns to write speakable words', () => {
  const stdout = output('reward.ts');
  const rewards = numbers(stdout, REWARD);
  assert.ok(rewards[0] < 0.35 && rewards[rewards.length - 1] > 0.8, stdout);
  const [before, after] = [...stdout.matchAll(/^words: (.*)$/gm)].map(([, words]) => words.split(' '));
  assert.equal([before.length, after.length], [12, 12]);
  const taken = ([first, ...rest]: string) => /^[a-z]$/.test(first) && rest.length > 0;
  assert.ok(after.every(taken), stdout);
});

examples('task.ts learns which of two ways is right', () => {
  const stdout = output('task.ts');
  const [before, after] = numbers(stdout, /average@4 ([\d.]+)/g);
  const down = numbers(stdout, /downwards ([\d.]+)/g);
  assert.ok(before < 0.65 && after > 0.8, stdout);
  assert.ok(down[0] > 0.3 && down[1] < 0.1, stdout);
});
examples.run();
