// Long calls must not hold the event loop.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
const child = fileURLToPath(new URL('loop-child.ts', import.meta.url));

const test = suite('event loop');
test('checkpoints, generate, update, evaluate and a training step never hold the event loop for 50 ms', () => {
  const output = execFileSync(process.execPath, [...process.execArgv, child], { encoding: 'utf8', env });
  const turns = JSON.parse(output) as { [work: string]: { longest: number; turns: number } };
  for (const [work, { longest, turns: count }] of Object.entries(turns)) {
    assert.ok(longest > 0 && longest < 50, `${work}: ${longest} ms of the main thread in one turn`);
    assert.ok(count > 100, `${work}: the loop turned ${count} times`);
  }
  assert.equal(Object.keys(turns), ['save', 'load', 'generate', 'logProbs', 'update', 'evaluate', 'step']);
});
test.run();
