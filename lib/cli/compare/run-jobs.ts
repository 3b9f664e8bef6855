import { fork } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../../base/atomic.js';
import { askedThreads } from '../../base/environment.js';
import { type CompareJob, isDone } from './plan.js';
import type { WorkerMessage } from './worker.js';

export interface RunJobsOptions {
  /** Processes at a time, which share the machine's threads. */
  jobs: number;
  /** When it aborts, the running jobs save and end, and no other begins. */
  signal: AbortSignal;
  onEvent: (job: CompareJob, event: 'begins' | 'done' | 'failed' | 'progress', text: string) => void;
}

/** Threads of each process. */
export const threadsOf = (jobs: number): number =>
  Math.max(1, Math.floor((askedThreads() ?? availableParallelism()) / jobs));

/**
 * Runs all unfinished jobs, each in a process of its own. A job waits for those that it needs. If a job fails, those
 * that need it fail too.
 *
 * @returns the reasons of the failed jobs, by id
 */
export async function runJobs(all: readonly CompareJob[], options: RunJobsOptions): Promise<Map<string, string>> {
  const failed = new Map<string, string>();
  const done = new Set(all.filter(isDone).map(({ id }) => id));
  let waiting = all.filter(({ id }) => !done.has(id));
  const running = new Map<string, Promise<void>>();
  const fail = (job: CompareJob, why: string) => {
    failed.set(job.id, why);
    options.onEvent(job, 'failed', why);
  };
  for (;;) {
    for (const job of waiting) {
      const lost = job.needs.find((id) => failed.has(id));
      if (lost) fail(job, `it needs ${lost}, which failed`);
    }
    waiting = waiting.filter(({ id }) => !failed.has(id));
    const ready = waiting.filter(({ needs }) => needs.every((id) => done.has(id)));
    for (const job of options.signal.aborted ? [] : ready.slice(0, options.jobs - running.size)) {
      waiting = waiting.filter((each) => each !== job);
      options.onEvent(job, 'begins', '');
      const end = runInProcess(job, options).then((why) => {
        running.delete(job.id);
        if (why === undefined && isDone(job)) {
          done.add(job.id);
          options.onEvent(job, 'done', '');
        } else if (!options.signal.aborted) fail(job, why ?? 'its process ended without a result');
      });
      running.set(job.id, end);
    }
    if (running.size === 0) return failed;
    await Promise.race(running.values());
  }
}

/** @returns the reason of the failure; undefined after success */
async function runInProcess(job: CompareJob, { jobs, signal, onEvent }: RunJobsOptions): Promise<string | undefined> {
  await makeFolder(job.folder);
  const path = join(job.folder, 'log.txt');
  const log = await open(path, 'a');
  try {
    const worker = fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url));
    const child = fork(worker, [JSON.stringify(job)], {
      stdio: ['ignore', log.fd, log.fd, 'ipc'],
      env: { ...process.env, PRL_THREADS: String(threadsOf(jobs)) },
    });
    let why: string | undefined;
    child.on('message', (message: WorkerMessage) => {
      if ('error' in message) why = message.error;
      else onEvent(job, 'progress', message.progress);
    });
    const stop = () => child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    const [code, ending] = await new Promise<[number | null, string | null]>((resolve) => {
      child.once('exit', (...how) => resolve(how));
      child.once('error', (error) => {
        why = error.message;
        resolve([1, null]);
      });
    });
    signal.removeEventListener('abort', stop);
    if (code === 0) return undefined;
    return why ?? `its process ended with ${ending ?? `code ${code}`}: ${await lastLine(path)}`;
  } finally {
    await log.close();
  }
}

async function lastLine(path: string): Promise<string> {
  return (await readFile(path, 'utf8')).trimEnd().split('\n').pop()?.slice(0, 300) || `${path} is empty`;
}
