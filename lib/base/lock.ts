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
  /** Kernel's start time of the process: tells it from a later one with the same pid. Empty where /proc is not there. */
  started: string;
}

function startTime(pid: number): string {
  try {
    // Fields 3 and 22; the second one, the name in parentheses, may hold blanks.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, '').split(' ');
    // One that has ended, and that nobody has asked how: signals reach it for as long as that takes.
    return 'ZX'.includes(fields[1]) ? 'ended' : fields[20];
  } catch {
    return '';
  }
}

function isAlive({ pid, host, started }: Owner): boolean {
  if (host !== hostname()) return true; // cannot be seen from here: believe it
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return started === '' || startTime(pid) === started;
}

/**
 * Undefined for what no process wrote: locks appear whole, so this one lost its contents with the machine that its process ran on,
 * and the process is gone too.
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

/** Another live process's lock in `folder`. Those of processes that have ended are removed. */
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
 * Makes this process the only one on `folder`; the result lets go of it.
 *
 * Every contender first puts down a file of its own and then looks for others: of two, the later one is bound to see the
 * earlier, so there are never two owners. A single lock file could not be taken over safely from a process that died,
 * because between reading and removing it another process may have replaced it.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const mine = `lock-${process.pid}-${randomUUID().slice(0, 8)}`;
  const path = join(folder, mine);
  const owner: Owner = { pid: process.pid, host: hostname(), started: startTime(process.pid) };
  for (let attempt = 1; ; attempt++) {
    const temporary = join(folder, TEMPORARY + mine);
    try {
      await writeFile(temporary, JSON.stringify(owner));
      // It is gone where another one has got the folder just now, and cleans up.
      await rename(temporary, path).catch((error) => {
        if (error.code !== 'ENOENT' || attempt === ATTEMPTS) throw error;
      });
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw writeError(path, error);
    }
    if (!existsSync(path)) continue;
    const other = await otherOwner(folder, mine);
    // Where it cannot be removed (the disk has become read-only), it is stale as soon as this process ends.
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
    // Contenders that met each other have all stepped back: try again at different times.
    await delay(10 + 40 * Math.random());
  }
}
