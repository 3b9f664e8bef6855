import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, PrlError } from '../../lib/index.js';
import { SafetensorsFile, writeSafetensors } from '../../lib/policy/safetensors.js';
import { toBFloat16, toFloat16 } from '../../lib/tensor.js';
import { near } from '../reference/numbers.js';
import { rejectsWith } from './rejects.js';
import { ARCHITECTURES, tinyConfig, tinyPolicy } from './tiny.js';

const root = mkdtempSync(join(tmpdir(), 'prl-checkpoint-'));
const weightsOf = (policy: Policy) =>
  new Map(policy.parameters.map(({ name }) => [name, policy.readParameter(name).data]));
const numbers = (array: ArrayBufferView) =>
  new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength);
let count = 0;
const newFolder = () => {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  return folder;
};

// biome-ignore lint/suspicious/noExplicitAny: headers are spoiled in every way
type Header = Record<string, any>;
type Stored = { dtype: string; shape: readonly number[]; bytes: Uint8Array };
/** A safetensors file put together by hand; `edit` may spoil the header. */
function writeRaw(path: string, tensors: Map<string, Stored>, edit: (header: Header) => unknown = (h) => h) {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const json = new TextEncoder().encode(JSON.stringify(edit(header)));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true);
  writeFileSync(
    path,
    Buffer.concat([length, json, ...Array.from(tensors.values(), (t) => t.bytes)]) as Uint8Array<ArrayBuffer>,
  );
}
const storedOf = (policy: Policy, dtype: 'F32' | 'BF16' | 'F16' = 'F32') =>
  new Map<string, Stored>(
    policy.parameters.map(({ name, shape }) => {
      const values = policy.readParameter(name).data as Float32Array;
      const bits = {
        F32: () => values,
        BF16: () => Uint16Array.from(values, toBFloat16),
        F16: () => Uint16Array.from(values, toFloat16),
      };
      return [name, { dtype, shape, bytes: numbers(bits[dtype]()) }];
    }),
  );
const writeConfig = (folder: string, config: object) =>
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));

const round = suite('checkpoints: save and load');
round.after(() => rmSync(root, { recursive: true, force: true }));
for (const model_type of ARCHITECTURES) {
  round(`${model_type}: the same bits, the same config`, async () => {
    const policy = tinyPolicy({ model_type, rope_theta: 5000, custom: { kept: true } });
    const folder = join(newFolder(), 'deeper', 'still');
    await policy.save(folder);
    const loaded = await Policy.load(folder);
    assert.equal(weightsOf(loaded), weightsOf(policy));
    const saved = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    for (const [key, value] of Object.entries(policy.config)) assert.equal(saved[key], value, key);
    assert.equal(saved.rope_parameters, { rope_type: 'default', rope_theta: 5000 });
    assert.equal(saved.rope_scaling, null);
    assert.equal(saved.architectures, [
      { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM' }[model_type],
    ]);
    // Saving over a checkpoint, and again what was loaded: the same file.
    await loaded.save(folder);
    assert.equal(weightsOf(await Policy.load(folder)), weightsOf(policy));
    const ids = [1, 2, 3, 4];
    assert.equal((await loaded.logits(ids)).data, (await policy.logits(ids)).data);
  });
}

round('llama3 rope scaling survives', async () => {
  const scaling = {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 64,
  };
  const policy = tinyPolicy({ rope_theta: 100, rope_scaling: scaling });
  const folder = newFolder();
  await policy.save(folder);
  const ids = Array.from({ length: 200 }, (_, i) => i % 23);
  const logits = (await policy.logits(ids)).data;
  assert.equal((await (await Policy.load(folder)).logits(ids)).data, logits);
  assert.not.equal((await tinyPolicy({ rope_theta: 100 }).logits(ids)).data, logits, 'it matters here');
});

round('bfloat16 and float16 weights', async () => {
  const policy = tinyPolicy();
  for (const [dtype, error] of [
    ['BF16', 2 ** -9],
    ['F16', 2 ** -12],
  ] as const) {
    const folder = newFolder();
    writeConfig(folder, { ...policy.config, torch_dtype: 'bfloat16' });
    writeRaw(join(folder, 'model.safetensors'), storedOf(policy, dtype));
    // 6e-8: half the spacing of float16's subnormal numbers.
    for (const [name, values] of weightsOf(await Policy.load(folder)))
      near(values, policy.readParameter(name).data, 6e-8, name, error * 2);
  }
});

round('shards with an index', async () => {
  const policy = tinyPolicy();
  const folder = newFolder();
  writeConfig(folder, policy.config);
  const all = [...storedOf(policy)];
  const shards = { 'a.safetensors': all.slice(0, 7), 'b.safetensors': all.slice(7) };
  const weight_map: Record<string, string> = {};
  for (const [file, tensors] of Object.entries(shards)) {
    writeRaw(join(folder, file), new Map(tensors));
    for (const [name] of tensors) weight_map[name] = file;
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
  assert.equal(weightsOf(await Policy.load(folder)), weightsOf(policy));
  writeFileSync(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ weight_map: { x: '../a.safetensors' } }),
  );
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_CORRUPT', /names the file "\.\.\/a\.safetensors"/);
});

round('tensors that hold nothing new are passed over', async () => {
  const policy = tinyPolicy();
  const folder = newFolder();
  writeConfig(folder, policy.config);
  const stored = storedOf(policy);
  stored.set('lm_head.weight', stored.get('model.embed_tokens.weight')!);
  stored.set('model.layers.0.self_attn.rotary_emb.inv_freq', { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) });
  writeRaw(join(folder, 'model.safetensors'), stored);
  assert.equal(weightsOf(await Policy.load(folder)), weightsOf(policy));
});
round.run();

