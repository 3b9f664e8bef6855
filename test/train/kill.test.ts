// A real `prl train` is killed over and over until it finishes, and compared with one that was never killed. PRL_KILLS
// asks for more kills (npm run test:kill: 100).
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { saveArithmeticModel } from '../fakes/prl.js';
import { type PrlProcess, prl, TINY, timelessRows } from '../fakes/prl-train.js';
import { random } from '../reference/numbers.js';

const KILLS = Number(process.env.PRL_KILLS ?? 6);
/** Enough that it does not end before: a process gets a few steps further, or none. */
const STEPS = 8 + 4 * Math.min(KILLS, 25);
const folder = mkdtempSync(join(tmpdir(), 'prl-kill-'));
const at = (...path: string[]) => join(folder, ...path);
const model = at('model');
const next = random(11);

const test = suite('prl train: killed at any moment');
test.before(() => saveArithmeticModel(model));
test.after(() => rmSync(folder, { recursive: true }));

const train = (output: string) =>
  prl([
    ...['train', '--model', model, '--output', output, '--max-steps', String(STEPS), '--save-steps', '2', ...TINY],
    ...['--save-total-limit', '2', '--seed', '5'],
    ...(existsSync(output) ? ['--resume'] : []),
  ]);

/** What a process is at when it dies, and how it is known. */
const MOMENTS: { [name: string]: (process: PrlProcess, output: string) => void } = {
  'while it starts': ({ child }, output) => {
    const lock = watch(output, (_, name) => {
      if (!name?.startsWith('lock-')) return;
      lock.close();
      setTimeout(() => child.kill('SIGKILL'), 200 * next());
    });
    child.once('exit', () => lock.close());
  },
  'some steps on': ({ child }, output) => {
    let steps = Math.floor(6 * next());
    const log = watch(output, (_, name) => {
      if (name !== 'metrics.jsonl' || steps-- > 0) return;
      log.close();
      setTimeout(() => child.kill('SIGKILL'), 20 * next());
    });
    child.once('exit', () => log.close());
  },
  // Names appear there as folders are begun and moved to their places, and files in what is begun.
  'in a checkpoint': ({ child }, output) => {
    const path = join(output, 'checkpoints');
    let events = Math.floor(8 * next());
    const inner = { close() {} };
    const seen = () => {
      if (events-- > 0) return;
      child.kill('SIGKILL');
    };
    const outer = watch(path, (_, name) => {
      seen();
      if (!name?.startsWith('.tmp-')) return;
      try {
        const files = watch(join(path, name), seen);
        inner.close = () => files.close();
      } catch {} // it has its name already
    });
    child.once('exit', () => {
      outer.close();
      inner.close();
    });
  },
  'in a file of the run': ({ child }, output) => {
    let events = Math.floor(12 * next());
    const files = watch(output, (_, name) => {
      if (!name?.startsWith('.') && !name?.startsWith('lock-')) return;
      if (events-- <= 0) child.kill('SIGKILL');
    });
    child.once('exit', () => files.close());
  },
};

test(`a run killed ${KILLS} times at all kinds of moments ends with the files of one never killed`, async () => {
  const [whole, broken] = [at('whole'), at('broken')];
  const first = train(whole);
  assert.is(await first.ended, 0, first.said());

  // There is a folder to watch from the first on.
  mkdirSync(join(broken, 'checkpoints'), { recursive: true });
  const kinds = Object.keys(MOMENTS);
  let kills = 0;
  /** Steps that were done at the kills. */
  const reached = new Set<number>();
  for (; ; kills++) {
    const process = train(broken);
    if (kills < KILLS) MOMENTS[kinds[kills % kinds.length]](process, broken);
    const end = await process.ended;
    if (end === 0) break;
    assert.is(end, 'SIGKILL', process.said());
    const log = join(broken, 'metrics.jsonl');
    reached.add(existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 1 : 0);
  }
  if (KILLS > 6) console.log(`killed ${kills} times, after ${[...reached]} steps`);
  assert.ok(kills >= KILLS / 2, `finished after ${kills} kills`);
  assert.ok(reached.size ** 2 >= kills / 2, `it died in the same places: after ${[...reached]} steps`);

  for (const log of ['metrics.jsonl', 'samples.jsonl'])
    assert.equal(timelessRows(join(broken, log)), timelessRows(join(whole, log)), log);
  assert.equal(
    timelessRows(join(broken, 'metrics.jsonl')).map((row) => (row as { step: number }).step),
    Array.from({ length: STEPS }, (_, i) => i + 1),
  );
  const manifest = (run: string, name: string) => readFileSync(join(run, name, 'manifest.json'), 'utf8');
  for (const name of ['base', `checkpoints/step-${String(STEPS).padStart(6, '0')}`])
    assert.is(manifest(broken, name), manifest(whole, name), `the hashes of ${name}`);
  const evaluation = (run: string, when: string) =>
    JSON.stringify(JSON.parse(readFileSync(join(run, `evaluation-${when}.json`), 'utf8')), (name, value) =>
      name === 'seconds' ? undefined : value,
    );
  for (const when of ['before', 'after']) assert.is(evaluation(broken, when), evaluation(whole, when));
  // Nothing is left of what was begun.
  for (const path of ['', 'checkpoints'])
    assert.equal(readdirSync(join(broken, path)).sort(), readdirSync(join(whole, path)).sort());
});
test.run();
