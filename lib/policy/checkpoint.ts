// A checkpoint folder as Hugging Face lays it out: config.json and model.safetensors, or shards with an index.

import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../base/atomic.js';
import { PrlError } from '../base/errors.js';
import { isObject, readJson } from '../base/json.js';
import { checkInteger } from '../base/options.js';
import { quoted, quotedName } from '../base/text.js';
import { checkArchitecture, type NativeConfig, nativeConfig, savedConfig } from './config.js';
import { DTYPES, SafetensorsFile, type StorableTensor, writeSafetensors } from './safetensors.js';
import type { PolicyConfig, SaveOptions } from './types.js';

export interface ParameterInfo {
  /** Name as in a Hugging Face checkpoint. */
  name: string;
  shape: number[];
}

const WHOLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const isShard = (name: string) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);
const corrupt = (message: string) => new PrlError('ERR_PRL_CORRUPT', message);

/** The config of a checkpoint, and the sizes that follow from it. */
export async function readConfig(folder: string): Promise<{ config: PolicyConfig; sizes: NativeConfig }> {
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

/** An open checkpoint in which every tensor that a model needs has been found, and nothing else. */
export class Checkpoint {
  readonly #files: SafetensorsFile[] = [];
  readonly #places = new Map<string, TensorPlace>();

  /**
   * Opens a checkpoint and checks its headers. It reads and allocates nothing of the model's size.
   *
   * @throws PrlError that names the tensor and the file
   */
  static async open(folder: string, parameters: readonly ParameterInfo[], tied: boolean): Promise<Checkpoint> {
    const checkpoint = new Checkpoint();
    try {
      const where = await checkpoint.#openFiles(folder);
      checkpoint.#check(folder, where, parameters, tied);
    } catch (error) {
      await checkpoint.close();
      throw error;
    }
    return checkpoint;
  }

  place(name: string): TensorPlace {
    return this.#places.get(name)!;
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  /** Which file holds each tensor. */
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

  #check(
    folder: string,
    where: Map<string, SafetensorsFile>,
    parameters: readonly ParameterInfo[],
    tied: boolean,
  ): void {
    for (const { name, shape } of parameters) {
      const file = where.get(name);
      const entry = file?.tensors.get(name);
      if (!file || !entry) throw corrupt(`the checkpoint ${folder} has no tensor '${name}'`);
      if (String(entry.shape) !== String(shape))
        throw corrupt(
          `tensor '${name}' of ${folder} must have the shape [${shape}], as its config says, not [${entry.shape}]`,
        );
      file.checkReadable(name);
      this.#places.set(name, { file, dtype: entry.dtype, begin: entry.begin });
    }
    for (const name of where.keys()) {
      if (!this.#places.has(name) && !isRedundant(name, tied))
        throw corrupt(`the checkpoint ${folder} has the tensor ${quotedName(name)}, which its config does not know`);
    }
  }
}

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

/** Tensors of a checkpoint that need no loading: recomputed buffers, and a tied model's copy of its embedding. */
const isRedundant = (name: string, tied: boolean) =>
  name.endsWith('.rotary_emb.inv_freq') || (tied && name === 'lm_head.weight');

/** Reads every parameter of a small checkpoint and passes it to `write`, once all of them are found and fit. */
export async function loadWeights(
  folder: string,
  parameters: readonly ParameterInfo[],
  tied: boolean,
  write: (name: string, values: Float32Array) => void,
): Promise<void> {
  const checkpoint = await Checkpoint.open(folder, parameters, tied);
  try {
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
  await mkdir(folder, { recursive: true }).catch((cause) => {
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
