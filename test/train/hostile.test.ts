// Run folders that another program has written to: each file gives a clear error or is ignored.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { folderDamage, sha256 } from '../../lib/base/atomic.js';
import { PrlError } from '../../lib/index.js';
import { RunFolder } from '../../lib/train/run-folder.js';
import { Trainer } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';

let path: string;
const test = suite('hostile run folders');
test.before.each(() => {
  path = mkdtempSync(join(tmpdir(), 'prl-hostile-'));
});
test.after.each(() => rmSync(path, { recursive: true }));

const hash = 'a'.repeat(64);
for (const [what, manifest, message] of [
  ['no JSON', '{"files": {', /not JSON/],
  ['nothing', '', /not JSON/],
  ['a list', '[]', /object/],
  ['no list of files', '{}', /lists no files/],
  ['null for files', '{"files": null}', /lists no files/],
  ['an array for files', '{"files": [1]}', /lists no files/],
  ['an empty list', '{"files": {}}', /lists no files/],
  ['a name twice', '{"files": {"weights": 1, "weights": 2}}', /twice/],
  ['deep nesting', '['.repeat(100_000), /nested more than/],
  ['a way out', JSON.stringify({ files: { '../weights': { size: 1, sha256: hash } } }), /not inside the folder/],
  ['a hidden way out', JSON.stringify({ files: { 'a/../../b': { size: 1, sha256: hash } } }), /not inside the folder/],
  [
    'an absolute path',
    JSON.stringify({ files: { '/etc/passwd': { size: 1, sha256: hash } } }),
    /not inside the folder/,
  ],
  ['no size', JSON.stringify({ files: { weights: { sha256: hash } } }), /with its size and SHA-256, not with/],
  [
    'a size of text',
    JSON.stringify({ files: { weights: { size: '7', sha256: hash } } }),
    /with its size and SHA-256, not with/,
  ],
  [
    'a hash of a list',
    JSON.stringify({ files: { weights: { size: 7, sha256: [] } } }),
    /with its size and SHA-256, not with/,
  ],
  ['null for a file', JSON.stringify({ files: { weights: null } }), /with its size and SHA-256, not with/],
  ['a prototype', `{"files": {"__proto__": {"size": 7, "sha256": "${hash}"}}}`, /ENOENT/],
  ['a folder for a file', JSON.stringify({ files: { folder: { size: 7, sha256: hash } } }), /folder is not a file/],
  ['17 MB', ' '.repeat(17 * 2 ** 20), /bytes/],
] as const) {
  test(`a manifest with ${what} marks its folder as damaged`, async () => {
    writeFileSync(join(path, 'weights'), 'weights');
    mkdirSync(join(path, 'folder'));
    writeFileSync(join(path, 'manifest.json'), manifest);
    const begin = process.cpuUsage();
    assert.match((await folderDamage(path)) ?? 'none', message);
    assert.ok(process.cpuUsage(begin).user < 1e6, 'within a second');
    assert.is(({} as { size?: number }).size, undefined, 'no prototype was touched');
  });
}

const SMALL = { promptsPerStep: 2, numGenerations: 4, maxCompletionLength: 3, learningRate: 1, saveSteps: 2, seed: 3 };
const trainer = (more: object = {}) =>
  new Trainer({
    ...{ policy: new TablePolicy(echoTask.tokenizer.vocabSize), task: echoTask, output: path, ...SMALL },
    ...{ loadPolicy: TablePolicy.load, resume: true, maxSteps: 4, ...more },
  });
async function run(more: object = {}): Promise<number[]> {
  const steps: number[] = [];
  for await (const { step } of trainer(more).run()) steps.push(step);
  return steps;
}
const checkpoint = (...names: string[]) => join(path, 'checkpoints', 'step-000004', ...names);

/** Writes a file of the checkpoint and makes the manifest agree with it. */
async function forge(name: string, text: string): Promise<void> {
  writeFileSync(checkpoint(name), text);
  const manifest = JSON.parse(readFileSync(checkpoint('manifest.json'), 'utf8'));
  manifest.files[name] = { size: Buffer.byteLength(text), sha256: await sha256(checkpoint(name)) };
  writeFileSync(checkpoint('manifest.json'), JSON.stringify(manifest));
}

for (const state of [
  '',
  '[]',
  'null',
  '{}',
  '{"step": 3, "tokens": 5, "nonFiniteSteps": 0}',
  '{"step": "4", "tokens": 5, "nonFiniteSteps": 0}',
  '{"step": 4, "tokens": -1, "nonFiniteSteps": 0}',
  '{"step": 4, "tokens": 1e300, "nonFiniteSteps": 0}',
  '{"step": 4, "tokens": 5, "nonFiniteSteps": null}',
  '{"__proto__": {"step": 4, "tokens": 5, "nonFiniteSteps": 0}}',
]) {
  test(`a checkpoint whose trainer.json is ${state || 'empty'} is ERR_PRL_CORRUPT`, async () => {
    await run();
    await forge('trainer.json', state);
    await rejectsWith(run({ maxSteps: 6 }), PrlError, 'ERR_PRL_CORRUPT', /step-000004\/trainer\.json/);
    rmSync(checkpoint(), { recursive: true });
    assert.equal(await run(), [3, 4], 'without it the run goes on from the one before');
  });
}

test('unknown and prototype fields of trainer.json are ignored', async () => {
  await run();
  const state = '{"step": 4, "tokens": 5, "nonFiniteSteps": 0, "__proto__": {"polluted": 1}, "more": 1}';
  await forge('trainer.json', state);
  assert.equal(await run({ maxSteps: 6 }), [5, 6]);
  assert.is(({} as { polluted?: number }).polluted, undefined);
});

