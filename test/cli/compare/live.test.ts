// The table of a running comparison, made from the results on disk.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LiveTable } from '../../../lib/cli/compare/live.js';
import { type CellJob, type CompareJob, planJobs } from '../../../lib/cli/compare/plan.js';
import { cellResult } from '../../fakes/cell-result.js';

let folder: string;
let jobs: CompareJob[];
const write = process.stdout.write;
const { isTTY, columns } = process.stdout;
let shown = '';

/** Everything written to a terminal of so many columns; 0: to a file. */
function show(width: number): void {
  shown = '';
  Object.assign(process.stdout, { isTTY: width > 0, columns: width });
  process.stdout.write = ((text: string) => {
    shown += text;
    return true;
  }) as typeof write;
}
const restore = () => void Object.assign(process.stdout, { isTTY, columns, write });

const live = suite('prl compare: live table');
live.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'prl-live-'));
  const base = { preset: 'smoke', seeds: 2, firstSeed: 0, settings: [], trainer: {}, prmProblems: 5 } as const;
  jobs = planJobs(folder, { ...base, settings: [], methods: 'grpo,raft,prl,frpo,progrs' });
});
live.after.each(() => {
  restore();
  rmSync(folder, { recursive: true });
});

const cells = () => jobs.filter((job): job is CellJob => job.kind === 'cell');
function finish({ arm, seed, folder: own }: CellJob): void {
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'cell.json'), JSON.stringify(cellResult(arm, seed, 0.25 + seed / 2)));
}
/** Runs two cells of the first arm. */
async function run(): Promise<void> {
  const table = new LiveTable(jobs);
  await table.begin();
  for (const job of cells().filter(({ arm }) => arm === 'grpo')) {
    table.onEvent(job, 'begins', '');
    table.onEvent(job, 'progress', '3/20, reward 0.5');
    finish(job);
    table.onEvent(job, 'done', '');
  }
  table.onEvent(cells()[1], 'failed', 'no luck');
  await table.end();
}

live('output to a file has a line per cell with the figures of its arm', async () => {
  show(0);
  await run();
  restore();
  const lines = shown.trimEnd().split('\n');
  const last = lines.find((line) => line.includes('grpo-1 done'))!;
  assert.match(last, /average@8 2-4 0\.500 \(0\.250 \/ 0\.750\) {2}pass@8 2-4 0\.500/);
  for (const name of ['average@8 5-6', 'entropy 0.250', 'drift 0.125', 'seconds 4.0', 'policy tokens (k) 2'])
    assert.ok(last.includes(name), `${name} in ${last}`);
  assert.ok(lines.some((line) => /raft-0 failed: no luck/.test(line)));
});
for (const width of [80, 200])
  live(`a terminal of ${width} columns wraps no line and erases each table, the last one too`, async () => {
    show(width);
    await run();
    restore();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's codes
    const parts = shown.split(/\u001b\[(\d+)A\u001b\[J/);
    let lines = 0;
    for (const [i, part] of parts.entries()) {
      if (i % 2 === 1) assert.is(Number(part), lines, 'as many lines are taken back as were drawn');
      else lines = part.split('\n').length - 1;
      for (const line of part.split('\n')) assert.ok(line.length < width, line);
    }
    assert.is(parts.at(-1), '', 'nothing is left, and nothing comes after the end');
    const table = parts.at(-3)!;
    assert.match(table, /seeds +2\/2 +0\/2, 1 failed/);
    assert.match(table, width > 80 ? /average@8 2-4 +0\.500 \(0\.250 \/ 0\.750\)/ : /average@8 2-4 +0\.500\s/);
    for (const name of ['entropy', 'drift', 'seconds', 'policy tokens (k)', 'PRM tokens (k)'])
      assert.match(table, new RegExp(`^${name.replace(/[()]/g, '\\$&')} +\\d`, 'm'));
  });
live.run();
