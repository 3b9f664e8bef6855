import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PrlError } from '../errors.js';
import { folderDamage } from '../train/atomic.js';

/** The folder of a model: `path` itself, or the newest whole checkpoint where `path` is a run folder. */
export async function modelFolder(path: string): Promise<string> {
  if (!existsSync(path)) throw new PrlError('ERR_PRL_IO', `there is no folder ${path}`);
  if (existsSync(join(path, 'model.safetensors')) || existsSync(join(path, 'model.safetensors.index.json')))
    return path;
  const checkpoints = join(path, 'checkpoints');
  const steps = existsSync(checkpoints) ? (await readdir(checkpoints)).filter((name) => name.startsWith('step-')) : [];
  for (const name of steps.sort((a, b) => Number(b.slice(5)) - Number(a.slice(5))))
    if ((await folderDamage(join(checkpoints, name))) === undefined) return join(checkpoints, name);
  throw new PrlError('ERR_PRL_IO', `${path} holds neither a model (model.safetensors) nor a run with a checkpoint`);
}
