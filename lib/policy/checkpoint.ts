// A checkpoint folder as Hugging Face lays it out: config.json and model.safetensors, or shards with an index.
import { mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PrlError } from '../errors.js';
import { savedConfig } from './config.js';
import { SafetensorsFile, writeAtomically, writeSafetensors } from './safetensors.js';
import type { PolicyConfig } from './types.js';

export interface ParameterInfo {
  /** As in a Hugging Face checkpoint. */
  name: string;
  shape: number[];
}

/** The object in a JSON file. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new PrlError('ERR_PRL_IO', `cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new PrlError('ERR_PRL_CORRUPT', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new PrlError('ERR_PRL_CORRUPT', `${path} does not hold an object`);
  return value as Record<string, unknown>;
}

export const readConfig = async (folder: string) => (await readJson(join(folder, 'config.json'))) as PolicyConfig;

/** Files of the checkpoint: one, or the shards that the index names. */
async function openFiles(folder: string): Promise<SafetensorsFile[]> {
  const whole = join(folder, 'model.safetensors');
  let index: Record<string, unknown>;
  try {
    return [await SafetensorsFile.open(whole)];
  } catch (error) {
    if ((error as PrlError).code !== 'ERR_PRL_IO') throw error;
    index = await readJson(join(folder, 'model.safetensors.index.json')).catch(() => {
      throw error;
    });
  }
  const names = [...new Set(Object.values((index.weight_map ?? {}) as Record<string, string>))];
  const files: SafetensorsFile[] = [];
  try {
    for (const name of names) {
      if (typeof name !== 'string' || basename(name) !== name)
        throw new PrlError('ERR_PRL_CORRUPT', `the index of ${folder} names the file ${JSON.stringify(name)}`);
      files.push(await SafetensorsFile.open(join(folder, name)));
    }
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
  return files;
}

/** Names in a checkpoint that hold nothing to load: recomputed buffers, and a tied model's copy of its embedding. */
const isRedundant = (name: string, tied: boolean) =>
  name.endsWith('.rotary_emb.inv_freq') || (tied && name === 'lm_head.weight');

/**
 * Reads every parameter of a folder's checkpoint and hands it to `write`. A tensor that is missing, of another shape, or that the
 * policy has no place for is an error that names it, before anything is written.
 */
export async function loadWeights(
  folder: string,
  parameters: readonly ParameterInfo[],
  tied: boolean,
  write: (name: string, values: Float32Array) => void,
): Promise<void> {
  const files = await openFiles(folder);
  try {
    const where = new Map<string, SafetensorsFile>();
    for (const file of files) for (const name of file.tensors.keys()) where.set(name, file);
    for (const { name, shape } of parameters) {
      const entry = where.get(name)?.tensors.get(name);
      if (!entry) throw new PrlError('ERR_PRL_CORRUPT', `the checkpoint ${folder} has no tensor '${name}'`);
      if (String(entry.shape) !== String(shape))
        throw new PrlError(
          'ERR_PRL_CORRUPT',
          `tensor '${name}' of ${folder} has the shape [${entry.shape}] where the config asks for [${shape}]`,
        );
    }
    const known = new Set(parameters.map((p) => p.name));
    for (const name of where.keys()) {
      if (!known.has(name) && !isRedundant(name, tied))
        throw new PrlError(
          'ERR_PRL_CORRUPT',
          `the checkpoint ${folder} has the tensor '${name}', which its config has no place for`,
        );
    }
    for (const { name } of parameters) write(name, await where.get(name)!.read(name));
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

export async function saveCheckpoint(
  folder: string,
  config: PolicyConfig,
  parameters: readonly ParameterInfo[],
  read: (parameter: ParameterInfo) => Float32Array,
): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw new PrlError('ERR_PRL_IO', `cannot make the folder ${folder}: ${cause.message}`, { cause });
  });
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    parameters.map((parameter) => ({ ...parameter, read: () => read(parameter) })),
  );
  await writeAtomically(join(folder, 'config.json'), (write) =>
    write(new TextEncoder().encode(`${JSON.stringify(savedConfig(config), null, 2)}\n`)),
  );
}
