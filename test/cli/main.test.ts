import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { environment, main, prl, saveArithmeticModel } from '../fakes/prl.js';
import { openPage } from './report/browser.js';

const outside = suite('prl');
outside('prl answers --help, and exits with 2 on wrong usage and 1 on failure', () => {
  const help = prl(['--help']);
  assert.is(help.status, 0);
  for (const command of ['train', 'eval', 'generate', 'compare', 'report', 'bench', 'doctor'])
    assert.match(help.stdout, new RegExp(`^ {2}${command} `, 'm'));
  const unknown = prl(['trian']);
  assert.is(unknown.status, 2);
  assert.match(unknown.stderr, /Did you mean 'train'/);
  const option = prl(['train', '--sed', '3']);
  assert.is(option.status, 2);
  assert.is(option.stderr.trim(), "prl: prl train has no option '--sed'. Did you mean '--seed'?");
  assert.match(prl(['train', '--sed', '3'], { PRL_DEBUG: '1' }).stderr, /\n {4}at /, 'a stack, when asked for');
  const absent = prl(['eval', '--model', '/nowhere']);
  assert.is(absent.status, 1);
  assert.is(absent.stderr.trim(), 'prl: there is no folder /nowhere');
});
outside.run();

const runs = suite('prl: runs');
let folder: string;
let model: string;
runs.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prl-cli-'));
  model = join(folder, 'model');
  await saveArithmeticModel(model);
});
runs.after(() => rmSync(folder, { recursive: true }));

const SMALL = [
  ...['--preset', 'smoke', '--prompts-per-step', '4', '--num-generations', '4', '--max-completion-length', '12'],
  ...['--eval-problems', '10', '--eval-samples', '2'],
];

