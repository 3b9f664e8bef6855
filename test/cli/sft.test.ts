// `prl sft` as a process: killed and resumed it ends with the same bits, and prl train takes its result.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Progress } from '../../lib/cli/kit/progress.js';
import { ArithmeticTask } from '../../lib/index.js';
import { prl, saveArithmeticModel } from '../fakes/prl.js';
import { prl as start, TINY, timelessRows, until } from '../fakes/prl-train.js';

const folder = mkdtempSync(join(tmpdir(), 'prl-sft-cli-'));
const at = (...path: string[]) => join(folder, ...path);
const [model, data] = [at('model'), at('train.jsonl')];

const sft = suite('prl sft');
sft.before(async () => {
  await saveArithmeticModel(model);
  const task = new ArithmeticTask();
  const rows = Array.from({ length: 60 }, (_, i) => {
    const problem = task.problem(i, { seed: 1, split: 'train', level: '2-3' });
    return JSON.stringify({ question: problem.prompt, solution: task.demonstrate(problem, 'steps') });
  });
  writeFileSync(data, rows.join('\n'));
});
sft.after(() => rmSync(folder, { recursive: true }));

const SETTINGS = [
  ...['--model', model, '--dataset', data, '--prompt-field', 'question', '--completion-field', 'solution'],
  ...['--prompt-template', '+{prompt}', '--eval-share', '0.1', '--learning-rate', '1e-2'],
  ...['--num-train-epochs', '25', '--save-steps', '10'],
];
const weights = (run: string) => {
  const [newest] = readdirSync(at(run, 'checkpoints')).sort().reverse();
  return readFileSync(at(run, 'checkpoints', newest, 'model.safetensors'));
};

sft('a run that is killed twice and resumed ends as one that is not', async () => {
  const whole = prl(['sft', ...SETTINGS, '--output', at('whole')]);
  assert.is(whole.status, 0, whole.stderr);
  assert.match(whole.stdout, /54 demonstrations to learn, 6 held out/);
  assert.match(whole.stdout, /What it learns comes after >>>/);
  assert.match(whole.stdout, /prl train --model \S+ --dataset FILE --prompt-template '\+\{prompt\}' /);
  assert.is(whole.stdout.split('prl generate').length, 2, 'what to do next is said once');
  const { before, after, steps } = JSON.parse(readFileSync(at('whole', 'summary.json'), 'utf8'));
  assert.is(steps, 175);
  assert.ok(after.loss < before.loss - 0.6, `${before.loss} -> ${after.loss}`);
  assert.ok(after.tokenAccuracy > before.tokenAccuracy + 0.15);

  for (const kills of [15, 60]) {
    const resume = kills === 15 ? SETTINGS : ['--resume'];
    const process = start(['sft', ...resume, '--output', at('killed')]);
    const rows = () => {
      try {
        return readFileSync(at('killed', 'metrics.jsonl'), 'utf8').split('\n').length;
      } catch {
        return 0;
      }
    };
    await until(() => rows() > kills, process);
    process.child.kill('SIGKILL');
    assert.is(await process.ended, 'SIGKILL');
  }
  const last = prl(['sft', '--resume', '--output', at('killed')]);
  assert.is(last.status, 0, last.stderr);
  assert.match(last.stdout, /^resumed +from the checkpoint of step [1-9]\d*0$/m);
  assert.equal(timelessRows(at('killed', 'metrics.jsonl')), timelessRows(at('whole', 'metrics.jsonl')));
  assert.equal(weights('killed'), weights('whole'));
});

sft('prl train begins from the result', () => {
  const { status, stderr, stdout } = prl([
    ...['train', '--model', at('whole'), '--output', at('train'), '--max-steps', '1', ...TINY],
  ]);
  assert.is(status, 0, stderr + stdout);
  assert.equal(readFileSync(at('train', 'base', 'model.safetensors')), weights('whole'));
});

sft('prl report shows loss and token accuracy before and after', () => {
  const { status, stderr } = prl(['report', at('whole'), '--output', at('report.html')]);
  assert.is(status, 0, stderr);
  const { before, after } = JSON.parse(readFileSync(at('whole', 'summary.json'), 'utf8'));
  const page = readFileSync(at('report.html'), 'utf8');
  const [verdict] = page.match(/<p class="verdict better">.*?<\/p>/)!;
  assert.ok(verdict.includes(`${before.loss.toFixed(3)} → ${after.loss.toFixed(3)} nats per token`), verdict);
  assert.ok(verdict.includes(`${Math.round(100 * after.tokenAccuracy)}%`), verdict);
  assert.match(page, /<figcaption>Token accuracy/);
});

sft('wrong options are refused by the name of the flag before a folder is made', () => {
  const refused = (options: string[], message: RegExp) => {
    const { status, stderr } = prl(['sft', ...options, '--output', at('never')]);
    assert.is(status, 2, stderr);
    assert.match(stderr, message);
    assert.not(readdirSync(folder).includes('never'), `${options} made a folder`);
  };
  refused(['--dataset', data], /--model/);
  refused(['--model', model], /--dataset/);
  refused([...SETTINGS, '--num-train-epochs', '0'], /--num-train-epochs/);
});

sft('the time left counts the steps since a run resumed, the first of them too', () => {
  const lines: string[] = [];
  const { now } = performance;
  let passed = 0;
  performance.now = () => passed;
  try {
    const progress = new Progress('SFT', 10, 0, (line) => lines.push(line));
    passed = 10_000;
    progress.resumedAt(4);
    progress.update(5, 'loss 1.000');
    passed = 20_000;
    progress.update(7, 'loss 0.900');
  } finally {
    performance.now = now;
  }
  assert.equal(lines, [
    'resumed      from the checkpoint of step 4',
    'SFT          5/10  loss 1.000  50s left', // 5 steps of 10 s
    'SFT          7/10  loss 0.900  20s left', // 3 of 20 s for 3
  ]);
});

sft.run();
