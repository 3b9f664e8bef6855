// Signals to a real `prl train`, and two processes on one folder.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { saveArithmeticModel } from '../fakes/prl.js';
import { prl, TINY, until } from '../fakes/prl-train.js';

const folder = mkdtempSync(join(tmpdir(), 'prl-signals-'));
const at = (...path: string[]) => join(folder, ...path);
const train = (output: string, ...more: string[]) =>
  prl(['train', '--model', at('model'), '--output', at(output), '--max-steps', '100000', ...TINY, ...more]);
const rows = (output: string): number[] => {
  const log = at(output, 'metrics.jsonl');
  if (!existsSync(log)) return [];
  return readFileSync(log, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line).step);
};
const lockOf = (output: string) => readdirSync(at(output)).find((each) => each.startsWith('lock-'));
const checkpoints = (output: string) => readdirSync(at(output, 'checkpoints')).sort();
const name = (step: number) => `step-${String(step).padStart(6, '0')}`;
const finish = async (output: string, steps: number) => {
  const process = prl(['train', '--resume', '--output', at(output), '--max-steps', String(steps)]);
  assert.is(await process.ended, 0, process.said());
  assert.equal(
    rows(output),
    Array.from({ length: steps }, (_, i) => i + 1),
  );
};

const test = suite('prl: signals');
test.before(() => saveArithmeticModel(at('model')));
test.after(() => rmSync(folder, { recursive: true }));

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal} finishes the step, saves and exits with ${code}`, async () => {
    const output = `once-${signal}`;
    const process = train(output);
    await until(() => rows(output).length >= 3, process);
    process.child.kill(signal);
    assert.is(await process.ended, code, process.said());
    assert.match(process.said(), /finishing the step and saving/);
    assert.match(process.said(), /To resume: prl train --resume/);
    const done = rows(output).length;
    assert.is(checkpoints(output).at(-1), name(done), 'the last step is saved');
    assert.not.ok(readdirSync(at(output)).some((each) => each.startsWith('lock-')));
    await finish(output, done + 2);
  });
}

test('SIGINT during the sampling of prl eval exits with 130 and prints no error', async () => {
  for (let attempt = 1; ; attempt++) {
    assert.ok(attempt < 20, 'it is never in the middle');
    const process = prl(['eval', '--model', at('model'), '--problems', '3000', '--n', '64']);
    const timer = setTimeout(() => process.child.kill('SIGINT'), 300 * attempt);
    const end = await process.ended;
    clearTimeout(timer);
    if (end === 'SIGINT') continue; // it had not begun
    assert.is(end, 130, process.said());
    assert.not.match(process.said(), /aborted/);
    break;
  }
});

test('a run continues when nobody reads its output any more', async () => {
  const process = prl(['train', '--model', at('model'), '--output', at('unread'), '--max-steps', '6', ...TINY]);
  for (const stream of [process.child.stdout, process.child.stderr]) stream!.destroy();
  assert.is(await process.ended, 0);
  assert.equal(rows('unread'), [1, 2, 3, 4, 5, 6]);
});

test('a second SIGINT ends the process in mid-step, and the run resumes', async () => {
  const model = at('slow');
  await saveArithmeticModel(model, 256);
  const steps = ['--max-steps', '1000', '--save-steps', '1', '--prompts-per-step', '128', '--num-generations', '64'];
  const length = ['--max-completion-length', '200', '--eval-problems', '1', '--eval-samples', '1'];
  let output: string;
  for (let attempt = 1; ; attempt++) {
    assert.ok(attempt < 10, 'it is never in a step');
    output = `slow-run-${attempt}`;
    const slow = prl(['train', '--model', model, '--output', at(output), ...TINY, ...steps, ...length]);
    // The logs are begun just before the first step, which takes much longer than all of this.
    await until(() => existsSync(at(output, 'samples.jsonl')), slow);
    await new Promise((resolve) => setTimeout(resolve, 100));
    slow.child.kill('SIGINT');
    await until(() => /Interrupt again to stop at once/.test(slow.said()), slow);
    // Within 0.4 s it would be taken for the same one.
    await new Promise((resolve) => setTimeout(resolve, 450));
    slow.child.kill('SIGINT');
    const end = await slow.ended;
    // A shell calls both 130; by itself it ends, or has let go of the folder, where the first signal came before the
    // step.
    if (end === 'SIGINT' && lockOf(output)) break;
    assert.ok(end === 'SIGINT' || end === 130, `${end}`);
  }
  const lock = lockOf(output);
  const resumed = prl(['train', '--resume', '--output', at(output)]);
  await until(() => !existsSync(at(output, lock!)), resumed);
  resumed.child.kill('SIGKILL');
  await resumed.ended;
});

test('a second process on the folder is refused, and the next one takes over after a kill', async () => {
  const first = train('shared');
  await until(() => rows('shared').length >= 2, first);
  const config = readFileSync(at('shared', 'config.json'), 'utf8');
  const second = train('shared', '--resume', '--seed', '9');
  assert.is(await second.ended, 1, second.said());
  assert.match(second.said(), new RegExp(`process ${first.child.pid} is working in .*shared`));
  assert.is(readFileSync(at('shared', 'config.json'), 'utf8'), config);
  const before = rows('shared').length;
  await until(() => rows('shared').length > before + 2, first);
  first.child.kill('SIGKILL');
  await first.ended;
  assert.ok(readdirSync(at('shared')).some((each) => each.startsWith('lock-')));
  writeFileSync(at('shared', 'lock-garbage'), 'not JSON');
  await finish('shared', rows('shared').length + 2);
  assert.not.ok(readdirSync(at('shared')).some((each) => each.startsWith('lock-')));
});
test.run();
