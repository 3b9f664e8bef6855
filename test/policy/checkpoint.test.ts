import { spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, PrlError } from '../../lib/index.js';
import { fromBFloat16, toBFloat16, toFloat16 } from '../../lib/kernels/tensor.js';
import { SafetensorsFile, writeSafetensors } from '../../lib/policy/safetensors.js';
import { near, random } from '../reference/numbers.js';
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

const round = suite('Policy.save and Policy.load');
round.after(() => rmSync(root, { recursive: true, force: true }));
for (const model_type of ARCHITECTURES) {
  round(`${model_type}: a saved policy loads with the same bits and the same config`, async () => {
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

round('llama3 rope scaling survives save and load', async () => {
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

round('load reads bfloat16 and float16 weights within their rounding', async () => {
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

round('load reads shards by their index and refuses a shard outside the folder', async () => {
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

round('save writes every dtype, whole or in shards as transformers cuts them', async () => {
  const policy = tinyPolicy({ model_type: 'qwen2' });
  const folder = newFolder();
  const sizes = { float32: 4, bfloat16: 2, float16: 2 };
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
    await policy.save(folder, { dtype, maxShardSize: 4000 });
    const files = readdirSync(folder).filter((name) => name !== 'config.json');
    const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'));
    assert.is(index.metadata.total_size, policy.parameterCount * sizes[dtype]);
    assert.equal(
      Object.keys(index.weight_map),
      policy.parameters.map(({ name }) => name),
    );
    const shards = [...new Set(Object.values(index.weight_map as Record<string, string>))];
    assert.ok(shards.length > 3);
    assert.equal(files.sort(), ['model.safetensors.index.json', ...shards].sort(), 'what was there before is gone');
    assert.is(shards[1], `model-00002-of-${String(shards.length).padStart(5, '0')}.safetensors`);
    assert.is(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).torch_dtype, dtype);
    for (const shard of shards) {
      const file = await SafetensorsFile.open(join(folder, shard));
      const bytes = [...file.tensors.values()].reduce((n, t) => n + t.bytes, 0);
      assert.ok(bytes <= 4000 || file.tensors.size === 1, `${shard} has ${bytes} bytes`);
      await file.close();
    }
    const error = { float32: 0, bfloat16: 2 ** -8, float16: 2 ** -11 }[dtype];
    for (const [name, values] of weightsOf(await Policy.load(folder)))
      near(values, policy.readParameter(name).data, dtype === 'float16' ? 6e-8 : 0, name, error);
    await policy.save(folder, { dtype });
    assert.equal(readdirSync(folder).sort(), ['config.json', 'model.safetensors']);
  }
  await policy.save(folder, { dtype: 'float16' });
  const narrow = await Policy.load(folder, { dtype: 'bfloat16' });
  const wide = await Policy.load(folder);
  for (const [name, values] of weightsOf(narrow))
    assert.equal(
      values,
      weightsOf(wide)
        .get(name)!
        .map((x) => fromBFloat16(toBFloat16(x))),
    );
  await narrow.save(folder);
  assert.equal(weightsOf(await Policy.load(folder)), weightsOf(narrow), 'bfloat16 is saved as it is');
  await rejectsWith(policy.save(folder, { dtype: 'int8' as 'float32' }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /dtype/);
  await rejectsWith(
    Policy.load(folder, { dtype: 'float16' as 'float32' }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /'float32', 'bfloat16'/,
  );
});

round('load ignores a tied lm_head and rotary frequencies', async () => {
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

const wrong = suite('Policy.load: broken checkpoints');
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

wrong('load names the tensor that is missing, extra, misshaped or of an unknown type', async () => {
  const name = 'model.layers.1.mlp.up_proj.weight';
  await fails((s) => s.delete(name), 'ERR_PRL_CORRUPT', /has no tensor 'model\.layers\.1\.mlp\.up_proj\.weight'/);
  await fails(
    (s) => s.set('model.extra', s.get(name)!),
    'ERR_PRL_CORRUPT',
    /'model\.extra', which its config does not know/,
  );
  await fails(
    (s) => s.set(name, { ...s.get(name)!, shape: [24, 21] }),
    'ERR_PRL_CORRUPT',
    /up_proj\.weight.*must have the shape \[21,24\].* not \[24,21\]/,
  );
  await fails((s) => s.set(name, { ...s.get(name)!, dtype: 'I32' }), 'ERR_PRL_UNSUPPORTED', /up_proj\.weight.*I32/);
  await fails(() => {}, 'ERR_PRL_CORRUPT', /lm_head\.weight/, { ...policy.config, tie_word_embeddings: false });
  await fails(() => {}, 'ERR_PRL_CORRUPT', /q_proj\.bias/, { ...policy.config, model_type: 'qwen2' });
});

wrong('a broken safetensors header is ERR_PRL_CORRUPT, found in bounded time', async () => {
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
  await refuses(/header claims 18446744073709552000 bytes, but the file has 100/);
  const long = new Uint8Array(100);
  long[0] = 93;
  writeFileSync(path, long);
  await refuses(/header claims 93 bytes/);
  long[0] = 92;
  writeFileSync(path, long);
  await refuses(/not JSON/);
  await spoiled(() => [], /its header does not hold an object/);
  await spoiled(() => null, /its header does not hold an object/);
  await spoiled((h) => ({ ...h, a: null }), /tensor 'a' has the unknown dtype undefined/);
  await spoiled((h) => ({ ...h, a: { ...h.a, dtype: 'F31' } }), /tensor 'a' has the unknown dtype "F31"/);
  await spoiled((h) => ({ ...h, a: { ...h.a, dtype: 'constructor' } }), /tensor 'a' has the unknown dtype/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: [-2, -1] } }), /tensor 'a' has no valid shape/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: [2 ** 40, 2 ** 40] } }), /tensor 'a' .* bytes of data, not 8/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: [3] } }), /tensor 'a' \[3\] F32 must have 12 bytes of data, not 8/);
  await spoiled((h) => ({ ...h, a: { ...h.a, data_offsets: [8, 0] } }), /tensor 'a'.* not -8/);
  for (const offsets of [[0], [0, 8, 8], [0, 8.5], [-4, 4], ['0', '8'], [0, null], [0, 2 ** 53], {}, null, 8])
    await spoiled((h) => ({ ...h, a: { ...h.a, data_offsets: offsets } }), /tensor 'a' has no valid data_offsets/);
  for (const shape of [[1.5], [-2], ['2'], [null], [2 ** 60], [[2]], {}, null, 2, '2'])
    await spoiled((h) => ({ ...h, a: { ...h.a, shape } }), /tensor 'a' has no valid shape/);
  await spoiled(
    (h) => ({ ...h, b: { ...h.b, data_offsets: [4, 8] } }),
    /tensor 'b' must begin at byte \d+, where the one before it ends, not at \d+/,
  );
  await spoiled((h) => ({ ...h, b: { ...h.b, data_offsets: [1e9, 1e9 + 4] } }), /tensor 'b' must begin at byte/);
  await spoiled((h) => ({ a: h.a }), /tensors end at byte \d+, but it has/);
  await spoiled((h) => ({ ...h, a: { ...h.a, shape: Array(9).fill(1) } }), /tensor 'a' has no valid shape/);
  await spoiled((h) => ({ ...h, __metadata__: { a: {} } }), /__metadata__/);
  await spoiled((h) => ({ ...h, __metadata__: null }), /__metadata__/);
  await spoiled((h) => ({ ...h, a: { ...h.a, deep: [[[[]]]] } }), /nested more than 4 deep/);
  // A name that is long is cut in the message.
  await spoiled((h) => ({ ...h, ['x'.repeat(1e6)]: null }), /tensor 'x{200}\.\.\.' has the unknown dtype undefined$/);
  const raw = (text: string, data = 12) => {
    const json = new TextEncoder().encode(text);
    const bytes = new Uint8Array(8 + json.length + data);
    new DataView(bytes.buffer).setUint32(0, json.length, true);
    bytes.set(json, 8);
    writeFileSync(path, bytes);
  };
  const entry = '{"dtype":"F32","shape":[3],"data_offsets":[0,12]}';
  raw(`{"a":${entry},"a":${entry}}`);
  await refuses(/the name "a" twice/);
  raw(`{"a":${entry},"\\u0061" : ${entry}}`);
  await refuses(/the name "a" twice/);
  raw(`{"a":{"dtype":"F32","dtype":"I32","shape":[3],"data_offsets":[0,12]}}`);
  await refuses(/the name "dtype" twice/);
  raw('['.repeat(1_000_000));
  await refuses(/nested more than 4 deep/);
  raw(`{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,12]}}`);
  await refuses(/tensor 'a' has no valid shape/);
  // What a header of the largest legal size may hold. Judging it takes well under a second of processor time.
  const seconds = async (work: () => Promise<void>) => {
    const before = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  };
  const most = 2 ** 24;
  for (const [part, message] of [
    ['"%":0,', /more than 250000 names, objects and lists/],
    ['{},', /more than 250000 names/],
    ['"",', /not JSON/],
    [' ', /not JSON/],
  ] as const) {
    const parts = Array.from({ length: Math.floor((most - 1) / (part.length + 5)) }, (_, i) =>
      part.replace('%', i.toString(36)),
    );
    raw(`{${parts.join('')}`);
    const taken = await seconds(() => refuses(message));
    assert.ok(taken < 3, `${part}: ${taken} s`);
  }
  const sparse = openSync(path, 'w');
  writeSync(sparse, new Uint8Array(new BigUint64Array([17n * 2n ** 20n]).buffer));
  ftruncateSync(sparse, 2 ** 30);
  closeSync(sparse);
  await refuses(/header claims 17825792 bytes/);
  // A tensor may be called as it likes.
  raw(`{"__proto__":${entry}}`);
  const file = await SafetensorsFile.open(path);
  assert.equal([...file.tensors.keys()], ['__proto__']);
  await file.close();
  raw(`{"__metadata__":{"__proto__":"x","steps":"3"},"a":${entry}}`);
  const named = await SafetensorsFile.open(path);
  assert.is(named.metadata.steps, '3');
  assert.is(({} as Header).steps, undefined);
  await named.close();
});

wrong('load refuses a pipe, a folder or a device at once, without waiting for it', async () => {
  const folder = newFolder();
  const [pipe, endless] = [join(folder, 'model.safetensors'), join(folder, 'config.json')];
  assert.is(spawnSync('mkfifo', [pipe]).status, 0);
  symlinkSync('/dev/zero', endless);
  const io = [PrlError, 'ERR_PRL_IO'] as const;
  await rejectsWith(SafetensorsFile.open(pipe), ...io, /cannot open .*model\.safetensors: it is not a file/);
  await rejectsWith(SafetensorsFile.open(folder), ...io, /it is not a file/);
  await rejectsWith(Policy.load(folder), ...io, /cannot read .*config\.json: it is not a file/);
  rmSync(endless);
  writeConfig(folder, policy.config);
  await rejectsWith(Policy.load(folder), ...io, /model\.safetensors: it is not a file/);
});

wrong('load refuses an invalid config by the name of the file and the field', async () => {
  const folder = newFolder();
  writeRaw(join(folder, 'model.safetensors'), storedOf(policy));
  const load = (config: string) => {
    writeFileSync(join(folder, 'config.json'), config);
    return Policy.load(folder);
  };
  const whole = JSON.stringify(policy.config);
  (await load(whole)).dispose();
  const counts = ['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'];
  const sizes = [...counts, 'num_key_value_heads', 'head_dim', 'max_position_embeddings'];
  const values = ['0', '-1', '1.5', '1e999', '-1e999', '1e300', '"8"', 'true', '[8]', '{}', `"${'8'.repeat(1e5)}"`];
  for (const name of [...sizes, 'rms_norm_eps', 'rope_theta', 'tie_word_embeddings'])
    for (const value of name === 'rms_norm_eps' ? values.filter((v) => v !== '0') : values) {
      if (name === 'rope_theta' && /^1\.5$|^1e300$/.test(value)) continue; // odd, but legal
      if (name === 'tie_word_embeddings' && value === 'true') continue;
      const config = whole
        .replace(/}$/, `,"${name}":${value}}`)
        .replace(new RegExp(`"${name}":[^,]*,(?=.*"${name}")`), '');
      const message = await load(config).then(
        () => 'it was loaded',
        (error: PrlError) => {
          assert.is(error.code, 'ERR_PRL_CORRUPT', `${name} ${value}: ${error.message}`);
          return error.message;
        },
      );
      assert.ok(message.length < 600, `${name}: a message of ${message.length}`);
      assert.match(message, `${join(folder, 'config.json')}: `, `${name} ${value}`);
      assert.match(message, name);
    }
  for (const name of counts)
    await rejectsWith(load(whole.replace(`"${name}"`, '"x"')), PrlError, 'ERR_PRL_CORRUPT', new RegExp(name));
  const refuses = (change: string, code: string, message: RegExp) =>
    rejectsWith(load(whole.replace(/}$/, `,${change}}`)), PrlError, code, message);
  const [corrupt, unsupported] = ['ERR_PRL_CORRUPT', 'ERR_PRL_UNSUPPORTED'];
  await refuses(`"extra":${'['.repeat(1e6)}`, corrupt, /nested more than 16 deep/);
  await refuses(`"vocab_size":23`, corrupt, /the name "vocab_size" twice/);
  await refuses('"rope_parameters":[]', corrupt, /rope_parameters must be an object/);
  await refuses('"rope_parameters":7', corrupt, /rope_parameters must be an object/);
  await refuses('"rope_scaling":{"rope_type":"linear","factor":1e-320}', corrupt, /rotations that are not finite/);
  await refuses('"layer_types":"sliding_attention"', unsupported, /layer_types "sliding_attention"/);
  await refuses(`"hidden_act":"${'x'.repeat(1e6)}"`, unsupported, /hidden_act "x{199}\.\.\. of the config/);
  for (let length = 0; length < whole.length; length += 7)
    await rejectsWith(load(whole.slice(0, length)), PrlError, corrupt, /config\.json is not JSON/);
  // Names of JavaScript's own are names like others.
  const polite = await load(
    whole.replace(/}$/, ',"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'),
  );
  await polite.clone().save(newFolder());
  assert.is(({} as Header).polluted, undefined);
});

