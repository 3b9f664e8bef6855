// A checkpoint folder as Hugging Face lays it out: config.json and model.safetensors, or shards with an index.

import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { makeFolder, writeFileAtomic } from '../base/atomic.js';
import { PrlError } from '../base/errors.js';
import { isObject, readJson } from '../base/json.js';
import { checkInteger } from '../base/options.js';
import { quoted, quotedName } from '../base/text.js';
import { native } from '../kernels/native.js';
import { checkArchitecture, type NativeConfig, nativeConfig, savedConfig } from './config.js';
import { ropeWarning } from './rope.js';
import { DTYPES, SafetensorsFile, type StorableTensor, writeSafetensors } from './safetensors.js';
import type { LoadOptions, PolicyConfig, SaveOptions } from './types.js';

export interface ParameterInfo {
  /** Name as in a Hugging Face checkpoint. */
  name: string;
  shape: number[];
}

const WHOLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const isShard = (name: string) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);
const corrupt = (message: string) => new PrlError('ERR_PRL_CORRUPT', message);

type ExtraTensors = NonNullable<LoadOptions['extraTensors']>;

const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';

/**
 * Opens a model: its config, the sizes that follow from it, and its checkpoint, in which every tensor has been found.
 * Where the config ties the output head to the embedding and the files hold another head, the config is wrong. The head
 * is then untied, as in transformers.
 */
