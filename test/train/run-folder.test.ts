import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError } from '../../lib/index.js';
import { packageRoot } from '../../lib/kernels/native.js';
import { RunFolder } from '../../lib/train/run-folder.js';
import { random } from '../reference/numbers.js';

const STEPS = 60;
// Node warns on stderr when both are set.
const { FORCE_COLOR: _, NO_COLOR: __, ...environment } = process.env;
const temporary = () => mkdtempSync(join(tmpdir(), 'prl-run-'));
const child = fileURLToPath(new URL('../fakes/echo-run.ts', import.meta.url));

function start(folder: string, kind: string): ChildProcess {
  return spawn(process.execPath, [...process.execArgv, child, folder, String(STEPS), kind], {
    cwd: packageRoot,
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

const ended = (process: ChildProcess) =>
  new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    process.once('exit', (code, signal) => resolve({ code, signal })),
  );

/** Rows without what a clock decides. */
function rows(folder: string): object[] {
  return readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const row = Object.entries(JSON.parse(line));
      return Object.fromEntries(row.filter(([name]) => !/^(seconds\/|tokens_per_second)/.test(name)));
    });
}

const samples = (folder: string) => readFileSync(join(folder, 'samples.jsonl'), 'utf8');

/** The hashes of weights, optimizer and state of the last step. */
const manifest = (folder: string) =>
  readFileSync(join(folder, 'checkpoints', `step-${String(STEPS).padStart(6, '0')}`, 'manifest.json'), 'utf8');

const crash = suite('RunFolder: crashes');
for (const kind of ['table', 'native']) {
  crash(`${kind} policy: a run killed at random moments resumes to the files of one never killed`, async () => {
    const whole = temporary();
    const broken = temporary();
    try {
      assert.is((await ended(start(whole, kind))).code, 0);
      assert.is(rows(whole).length, STEPS);
      const next = random(5);
      let kills = 0;
      for (let round = 0; ; round++) {
        assert.ok(round < 40, 'the run never ends');
        const process = start(broken, kind);
        const exit = ended(process);
        // The first two die within the first steps, wherever they are; the others get a chance to get further.
        let lines = 0;
        const patience = round < 2 ? 0 : Math.floor(4 + 12 * next());
        process.stdout!.on('data', (text: Buffer) => {
          const before = lines;
          lines += text.toString().split('\n').length - 1;
          if (before <= patience && lines > patience) setTimeout(() => process.kill('SIGKILL'), 25 * next());
        });
        const { code, signal } = await exit;
        if (signal === 'SIGKILL') kills++;
        else {
          assert.is(code, 0);
          break;
        }
      }
      // About five; on a busy machine the child may be faster than this process.
      assert.ok(kills >= 1, 'it was never killed');
      assert.equal(rows(broken), rows(whole));
      assert.is(samples(whole).split('\n').length, STEPS + 1);
      assert.is(samples(broken), samples(whole));
      assert.is(manifest(broken), manifest(whole));
      assert.equal(readdirSync(join(broken, 'checkpoints')).sort(), readdirSync(join(whole, 'checkpoints')).sort());
    } finally {
      rmSync(whole, { recursive: true });
      rmSync(broken, { recursive: true });
    }
  });
}
crash.run();

const folders = suite('RunFolder');
let path: string;
folders.before.each(() => {
  path = temporary();
});
folders.after.each(() => {
  rmSync(path, { recursive: true });
});

const write = (text: string) => async (folder: string) => writeFileSync(join(folder, 'weights'), text);

async function rejects(work: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, PrlError);
    assert.is((error as PrlError).code, code);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`expected ${code}`);
}

folders('writeCheckpoint keeps the newest checkpoints, and latestCheckpoint finds the newest', async () => {
  const run = await RunFolder.open(path);
  assert.is(await run.latestCheckpoint('step'), undefined);
  for (const step of [5, 10, 1000000, 15])
    await run.writeCheckpoint('step', step, ['metrics.jsonl'], 3, write(String(step)));
  await run.writeCheckpoint('warmup', 2000000, ['warmup.jsonl'], 2, write('other'));
  assert.equal(readdirSync(join(path, 'checkpoints')).sort(), [
    'step-000010',
    'step-000015',
    'step-1000000',
    'warmup-2000000',
  ]);
  assert.is((await run.latestCheckpoint('step'))?.step, 1000000);
  await run.close();
});

