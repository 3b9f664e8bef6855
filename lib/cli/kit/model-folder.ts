import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { folderDamage, sha256 } from '../../base/atomic.js';
import { PrlError } from '../../base/errors.js';
import type { OptionTable } from '../../base/options.js';
import { resolveModel } from '../../hub/resolve.js';
import { EXTRA_TENSORS } from '../../policy/policy.js';
import { readJsonFile } from '../../train/run-folder.js';
import { Progress } from './progress.js';

/** How a command loads its --model. */
export const LOAD_OPTIONS = {
  extraTensors: {
    type: 'choice',
    choices: EXTRA_TENSORS,
    doc: "Tensors of the model's files that its config does not know: an error, or ignore those that change nothing, such as a value head (default: refuse)",
  },
} as const satisfies OptionTable;

/**
 * The folder of a model. `path` is that folder, a run folder (its newest whole checkpoint is used), or the id of a
 * model of the hub, which is downloaded.
 */
export async function modelFolder(path: string, signal?: AbortSignal): Promise<string> {
  if (!existsSync(path)) {
    // The hub has no owner of that name, and need not be asked.
    if (/^runs[/\\]/.test(path))
      throw new PrlError(
        'ERR_PRL_IO',
        `there is no folder ${path}: it must hold a model (model.safetensors) or a run with a checkpoint`,
      );
    return download(path, signal);
  }
  if (existsSync(join(path, 'model.safetensors')) || existsSync(join(path, 'model.safetensors.index.json')))
    return path;
  const checkpoints = join(path, 'checkpoints');
  const steps = existsSync(checkpoints) ? (await readdir(checkpoints)).filter((name) => name.startsWith('step-')) : [];
  for (const name of steps.sort((a, b) => Number(b.slice(5)) - Number(a.slice(5))))
    if ((await folderDamage(join(checkpoints, name))) === undefined) return join(checkpoints, name);
  throw new PrlError(
    'ERR_PRL_IO',
    `${path} must hold a model (model.safetensors) or a run with a checkpoint, and holds neither`,
  );
}

/** Messages go to stderr: stdout may carry JSON. */
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

/** A hash of the model's weights, in one file or several. It identifies the model. */
export async function weightsHash(folder: string): Promise<string> {
  const whole = join(folder, 'model.safetensors');
  if (existsSync(whole)) return sha256(whole);
  const index = await readJsonFile(join(folder, 'model.safetensors.index.json'), { weight_map: { '*': 'text' } });
  const hashes = createHash('sha256');
  for (const shard of [...new Set(Object.values<string>(index.weight_map))].sort())
    hashes.update(await sha256(join(folder, shard)));
  return hashes.digest('hex');
}
