// Many threads of JavaScript at once, and the event loop while long calls run.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
function run<R>(name: string, more: object = {}): R {
  const child = fileURLToPath(new URL(name, import.meta.url));
  const options = { encoding: 'utf8', env: { ...env, ...more } } as const;
  return JSON.parse(execFileSync(process.execPath, ['--import', 'tsx', child], options));
}

const test = suite('load');
test('eight worker threads that call kernels at once: the bits of one, from one pool', () => {
  const PRL_THREADS = 4;
  const { before, most, found, expected } = run<{
    before: number;
    most: number;
    found: string[][];
    expected: string[];
  }>('load-child.ts', { PRL_THREADS: String(PRL_THREADS) });
  assert.is(new Set(expected).size, expected.length, 'the rounds differ');
  assert.is(found.length, 8);
  for (const hashes of found) assert.equal(hashes, expected);
  assert.ok(most > before, 'the pool was at work');
  assert.ok(most - before <= PRL_THREADS - 1, `${most - before} threads came, for a pool of ${PRL_THREADS}`);
});

test('checkpoints, generate, update, evaluate and a training step never hold the event loop for 50 ms', () => {
  const turns = run<{ [work: string]: { longest: number; turns: number } }>('loop-child.ts');
  for (const [work, { longest, turns: count }] of Object.entries(turns)) {
    assert.ok(longest > 0 && longest < 50, `${work}: ${longest} ms of the main thread in one turn`);
    assert.ok(count > 100, `${work}: the loop turned ${count} times`);
  }
  assert.equal(Object.keys(turns), ['save', 'load', 'generate', 'logProbs', 'update', 'evaluate', 'step']);
});
test.run();