wrong('checkpoint files with flipped bits load or fail with a PrlError', async () => {
  const folder = newFolder();
  await policy.save(folder, { maxShardSize: 8000 });
  await policy.update({ prompts: [[1]], completions: [[2]], advantages: Float32Array.of(1) }, { learningRate: 1e-3 });
  await policy.saveOptimizer(join(folder, 'optimizer.bin'));
  const names = readdirSync(folder);
  assert.ok(names.length > 4);
  const next = random(7);
  const codes = new Map<string, number>();
  for (let round = 0; round < 400; round++) {
    const name = names[round % names.length];
    const path = join(folder, name);
    const good = readFileSync(path);
    const bad = Uint8Array.from(good);
    // Of a tensor file the header: values may be anything.
    const end = name.endsWith('.json') ? bad.length : 8 + Number(good.readBigUInt64LE(0));
    for (let flips = 1 + Math.floor(3 * next()); flips > 0; flips--) {
      const at = Math.floor(next() * end);
      bad[at] = next() < 0.5 ? bad[at] ^ (1 << Math.floor(8 * next())) : Math.floor(256 * next());
    }
    writeFileSync(path, next() < 0.2 ? bad.subarray(0, Math.floor(next() * bad.length)) : bad);
    try {
      const loaded = await Policy.load(folder);
      await loaded.loadOptimizer(join(folder, 'optimizer.bin'));
      loaded.dispose();
      codes.set('loaded', (codes.get('loaded') ?? 0) + 1);
    } catch (error) {
      const { code, message } = error as PrlError;
      assert.ok(
        error instanceof PrlError && message.length < 2000,
        `round ${round}, ${name}: ${(error as Error).stack}`,
      );
      codes.set(code, (codes.get(code) ?? 0) + 1);
    } finally {
      writeFileSync(path, Uint8Array.from(good));
    }
  }
  assert.ok(codes.get('ERR_PRL_CORRUPT')! > 200, JSON.stringify([...codes]));
  (await Policy.load(folder)).dispose();
});

