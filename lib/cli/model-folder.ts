import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PrlError } from '../errors.js';
import { resolveModel } from '../hub/resolve.js';
import { folderDamage } from '../train/atomic.js';
import { Progress } from './progress.js';

/**
 * The folder of a model: `path` itself, the newest whole checkpoint where `path` is a run folder, or where the model of the hub is
 * that `path` is the id of.
 */
export async function modelFolder(path: string, signal?: AbortSignal): Promise<string> {
  if (!existsSync(path)) return download(path, signal);
  if (existsSync(join(path, 'model.safetensors')) || existsSync(join(path, 'model.safetensors.index.json')))
    return path;
  const checkpoints = join(path, 'checkpoints');
  const steps = existsSync(checkpoints) ? (await readdir(checkpoints)).filter((name) => name.startsWith('step-')) : [];
  for (const name of steps.sort((a, b) => Number(b.slice(5)) - Number(a.slice(5))))
    if ((await folderDamage(join(checkpoints, name))) === undefined) return join(checkpoints, name);
  throw new PrlError('ERR_PRL_IO', `${path} holds neither a model (model.safetensors) nor a run with a checkpoint`);
}

async function download(id: string, signal?: AbortSignal): Promise<string> {
  let progress: Progress | undefined;
  try {
    const folder = await resolveModel(id, {
      signal,
      onProgress: ({ file, bytes, totalBytes }) => {
        progress ??= new Progress('download', totalBytes, bytes);
        progress.update(bytes, file);
      },
    });
    progress?.done(`${id} is in ${folder}`);
    return folder;
  } catch (error) {
    progress?.stop();
    throw error;
  }
}