for (const [config, code, message] of [
  ['{"trainer": ', 'ERR_PRL_CORRUPT', /config\.json is not JSON: /],
  ['7', 'ERR_PRL_CORRUPT', /config\.json does not hold an object/],
  ['{"trainer": {"seed": {"deep": []}}}', 'ERR_PRL_INVALID_ARGUMENT', /has seed {"deep":\[\]}, not 3/],
  ['{"trainer": {"__proto__": {"seed": 4}}}', 'ERR_PRL_INVALID_ARGUMENT', /has /],
] as const) {
  test(`a config.json that says ${config} is refused`, async () => {
    writeFileSync(join(path, 'config.json'), config);
    await run().then(
      () => assert.unreachable(),
      (error) => {
        assert.is(error.code, code);
        assert.match(error.message, message);
      },
    );
    assert.is(({} as { seed?: number }).seed, undefined);
  });
}

test('duplicate, unordered, torn or later rows are repaired to one row per step', async () => {
  await run();
  const log = join(path, 'metrics.jsonl');
  const rows = readFileSync(log, 'utf8').trimEnd().split('\n');
  writeFileSync(
    log,
    `${[rows[0], rows[0], rows[1], rows[2], rows[1], rows[3], '{"step": 9}', '{"step": 5'].join('\n')}`,
  );
  assert.equal(await run({ maxSteps: 5 }), [5]);
  const after = readFileSync(log, 'utf8').trimEnd().split('\n');
  assert.equal(after.slice(0, 4), rows);
  assert.is(after.length, 5);
});

test('rows that are gone are warned about', async () => {
  await run();
  const log = join(path, 'metrics.jsonl');
  for (const text of [
    '{"step": 1}\nnonsense\n{"step": 3}\n',
    '{"step": 1}\n{"step": 1e400}\n',
    '{"step": 1}\nnull\n',
  ]) {
    writeFileSync(log, text);
    const warnings: string[] = [];
    await run({ onWarning: (message: string) => warnings.push(message) });
    assert.is(warnings.length, 1);
    assert.match(warnings[0], /metrics\.jsonl must have 4 rows, one per finished step, and has 1/);
  }
});

test('a run without config.json, base or whole checkpoints is refused and keeps its rows', async () => {
  await run();
  const log = readFileSync(join(path, 'metrics.jsonl'), 'utf8');
  const refuses = async (what: RegExp) => {
    await rejectsWith(run({ maxSteps: 6 }), PrlError, 'ERR_PRL_CORRUPT', what);
    assert.is(readFileSync(join(path, 'metrics.jsonl'), 'utf8'), log, 'no row is cut');
  };
  for (const [file, why] of [
    [join(path, 'config.json'), /config\.json is missing: without it the settings/],
    [join(path, 'base', 'manifest.json'), /base is missing or damaged/],
  ] as const) {
    const text = readFileSync(file, 'utf8');
    rmSync(file);
    await refuses(why);
    writeFileSync(file, text);
  }
  rmSync(join(path, 'config.json'));
  await rejectsWith(run({ resume: false }), PrlError, 'ERR_PRL_IO', /already holds a run/);
  await refuses(/config\.json is missing/);
  rmSync(join(path, 'checkpoints', 'step-000002'), { recursive: true });
  appendFileSync(checkpoint('trainer.json'), ' ');
  writeFileSync(join(path, 'config.json'), '{}');
  await refuses(/needs a whole checkpoint, and all in \S+ are damaged/);
  rmSync(checkpoint(), { recursive: true });
  assert.equal(await run(), [1, 2, 3, 4], 'without them it begins again');
});

test('lock files that no process wrote are ignored and removed', async () => {
  const texts = ['', '{', 'null', '[]', '{"pid": "1"}', '{"pid": -1, "host": "", "started": ""}', '\0\0\0\0'];
  for (const [i, text] of texts.entries()) writeFileSync(join(path, `lock-${i}`), text);
  writeFileSync(join(path, 'lock-pid'), '{"pid": 1e30, "host": "a", "started": ""}');
  mkdirSync(join(path, 'lock-folder'));
  const folder = await RunFolder.open(path);
  await folder.close();
  for (const [i] of texts.entries()) assert.throws(() => readFileSync(join(path, `lock-${i}`)));
});

test('the lock of a zombie process is stale', async () => {
  if (!existsSync('/proc/self/stat')) return;
  // The shell becomes a sleep, which does not ask after the child that it has then. The child must not end before that.
  const script = 'sleep 30 & echo $!; exec sleep 30';
  const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const pid = Number(await new Promise((resolve) => parent.stdout.once('data', (text) => resolve(String(text)))));
    const stat = () =>
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await until(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n');
    process.kill(pid, 'SIGKILL');
    await until(() => stat()[0] === 'Z');
    const owner = { pid, host: hostname(), started: stat()[19] };
    writeFileSync(join(path, `lock-${pid}-dead`), JSON.stringify(owner));
    const folder = await RunFolder.open(path);
    await folder.close();
  } finally {
    parent.kill('SIGKILL');
  }
});

test('a new checkpoint is kept even when damaged later ones fill the quota', async () => {
  const folder = await RunFolder.open(path);
  const write = async (to: string) => writeFileSync(join(to, 'weights'), 'weights');
  for (const step of [8, 9]) await folder.writeCheckpoint('step', step, [], 2, write);
  for (const step of [8, 9]) appendFileSync(join(path, 'checkpoints', `step-00000${step}`, 'weights'), 'more');
  assert.is(await folder.latestCheckpoint('step'), undefined);
  for (const step of [1, 2, 3]) {
    await folder.writeCheckpoint('step', step, [], 2, write);
    assert.is((await folder.latestCheckpoint('step'))?.step, step);
  }
  await folder.close();
});
test.run();
