import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { environment, main, prl } from '../fakes/prl.js';
import { startServer } from '../fakes/served.js';

let folder: string;
const run = (args: string[]) => prl(['eval', ...args]);
const at = (name: string) => join(folder, name);
const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

const cli = suite('prl eval --data');
cli.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prl-eval-'));
  await nativePolicy(echoTask).save(at('model'));
  await echoTask.tokenizer.save(at('model'));
  const problems = Array.from({ length: 12 }, (_, i) => ({
    problem: `${20 + i}`,
    answer: i % 10,
    unique_id: `p/${i}`,
  }));
  writeFileSync(at('digits.jsonl'), lines(problems));
  writeFileSync(at('more.csv'), `question,final_answer\n${[50, 51, 52].map((x) => `${x},${x % 10}`).join('\n')}\n`);
});
cli.after(() => rmSync(folder, { recursive: true }));

const sampling = () => [
  ...['--model', at('model'), '--data', at('digits.jsonl'), `More=${at('more.csv')}`],
  ...['--n', '4', '--max-completion-length', '6', '--verifier', 'numeric', '--extraction', 'any'],
  ...['--prompt-template', 'none'],
];

cli('prl eval --data prints a table, records every response, and judges the record to the same figures', () => {
  const records = at('records.jsonl');
  const table = run([...sampling(), '--records', records, '--output', at('figures.json')]);
  assert.is(table.status, 0, table.stderr);
  const [head, rule, ...rows] = table.stdout.trimEnd().split('\n');
  assert.match(head, /^% \[95%\] +digits +More +all problems +mean of sets$/);
  assert.match(rule, /^[- ]+$/);
  assert.equal(
    rows.map((row) => row.split('  ')[0]),
    ['average@4', 'pass@2', 'pass@4', 'maj@4', 'problems', 'with an answer', 'cut off', 'tokens'],
  );
  assert.match(rows[0], /^average@4 +\d+\.\d \[\d+\.\d, \d+\.\d\] +\d/);
  assert.match(rows[4], /^problems +12 +3 +15$/);
  const figures = JSON.parse(readFileSync(at('figures.json'), 'utf8'));
  assert.is(figures.sets[1].name, 'More');
  assert.is(figures.settings.identity.verifier, 'numeric');
  assert.match(figures.settings.identity.model, /^[0-9a-f]{64}$/);
  const again = run([
    ...['--data', at('digits.jsonl'), `--data=More=${at('more.csv')}`, '--responses', records],
    ...['--verifier', 'numeric', '--extraction', 'any', '--json'],
  ]);
  assert.is(again.status, 0, again.stderr);
  const { sets, allProblems, meanOfSets } = JSON.parse(again.stdout);
  assert.equal(
    { sets, allProblems, meanOfSets },
    {
      sets: figures.sets,
      allProblems: figures.allProblems,
      meanOfSets: figures.meanOfSets,
    },
  );
  assert.is(again.stderr, '');
});

cli('responses of a server give the same record for the same seed', async () => {
  const server = await startServer(at('model'), ['--port', '0']);
  try {
    const records = ['one.jsonl', 'two.jsonl'].map((name) => {
      const done = run([...sampling(), '--rollout-url', server.url, '--seed', '3', '--records', at(name)]);
      assert.is(done.status, 0, done.stderr);
      assert.match(done.stdout, /^problems +12 +3 +15$/m);
      return readFileSync(at(name), 'utf8');
    });
    assert.match(records[0], / of a server/);
    assert.is(records[0], records[1]);
    // The model here is not the one that answers: a tokenizer is all that is read of it.
    const alone = run([...sampling(), '--rollout-engine', 'vllm']);
    assert.is(alone.status, 2);
    assert.match(alone.stderr, /--rollout-engine needs --rollout-url/);
  } finally {
    await server.end();
  }
});

