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
  const [after] = (await readReport([path])).runs[0].after!;
  assert.equal(after.averageAtNInterval, [0, 1]);
  // Older runs wrote [1, 1]. Two of two problems say no more than Wilson's interval: from 2 / (2 + z²).
  assert.ok(Math.abs(after.passAtNInterval[0] - 2 / 5.8414588207) < 1e-9 && after.passAtNInterval[1] === 1);
});

runs('an older run without samples.jsonl is read', async () => {
  const path = await train('a');
  rmSync(join(path, 'samples.jsonl'));
  assert.equal((await readReport([path])).runs[0].samples, []);
});

runs('a folder without a run, without steps, or with a broken config is refused by name', async () => {
  await fails([join(folder, 'none')], 'ERR_PRL_IO', /there is no folder .*none/);
  await fails([folder], 'ERR_PRL_IO', /must be a run folder of prl train or prl sft, and has no config\.json/);
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

runs('runs are named by the shortest ends of their paths, and labelled alike if only the seed differs', async () => {
  const read = async (...settings: (readonly [string, object])[]) => {
    const paths: string[] = [];
    for (const [name, options] of settings) paths.push(await train(name, options));
    const { runs, title } = await readReport(paths);
    return { title, names: runs.map(({ name }) => name), labels: runs.map(({ label }) => label) };
  };
  const grpo = { method: 'grpo' };
  const seeds = await read(
    ['g-seed-1', { ...grpo, seed: 1 }],
    ['g-seed-2', { ...grpo, seed: 2, maxSteps: 2 }],
    ['other', { ...grpo, beta: 0.1, seed: 1 }],
  );
  assert.equal(seeds.labels, ['g (2 seeds)', 'g (2 seeds)', 'other']);
  assert.equal(seeds.names, ['g-seed-1', 'g-seed-2', 'other']);
  const alike = await read(['x/a', { ...grpo, seed: 1 }], ['y/a', { ...grpo, seed: 1 }], ['y/b', { eta: 5 }]);
  assert.equal(alike.names, ['x/a', 'y/a', 'b']);
  assert.equal(alike.labels, ['x/a', 'y/a', 'b'], 'the same seed twice is no second seed');
  assert.is(alike.title, 'x/a, y/a, b');
});
runs.run();

const curves = suite('chartsOf');
const rowsOf = (...rewards: number[]): Row[] => rewards.map((reward, i) => ({ step: i + 1, reward }));
const first = (sources: Parameters<typeof chartsOf>[0]): Chart => chartsOf(sources).main[0];
curves('curves are the mean over the seeds that have reached the step, and two seeds have no band', () => {
  const chart = first([
    { label: 'a', runs: [rowsOf(0, 0.5, 1), rowsOf(1, 0.5)] },
    { label: 'b', runs: [rowsOf(0.25, Number.NaN, 0.75)] },
  ]);
  assert.equal(chart.steps, [1, 2, 3]);
  assert.equal(chart.curves, [
    {
      label: 'a',
      color: 0,
      mean: [0.5, 0.5, 1],
      seeds: [
        [0, 0.5, 1],
        [1, 0.5, null],
      ],
    },
    { label: 'b', color: 1, mean: [0.25, null, 0.75] },
  ]);
});
curves('five seeds have a t interval as band, which stays between 0 and 1', () => {
  const runs = [0.1, 0.2, 0.3, 0.4, 0.5].map((value, i) => rowsOf(value, i < 4 ? 1 : 0.9, i < 4 ? 1 : Number.NaN));
  const [{ low, high }] = first([{ label: 'a', runs }]).curves;
  // 0.3 -+ 2.776 sqrt(0.025 / 5), and .98 -+ 2.776 sqrt(.002 / 5); the third step has four seeds.
  assert.equal(
    low!.map((value) => value?.toFixed(3)),
    ['0.104', '0.924', undefined],
  );
  assert.equal(
    high!.map((value) => value?.toFixed(3)),
    ['0.496', '1.000', undefined],
  );
});
curves('the axis of a share is 0 to 1, of a small share labelled, of what is never negative from 0', () => {
  const axis = (metric: string, ...values: number[]) => {
    const { main, other } = chartsOf([
      { label: 'a', runs: [values.map((value, i) => ({ step: i + 1, [metric]: value }))] },
    ]);
    const [{ range, zoomed = false }] = [...main, ...other];
    return [...range, zoomed];
  };
  for (const name of ['reward', 'pass_at_n', 'eval/average_at_n', 'eval/pass_at_n', 'share_step_by_step'])
    assert.equal(axis(name, 0.97, 1), [0, 1, false], name);
  assert.equal(axis('frac_reward_zero_std', 0, 0), [0, 1, false]);
  assert.equal(axis('completions/clipped_ratio', 0, 0.03), [0, 0.05, true]);
  assert.equal(axis('completions/clipped_ratio', 0, 0.6), [0, 1, false]);
  assert.equal(axis('clip_ratio/region_mean', 0, 0.004), [0, 0.01, true], 'a share without a chart of its own');
  assert.equal(axis('ratio/max', 1, 3), [0, null, false], 'a ratio is no share');
  assert.equal(axis('completions/mean_length', 12, 20), [0, null, false]);
  assert.equal(axis('loss', -0.5, 0.5), [null, null, false]);
  assert.equal(axis('reward', -1, 0.5), [null, null, false], 'rewards of a task of your own may be negative');
  assert.equal(axis('reward', 0, 2), [0, null, false]);
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
