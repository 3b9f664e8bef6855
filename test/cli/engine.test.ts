// prl train --engine tinker from outside: the command in a process of its own, the server in this one.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { engineSettings } from '../../lib/cli/kit/engine.js';
import { Policy } from '../../lib/index.js';
import { bpeTokenizer } from '../fakes/bpe-tokenizer.js';
import { environment, main } from '../fakes/prl.js';
import { type TinkerFake, tinkerServer } from '../fakes/tinker-server.js';
import { throwsError } from '../reference/numbers.js';

const KEY = 'tml-secret-3391';
const cli = suite('prl train --engine tinker');
let folder: string;
let fake: TinkerFake;
cli.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prl-engine-'));
  const tokenizer = bpeTokenizer({ chat: false });
  const base = Policy.create(
    {
      ...{ model_type: 'llama', vocab_size: 320, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1 },
      ...{ num_attention_heads: 2, max_position_embeddings: 64, eos_token_id: tokenizer.eosTokenId },
    },
    { seed: 3 },
  );
  mkdirSync(join(folder, 'model'));
  writeFileSync(join(folder, 'model', 'config.json'), JSON.stringify(base.config));
  await tokenizer.save(join(folder, 'model'));
  const rows = Array.from({ length: 8 }, (_, i) => JSON.stringify({ problem: `What is ${i}?`, answer: '[a-m]' }));
  writeFileSync(join(folder, 'train.jsonl'), rows.join('\n'));
  fake = await tinkerServer(base, { scratch: folder });
});
cli.after(async () => {
  await fake.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Not spawnSync: the server answers in this process. */
function prl(...args: string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...main, ...args], { env: { ...environment, TINKER_API_KEY: KEY } });
    let output = '';
    const add = (text: unknown) => {
      output += String(text);
    };
    child.stdout.on('data', add);
    child.stderr.on('data', add);
    child.on('close', (code) => resolve({ code, output }));
  });
}

cli('a run on a server trains, resumes with more steps, and keeps no key', async () => {
  const run = join(folder, 'run');
  const server = ['--engine', 'tinker', '--url', fake.url, '--base-model', 'base', '--lora-rank', '4'];
  const data = ['--dataset', join(folder, 'train.jsonl'), '--eval-share', '0.25', '--verifier', 'regex'];
  const small = ['--prompts-per-step', '3', '--num-generations', '4', '--max-completion-length', '8'];
  const method = ['--method', 'grpo', '--learning-rate', '0.001', '--eval-samples', '2'];
  const model = ['--model', join(folder, 'model'), '--output', run];
  const first = await prl('train', ...server, ...data, ...small, ...method, ...model, '--max-steps', '1');
  assert.is(first.code, 0, first.output);
  assert.match(first.output, /the server computes the loss: lossType dapo is the server's ppo/);
  assert.match(first.output, /npx prl report/);
  assert.not.match(first.output, /npx prl generate/, 'the weights are not here');
  assert.is(fake.models.size, 0, 'the adapter is given back');
  const second = await prl('train', '--resume', '--output', run, '--max-steps', '2', '--loss-path', 'surrogate');
  assert.is(second.code, 0, second.output);
  assert.match(second.output, /the loss is computed here, .*lossPath is surrogate/);
  const rows = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n');
  assert.equal(
    rows.map((row) => JSON.parse(row).step),
    [1, 2],
  );
  assert.ok(fake.asked.every(({ headers }) => headers['x-api-key'] === KEY));
  for (const name of readdirSync(run, { recursive: true }).map(String))
    if (statSync(join(run, name)).isFile()) assert.not(readFileSync(join(run, name), 'utf8').includes(KEY), name);
  assert.not((first.output + second.output).includes(KEY));
});

cli('options that a server cannot serve are refused before it is asked for anything', async () => {
  const before = fake.asked.length;
  const args = ['train', '--engine', 'tinker', '--url', fake.url, '--base-model', 'base'];
  for (const [option, message] of [
    [['--entropy-coef', '0.1'], /--entropy-coef needs the logits/],
    [['--temperature', '0.7'], /--temperature must be 1/],
    [['--rollout-url', 'http://x', '--sync-folder', folder], /--rollout-url has no meaning with --engine tinker/],
  ] as const) {
    const { code, output } = await prl(...args, ...option, '--output', join(folder, 'none'));
    assert.is(code === 0, false);
    assert.match(output, message);
  }
  assert.is(fake.asked.length, before);
});

cli('options of the server override those of the run, and need --engine tinker', () => {
  assert.is(engineSettings({}, {}), undefined);
  const first = engineSettings({ engine: 'tinker', url: 'http://a', baseModel: 'm' }, {})!;
  assert.equal(first, { engine: { name: 'tinker', baseModel: 'm', loraRank: 32 }, url: 'http://a', lossPath: 'auto' });
  assert.equal(engineSettings({ url: 'http://b' }, first), { ...first, url: 'http://b' });
  const wrong = (given: object, message: RegExp) =>
    throwsError(() => engineSettings(given, {}), TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);
  wrong({ url: 'http://a' }, /--url needs --engine tinker/);
  wrong({ loraRank: 8 }, /--lora-rank needs --engine tinker/);
  wrong({ engine: 'tinker', baseModel: 'm' }, /--engine tinker needs --url/);
  wrong({ engine: 'tinker', url: 'http://a' }, /--engine tinker needs --base-model/);
});

cli.run();
