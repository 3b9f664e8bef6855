// Disks that are full, read-only or gone: the run stops and says what to do, and its last checkpoint is whole.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeFolder, writeFileAtomic } from '../../lib/base/atomic.js';
import { RecordFile, readRecords } from '../../lib/base/records.js';
import { PrlError } from '../../lib/index.js';
import { RunFolder } from '../../lib/train/run-folder.js';
import { Trainer } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { saveArithmeticModel } from '../fakes/prl.js';
import { prl, TINY, until } from '../fakes/prl-train.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';

const root = mkdtempSync(join(tmpdir(), 'prl-disk-'));
const at = (...path: string[]) => join(root, ...path);
/** Where a process may have a file system of its own, it can be really full, or read-only. */
const CAN_MOUNT = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', '/tmp']).status === 0;
const test = suite('full, read-only and vanished disks');
test.before(() => saveArithmeticModel(at('model')));
test.after(() => rmSync(root, { recursive: true }));

const SMALL = { promptsPerStep: 2, numGenerations: 4, maxCompletionLength: 3, learningRate: 1, saveSteps: 2, seed: 3 };
const trainer = (output: string | RunFolder, maxSteps = 6) =>
  new Trainer({
    ...{ policy: new TablePolicy(echoTask.tokenizer.vocabSize), task: echoTask, output, ...SMALL, maxSteps },
    ...{ loadPolicy: TablePolicy.load, resume: true },
  });
const checkpoints = (output: string) => readdirSync(join(output, 'checkpoints')).sort();

/** Goes on to the end, with the rows of a run that nothing came in the way of. */
async function goesOn(output: string): Promise<void> {
  for await (const _ of trainer(output).run()) {
  }
  const rewards = (path: string) =>
    readFileSync(join(path, 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).reward);
  const whole = `${output}-whole`;
  for await (const _ of trainer(whole).run()) {
  }
  assert.is(rewards(output).length, 6);
  assert.equal(rewards(output), rewards(whole));
}

test('a full disk loses the step, and the checkpoint before it stays whole', async () => {
  const output = at('full-log');
  const running = trainer(output).run();
  for (let step = 1; step <= 3; step++) await running.next();
  rmSync(join(output, 'samples.jsonl'));
  symlinkSync('/dev/full', join(output, 'samples.jsonl'));
  await rejectsWith(
    running.next(),
    PrlError,
    'ERR_PRL_IO',
    /cannot write .*samples\.jsonl: the disk is full: free some space \(ENOSPC\)\. What was saved before is intact/,
  );
  assert.equal(checkpoints(output), ['step-000002']);
  rmSync(join(output, 'samples.jsonl'));
  await goesOn(output);
});

test('a record file on a full disk is ERR_PRL_IO and keeps its rows', async () => {
  const kind = { format: 'test', version: 1, title: 'test' };
  const file = await RecordFile.open(at('records.jsonl'), kind, { seed: 1 });
  await file.append([{ a: 1 }]);
  renameSync(at('records.jsonl'), at('whole.jsonl'));
  symlinkSync('/dev/full', at('records.jsonl'));
  await rejectsWith(file.append([{ a: 2 }]), PrlError, 'ERR_PRL_IO', /cannot write .*records\.jsonl: the disk is full/);
  renameSync(at('whole.jsonl'), at('records.jsonl'));
  await file.append([{ a: 2 }]);
  await file.close();
  const values = [];
  for await (const { value } of readRecords(at('records.jsonl'), kind)) values.push(value);
  assert.equal(values.slice(1), [{ a: 1 }, { a: 2 }]);
});

test('a device, or a link to one, is written to and not replaced', async () => {
  symlinkSync('/dev/null', at('device'));
  await writeFileAtomic(at('device'), 'text');
  assert.ok(lstatSync(at('device')).isSymbolicLink());
  rmSync(at('device'));
  symlinkSync('/dev/full', at('device'));
  await rejectsWith(writeFileAtomic(at('device'), 'text'), PrlError, 'ERR_PRL_IO', /device: the disk is full/);
});

test('a record file that has vanished is not begun again without its header', async () => {
  const file = await RecordFile.open(at('gone.jsonl'), { format: 'test', version: 1, title: 'test' }, { seed: 1 });
  rmSync(at('gone.jsonl'));
  await rejectsWith(file.append([{ a: 1 }]), PrlError, 'ERR_PRL_IO', /gone\.jsonl: it does not exist \(any more\)/);
  assert.not.ok(existsSync(at('gone.jsonl')));
  await file.close();
});