wrong('an index that disagrees with its shards is refused by tensor and file', async () => {
  const folder = newFolder();
  writeConfig(folder, policy.config);
  const all = [...storedOf(policy)];
  writeRaw(join(folder, 'a.safetensors'), new Map(all.slice(0, 7)));
  writeRaw(join(folder, 'b.safetensors'), new Map(all.slice(7)));
  const good = Object.fromEntries(all.map(([name], i) => [name, i < 7 ? 'a.safetensors' : 'b.safetensors']));
  const refuses = async (index: unknown, message: RegExp, code = 'ERR_PRL_CORRUPT') => {
    writeFileSync(
      join(folder, 'model.safetensors.index.json'),
      typeof index === 'string' ? index : JSON.stringify(index),
    );
    await rejectsWith(Policy.load(folder), PrlError, code, message);
  };
  const [[first], [last]] = [all[0], all.at(-1)!];
  await refuses(
    { weight_map: { ...good, [last]: 'a.safetensors' } },
    /puts tensor '.*' in a\.safetensors, which does not/,
  );
  await refuses({ weight_map: { ...good, extra: 'a.safetensors' } }, /puts tensor 'extra' in a\.safetensors/);
  await refuses({ weight_map: { ...good, [last]: 'c.safetensors' } }, /cannot open .*c\.safetensors/, 'ERR_PRL_IO');
  const { [first]: _, ...fewer } = good;
  await refuses({ weight_map: fewer }, /a\.safetensors holds tensor 'model\.embed_tokens\.weight', which the index/);
  await refuses({}, /has no weight_map/);
  await refuses({ weight_map: [] }, /has no weight_map/);
  await refuses({ weight_map: { ...good, x: 3 } }, /names the file 3/);
  await refuses({ weight_map: { ...good, x: '..' } }, /names the file "\.\."/);
  await refuses({ weight_map: { ...good, x: '/etc/passwd' } }, /names the file/);
  await refuses(`{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}`, /the name "x" twice/);
  await refuses('['.repeat(100_000), /nested more than 16 deep/);
  writeRaw(join(folder, 'b.safetensors'), new Map(all.slice(6)));
  await refuses({ weight_map: good }, /is in two files: .*a\.safetensors and .*b\.safetensors/);
  const file = join(folder, 'b.safetensors');
  writeRaw(file, new Map(all.slice(7)));
  truncateSync(file, statSync(file).size - 1);
  await refuses({ weight_map: good }, /b\.safetensors is not a safetensors file: its tensors end at byte/);
});