cli('an interrupted prl eval saves and resumes to the same record', async () => {
  const [whole, broken] = [at('whole.jsonl'), at('broken.jsonl')];
  const slow = (records: string, more: string[] = []) => [
    ...[...sampling(), '--records', records, '--chunk-size', '1', '--max-completion-length', '2000', '--n', '16'],
    ...more,
  ];
  const first = run(slow(whole));
  assert.is(first.status, 0, first.stderr);
  const process_ = spawn(process.execPath, [...main, 'eval', ...slow(broken)], { cwd: packageRoot, env: environment });
  let stderr = '';
  process_.stderr.on('data', (data) => {
    stderr += String(data);
  });
  const code = await new Promise((resolve) => {
    const look = setInterval(() => {
      let done = 0;
      try {
        done = readFileSync(broken, 'utf8').split('\n').length - 2;
      } catch {}
      if (done < 2) return;
      clearInterval(look);
      process_.kill('SIGINT');
    }, 5);
    process_.once('exit', (code, signal) => {
      clearInterval(look);
      resolve(code ?? signal);
    });
  });
  assert.is(code, 130, stderr);
  assert.match(stderr, /Saved \d+ problems\. To resume, run the same command with --resume\./);
  const refused = run(slow(broken));
  assert.is(refused.status, 1);
  assert.match(refused.stderr, /broken\.jsonl already exists: resume it/);
  const resumed = run(slow(broken, ['--resume']));
  assert.is(resumed.status, 0, resumed.stderr);
  assert.is(readFileSync(broken, 'utf8'), readFileSync(whole, 'utf8'));
  assert.is(resumed.stdout, first.stdout);
});

cli('given responses are found by --id-field and judged as math', () => {
  const right = Array.from({ length: 12 }, (_, i) => `The answer is \\boxed{\\frac{${2 * (i % 10)}}{2}}`);
  const file = at('given.jsonl');
  writeFileSync(file, lines(right.map((text, i) => ({ id: `p/${i}`, responses: [text, 'none'] })).reverse()));
  const data = ['--data', at('digits.jsonl'), '--responses', file, '--id-field', 'unique_id'];
  const { stdout, stderr, status } = run([...data, '--json']);
  assert.is(status, 0, stderr);
  const { sets } = JSON.parse(stdout);
  assert.equal([sets[0].averageAtN, sets[0].majAtN, sets[0].answeredRatio], [0.5, 1, 0.5]);
  const some = run([...data, '--problems', '11']);
  assert.is(some.status, 1);
  assert.match(some.stderr, /given\.jsonl:1: no problem with the id "p\/11"/);
});

cli('options that do not go together are refused by name', () => {
  const wrong = (args: string[], message: RegExp, code = 2) => {
    const { status, stderr } = run(args);
    assert.match(stderr, message);
    assert.is(status, code);
  };
  const data = ['--data', at('digits.jsonl')];
  wrong(data, /prl eval needs --model$/m);
  wrong([...data, '--model', at('model'), '--level', '2'], /--level cannot be used with --data/);
  wrong(['--model', at('model'), '--top-p', '0.5'], /--top-p needs --data/);
  wrong(['--model', at('model'), 'x.jsonl'], /takes options only, not 'x\.jsonl'\. Did you mean '--data x\.jsonl'/);
  wrong([...data, '--model', at('model'), '--resume'], /--resume needs --records/);
  wrong([...data, '--model', at('model'), '--responses', 'r.jsonl'], /--model cannot be used with --responses/);
  wrong([...data, '--responses', 'r.jsonl', '--n', '3'], /'n' needs 'policy'/);
  wrong([...data, '--responses', at('absent.jsonl')], /cannot read .*absent\.jsonl/, 1);
  wrong([...sampling(), '--temperature', '0'], /n must be 1 at temperature 0/);
  wrong([...data, '--data', at('digits.jsonl'), '--model', at('model')], /two sets are named 'digits'/);
});
cli.run();