test('a run whose folder is moved or replaced stops, writes nothing elsewhere, and resumes', async () => {
  const output = at('moved');
  for (const replace of [false, true]) {
    const running = trainer(output).run();
    const { value } = (await running.next()) as { value: { step: number } };
    renameSync(output, at('elsewhere'));
    if (replace) mkdirSync(output);
    await rejectsWith(
      running.next(),
      PrlError,
      'ERR_PRL_IO',
      /moved is no longer the folder of this run.*resume the run/,
    );
    if (replace) assert.equal(readdirSync(output), [], 'nothing was written to the wrong folder');
    rmSync(output, { recursive: true, force: true });
    renameSync(at('elsewhere'), output);
    assert.ok(value.step <= 3);
    // The lock went along with the folder; of a process that lives on, as this one does, it would be in force.
    for (const name of readdirSync(output)) if (name.startsWith('lock-')) rmSync(join(output, name));
  }
  await goesOn(output);
});

test('a place where nothing can be written is ERR_PRL_IO and named', async () => {
  for (const place of ['/sys/prl-run', '/dev/null/run'])
    await rejectsWith(RunFolder.open(place), PrlError, 'ERR_PRL_IO', new RegExp(`cannot write ${place}`));
});

test('a folder that cannot be made is an error at once that says what is in the way', async () => {
  writeFileSync(at('file'), '');
  symlinkSync('/nowhere/at/all', at('dangling'));
  symlinkSync('circle', at('circle'));
  const start = performance.now();
  for (const [place, message] of [
    ['/proc/x', /nothing can be made in \/proc/],
    ['/proc/x/y/z', /nothing can be made in \/proc/],
    ['/dev/null/x', /a part of the path is a file/],
    [at('file'), /is a file, not a folder/],
    [at('file', 'a', 'b'), /a part of the path is a file/],
    [at('dangling'), /it is a link to \/nowhere\/at\/all, which does not exist/],
    [at('dangling', 'a'), /it is a link to \/nowhere\/at\/all, which does not exist/],
    [at('circle', 'a'), /links in the path go in a circle/],
    [at('n'.repeat(300)), /the name is too long/],
  ] as const) {
    await rejectsWith(makeFolder(place), PrlError, 'ERR_PRL_IO', message);
    await rejectsWith(RunFolder.open(place), PrlError, 'ERR_PRL_IO', message);
  }
  // None of them waits or tries again; a spinning one would never end.
  assert.ok(performance.now() - start < 20_000);
  await makeFolder(at('new', 'a', 'b'));
  await makeFolder(at('new', 'a', 'b'));
  assert.ok(existsSync(at('new', 'a', 'b')));
});

test('prl train under ulimit -f reports the limit and resumes without it', async () => {
  const output = at('limited');
  const args = ['train', '--model', at('model'), '--output', output, '--max-steps', '12', '--save-steps', '2', ...TINY];
  // Of 1 KiB (sh counts in 512 bytes, bash in 1024): weights have more, the first rows have less.
  const first = prl(args, 'ulimit -f 8');
  assert.is(await first.ended, 1, first.said());
  assert.match(first.said(), /prl: cannot write \S+: files may not grow that large here: raise the limit .*\(EFBIG\)/);
  assert.not.match(first.said(), /\n {4}at /, 'no stack');
  const again = prl([...args, '--resume']);
  assert.is(await again.ended, 0, again.said());
});

test('prl train on a disk that fills up keeps its last checkpoint and resumes with space', async () => {
  if (!CAN_MOUNT) return; // /dev/full and ulimit above are what is left
  const [disk, output] = [at('disk'), at('disk', 'run')];
  mkdirSync(disk);
  const args = ['train', '--model', at('model'), '--output', output, '--max-steps', '9', '--save-steps', '2', ...TINY];
  const limits = ['--save-total-limit', '2', '--eval-problems', '2'];
  // The mount goes with the process: what is on the disk is copied to where it can be looked at.
  const kept = at('kept');
  const mount = (flags: string) => `mount -t tmpfs -o ${flags} tmpfs ${disk}`;
  const script = `${mount('size=160k')} && ("$@"; code=$?; cp -r ${output} ${kept}; df ${disk}; exit $code)`;
  const child = prl([...args, ...limits], `unshare -rm sh -c '${script}' sh "$@" ; exit`);
  const code = await child.ended;
  assert.is(code, 1, child.said());
  assert.match(child.said(), /prl: cannot write \S+: the disk is full: free some space \(ENOSPC\)/);
  assert.ok(checkpoints(kept).length > 0, child.said());
  assert.not.ok(
    [...readdirSync(kept), ...checkpoints(kept)].some((name) => name.startsWith('.tmp-')),
    'no half of one',
  );
  const done = Number(/step-(\d+)/.exec(checkpoints(kept).at(-1)!)![1]);
  assert.ok(done >= 2 && done < 9);
  const again = prl(['train', '--resume', '--output', kept]);
  await until(() => readFileSync(join(kept, 'metrics.jsonl'), 'utf8').split('\n').length > done + 1, again);
  assert.is(await again.ended, 0, again.said());
});
test.run();