runs('SIGTERM finishes the step, saves and exits with 143, and --resume trains to the end', async () => {
  const output = join(folder, 'run');
  const args = ['train', '--model', model, '--output', output, '--max-steps', '100000', ...SMALL];
  const child = spawn(process.execPath, [...main, ...args], {
    cwd: packageRoot,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk));
  const log = join(output, 'metrics.jsonl');
  const rows = () => (existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : []);
  const watch = setInterval(() => {
    if (rows().length >= 3) {
      child.kill('SIGTERM');
      clearInterval(watch);
    }
  }, 20);
  const code = await new Promise((resolve) => child.once('exit', resolve));
  clearInterval(watch);
  assert.is(code, 143, text);
  assert.match(text, /To resume: prl train --resume/);
  const done = rows().length;
  assert.ok(existsSync(join(output, 'checkpoints', `step-${String(done).padStart(6, '0')}`)));

  const again = prl(['train', '--output', output]);
  assert.is(again.status, 1);
  assert.match(again.stderr, /already holds a run/);
  const other = prl(['train', '--resume', '--output', output, '--eta', '3']);
  assert.is(other.status, 2);
  assert.match(other.stderr, /eta 100, not 3/);

  const resumed = prl(['train', '--resume', '--output', output, '--max-steps', String(done + 2)]);
  assert.is(resumed.status, 0, resumed.stderr + resumed.stdout);
  assert.equal(
    rows().map((row) => JSON.parse(row).step),
    Array.from({ length: done + 2 }, (_, i) => i + 1),
  );
  const summary = JSON.parse(readFileSync(join(output, 'summary.json'), 'utf8'));
  assert.is(summary.method, 'prl');
  assert.is(summary.before.n, 2);
  assert.type(summary.after.averageAtN, 'number');
  assert.type(summary.seconds.training, 'number');
  assert.match(resumed.stdout, /in distribution \(2-4\), average@2/);
  const shown = relative(packageRoot, output);
  const next = [...resumed.stdout.matchAll(/^ {2}npx prl (.*?) +# .+$/gm)].map(([, command]) => command);
  assert.equal(next, [
    `report ${shown}`,
    `eval --model ${shown}`,
    `generate --model ${shown} --prompt '9-7*4='`,
    `serve --model ${shown}`,
  ]);
  assert.match(prl(['generate', '--model', shown, '--prompt', '9-7*4=']).stdout, /^9-7\*4=/);
  assert.not.match(text + resumed.stdout, /NaN|-0\.000/, 'every number that is printed means something');
  assert.not.ok(
    ['\u001b', '\r'].some((control) => resumed.stdout.includes(control)),
    'plain lines where there is no terminal',
  );
});

runs('progrs trains with the process reward model of a server and counts its tokens', async () => {
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const { input } = JSON.parse(text) as { input: string };
    const scores = Array.from(input.matchAll(/<extra_0>/g), (_, k) => 1 / (k + 1));
    response.end(JSON.stringify({ data: [{ index: 0, data: scores }], usage: { prompt_tokens: 7 } }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const output = join(folder, 'progrs');
  const train = (args: string[]) =>
    new Promise<{ status: number | null; text: string }>((resolve) => {
      const child = spawn(process.execPath, [...main, 'train', '--output', output, ...args], {
        cwd: packageRoot,
        env: environment,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let text = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk));
      child.once('exit', (status) => resolve({ status, text }));
    });
  try {
    const first = await train(['--model', model, '--method', 'progrs', '--prm', address, '--max-steps', '1', ...SMALL]);
    assert.is(first.status, 0, first.text);
    const second = await train(['--resume', '--max-steps', '2']);
    assert.is(second.status, 0, second.text);
    const rows = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    const [one, two] = rows.map((row) => JSON.parse(row));
    assert.is(one['prm/tokens'] % 7, 0);
    assert.ok(one['prm/tokens'] > 0);
    assert.is(two.num_prm_tokens, one['prm/tokens'] + two['prm/tokens']);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  const without = prl(['train', '--model', model, '--method', 'progrs', '--output', join(folder, 'none'), ...SMALL]);
  assert.is(without.status, 2);
  assert.match(without.stderr, /--prm/);
});

runs('prl eval and generate take a model or a run', () => {
  const run = join(folder, 'run');
  const result = JSON.parse(
    prl(['eval', '--model', run, '--level', '2', '--problems', '5', '--n', '2', '--json']).stdout,
  );
  assert.is(result[0].problems, 5);
  assert.is(result[0].records, undefined);
  const generate = (more: string[]) =>
    prl(['generate', '--model', model, '--prompt', '1+1=', '--max-new-tokens', '5', ...more]);
  const [sample] = JSON.parse(generate(['--json']).stdout);
  assert.ok(sample.tokens.length <= 5 && sample.logProbs.length === sample.tokens.length);
  assert.ok(generate([]).stdout.startsWith(`1+1=${sample.text}`), 'the same seed, the same sample');
  const wrong = prl(['generate', '--model', model, '--prompt', 'hello']);
  assert.is(wrong.status, 2);
  assert.match(wrong.stderr, /holds "h"/);
});

runs('prl report makes a page of a run, and names a missing folder', async () => {
  const run = join(folder, 'run');
  const made = prl(['report', run]);
  assert.is(made.status, 0, made.stderr);
  assert.match(made.stdout, /report\.html: \d+ KiB/);
  const { document } = await openPage(readFileSync(join(run, 'report.html'), 'utf8'));
  const titles = [...document.querySelectorAll('h2')].map(({ textContent }) => textContent);
  const [lengths, credit] = ['Distribution of lengths and rewards', 'Credit of each step'];
  assert.equal(titles, ['Results', 'Learning curves', lengths, credit, 'Samples', 'Settings']);
  assert.ok(document.querySelectorAll('canvas').length > 10);
  const absent = prl(['report', run, join(folder, 'nowhere'), '--output', join(folder, 'x.html')]);
  assert.is(absent.status, 1);
  assert.match(absent.stderr, /there is no folder .*nowhere/);
  assert.not.ok(existsSync(join(folder, 'x.html')));
});
runs('prl prm collect, train and eval work, and progrs trains with the resulting model', () => {
  const [data, prm, output] = ['prm.jsonl', 'prm', 'prm-run'].map((name) => join(folder, name));
  const collect = (problems: number) =>
    prl([
      'prm',
      'collect',
      '--model',
      model,
      '--output',
      data,
      '--problems',
      String(problems),
      '--continuations',
      '2',
      '--max-completion-length',
      '12',
    ]);
  assert.match(collect(20).stdout, /20 problems, \d+ steps/);
  assert.match(collect(30).stdout, /30 problems/);
  assert.is(readFileSync(data, 'utf8').trimEnd().split('\n').length, 31);
  const trained = prl(['prm', 'train', '--model', model, '--data', data, '--output', prm, '--epochs', '2']);
  assert.is(trained.status, 0, trained.stderr);
  assert.match(trained.stdout, /On held-out problems, .* The model is (NOT )?better than the base rate: 0\.\d{3} /);
  assert.ok(existsSync(join(prm, 'backbone', 'tokenizer.json')));
  const text = prl(['prm', 'eval', '--prm', prm, '--data', data]);
  assert.match(text.stdout, /responses were left out.*\n.*the score is quantile 0\.5/);
  assert.match(text.stdout, /0\.9-1\.0 /);
  assert.match(text.stdout, /^The model is (NOT )?better than the base rate: /m);
  const json = JSON.parse(prl(['prm', 'eval', '--prm', prm, '--data', data, '--quantile', '0.1', '--json']).stdout);
  assert.is(json.quantile, 0.1);
  assert.is(json.betterThanBaseRate, json.brier < json.brierConstant);
  assert.ok(Math.abs(json.brierConstant) <= json.baseRate * (1 - json.baseRate) + 1e-6, 'targets are in [0, 1]');
  assert.is(json.responses + json.leftOut, 60);
  assert.is(json.calibration.length, 10);
  const run = [
    '--model',
    model,
    '--method',
    'progrs',
    '--max-steps',
    '1',
    '--eval-problems',
    '2',
    '--eval-samples',
    '2',
  ];
  const progrs = prl([
    'train',
    ...run,
    '--prompts-per-step',
    '2',
    '--num-generations',
    '2',
    '--prm',
    prm,
    '--output',
    output,
  ]);
  assert.is(progrs.status, 0, progrs.stderr + progrs.stdout);
  const [row] = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  assert.type(JSON.parse(row)['prm/score_mean'], 'number');

  const group = prl(['prm']);
  assert.is(group.status, 2);
  assert.match(group.stdout, /prm collect/);
  assert.is(prl(['prm', '--help']).status, 0);
  assert.match(prl(['prm', 'tarin']).stderr, /no command 'prm tarin'. Did you mean 'prm train'/);
  const busy = prl(['prm', 'train', '--model', model, '--data', data, '--output', model]);
  assert.is(busy.status, 1);
  assert.match(busy.stderr, /holds something else/);
});
runs.run();
