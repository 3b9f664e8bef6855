import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { folderDamage, sha256 } from '../../base/atomic.js';
import { PrlError } from '../../base/errors.js';
import { resolveModel } from '../../hub/resolve.js';
import { readJsonFile } from '../../train/run-folder.js';
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

/** All that is said goes to stderr: stdout may be somebody's JSON. */
async function download(id: string, signal?: AbortSignal): Promise<string> {
  let progress: Progress | undefined;
  let began = false;
  try {
    const folder = await resolveModel(id, {
      signal,
      onProgress: ({ file, bytes, totalBytes }) => {
        if (!began) console.error(`downloading ${id}: ${((totalBytes - bytes) / 1e6).toFixed(1)} MB`);
        began = true;
        if (process.stderr.isTTY) {
          progress ??= new Progress('download', totalBytes, bytes);
          progress.update(bytes, file);
        }
      },
    });
    if (began) console.error(`${id} is in ${folder}`);
    return folder;
  } finally {
    progress?.stop();
  }
}

/** What tells a model from others, whether it is in one file or several: a hash of its weights. */
export async function weightsHash(folder: string): Promise<string> {
  const whole = join(folder, 'model.safetensors');
  if (existsSync(whole)) return sha256(whole);
  const index = await readJsonFile(join(folder, 'model.safetensors.index.json'), { weight_map: { '*': 'text' } });
  const hashes = createHash('sha256');
  for (const shard of [...new Set(Object.values<string>(index.weight_map))].sort())
    hashes.update(await sha256(join(folder, shard)));
  return hashes.digest('hex');
}
