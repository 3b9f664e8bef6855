import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Chart, chartsOf } from '../../../lib/cli/report/curves.js';
import { readReport } from '../../../lib/cli/report/report.js';
import { PrlError } from '../../../lib/index.js';
import type { Row } from '../../../lib/train/run-folder.js';
import { Trainer } from '../../../lib/train/trainer.js';
import { echoTask } from '../../fakes/echo-task.js';
import { TablePolicy } from '../../fakes/table-policy.js';

const runs = suite('readReport');
let folder: string;
runs.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'prl-report-'));
});
runs.after.each(() => rmSync(folder, { recursive: true }));

const train = async (name: string, more: object = {}) => {
  const output = join(folder, name);
  const policy = new TablePolicy(echoTask.tokenizer.vocabSize);
  const sizes = { promptsPerStep: 2, numGenerations: 4, maxCompletionLength: 4, maxSteps: 3 };
  const trainer = new Trainer({ policy, task: echoTask, output, loadPolicy: TablePolicy.load, ...sizes, ...more });
  for await (const _ of trainer.run());
  return output;
};

const fails = async (paths: string[], code: string, message: RegExp) => {
  try {
    await readReport(paths);
  } catch (error) {
    assert.instance(error, PrlError);
    assert.is((error as PrlError).code, code);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`${paths} should not be readable`);
};

runs('a run that is still going is read up to its last whole row', async () => {
  const path = await train('a');
  writeFileSync(join(path, 'metrics.jsonl'), '{"step": 4, "rew', { flag: 'a' });
  writeFileSync(join(path, 'lock-1-other'), JSON.stringify({ pid: process.pid, host: 'elsewhere', started: '' }));
  const {
    runs: [run],
    title,
  } = await readReport([path]);
  assert.is(title, 'a');
  assert.equal(
    run.rows.map(({ step }) => step),
    [1, 2, 3],
  );
  assert.is(run.samples.length, 3);
  assert.is(run.samples[0].groups!.length, 2);
  assert.is(run.after, undefined);
  const averages = { averageAtN: 0.5, averageAtNInterval: [0, 1], passAtN: 1, passAtNInterval: [1, 1] };
  const trained = {
    level: 'all',
    n: 8,
    problems: 2,
    ...averages,
    meanLength: 3,
    clippedRatio: 0,
    measures: {},
    seconds: 1,
  };
  writeFileSync(join(path, 'evaluation-after.json'), JSON.stringify({ step: 3, trained }));
  assert.is((await readReport([path])).runs[0].after!.length, 1);
});

runs('an older run without samples.jsonl is read', async () => {
  const path = await train('a');
  rmSync(join(path, 'samples.jsonl'));
  assert.equal((await readReport([path])).runs[0].samples, []);
});

runs('a folder without a run, without steps, or with a broken config is refused by name', async () => {
  await fails([join(folder, 'none')], 'ERR_PRL_IO', /there is no folder .*none/);
  await fails([folder], 'ERR_PRL_IO', /must be a run folder of prl train, and has no config\.json/);
  const path = await train('a', { maxSteps: 0 });
  await fails([path], 'ERR_PRL_IO', /a report needs a finished step/);
  await fails(
    [await train('b'), path],
    'ERR_PRL_IO',
    /a report needs a finished step, and the run in .*a has none yet/,
  );
  writeFileSync(join(path, 'config.json'), '{"trainer"');
  await fails([path], 'ERR_PRL_CORRUPT', /config\.json is not JSON: /);
});

runs('labels are the method and every option that differs, except the seed', async () => {
  const labels = async (...settings: object[]) => {
    const paths = await Promise.all(settings.map((each, i) => train(`${Math.random()}-${i}`, each)));
    return (await readReport(paths)).runs.map(({ label }) => label);
  };
  assert.equal(await labels({ method: 'grpo', seed: 1 }, { method: 'grpo', seed: 2, maxSteps: 2 }), ['grpo', 'grpo']);
  assert.equal(await labels({ eta: 5 }, { eta: 5, seed: 3 }, { method: 'grpo', beta: 0.1 }), [
    'prl, beta 0, eta 5',
    'prl, beta 0, eta 5',
    'grpo, beta 0.1, eta 100',
  ]);
});
runs.run();

const curves = suite('chartsOf');
const rowsOf = (...rewards: number[]): Row[] => rewards.map((reward, i) => ({ step: i + 1, reward }));
const first = (sources: Parameters<typeof chartsOf>[0]): Chart => chartsOf(sources).main[0];
curves('curves are the mean and band over seeds, over those that have reached the step', () => {
  const chart = first([
    { label: 'a', runs: [rowsOf(0, 0.5, 1), rowsOf(1, 0.5)] },
    { label: 'b', runs: [rowsOf(0.25, Number.NaN, 0.75)] },
  ]);
  assert.equal(chart.steps, [1, 2, 3]);
  assert.equal(chart.curves, [
    { label: 'a', color: 0, mean: [0.5, 0.5, 1], low: [0, 0.5, null], high: [1, 0.5, null] },
    { label: 'b', color: 1, mean: [0.25, null, 0.75] },
  ]);
});
curves('neighbouring steps of long runs are averaged', () => {
  const {
    steps,
    curves: [curve],
  } = first([{ label: 'a', runs: [rowsOf(...Array.from({ length: 500 }, (_, i) => i))] }]);
  assert.is(steps.length, 250);
  assert.is(steps[249], 500);
  assert.equal([curve.mean[0], curve.mean[249]], [0.5, 498.5]);
});
curves('a drift of 0 throughout is left out, and an unknown metric gets its own chart', () => {
  const rows = (kl: number): Row[] => [{ step: 1, kl, new_one: 3 }];
  const { main, other } = chartsOf([
    { label: 'a', runs: [rows(0)] },
    { label: 'b', runs: [rows(0.5)] },
  ]);
  assert.equal(
    main.map(({ title, curves: all }) => [title, all.map(({ label }) => label)]),
    [['Drift', ['b']]],
  );
  assert.equal(
    other.map(({ title }) => title),
    ['new_one'],
  );
});
curves.run();
