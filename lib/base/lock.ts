import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { removeTemporaries, TEMPORARY, writeError } from './atomic.js';
import { PrlError } from './errors.js';

const ATTEMPTS = 5;

interface Owner {
  pid: number;
  host: string;
  /**
   * Start time of the process as the kernel reports it. It differs for a later process with the same pid. Empty without
   * /proc.
   */
  started: string;
}

function startTime(pid: number): string {
  try {
    // Fields 3 and 22. The second field, the name in parentheses, may contain spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, '').split(' ');
    // Z and X: the process has ended, but its parent has not asked for its status. Signals still reach it.
    return 'ZX'.includes(fields[1]) ? 'ended' : fields[20];
  } catch {
    return '';
  }
}

function isAlive({ pid, host, started }: Owner): boolean {
  if (host !== hostname()) return true; // not visible from here: assume that it lives
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return started === '' || startTime(pid) === started;
}

/**
 * Undefined if no process wrote it. Locks appear complete, so this one lost its contents when its machine crashed, and
 * its process is gone too.
 */
function parseOwner(text: string): Owner | undefined {
  try {
    const { pid, host, started } = JSON.parse(text);
    const isOwner = Number.isSafeInteger(pid) && pid > 0 && typeof host === 'string' && typeof started === 'string';
    return isOwner ? { pid, host, started } : undefined;
  } catch {
    return undefined;
  }
}

/** Finds the lock of another live process in `folder`. Removes the locks of processes that have ended. */
async function otherOwner(folder: string, mine: string): Promise<(Owner & { file: string }) | undefined> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith('lock-') || name === mine) continue;
    const file = join(folder, name);
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined) continue; // released meanwhile
    const owner = parseOwner(text);
    if (owner && isAlive(owner)) return { ...owner, file };
    await rm(file, { force: true });
  }
}

/**
 * Reserves `folder` for this process. The result releases it.
 *
 * Every contender first writes a file of its own and then looks for others. Of two, the later one must see the earlier
 * one, so there are never two owners. A single lock file could not be taken over safely from a dead process: between
 * reading and removing it, another process may have replaced it.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const mine = `lock-${process.pid}-${randomUUID().slice(0, 8)}`;
  const path = join(folder, mine);
  const owner: Owner = { pid: process.pid, host: hostname(), started: startTime(process.pid) };
  for (let attempt = 1; ; attempt++) {
    const temporary = join(folder, TEMPORARY + mine);
    try {
      await writeFile(temporary, JSON.stringify(owner));
      // It is gone if another process has just locked the folder and cleans up.
      await rename(temporary, path).catch((error) => {
        if (error.code !== 'ENOENT' || attempt === ATTEMPTS) throw error;
      });
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw writeError(path, error);
    }
    if (!existsSync(path)) {
      if (attempt < ATTEMPTS) continue;
      throw new PrlError('ERR_PRL_IO', `cannot write ${path}: what is written there is gone at once`);
    }
    const other = await otherOwner(folder, mine);
    // If it cannot be removed (the disk has become read-only), it is stale as soon as this process ends.
    if (!other) {
      await removeTemporaries(folder);
      return () => rm(path, { force: true }).catch(() => {});
    }
    await rm(path, { force: true });
    if (attempt === ATTEMPTS) {
      const elsewhere = other.host === hostname() ? '' : ` on ${other.host}`;
      throw new PrlError(
        'ERR_PRL_BUSY',
        `process ${other.pid}${elsewhere} is working in ${folder}. Wait for it, or choose another folder${elsewhere && ` (if it is gone, delete ${other.file})`}`,
      );
    }
    // Contenders that met have all stepped back. They try again at different times.
    await delay(10 + 40 * Math.random());
  }
}
