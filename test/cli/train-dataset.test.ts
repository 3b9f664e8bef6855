// `prl train --dataset` from outside: tiny random checkpoints of two architectures with a byte-level BPE tokenizer.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteFile } from 'hyparquet-writer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy } from '../../lib/index.js';
import { packageRoot } from '../../lib/kernels/native.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { environment, main, prl } from '../fakes/prl.js';
import { startServer } from '../fakes/served.js';

const run = (...args: string[]) => prl(args);
const root = mkdtempSync(join(tmpdir(), 'prl-cli-dataset-'));
const train = join(root, 'train.jsonl');
const test = join(root, 'test.csv');
const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8');
const readRows = (run: string) =>
  read(run, 'metrics.jsonl')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
/** Right is what holds a letter of the first half of the alphabet: a random model does, now and then. */
const rows = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({
    problem: `What is ${from + i}?`,
    answer: '[a-m]',
    level: (i % 2) + 1,
  }));

const SMALL = [
  ...['--verifier', 'regex', '--prompts-per-step', '4', '--num-generations', '4', '--max-completion-length', '8'],
  ...['--step-length', '3', '--eval-samples', '2', '--save-steps', '1'],
];

const cli = suite('prl train --dataset');
cli.before(async () => {
  const sizes = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2 };
  for (const model_type of ['llama', 'qwen2'] as const) {
    const chat = model_type === 'qwen2';
    const tokenizer = bpeTokenizer({ chat });
    const folder = join(root, model_type);
    mkdirSync(folder);
    const config = {
      ...sizes,
      model_type,
      vocab_size: 320,
      max_position_embeddings: chat ? 512 : 64,
      eos_token_id: tokenizer.eosTokenId,
    };
    const policy = Policy.create(config, { seed: 3 });
    await policy.save(folder);
    await tokenizer.save(folder);
  }
  writeFileSync(
    train,
    rows(0, 12)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  );
  writeFileSync(
    test,
    `problem,answer,level\n${rows(10, 16)
      .map((row) => `${row.problem},${row.answer},${row.level}\n`)
      .join('')}`,
  );
});
cli.after(() => rmSync(root, { recursive: true }));

cli('prl train --dataset evaluates, trains an epoch and leaves a run that other commands take', () => {
  const output = join(root, 'run');
  const args = ['--dataset', train, '--eval-dataset', test, '--level-field', 'level', '--method', 'prl', '--eta', '50'];
  const done = run('train', '--model', join(root, 'llama'), ...args, '--output', output, ...SMALL);
  assert.is(done.status, 0, done.stderr + done.stdout);
  assert.match(done.stdout, /dataset +\S+train\.jsonl: 12 of 12 rows kept/);
  assert.match(done.stdout, /10 problems to train on, 6 held out, prompt .*Question: \{prompt\}/);
  assert.match(done.stdout, /left 2 problems out of the dataset/);
  assert.match(
    done.stdout,
    /^estimate +\d\S* for 3 steps and 2 evaluations, \S+ a step \(rollout \S+, reference \S+, update \S+\), if every response had 8 tokens\n +up to \S+ GiB of memory, \S+ GiB of disk/m,
  );
  assert.match(
    done.stdout,
    /^estimate +\S+ for 3 steps and 1 evaluation, .* with responses of \d tokens, as evaluated$/m,
  );
  assert.match(done.stdout, /held out \(all\), average@2/);
  assert.match(done.stdout, /^2 +3 +\d/m, 'the levels of the evaluation');
  assert.is(readRows('run').length, 3, 'an epoch of 10 problems, 4 a step');
  assert.ok(readRows('run').some(({ reward }) => reward > 0) && readRows('run').some(({ reward }) => reward < 1));
  const config = JSON.parse(read('run', 'config.json'));
  assert.is(config.command.dataset[0], train);
  assert.match(config.trainer.dataset, /^12 problems, SHA-256/);
  assert.is(config.trainer.eta, 50);
  assert.is(config.trainer.stepSplit, 'length');
  assert.is(config.trainer.learningRate, 1e-6);
  const summary = JSON.parse(read('run', 'summary.json'));
  assert.is(summary.before.problems, 6);
  assert.type(summary.after.averageAtN, 'number');
  assert.ok(['base', 'checkpoints/step-000003'].every((path) => existsSync(join(output, path, 'tokenizer.json'))));

  const sampled = run('generate', '--model', output, '--prompt', 'What is 3?', '--max-new-tokens', '4', '--json');
  assert.is(sampled.status, 0, sampled.stderr);
  assert.is(JSON.parse(sampled.stdout).length, 1);
  const page = run('report', output);
  assert.is(page.status, 0, page.stderr);
  assert.match(read('run', 'report.html'), 'What is ');

  const again = run('train', '--resume', '--output', output, '--max-steps', '4');
  assert.is(again.status, 0, again.stderr);
  assert.match(again.stdout, /^resumed +from the checkpoint of step 3$/m);
  assert.not.match(again.stdout, /^estimate/m, 'a resumed run has measured its steps');
  assert.is(readRows('run').length, 4);
});

