import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CellResult } from '../../../lib/cli/compare/jobs.js';
import { packageRoot } from '../../../lib/kernels/native.js';
import { ArithmeticTask } from '../../../lib/tasks/arithmetic.js';
import { nativePolicy } from '../../fakes/native-policy.js';
import { environment, main } from '../../fakes/prl.js';
import { openPage } from '../report/browser.js';

const options = { cwd: packageRoot, encoding: 'utf8' as const, env: environment };
const prl = (...args: string[]) => spawnSync(process.execPath, [...main, ...args], options);

let folder: string;
let arguments_: string[];
const compare = suite('prl compare');
compare.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prl-compare-'));
  const model = join(folder, 'model');
  const task = new ArithmeticTask();
  await nativePolicy(task).save(model);
  await task.tokenizer.save(model);
  arguments_ = [
    ...['compare', '--preset', 'smoke', '--model', model, '--methods', 'grpo,prl', '--seeds', '2', 'prl.eta=5'],
    ...['--prompts-per-step', '4', '--num-generations', '4', '--max-completion-length', '12', '--max-steps', '30'],
    ...['--eval-problems', '6', '--eval-samples', '2', '--save-steps', '2'],
  ];
});
compare.after(() => rmSync(folder, { recursive: true }));

const output = (name: string) => join(folder, name);
const cellFile = (name: string, cell: string) => join(output(name), 'cells', cell, 'cell.json');
const CELLS = ['grpo-seed-0', 'prl-seed-0', 'grpo-seed-1', 'prl-seed-1'];
/** What a cell came to, without what a clock decides. */
const outcome = (name: string, cell: string) => {
  const { seconds: _, levels, ...rest }: CellResult = JSON.parse(readFileSync(cellFile(name, cell), 'utf8'));
  return { ...rest, levels: levels.map(({ seconds: _, ...figures }) => figures) };
};
const finished = (name: string) => CELLS.filter((cell) => existsSync(cellFile(name, cell)));

