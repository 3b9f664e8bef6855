// A short fuzz of every function that takes user input, in a process of its own. `npm run test:asan` is the long one.
// PRL_FUZZ_SEED sets another seed. To repeat a call: node --expose-gc --import tsx test/fuzz/main.ts --seed S --only
// CALL
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('fuzz');

test('right calls stay right among wrong ones, and wrong ones fail with typed errors', () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-fuzz-'));
  const trace = join(folder, 'trace');
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const args = ['--expose-gc', ...process.execArgv, main, '--calls', '6000', '--workers', '3', '--trace', trace];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const last = readFileSync(trace, 'utf8').trim();
  rmSync(folder, { recursive: true });
  assert.is(run.signal, null, `ended by ${run.signal} in ${last}\n${run.stderr}`);
  assert.is(run.status, 0, run.stderr);
  const report = run.stdout.match(/fuzz: (\d+) calls .* (\d+) accepted, (\d+) refused .*, (\d+) known answers right/);
  assert.ok(report, run.stdout);
  const [calls, accepted, refused, known] = report.slice(1).map(Number);
  assert.is(calls, 6000);
  // Of all three kinds there are many: a generator that only makes nonsense tests nothing.
  for (const count of [accepted, refused, known]) assert.ok(count > 200, run.stdout);
});
test.run();