cli('a run shows its first prompt and response, keeps its extraction, and warns if all rewards are equal', () => {
  const output = join(root, 'hopeless');
  const args = ['--dataset', train, '--extraction', 'any', '--method', 'grpo', '--prompt-template', 'boxed'];
  const sizes = [
    '--prompts-per-step',
    '2',
    '--num-generations',
    '2',
    '--max-completion-length',
    '8',
    '--save-steps',
    '1',
  ];
  const done = run('train', '--model', join(root, 'qwen2'), ...args, ...sizes, '--max-steps', '3', '--output', output);
  assert.is(done.status, 0, done.stderr + done.stdout);
  assert.match(
    done.stdout,
    /^the first prompt as the model sees it \(\d+ tokens\):\n +<\|im_start\|>system\n +Please .*<\|im_end\|>\n +<\|im_start\|>user\n +What is \d+\?<\|im_end\|>\n/m,
  );
  assert.match(
    done.stdout,
    /^the first response \(\d tokens, .*\):\n[\s\S]*?^extracted +\S[\s\S]*?^gold answer +\[a-m\]\n^reward +0, mean of the step 0\.000$/m,
  );
  assert.match(
    done.stderr,
    /^prl: all rewards were 0 in steps 1 and 2, .*--extraction.*--prompt-template.*--max-completion-length.*temperature/m,
  );
  assert.is(done.stderr.match(/all rewards/g)!.length, 1, 'not again in step 3');
  assert.is(JSON.parse(read('hopeless', 'config.json')).command.extraction, 'any');

  const other = run('train', '--resume', '--output', output, '--max-steps', '4', '--extraction', 'boxed');
  assert.is(other.status, 2);
  assert.match(other.stderr, /has extraction "?any"?, not "?boxed"?/);
  const resumed = run('train', '--resume', '--output', output, '--max-steps', '4');
  assert.is(resumed.status, 0, resumed.stderr);
  assert.not.match(resumed.stdout, /first prompt|first response/);
});