compare('prl compare trains every cell and writes tables, plots and a page', async () => {
  const run = prl(...arguments_, '--output', output('whole'));
  assert.is(run.status, 0, run.stderr + run.stdout);
  assert.match(run.stdout, /average@2 2-4/);
  assert.match(run.stdout, /prl - grpo/);
  assert.equal(finished('whole'), CELLS);
  const { results, paired, failed, cells } = JSON.parse(readFileSync(join(output('whole'), 'results.json'), 'utf8'));
  assert.equal(
    results.map(({ name }: { name: string }) => name),
    ['before', 'grpo', 'prl'],
  );
  assert.is(paired[0].figures['pass@2 5-6'].seeds, 2);
  assert.is(results[1].figures['policy tokens (k)'].seeds, 2);
  assert.equal(failed, {});
  assert.is(cells.length, 4);
  for (const { levels, tokens, seconds } of cells as CellResult[]) {
    assert.ok(levels[0].kl! > 0, 'the policy has moved');
    assert.ok(levels[0].entropy! > 0 && tokens.policy > 0 && seconds.training > 0);
    assert.is(tokens.prm, 0);
  }
  const text = readFileSync(join(output('whole'), 'results.md'), 'utf8');
  assert.match(text, /\| average@2 2-4 \| \d/);
  assert.match(text, /\| eta \| 100 \| 5 \|/);
  for (const [, file] of text.matchAll(/!\[.*\]\((.*)\)/g)) assert.ok(existsSync(join(output('whole'), file)), file);
  const { document } = await openPage(readFileSync(join(output('whole'), 'report.html'), 'utf8'));
  assert.is(document.querySelector('h2').textContent, 'Results');
  const [first] = document.querySelectorAll('.results tbody tr');
  const change = /(0\.\d{3}) → (0\.\d{3})seeds 0\.\d{3} \/ 0\.\d{3}/.exec(first.textContent)!;
  const average = (row: number) => results[row].figures['average@2 2-4'].mean.toFixed(3);
  assert.equal(change.slice(1), [average(0), average(1)], 'the arm begins as the warm start, and ends as its cells');
  assert.equal(
    [...document.querySelectorAll('.legend button')].map(({ textContent }) => textContent),
    ['grpo', 'prl'],
  );
  for (const shown of [run.stdout, text]) assert.not.match(shown, /\d \[[-+\d]/, 'two seeds have no interval');
  assert.match(text, /parentheses list the seeds/);
});

compare('a killed comparison resumes with two processes, does only what is missing, and ends the same', async () => {
  const child = spawn(process.execPath, [...main, ...arguments_, '--output', output('broken'), '--jobs', '2'], {
    ...options,
    stdio: 'ignore',
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const deadline = Date.now() + 60_000;
  // Some are finished, some are on their way.
  const begun = () => CELLS.filter((cell) => existsSync(join(output('broken'), 'cells', cell, 'metrics.jsonl')));
  while (finished('broken').length === 0 || begun().length === finished('broken').length) {
    assert.ok(Date.now() < deadline && child.exitCode === null, 'it should have been half done');
    await delay(5);
  }
  child.kill('SIGKILL');
  await gone;
  const early = finished('broken');
  assert.ok(early.length < 4, 'it was half done');
  const times = early.map((cell) => statSync(cellFile('broken', cell)).mtimeMs);
  const half = prl('report', output('broken'));
  assert.is(half.status, 0, half.stderr);
  const again = prl(...arguments_, '--output', output('broken'));
  assert.is(again.status, 1);
  assert.match(again.stderr, /already holds a comparison: resume it/);

  const resumed = prl('compare', '--resume', '--output', output('broken'), '--jobs', '2');
  assert.is(resumed.status, 0, resumed.stderr + resumed.stdout);
  assert.match(resumed.stdout, /of 6 jobs are already done/);
  assert.equal(finished('broken'), CELLS);
  // A worker may have ended its cell after its parent was gone; those that were there are as they were.
  assert.equal(
    early.map((cell) => statSync(cellFile('broken', cell)).mtimeMs),
    times,
  );
  for (const cell of CELLS) assert.equal(outcome('broken', cell), outcome('whole', cell), cell);
  assert.not.ok(readdirSync(output('broken')).some((name) => name.startsWith('lock')));
});

compare('a cell that fails leaves the others alone and is reported', () => {
  cpSync(output('whole'), output('more'), { recursive: true });
  const prm = join(folder, 'absent');
  const run = prl(
    'compare',
    '--resume',
    '--output',
    output('more'),
    '--methods',
    'grpo,progrs,raft',
    '--seeds',
    '1',
    '--prm',
    prm,
  );
  assert.is(run.status, 1, run.stderr + run.stdout);
  assert.match(run.stderr, /progrs-0 failed: .*absent/);
  assert.ok(existsSync(cellFile('more', 'raft-seed-0')));
  assert.not.ok(existsSync(cellFile('more', 'progrs-seed-0')));
  assert.match(readFileSync(join(output('more'), 'results.md'), 'utf8'), /## Failed\n\n- progrs-0: .*absent/);
  const without = prl('compare', '--resume', '--output', output('more'), '--methods', 'grpo,raft');
  assert.is(without.status, 0, without.stderr);
  const changed = prl('compare', '--resume', '--output', output('more'), '--methods', 'grpo,prl', 'prl.eta=7');
  assert.is(changed.status, 2);
  assert.match(changed.stderr, /prl was trained with eta 5, not 7: give it another name/);
});

compare('progrs gets its own process reward model per seed, and its tokens count', () => {
  const given = arguments_
    .map((each) => (each === 'grpo,prl' ? 'progrs' : each))
    .filter((each) => each !== 'prl.eta=5');
  const run = prl(...given, '--seeds', '1', '--prm-problems', '8', '--output', output('scored'));
  assert.is(run.status, 0, run.stderr + run.stdout);
  const [cell]: CellResult[] = JSON.parse(readFileSync(join(output('scored'), 'results.json'), 'utf8')).cells;
  const [prm] = readdirSync(join(output('scored'), 'cache')).filter((name) => name.startsWith('prm-'));
  const { tokens } = JSON.parse(readFileSync(join(output('scored'), 'cache', prm, 'prm.json'), 'utf8'));
  assert.ok(tokens > 8 * 2, 'two responses to each problem');
  assert.ok(cell.tokens.prm > tokens, 'what it read in training comes on top');
  assert.ok(cell.seconds.prm > 0 && cell.wrongPushedUpNaive! >= 0);
});

compare('SIGTERM saves the running cells and exits with 143', async () => {
  const slow = [...arguments_, '--max-steps', '100000', '--jobs', '2', '--output', output('stopped')];
  const child = spawn(process.execPath, [...main, ...slow], { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk));
  const checkpoints = join(output('stopped'), 'cells', 'grpo-seed-0', 'checkpoints');
  const deadline = Date.now() + 60_000;
  while (!existsSync(checkpoints) || readdirSync(checkpoints).length === 0) {
    assert.ok(Date.now() < deadline && child.exitCode === null, text);
    await delay(20);
  }
  child.kill('SIGTERM');
  assert.is(await new Promise((resolve) => child.once('exit', resolve)), 143, text);
  assert.match(text, /To resume: prl compare --resume/);
  assert.not.ok(finished('stopped').length);
  assert.not.ok(
    readdirSync(join(checkpoints, '..')).some((name) => name.startsWith('lock')),
    'the cell let go of its folder',
  );
});

compare('wrong methods, options and folders are refused by name', () => {
  const wrong = prl('compare', '--methods', 'grpo,pril');
  assert.is(wrong.status, 2);
  assert.match(wrong.stderr, /Did you mean 'prl'/);
  assert.match(prl('compare', '--method', 'grpo').stderr, /no option '--method'. Did you mean '--methods'/);
  const other = join(folder, 'other');
  cpSync(join(output('whole'), 'cells', 'grpo-seed-0'), other, { recursive: true });
  assert.match(prl('compare', '--output', other).stderr, /holds something other than a comparison/);
  writeFileSync(join(other, 'config.json'), '{');
  assert.match(prl('compare', '--output', other, '--resume').stderr, /config\.json is not JSON: /);
});
compare.run();
