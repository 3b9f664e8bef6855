import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { PrlError } from '../../errors.js';

/** Megabytes of one thread's heap. */
const MEMORY = 512;

interface Job {
  question: unknown;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

interface Thread {
  worker: Worker;
  job?: Job;
  deadline?: NodeJS.Timeout;
  /** It has loaded its code; only then is it given work. */
  ready: boolean;
}

export interface PoolOptions {
  /** Says 'ready' when it is, then answers each message with one: compiled, or TypeScript where that is run from. */
  module: URL;
  /** Milliseconds for one answer. */
  deadline: number;
  /** Default: one per core. */
  threads?: number;
}

/**
 * Threads that answer questions, each by its deadline. They are started when the first questions come, never keep the process
 * alive by themselves, and one that overruns is stopped and replaced: its question is answered with undefined, and no other is
 * lost.
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
    for (const thread of this.#threads) if (this.#queue.length > 0 && thread.ready && !thread.job) this.#give(thread);
    const starting = [...this.#threads].filter(({ ready }) => !ready).length;
    const missing = Math.min(this.#limit - this.#threads.size, this.#queue.length - starting);
    for (let i = 0; i < missing; i++) this.#start();
  }

  #give(thread: Thread): void {
    thread.job = this.#queue.shift()!;
    thread.worker.ref();
    thread.deadline = setTimeout(() => {
      // Where the event loop stood still, the answer may be here and only not be read yet.
      const { job } = thread;
      setImmediate(() => thread.job === job && this.#stop(thread));
    }, this.#options.deadline);
    thread.worker.postMessage(thread.job.question);
  }

  #start(): void {
    const thread: Thread = { worker: startWorker(this.#options.module), ready: false };
    this.#threads.add(thread);
    thread.worker.on('message', (answer) => {
      if (thread.ready) {
        clearTimeout(thread.deadline);
        thread.job!.resolve(answer);
        thread.job = undefined;
      } else thread.ready = true;
      this.#work();
      // A thread that has nothing to do does not keep the process alive.
      if (!thread.job) thread.worker.unref();
    });
    thread.worker.on('error', (error) => this.#stop(thread, error));
  }

  /** Ends a thread that has overrun (without an error) or failed, and goes on with others. */
  #stop(thread: Thread, error?: NodeJS.ErrnoException): void {
    if (!this.#threads.delete(thread)) return;
    clearTimeout(thread.deadline);
    thread.worker.removeAllListeners().on('error', () => {});
    void thread.worker.terminate();
    if (!error || error.code === 'ERR_WORKER_OUT_OF_MEMORY') thread.job?.resolve(undefined);
    else {
      const failure = new PrlError(
        'ERR_PRL_INTERNAL',
        `a thread of ${this.#options.module.href} failed: ${error.message}`,
        {
          cause: error,
        },
      );
      // One that could not start would fail again.
      for (const job of thread.ready ? [thread.job!] : this.#queue.splice(0)) job.reject(failure);
    }
    this.#work();
  }
}

function startWorker(module: URL): Worker {
  const options = { execArgv: [], resourceLimits: { maxOldGenerationSizeMb: MEMORY } };
  if (!module.pathname.endsWith('.ts')) return new Worker(module, options);
  // From the sources: threads do not inherit what lets the process run TypeScript.
  const code = `import('${import.meta.resolve('tsx/esm/api')}').then(({ register }) => (register(), import('${module.href}')))`;
  return new Worker(code, { ...options, eval: true });
}