cli('--clock sets the date that a chat template tells, and a run keeps it', async () => {
  const folder = join(root, 'dated');
  cpSync(join(root, 'qwen2'), folder, { recursive: true });
  const template = "{{ strftime_now('%A') }}{% for m in messages %}{{ m.content }}{% endfor %}";
  const file = join(folder, 'tokenizer_config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), chat_template: template }));
  const start = (model: string, ...more: string[]) =>
    run('train', '--model', join(root, model), '--dataset', train, '--max-steps', '1', ...SMALL, ...more);
  const refused = start('qwen2', '--clock', '2024-07-26', '--output', join(root, 'undated-run'));
  assert.is(refused.status, 2, refused.stdout);
  assert.match(refused.stderr, /--clock has no effect/);
  const done = start('dated', '--clock', '2024-07-26', '--output', join(root, 'dated-run'));
  assert.is(done.status, 0, done.stderr);
  const resumed = run('train', '--resume', '--output', join(root, 'dated-run'), '--max-steps', '2');
  assert.is(resumed.status, 0, resumed.stderr);
  assert.is(JSON.parse(read('dated-run', 'config.json')).trainer.clock, '2024-07-26');
  const other = run(
    'train',
    '--resume',
    '--output',
    join(root, 'dated-run'),
    '--max-steps',
    '3',
    '--clock',
    '2024-07-27',
  );
  assert.is(other.status, 2, other.stdout);
  assert.match(other.stderr, /clock "2024-07-26", not "2024-07-27"/);
});

cli('a killed dataset run resumes to the same rows, and a changed dataset is refused', async () => {
  const args = ['--dataset', train, '--eval-share', '0.25', '--max-steps', '6', '--seed', '4', ...SMALL];
  const start = (run: string) => ['train', '--model', join(root, 'llama'), '--output', join(root, run), ...args];
  const child = spawn(process.execPath, [...main, ...start('killed')], {
    cwd: packageRoot,
    env: environment,
    stdio: 'ignore',
  });
  const log = join(root, 'killed', 'metrics.jsonl');
  const watch = setInterval(() => {
    if (existsSync(log) && readFileSync(log, 'utf8').split('\n').length > 2) child.kill('SIGKILL');
  }, 5);
  await new Promise((resolve) => child.once('exit', resolve));
  clearInterval(watch);
  assert.is(child.signalCode, 'SIGKILL');

  const moved = join(root, 'moved.jsonl');
  renameSync(train, moved);
  writeFileSync(train, `${JSON.stringify({ problem: 'new', answer: '1' })}\n`);
  const refused = run('train', '--resume', '--output', join(root, 'killed'));
  renameSync(moved, train);
  assert.is(refused.status, 2, refused.stdout);
  assert.match(refused.stderr, /has dataset "12 problems, SHA-256 \w+", not "1 problems/);

  const resumed = run('train', '--resume', '--output', join(root, 'killed'));
  assert.is(resumed.status, 0, resumed.stderr);
  const whole = run(...start('whole'));
  assert.is(whole.status, 0, whole.stderr);
  const figures = (run: string) =>
    readRows(run).map(({ step, reward, loss, grad_norm }) => [step, reward, loss, grad_norm]);
  assert.is(figures('whole').length, 6);
  assert.equal(figures('killed'), figures('whole'));
});

cli('a chat model trains on Parquet in bfloat16 with rollouts from a server', async () => {
  const parquet = join(root, 'train.parquet');
  const column = (name: string, data: string[]) => ({ name, data, type: 'STRING' as const });
  const problems = rows(20, 26);
  parquetWriteFile({
    filename: parquet,
    columnData: [
      column(
        'problem',
        problems.map(({ problem }) => problem),
      ),
      column(
        'answer',
        problems.map(({ answer }) => answer),
      ),
    ],
  });
  const model = join(root, 'qwen2');
  const sync = join(root, 'sync');
  const output = join(root, 'served');
  mkdirSync(sync);
  const server = await startServer(model, ['--port', '0', '--sync-folder', sync]);
  try {
    const args = ['--dataset', parquet, '--method', 'prl', '--eta', '200', '--dtype', 'bfloat16', ...SMALL];
    const rollouts = ['--rollout-url', server.url, '--sync-folder', sync];
    const done = run('train', '--model', model, ...args, ...rollouts, '--output', output, '--max-steps', '2');
    assert.is(done.status, 0, done.stderr + done.stdout);
    assert.match(done.stdout, /prompt .*Let's think step by step.*"chat":true/);
    assert.match(done.stdout, /no problem is held out/);
  } finally {
    await server.end();
  }
  for (const row of readRows('served')) {
    assert.type(row['seconds/sync'], 'number');
    assert.ok(row['sampling/sampling_logp_difference/max'] < 1e-4);
  }
  const saved = JSON.parse(read('served', 'checkpoints', 'step-000002', 'config.json'));
  assert.is(saved.torch_dtype, 'bfloat16');
  const other = run('train', '--resume', '--output', output, '--dtype', 'float32');
  assert.is(other.status, 2);
  assert.match(other.stderr, /has dtype "bfloat16", not "float32"/);
  assert.ok(
    existsSync(join(output, 'checkpoints', 'step-000002', 'chat_template.jinja')) ||
      /chat_template/.test(read('served', 'checkpoints', 'step-000002', 'tokenizer_config.json')),
  );
});

cli('--preset small-machine has smaller defaults, --eval-problems 0 none, and its template stays', () => {
  const output = join(root, 'small');
  const own = ['--prompt-template', 'Q {prompt}:', '--verifier', 'regex', '--eval-problems', '0'];
  const sizes = [
    '--max-completion-length',
    '8',
    '--max-steps',
    '1',
    '--prompts-per-step',
    '3',
    '--num-generations',
    '2',
  ];
  const start = ['train', '--preset', 'small-machine', '--model', join(root, 'llama'), '--dataset', train];
  const done = run(...start, '--eval-dataset', test, ...own, ...sizes, '--output', output);
  assert.is(done.status, 0, done.stderr + done.stdout);
  const { command, trainer } = JSON.parse(read('small', 'config.json'));
  assert.is(command.preset, 'small-machine');
  const { stepSplit, learningRate, adamBeta2, weightDecay, numMinibatches, evalSamples, eta } = trainer;
  assert.equal(
    { stepSplit, learningRate, adamBeta2, weightDecay, numMinibatches, evalSamples, eta },
    {
      stepSplit: 'newline',
      learningRate: 1e-5,
      adamBeta2: 0.99,
      weightDecay: 0,
      numMinibatches: 2,
      evalSamples: 4,
      eta: 200,
    },
  );
  assert.match(done.stdout, /not evaluated, because --eval-problems is 0/);
  assert.match(done.stdout, /^estimate +\S+ for 1 step, /m);
  assert.not.match(done.stdout, /(before|after) training:|\d evaluations?,/);
  assert.match(done.stdout, /prl eval --model \S+ --data \S+test\.csv/, 'what to do next');
  const summary = JSON.parse(read('small', 'summary.json'));
  assert.equal([summary.before, summary.after, summary.seconds.evaluation], [undefined, undefined, 0]);
  assert.not.ok(existsSync(join(output, 'evaluation-before.json')));

  // The model of a run answers the prompts that it learned.
  const sampled = run('generate', '--model', output, '--prompt', 'What?', '--max-new-tokens', '4');
  assert.is(sampled.status, 0, sampled.stderr);
  assert.match(sampled.stderr, /^prl: as in \S*small: --prompt-template "Q \{prompt\}:"$/m);
  assert.ok(sampled.stdout.startsWith('Q What?:'), sampled.stdout);
  const sampling = ['--n', '1', '--max-completion-length', '8', '--problems', '1', '--json'];
  const measured = run('eval', '--model', output, '--data', test, ...sampling);
  assert.is(measured.status, 0, measured.stderr);
  assert.match(measured.stderr, /as in \S*small: --prompt-template "Q \{prompt\}:", --verifier regex/);
  const { identity, prompts } = JSON.parse(measured.stdout).settings;
  assert.equal([identity.verifier, prompts[0].template], ['regex', 'Q {prompt}:']);

  const next = run(
    'train',
    '--model',
    join(output, 'base'),
    '--dataset',
    train,
    ...SMALL.slice(2),
    '--max-steps',
    '0',
    '--output',
    join(root, 'next'),
  );
  assert.is(next.status, 0, next.stderr);
  const { promptTemplate, verifier } = JSON.parse(read('next', 'config.json')).command;
  assert.equal([promptTemplate, verifier], ['Q {prompt}:', 'regex']);
});

cli('options that cannot work with a dataset are refused at once', () => {
  const model = join(root, 'llama');
  const rejects = (message: RegExp, ...args: string[]) => {
    const { status, stderr } = run('train', '--output', join(root, `bad-${Math.random()}`), ...args);
    assert.is(status, 2, stderr);
    assert.match(stderr, message);
  };
  rejects(/--dataset needs --model/, '--dataset', train);
  rejects(/--preset smoke belongs to the arithmetic task/, '--dataset', train, '--model', model, '--preset', 'smoke');
  rejects(/--eval-share needs --dataset/, '--eval-share', '0.1');
  rejects(/--preset small-machine needs --dataset/, '--preset', 'small-machine');
  const often = ['--eval-steps', '2', '--eval-problems', '0'];
  rejects(/--eval-steps 2 needs --eval-problems above 0/, '--dataset', train, '--model', model, ...often);
  rejects(/the model has 64 positions/, '--dataset', train, '--model', model);
});

cli('prl prm collect --dataset collects steps and resumes for the same dataset only', () => {
  const output = join(root, 'steps.jsonl');
  const collect = (...more: string[]) =>
    run(
      ...['prm', 'collect', '--model', join(root, 'llama'), '--output', output, '--continuations', '2', '--n', '1'],
      ...['--step-split', 'length', '--step-length', '4', '--max-completion-length', '8', '--verifier', 'regex'],
      ...more,
    );
  const first = collect('--dataset', train, '--problems', '3');
  assert.is(first.status, 0, first.stderr);
  assert.match(first.stdout, /3 problems, \d+ steps in /);
  const lines = readFileSync(output, 'utf8').trimEnd().split('\n');
  assert.is(lines.length, 4);
  const { task, split, level, identity } = JSON.parse(lines[0]);
  assert.equal([task, split, level], ['train', 'train', 'all']);
  assert.match(identity.dataset, /problems, SHA-256/);
  for (const [args, why] of [
    [['--dataset', test], /was collected with .*: choose another file/],
    [['--dataset', train, '--problems', '100000'], /problems must be at most \d+, the size of the dataset/],
    [['--dataset', train, '--level', '1'], /--level cannot be used with --dataset/],
    [['--problems', '3'], /--verifier needs --dataset/],
  ] as const) {
    const refused = collect(...args);
    assert.is(refused.status, 2, refused.stdout);
    assert.match(refused.stderr, why);
  }
});
cli('prl compare --dataset compares methods at equal sampled tokens, and refuses what does not belong', () => {
  const output = join(root, 'compared');
  const [model, budget] = [join(root, 'llama'), 200];
  const data = ['--model', model, '--dataset', train, '--eval-dataset', test, '--eval-steps', '2', ...SMALL];
  const compare = (...more: string[]) => run('compare', '--methods', 'grpo,frpo', '--seeds', '2', ...more);
  const done = compare(...data, '--max-steps', '50', '--max-tokens', String(budget), '--output', output);
  assert.is(done.status, 0, done.stderr + done.stdout);
  assert.match(done.stdout, /frpo - grpo/);
  const { results, cells, warm } = JSON.parse(read('compared', 'results.json'));
  assert.equal(
    results.map(({ name }: { name: string }) => name),
    ['before', 'grpo', 'frpo'],
  );
  assert.is(warm.length, 2);
  for (const { levels, tokens, arm, seed } of cells) {
    assert.is(levels[0].problems, 6, 'all held-out problems');
    const rows = readRows(join('compared', 'cells', `${arm}-seed-${seed}`));
    assert.is(rows.at(-1).num_tokens, tokens.policy);
    assert.ok(
      rows.at(-1).num_tokens >= budget && rows.at(-2).num_tokens < budget,
      'it ends with the step that reaches it',
    );
    assert.ok(rows[1]['eval/average_at_n'] >= 0);
  }
  assert.not(existsSync(join(output, 'cache', 'base')));
  const text = read('compared', 'results.md');
  assert.match(text, /Problems of \S+train\.jsonl, model \S+llama\. 2 seeds/);
  assert.match(text, /reaches 200 sampled tokens/);
  assert.match(text, /!\[average@n, held out\]\(results-held-out-average\.svg\)/);
  assert.match(text, /learningRate 0\.000001/, 'the defaults of prl train --dataset');
  const again = compare('--resume', '--output', output, '--dataset', test);
  assert.match(again.stderr, /--dataset cannot be changed/);
  for (const [why, ...args] of [
    [/--dataset needs --model/, '--dataset', train, '--max-steps', '3'],
    [/--dataset needs --max-steps/, ...data],
    [/--extraction needs --dataset/, '--extraction', 'any'],
    [/--preset is for the arithmetic task/, ...data, '--preset', 'smoke'],
    [/progrs with --dataset needs --prm/, ...data, '--max-steps', '3', '--methods', 'grpo,progrs'],
  ] as const) {
    const refused = compare(...(args as string[]), '--output', join(root, 'refused'));
    assert.is(refused.status, 2, refused.stderr);
    assert.match(refused.stderr, why as RegExp);
  }
  assert.not(existsSync(join(root, 'refused')));
});

cli.run();
