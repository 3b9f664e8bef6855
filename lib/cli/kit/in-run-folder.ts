// A command that works in a run folder, which an interrupted run resumes.
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import { RunFolder } from '../../train/run-folder.js';
import { Interrupt } from './interrupt.js';
import { newRunPath } from './run-path.js';

export interface FolderRequest {
  /** The command that resumes the run. */
  command: string;
  output?: string;
  resume?: boolean;
  /** First part of the folder's name, if `output` is not set. */
  name: string;
}

/**
 * Runs `work` in the folder and says at the end where the run is, or how to resume it. `work` returns what else to say
 * of a run in this place, or undefined if it was interrupted.
 *
 * @returns the exit code of the command
 */
export async function inRunFolder(
  request: FolderRequest,
  work: (folder: RunFolder, interrupt: Interrupt) => Promise<((run: string) => string) | undefined>,
): Promise<number> {
  const interrupt = new Interrupt();
  const folder = await open(request);
  const shown = relative('', folder.path) || '.';
  const start = performance.now();
  try {
    const done = await work(folder, interrupt).catch((error) => {
      if (!interrupt.isCause(error)) throw error;
      return undefined;
    });
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    if (done) console.log(`\nDone in ${seconds} s. The run is in ${shown}\n\n${done(shown)}`);
    else if (existsSync(folder.file('config.json')))
      console.log(`Saved. To resume: ${request.command} --resume --output ${shown}`);
    else console.log('Stopped before there was anything to save.');
    return done ? 0 : interrupt.exitCode!;
  } finally {
    await folder.close();
  }
}

/** Opens the folder of a run: `output`, or a new one in runs/. */
function open({ output, resume, name }: FolderRequest): Promise<RunFolder> {
  if (resume && output === undefined) throw invalidArgument('--resume needs --output, the folder of the run');
  const path = output ?? newRunPath(name);
  if (resume && !existsSync(path)) throw invalidArgument(`there is no run in ${path} to resume`);
  return RunFolder.open(path, { resume });
}
