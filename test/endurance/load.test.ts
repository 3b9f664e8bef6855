// Many JavaScript threads call kernels at once.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
const child = fileURLToPath(new URL('load-child.ts', import.meta.url));

const test = suite('kernels under load');
test('eight worker threads at once get the bits of one, from one thread pool', () => {
  const PRL_THREADS = 4;
  const output = execFileSync(process.execPath, [...process.execArgv, child], {
    encoding: 'utf8',
    env: { ...env, PRL_THREADS: String(PRL_THREADS) },
  });
  const { before, most, found, expected } = JSON.parse(output) as {
    before: number;
    most: number;
    found: string[][];
    expected: string[];
  };
  assert.is(new Set(expected).size, expected.length, 'the rounds differ');
  assert.is(found.length, 8);
  for (const hashes of found) assert.equal(hashes, expected);
  assert.ok(most > before, 'the pool was at work');
  assert.ok(most - before <= PRL_THREADS - 1, `${most - before} threads came, for a pool of ${PRL_THREADS}`);
});
test.run();