wrong('load refuses models that are not supported and lists those that are', async () => {
  const folder = newFolder();
  const refuses = (config: object, code: string, message: RegExp) => {
    writeConfig(folder, { ...policy.config, ...config });
    return rejectsWith(Policy.load(folder), PrlError, code, message);
  };
  const [unsupported, known] = ['ERR_PRL_UNSUPPORTED', /llama \(LlamaForCausalLM\), mistral .*, qwen2 .*, qwen3/];
  await refuses({ model_type: 'mixtral', architectures: ['MixtralForCausalLM'] }, unsupported, /"MixtralForCausalLM"/);
  await refuses({ model_type: 'mixtral', architectures: ['MixtralForCausalLM'] }, unsupported, known);
  await refuses({ architectures: ['LlamaForSequenceClassification'] }, unsupported, known);
  await refuses({ model_type: '__proto__' }, unsupported, known);
  await refuses({ model_type: undefined }, unsupported, known);
  await refuses({ num_experts: 8 }, unsupported, /num_experts 8/);
  await refuses({ quantization_config: { quant_method: 'awq' } }, unsupported, /quantization_config/);
  await refuses({ rope_scaling: { type: 'longrope', factor: 4 } }, unsupported, /rope_type "longrope"/);
  await refuses({ architectures: null }, 'ERR_PRL_IO', /model\.safetensors/);
  writeFileSync(join(folder, 'pytorch_model.bin'), '');
  await refuses({}, unsupported, /pickled weights/);
});