const wrong = suite('checkpoints: what does not fit');
const policy = tinyPolicy();
async function fails(
  edit: (stored: Map<string, Stored>) => unknown,
  code: string,
  message: RegExp,
  config: object = policy.config,
) {
  const folder = newFolder();
  const stored = storedOf(policy);
  edit(stored);
  writeConfig(folder, config);
  writeRaw(join(folder, 'model.safetensors'), stored);
  await rejectsWith(Policy.load(folder), PrlError, code, message);
}
wrong.before(() => void mkdirSync(root, { recursive: true }));
wrong.after(() => rmSync(root, { recursive: true, force: true }));

wrong('missing, extra, misshaped tensors and other types are named', async () => {
  const name = 'model.layers.1.mlp.up_proj.weight';
  await fails((s) => s.delete(name), 'ERR_PRL_CORRUPT', /has no tensor 'model\.layers\.1\.mlp\.up_proj\.weight'/);
  await fails(
    (s) => s.set('model.extra', s.get(name)!),
    'ERR_PRL_CORRUPT',
    /'model\.extra', which its config has no place for/,
  );
  await fails(
    (s) => s.set(name, { ...s.get(name)!, shape: [24, 21] }),
    'ERR_PRL_CORRUPT',
    /up_proj\.weight.*\[24,21\].*\[21,24\]/,
  );
  await fails((s) => s.set(name, { ...s.get(name)!, dtype: 'I32' }), 'ERR_PRL_UNSUPPORTED', /up_proj\.weight.*I32/);
  await fails(() => {}, 'ERR_PRL_CORRUPT', /lm_head\.weight/, { ...policy.config, tie_word_embeddings: false });
  await fails(() => {}, 'ERR_PRL_CORRUPT', /q_proj\.bias/, { ...policy.config, model_type: 'qwen2' });
});

wrong('files that are no safetensors', async () => {
  const folder = newFolder();
  const path = join(folder, 'x.safetensors');
  const refuses = (message: RegExp) => rejectsWith(SafetensorsFile.open(path), PrlError, 'ERR_PRL_CORRUPT', message);
  const four = new Map([
    ['a', { dtype: 'F32', shape: [2], bytes: new Uint8Array(8) }],
    ['b', { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }],
  ]);
  const spoiled = (edit: (header: Header) => unknown, message: RegExp) => {
    writeRaw(path, four, edit);
    return refuses(message);
  };
  writeFileSync(path, '');
  await refuses(/it has 0 bytes/);
  writeFileSync(path, new Uint8Array(100).fill(255));
  await refuses(/header claims 18446744073709552000 bytes of a file of 100/);
  const long = new Uint8Array(100);
  long[0] = 93;
  writeFileSync(path, long);
  await refuses(/header claims 93 bytes/);
  long[0] = 92;
  writeFileSync(path, long);
  await refuses(/not JSON/);
  await spoiled(() => [], /no object/);
  await spoiled(() => null, /no object/);
  await spoiled((h) => ({ ...h, a: null }), /tensor 'a' has the dtype undefined/);
  await spoiled((h) => ({ ...h, a: { ...h.a, dtype: 'F31' } }), /tensor 'a' has the dtype "F31"/);
  await spoiled((h) => ({ ...h, a: { ...h.a, dtype: 'constructor' } }), /tensor 'a' has the dtype/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: [-2, -1] } }), /tensor 'a' has no shape/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: [2 ** 40, 2 ** 40] } }), /tensor 'a' .* has 8 bytes of data/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: [3] } }), /tensor 'a' \[3\] F32 has 8 bytes of data, not 12/);
  await spoiled((h) => ({ ...h, a: { ...h.a, data_offsets: [8, 0] } }), /tensor 'a'.*-8 bytes/);
  await spoiled((h) => ({ ...h, a: { ...h.a, data_offsets: [0] } }), /data_offsets/);
  await spoiled((h) => ({ ...h, b: { ...h.b, data_offsets: [4, 8] } }), /tensor 'b' begins at byte \d+, not \d+/);
  await spoiled((h) => ({ ...h, b: { ...h.b, data_offsets: [1e9, 1e9 + 4] } }), /tensor 'b' begins at byte/);
  await spoiled((h) => ({ a: h.a }), /tensors end at byte \d+ but it has/);
});

wrong('folders without a checkpoint, configs that are none', async () => {
  await rejectsWith(Policy.load(join(root, 'nowhere')), PrlError, 'ERR_PRL_IO', /cannot read .*nowhere/);
  const folder = newFolder();
  writeConfig(folder, tinyConfig());
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_IO', /model\.safetensors/);
  writeFileSync(join(folder, 'config.json'), '{');
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_CORRUPT', /not JSON/);
  writeFileSync(join(folder, 'config.json'), '[]');
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_CORRUPT', /does not hold an object/);
  writeFileSync(join(folder, 'file'), '');
  await rejectsWith(tinyPolicy().save(join(folder, 'file')), PrlError, 'ERR_PRL_IO', /cannot make the folder/);
});

wrong('a write that fails leaves the old file', async () => {
  const path = join(newFolder(), 'x.safetensors');
  const good = { name: 'a', shape: [2], read: () => new Float32Array([1, 2]) };
  await writeSafetensors(path, [good]);
  const bad = {
    ...good,
    read: () => {
      throw new Error('gone');
    },
  };
  await rejectsWith(writeSafetensors(path, [bad]), PrlError, 'ERR_PRL_IO', /gone/);
  const file = await SafetensorsFile.open(path);
  assert.equal([...(await file.read('a'))], [1, 2]);
  await file.close();
});
wrong.run();