for (const [what, damage] of [
  ['a file cut short', (file: string) => truncateSync(file, 3)],
  ['a flipped byte', (file: string) => writeFileSync(file, 'WEIGHTS')],
  ['a missing file', (file: string) => rmSync(file)],
  ['a missing manifest', (file: string) => rmSync(join(file, '..', 'manifest.json'))],
] as const) {
  folders(`latestCheckpoint skips a checkpoint with ${what}`, async () => {
    const run = await RunFolder.open(path);
    await run.writeCheckpoint('step', 1, ['metrics.jsonl'], 2, write('weights'));
    await run.writeCheckpoint('step', 2, ['metrics.jsonl'], 2, write('weights'));
    damage(join(path, 'checkpoints', 'step-000002', 'weights'));
    const warnings: string[] = [];
    assert.is((await run.latestCheckpoint('step', (message) => warnings.push(message)))?.step, 1);
    assert.is(warnings.length, 1);
    assert.match(warnings[0], /step-000002/);
    await run.close();
  });
}

folders('a folder that could not be filled leaves nothing behind', async () => {
  const run = await RunFolder.open(path);
  await run.writeFolder('base', write('first'));
  await run
    .writeFolder('base', async (folder) => {
      writeFileSync(join(folder, 'weights'), 'half');
      throw new Error('disk full');
    })
    .then(
      () => assert.unreachable(),
      (error) => assert.match(error.message, /disk full/),
    );
  assert.is(readFileSync(join((await run.wholeFolder('base'))!, 'weights'), 'utf8'), 'first');
  await run.close();
  await (await RunFolder.open(path)).close();
  assert.not.ok(readdirSync(path).some((name) => name.startsWith('.tmp-')));
});

folders('a log is cut back to a step and at a torn row', async () => {
  const run = await RunFolder.open(path);
  for (let step = 1; step <= 4; step++) await run.append('metrics.jsonl', { step, reward: step / 10 });
  writeFileSync(join(path, 'metrics.jsonl'), '{"step": 5, "rew', { flag: 'a' });
  assert.equal(
    (await run.rows('metrics.jsonl')).map(({ step }) => step),
    [1, 2, 3, 4],
  );
  await run.truncate('metrics.jsonl', 2);
  await run.append('metrics.jsonl', { step: 3, reward: 1 });
  assert.equal(await run.rows('metrics.jsonl'), [
    { step: 1, reward: 0.1 },
    { step: 2, reward: 0.2 },
    { step: 3, reward: 1 },
  ]);
  await run.close();
});

folders('a second process is ERR_PRL_BUSY, and the lock of an ended one is taken over', async () => {
  const sleeper = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
  try {
    const lock = (owner: object) => writeFileSync(join(path, 'lock-other'), JSON.stringify(owner));
    lock({ pid: sleeper.pid, host: hostname(), started: '' });
    await rejects(RunFolder.open(path), 'ERR_PRL_BUSY', new RegExp(`process ${sleeper.pid} is working in`));
    lock({ pid: 1, host: 'elsewhere.example', started: '' }); // pids of other hosts say nothing
    await rejects(RunFolder.open(path), 'ERR_PRL_BUSY', /on elsewhere\.example.*delete/);
    if (process.platform === 'linux') {
      // The same pid, another process: the start time tells.
      lock({ pid: sleeper.pid, host: hostname(), started: '1' });
      await (await RunFolder.open(path)).close();
    }
    lock({ pid: sleeper.pid, host: hostname(), started: '' });
  } finally {
    sleeper.kill('SIGKILL');
    await ended(sleeper);
  }
  const run = await RunFolder.open(path);
  await rejects(RunFolder.open(path), 'ERR_PRL_BUSY', new RegExp(`process ${process.pid}`));
  await run.close();
  assert.not.ok(readdirSync(path).some((name) => name.includes('lock')));
});

folders('of many that open the folder at once at most one succeeds', async () => {
  writeFileSync(join(path, 'lock-dead'), JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), started: '5' }));
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => RunFolder.open(path)));
  const winners = results.filter(({ status }) => status === 'fulfilled');
  assert.ok(winners.length <= 1, `${winners.length} owners`);
  for (const result of results)
    if (result.status === 'rejected') assert.is((result.reason as PrlError).code, 'ERR_PRL_BUSY');
});

folders('a folder that holds a run needs resume', async () => {
  const run = await RunFolder.open(path);
  await run.writeJson('config.json', { a: 1 });
  await run.close();
  await rejects(RunFolder.open(path), 'ERR_PRL_IO', /already holds a run/);
  const again = await RunFolder.open(path, { resume: true });
  assert.equal(await again.readJson('config.json'), { a: 1 });
  await again.close();
});
folders.run();
