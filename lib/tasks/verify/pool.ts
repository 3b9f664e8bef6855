import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { PrlError } from '../../base/errors.js';
import { startThread } from '../../base/thread.js';

/** Megabytes of one thread's heap. */
const MEMORY = 512;
/** Questions that a thread holds. On a busy machine it need not wait for the next one. */
const DEPTH = 8;

interface Job {
  question: unknown;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

interface Thread {
  worker: Worker;
  /** It is at the first of them. */
  jobs: Job[];
  deadline?: NodeJS.Timeout;
  /** It has loaded its code; only then is it given work. */
  ready: boolean;
  /** The system's number of it, where it has one. */
  id?: number;
}

export interface PoolOptions {
  /**
   * Module of the thread, without its extension. The thread says when it is ready, with the system's number of it. Then
   * it answers each message with one, in order.
   */
  module: URL;
  /**
   * Milliseconds for one answer. They count the thread's own time if the system tells it, so that a busy machine does
   * no harm.
   */
  deadline: number;
  /** Default: one per core. */
  threads?: number;
}

/**
 * Threads that answer questions, each within its deadline. They start with the first questions and never keep the
 * process alive by themselves. A thread that overruns is stopped and replaced: its question is answered with undefined,
 * and no other question is lost.
 */
export class Pool<Q, A> {
  readonly #options: PoolOptions;
  readonly #limit: number;
  readonly #threads = new Set<Thread>();
  readonly #queue: Job[] = [];

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#limit = options.threads ?? availableParallelism();
  }

  /** undefined: not by the deadline, or not within the memory. */
  ask(question: Q): Promise<A | undefined> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ question, resolve: resolve as (answer: unknown) => void, reject });
      this.#work();
    });
  }

  /** Threads that run now. */
  get size(): number {
    return this.#threads.size;
  }

  #work(): void {
    for (let load = 0; load < DEPTH; load++)
      for (const thread of this.#threads)
        if (this.#queue.length > 0 && thread.ready && thread.jobs.length === load) this.#give(thread);
    const starting = [...this.#threads].filter(({ ready }) => !ready).length;
    const missing = Math.min(this.#limit - this.#threads.size, this.#queue.length - starting);
    for (let i = 0; i < missing; i++) this.#start();
  }

  #give(thread: Thread): void {
    const job = this.#queue.shift()!;
    thread.jobs.push(job);
    thread.worker.postMessage(job.question);
    if (thread.jobs.length > 1) return;
    thread.worker.ref();
    this.#watch(thread);
  }

  /**
   * Stops the thread if its first question took longer than the deadline. Looks again if the thread did not get its
   * time.
   */
  #watch(thread: Thread, start = threadTime(thread.id), wait = this.#options.deadline): void {
    const [job] = thread.jobs;
    thread.deadline = setTimeout(() => {
      // Where the event loop stood still, the answer may be here and only not be read yet.
      setImmediate(() => {
        if (thread.jobs[0] !== job) return;
        const left = start === undefined ? 0 : this.#options.deadline - (threadTime(thread.id) ?? Infinity) + start;
        if (left > 0) this.#watch(thread, start, left);
        else this.#stop(thread);
      });
    }, wait);
  }

  #start(): void {
    const options = { execArgv: [], resourceLimits: { maxOldGenerationSizeMb: MEMORY } };
    const thread: Thread = { worker: startThread(this.#options.module, options), jobs: [], ready: false };
    this.#threads.add(thread);
    thread.worker.on('message', (answer) => {
      if (thread.ready) {
        clearTimeout(thread.deadline);
        thread.jobs.shift()!.resolve(answer);
        if (thread.jobs.length > 0) this.#watch(thread);
      } else {
        thread.ready = true;
        thread.id = answer.ready;
      }
      this.#work();
      // A thread that has nothing to do does not keep the process alive.
      if (thread.jobs.length === 0) thread.worker.unref();
    });
    thread.worker.on('error', (error) => this.#stop(thread, error));
  }

  /** Ends a thread that overran (without an error) or failed, and continues with others. */
  #stop(thread: Thread, error?: NodeJS.ErrnoException): void {
    if (!this.#threads.delete(thread)) return;
    clearTimeout(thread.deadline);
    thread.worker.removeAllListeners().on('error', () => {});
    void thread.worker.terminate();
    const [job, ...waiting] = thread.jobs;
    this.#queue.unshift(...waiting);
    if (!error || error.code === 'ERR_WORKER_OUT_OF_MEMORY') job?.resolve(undefined);
    else {
      const where = this.#options.module.href;
      const failure = new PrlError('ERR_PRL_INTERNAL', `a thread of ${where} failed: ${error.message}`, {
        cause: error,
      });
      // One that could not start would fail again.
      for (const failed of thread.ready ? thread.jobs.slice(0, 1) : this.#queue.splice(0)) failed.reject(failure);
    }
    this.#work();
  }
}

/** Milliseconds that a thread of this process has computed; undefined where the system does not say. */
function threadTime(id: number | undefined): number | undefined {
  if (id === undefined) return undefined;
  try {
    // After the name in brackets; user and system time are the 14th and 15th of all, in hundredths of a second.
    const fields = readFileSync(`/proc/self/task/${id}/stat`, 'utf8').split(') ')[1].split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
  } catch {
    return undefined;
  }
}