export async function openModel(
  folder: string,
  extraTensors: ExtraTensors,
): Promise<{ config: PolicyConfig; sizes: NativeConfig; checkpoint: Checkpoint }> {
  const { config, sizes } = await readConfig(folder);
  const checkpoint = await Checkpoint.openFiles(folder);
  try {
    if (sizes.tied) checkpoint.standIn(HEAD, EMBEDDING);
    const own = sizes.tied && checkpoint.has(HEAD);
    checkpoint.require(native().policyParameters({ ...sizes, tied: sizes.tied && !own }), extraTensors);
    const warning = ropeWarning(config);
    if (warning) process.emitWarning(`${join(folder, 'config.json')}: ${warning}`, 'PrlWarning');
    if (!own || (await checkpoint.sameValues(HEAD, EMBEDDING))) return { config, sizes, checkpoint };
    process.emitWarning(
      `${folder} has an output head (${HEAD}) that differs from its embedding, but its config says tie_word_embeddings true: the head is used, as in transformers. Write tie_word_embeddings false into the config`,
      'PrlWarning',
    );
    const untied = { config: { ...config, tie_word_embeddings: false }, sizes: { ...sizes, tied: false } };
    return { ...untied, checkpoint };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

async function readConfig(folder: string): Promise<{ config: PolicyConfig; sizes: NativeConfig }> {
  const path = join(folder, 'config.json');
  const config = (await readJson(path)) as PolicyConfig;
  checkArchitecture(folder, config);
  try {
    return { config, sizes: nativeConfig(config) };
  } catch (cause) {
    const { code, message } = cause as PrlError;
    throw new PrlError(code === 'ERR_PRL_UNSUPPORTED' ? code : 'ERR_PRL_CORRUPT', `${path}: ${message}`, { cause });
  }
}

/** Where a tensor is: an open file whose header has been checked. */
export interface TensorPlace {
  file: SafetensorsFile;
  dtype: string;
  /** Byte of the file where it begins. */
  begin: number;
}

/** An open checkpoint. After {@link require} every tensor that a model needs has been found, and nothing else. */
export class Checkpoint {
  readonly #folder: string;
  readonly #files: SafetensorsFile[] = [];
  readonly #places = new Map<string, TensorPlace>();
  /** Which file holds each tensor. */
  #where = new Map<string, SafetensorsFile>();
  /** Names of tensors that go by another name in the files. */
  readonly #standIns = new Map<string, string>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Opens the files of a checkpoint and checks their headers. It reads and allocates nothing of the model's size.
   *
   * @throws PrlError that names the tensor and the file
   */
  static async openFiles(folder: string): Promise<Checkpoint> {
    const checkpoint = new Checkpoint(folder);
    try {
      checkpoint.#where = await checkpoint.#openFiles(folder);
    } catch (error) {
      await checkpoint.close();
      throw error;
    }
    return checkpoint;
  }

  has(name: string): boolean {
    return this.#where.has(name);
  }

  /** Of two tensors that are the same, a file may hold either: `other` is renamed to `name` where `name` is absent. */
  standIn(other: string, name: string): void {
    const file = this.#where.get(other);
    if (!file || this.has(name)) return;
    this.#where.delete(other);
    this.#where.set(name, file);
    this.#standIns.set(name, other);
  }

  /** Whether two tensors of {@link require} hold the same bits, or the same numbers in two types. */
  async sameValues(a: string, b: string): Promise<boolean> {
    const places = [this.place(a), this.place(b)];
    const differ = places[0].dtype !== places[1].dtype;
    const [first, second] = [a, b].map((name, i) => places[i].file.pieces(name, differ));
    for await (const piece of first) if (Buffer.compare(piece, (await second.next()).value!) !== 0) return false;
    return true;
  }

  place(name: string): TensorPlace {
    return this.#places.get(name)!;
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  async #openFiles(folder: string): Promise<Map<string, SafetensorsFile>> {
    const open = async (name: string) => {
      const file = await SafetensorsFile.open(join(folder, name));
      this.#files.push(file);
      return file;
    };
    let names: string[];
    let placed: Map<string, string> | undefined;
    try {
      await open(WHOLE);
      names = [];
    } catch (error) {
      if ((error as PrlError).code !== 'ERR_PRL_IO') throw error;
      placed = await readIndex(folder, error as PrlError);
      names = [...new Set(placed.values())];
    }
    for (const name of names) await open(name);
    const where = new Map<string, SafetensorsFile>();
    for (const file of this.#files) {
      for (const name of file.tensors.keys()) {
        const other = where.get(name);
        if (other) throw corrupt(`tensor ${quotedName(name)} is in two files: ${other.path} and ${file.path}`);
        where.set(name, file);
      }
    }
    for (const [name, shard] of placed ?? []) {
      if (basename(where.get(name)?.path ?? '') !== shard)
        throw corrupt(`${join(folder, INDEX)} puts tensor ${quotedName(name)} in ${shard}, which does not hold it`);
    }
    for (const [name, file] of placed ? where : []) {
      if (!placed!.has(name))
        throw corrupt(`${file.path} holds tensor ${quotedName(name)}, which the index of ${folder} does not name`);
    }
    return where;
  }

  /**
   * Finds these tensors, and refuses any other.
   *
   * @throws PrlError that names the tensor
   */
  require(parameters: readonly ParameterInfo[], extraTensors: ExtraTensors = 'refuse'): void {
    const folder = this.#folder;
    for (const { name, shape } of parameters) {
      const own = this.#standIns.get(name) ?? name;
      const file = this.#where.get(name);
      const entry = file?.tensors.get(own);
      if (!file || !entry)
        throw corrupt(
          `the checkpoint ${folder} has no tensor '${name}'${name === HEAD ? ', and its config does not say tie_word_embeddings true' : ''}`,
        );
      if (String(entry.shape) !== String(shape))
        throw corrupt(
          `tensor '${own}' of ${folder} must have the shape [${shape}], as its config says, not [${entry.shape}]`,
        );
      file.checkReadable(own);
      this.#places.set(name, { file, dtype: entry.dtype, begin: entry.begin });
    }
    for (const name of this.#where.keys()) {
      if (this.#places.has(name) || name.endsWith('.rotary_emb.inv_freq')) continue;
      const what = `the checkpoint ${folder} has the tensor ${quotedName(name)}, which its config does not know`;
      if (isPartOfPolicy(name)) throw corrupt(`${what}: without it the policy would give other numbers`);
      if (extraTensors === 'refuse') throw corrupt(`${what}; extraTensors 'ignore' leaves such tensors out`);
    }
  }
}

/**
 * Whether a tensor that the config does not know would change what the policy computes: it belongs to one of its
 * modules, or to an adapter of one. Other heads (score.weight, v_head.*), draft layers and encoders do not.
 */
const isPartOfPolicy = (name: string) =>
  /^(.*\.)?(model\.(layers|embed_tokens|norm)|lm_head)\./.test(name) || /lora_|adapter/i.test(name);

/** The shard of each tensor, from the index. `whole`: why there is no single file. */
async function readIndex(folder: string, whole: PrlError): Promise<Map<string, string>> {
  const path = join(folder, INDEX);
  const index = await readJson(path).catch(async (error: PrlError) => {
    if (error.code !== 'ERR_PRL_IO') throw error;
    const files = await readdir(folder).catch(() => []);
    if (files.some((name) => name.startsWith('pytorch_model')))
      throw new PrlError(
        'ERR_PRL_UNSUPPORTED',
        `${folder} holds pickled weights (pytorch_model*): save them as safetensors`,
      );
    throw whole;
  });
  const { weight_map: map } = index;
  if (!isObject(map)) throw corrupt(`${path} has no weight_map`);
  const placed = new Map(Object.entries(map as Record<string, string>));
  for (const name of placed.values()) {
    if (typeof name !== 'string' || basename(name) !== name || name === '' || name === '.' || name === '..')
      throw corrupt(`the index of ${folder} names the file ${quoted(name)}`);
  }
  return placed;
}

/** Reads every parameter of a small checkpoint and passes it to `write`, once all of them are found and fit. */
export async function loadWeights(
  folder: string,
  parameters: readonly ParameterInfo[],
  write: (name: string, values: Float32Array) => void,
): Promise<void> {
  const checkpoint = await Checkpoint.openFiles(folder);
  try {
    checkpoint.require(parameters);
    for (const { name } of parameters) write(name, await checkpoint.place(name).file.read(name));
  } finally {
    await checkpoint.close();
  }
}

/** The shard size of transformers. */
const MAX_SHARD_SIZE = 5e9;

/**
 * Writes a checkpoint. A crash while overwriting one leaves the old weights, the new ones, or (between shards) weights
 * that do not load. It never leaves a mixture.
 */
export async function saveCheckpoint(
  folder: string,
  config: PolicyConfig,
  tensors: readonly StorableTensor[],
  dtype: NonNullable<SaveOptions['dtype']>,
  maxShardSize = MAX_SHARD_SIZE,
): Promise<void> {
  checkInteger('maxShardSize', maxShardSize, 1);
  await makeFolder(folder).catch((cause) => {
    throw new PrlError('ERR_PRL_IO', `cannot create the folder ${folder}: ${cause.message}`, { cause });
  });
  const shards = cutInShards(tensors, maxShardSize);
  if (shards.length > 1) await saveShards(folder, shards);
  else await writeSafetensors(join(folder, WHOLE), tensors);
  const ours = new Set(shards.length > 1 ? [INDEX, ...shards.map((_, i) => shardName(i, shards.length))] : [WHOLE]);
  for (const name of await readdir(folder)) {
    if ((name === WHOLE || name === INDEX || isShard(name)) && !ours.has(name)) await rm(join(folder, name));
  }
  await writeJson(join(folder, 'config.json'), savedConfig(config, dtype));
}

const writeJson = (path: string, value: unknown) => writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
const bytesOf = ({ dtype, shape }: StorableTensor) => shape.reduce((a, b) => a * b, DTYPES[dtype]);
const shardName = (i: number, count: number) =>
  `model-${[i + 1, count].map((n) => String(n).padStart(5, '0')).join('-of-')}.safetensors`;

/** Groups neighbours into shards. Each shard has at most so many bytes, or one tensor. */
function cutInShards(tensors: readonly StorableTensor[], most: number): StorableTensor[][] {
  const shards: StorableTensor[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (shards.at(-1)!.length > 0 && bytes + bytesOf(tensor) > most) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(tensor);
    bytes += bytesOf(tensor);
  }
  return shards;
}

async function saveShards(folder: string, shards: StorableTensor[][]): Promise<void> {
  await rm(join(folder, INDEX), { force: true });
  const weight_map: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const name = shardName(i, shards.length);
    await writeSafetensors(join(folder, name), shard);
    for (const tensor of shard) weight_map[tensor.name] = name;
  }
  const total_size = shards.flat().reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  await writeJson(join(folder, INDEX), { metadata: { total_size }, weight_map });
}