wrong('load of a config larger than any memory allocates nothing before it misses its tensors', async () => {
  const folder = newFolder();
  writeConfig(folder, { ...policy.config, hidden_size: 2 ** 20, intermediate_size: 2 ** 22, num_hidden_layers: 4096 });
  writeRaw(join(folder, 'model.safetensors'), storedOf(policy));
  const before = process.memoryUsage().rss;
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_CORRUPT', /embed_tokens.*\[23,1048576\].* not \[23,24\]/);
  assert.ok(process.memoryUsage().rss - before < 256e6);
});

wrong('a folder without a checkpoint is ERR_PRL_IO, and a config that is no object is ERR_PRL_CORRUPT', async () => {
  await rejectsWith(Policy.load(join(root, 'nowhere')), PrlError, 'ERR_PRL_IO', /no folder .*nowhere/);
  const folder = newFolder();
  writeConfig(folder, tinyConfig());
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_IO', /model\.safetensors/);
  writeFileSync(join(folder, 'config.json'), '{');
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_CORRUPT', /not JSON/);
  writeFileSync(join(folder, 'config.json'), '[]');
  await rejectsWith(Policy.load(folder), PrlError, 'ERR_PRL_CORRUPT', /does not hold an object/);
  writeFileSync(join(folder, 'file'), '');
  await rejectsWith(tinyPolicy().save(join(folder, 'file')), PrlError, 'ERR_PRL_IO', /cannot create the folder/);
});

wrong('a write that fails leaves the old safetensors file', async () => {
  const path = join(newFolder(), 'x.safetensors');
  const good = { name: 'a', shape: [2], dtype: 'F32' as const, read: () => new Float32Array([1, 2]) };
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
