import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { modelFolder, weightsHash } from '../../lib/cli/kit/model-folder.js';
import { withOptionsOfRun } from '../../lib/cli/kit/model-run.js';
import { loadDataset, PrlError } from '../../lib/index.js';
import { rejectsWith } from '../policy/rejects.js';

const root = mkdtempSync(join(tmpdir(), 'prl-hash-'));
const hash = suite('weightsHash');
hash.after(() => rmSync(root, { recursive: true }));

hash('weightsHash tells models apart, in one file or in shards of the same names', async () => {
  let count = 0;
  const folder = (files: Record<string, string>) => {
    const path = join(root, String(count++));
    mkdirSync(path);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
    return weightsHash(path);
  };
  const index = JSON.stringify({ weight_map: { a: 's1.safetensors', b: 's2.safetensors', c: 's1.safetensors' } });
  const sharded = (first: string, second: string) =>
    folder({ 'model.safetensors.index.json': index, 's1.safetensors': first, 's2.safetensors': second });
  const all = await Promise.all([
    folder({ 'model.safetensors': 'x' }),
    folder({ 'model.safetensors': 'y' }),
    sharded('x', 'y'),
    sharded('x', 'z'),
    sharded('y', 'x'),
  ]);
  assert.is(new Set(all).size, 5);
  assert.is(await folder({ 'model.safetensors': 'x', 'config.json': '{}' }), all[0]);
  assert.is(await sharded('x', 'y'), all[2]);
});
hash.run();

const absent = suite('modelFolder: a folder that is not there');
absent('its error says that there is no such folder, also where the hub was asked', async () => {
  await rejectsWith(
    modelFolder('runs/nope'),
    PrlError,
    'ERR_PRL_IO',
    /there is no folder runs\/nope.*model.safetensors.*checkpoint/,
  );
  await rejectsWith(modelFolder('./nope/x'), PrlError, 'ERR_PRL_IO', /there is no folder .\/nope\/x/);
  const { HF_HUB_OFFLINE } = process.env;
  process.env.HF_HUB_OFFLINE = '1';
  try {
    const both = (kind: string) =>
      new RegExp(`there is no folder models/nope here, and as a ${kind} of the hub: HF_HUB_OFFLINE`);
    await rejectsWith(modelFolder('models/nope'), PrlError, 'ERR_PRL_OFFLINE', both('model'));
    await rejectsWith(loadDataset('models/nope'), PrlError, 'ERR_PRL_OFFLINE', both('dataset'));
  } finally {
    if (HF_HUB_OFFLINE === undefined) delete process.env.HF_HUB_OFFLINE;
    else process.env.HF_HUB_OFFLINE = HF_HUB_OFFLINE;
  }
});
absent.run();

const ofRun = suite('options of the run of a model');
const runs = mkdtempSync(join(tmpdir(), 'prl-model-run-'));
ofRun.after(() => rmSync(runs, { recursive: true }));
ofRun('prompts and the judge come from the run of a model, where the user gives none', async () => {
  let count = 0;
  const folder = (config: object) => {
    const path = join(runs, `r${count++}`);
    for (const inside of ['base', join('checkpoints', 'step-000001')]) {
      mkdirSync(join(path, inside), { recursive: true });
      writeFileSync(join(path, inside, 'config.json'), '{"model_type":"llama"}');
    }
    writeFileSync(join(path, 'config.json'), JSON.stringify(config));
    return path;
  };
  const taken = async (model: string, given: object = {}, settings = {}) => {
    const said: string[] = [];
    const options = await withOptionsOfRun(model, given, (message) => said.push(message), settings);
    return { options, said };
  };
  const known = { promptTemplate: 'question', extraction: 'any' };
  const rl = folder({ command: { dataset: ['a'], model: 'm', ...known }, trainer: {} });
  const shown = relative('', rl);
  const whole = { options: known, said: [`as in ${shown}: --prompt-template question, --extraction any`] };
  for (const model of [rl, join(rl, 'base'), join(rl, 'checkpoints', 'step-000001')])
    assert.equal(await taken(model), whole);
  const prompt = { promptTemplate: 'question' };
  assert.equal((await taken(rl, {}, { judged: false })).options, prompt);
  assert.equal((await taken(rl, { verifier: 'regex' })).options, { verifier: 'regex', ...prompt });
  const warning = `the model of ${shown} learned prompts with promptTemplate question, not boxed`;
  assert.equal(await taken(rl, { promptTemplate: 'boxed', extraction: 'boxed' }), {
    options: { promptTemplate: 'boxed', extraction: 'boxed' },
    said: [warning],
  });
  const same = await taken(rl, { promptTemplate: 'question', verifier: 'math' });
  assert.equal(same.said, [], 'the same template, and a judge of its own');

  const sft = folder({ command: { dataset: ['a'], promptTemplate: 'question' }, sft: {} });
  assert.equal((await taken(sft)).options, prompt);
  const chats = folder({ command: { dataset: ['a'], systemPrompt: 'S' }, sft: {} });
  assert.equal(await taken(chats), { options: {}, said: [] }, 'the rows frame themselves');
  const auto = folder({ command: { dataset: ['a'] }, trainer: { prompt: '{"template":"","chat":true}' } });
  assert.equal((await taken(auto)).options, { promptTemplate: 'prl' }, "what 'auto' came to");
  const arithmetic = folder({ command: { preset: 'smoke' }, trainer: {} });
  for (const model of [arithmetic, join(runs, 'nowhere'), 'owner/name'])
    assert.equal(await taken(model), { options: {}, said: [] });
});
ofRun.run();
