// Several servers that do the same work. Each takes the next job when it has room. A failed server pauses and is tried
// again.
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { PrlError } from '../base/errors.js';
import { aborted, giveUp, Passing, retryPause } from '../base/http.js';

export interface Server {
  readonly url: string;
  /** Pauses, probes and interrupted jobs in a row; 0 after a successful job. */
  failures: number;
  /** It gets no request before this performance.now(). */
  restUntil: number;
  /** The version of the weights that it is known to have. */
  version?: string;
  /** It must be asked again before its next job. */
  suspect: boolean;
  /** The check in progress. */
  preparing?: Promise<void>;
}

export const newServer = (url: string): Server => ({ url, failures: 0, restUntil: 0, suspect: true });

export interface SpreadOptions<J, R> {
  /** Jobs in progress per server. */
  concurrency: number;
  /** Attempts of a job after the first. Also probes of a server after the first, when no other is left. */
  retries: number;
  retryDelay: number;
  signal?: AbortSignal;
  /** Makes sure that a server is alive and has the right weights. Runs once at a time per server. */
  prepare(server: Server, signal?: AbortSignal): Promise<void>;
  work(server: Server, job: J, signal: AbortSignal): Promise<R>;
  onDone?(result: R): void;
}

/** Milliseconds for which ready servers wait for the others before they begin. */
const READY = 1000;

/**
 * The results of all jobs, whichever server did them. The first permanent failure ends the others and is thrown.
 */
export async function spread<J, R>(
  servers: readonly Server[],
  jobs: readonly J[],
  options: SpreadOptions<J, R>,
): Promise<R[]> {
  return new Spread(servers, jobs, options).run();
}

class Spread<J, R> {
  readonly #results: R[];
  readonly #queue: { index: number; attempts: number }[];
  readonly #stop = new AbortController();
  /** When all jobs are done, or one has failed. */
  readonly #over = deferred();
  /** Replaced at every change, so that an idle worker can wait for the next. */
  #changed = deferred();
  #left: number;
  #failure: { error: unknown } | undefined;

  constructor(
    readonly servers: readonly Server[],
    readonly jobs: readonly J[],
    readonly options: SpreadOptions<J, R>,
  ) {
    this.#left = jobs.length;
    this.#results = new Array(jobs.length);
    this.#queue = jobs.map((_, index) => ({ index, attempts: 0 }));
  }

  async run(): Promise<R[]> {
    const { signal, concurrency } = this.options;
    const abort = () => this.#fail(aborted(this.servers[0].url, signal!));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    setMaxListeners(0, this.#stop.signal);
    const each = Math.min(concurrency, this.jobs.length);
    try {
      // All begin together, so that the first ready server does not take all the work. A slow one is not waited for.
      if (each > 0) await this.#wait(READY, Promise.all(this.servers.map((server) => this.#prepare(server))));
      // The servers take turns, so that a few jobs spread over all of them.
      await Promise.all(
        Array.from({ length: each * this.servers.length }, (_, i) =>
          this.#worker(this.servers[i % this.servers.length]),
        ),
      );
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    if (this.#failure) throw this.#failure.error;
    return this.#results;
  }

  async #worker(server: Server): Promise<void> {
    while (this.#left > 0 && !this.#failure) {
      const rest = server.restUntil - performance.now();
      if (rest > 0) await this.#wait(rest);
      else if (this.#queue.length === 0) await this.#wait();
      else if (server.suspect) await this.#prepare(server);
      else await this.#work(server, this.#queue.shift()!);
    }
  }

  /** Ends when the server has answered, even if the others have done all the work by then. */
  async #prepare(server: Server): Promise<void> {
    server.preparing ??= this.options
      .prepare(server, this.options.signal)
      .then(() => {
        server.suspect = false;
      })
      .catch((error) => {
        if (!(error instanceof Passing)) return this.#fail(error);
        this.#rest(server, error);
        const { retries } = this.options;
        // No server is left that could do the work.
        if (this.servers.every(({ failures }) => failures > retries)) this.#fail(giveUp(error.failure, retries + 1));
      })
      .finally(() => {
        server.preparing = undefined;
      });
    await Promise.race([server.preparing, this.#over.promise]);
  }

  async #work(server: Server, job: { index: number; attempts: number }): Promise<void> {
    try {
      const result = await this.options.work(server, this.jobs[job.index], this.#stop.signal);
      this.#results[job.index] = result;
      server.failures = 0;
      this.#left--;
      if (this.#left === 0) this.#over.resolve();
      this.options.onDone?.(result);
    } catch (error) {
      if (!(error instanceof Passing)) return this.#fail(error);
      if (!error.busy) server.suspect = true;
      this.#rest(server, error);
      job.attempts++;
      if (job.attempts > this.options.retries) return this.#fail(giveUp(error.failure, job.attempts));
      this.#queue.unshift(job);
    } finally {
      this.#notify();
    }
  }

  #rest(server: Server, error: Passing): void {
    // A dying server drops all its requests. They are one failure.
    if (server.restUntil > performance.now()) return;
    server.restUntil = performance.now() + retryPause(error, server.failures, this.options.retryDelay);
    server.failures++;
    this.#notify();
  }

  #fail(error: unknown): void {
    if (this.#left === 0 || this.#failure) return;
    this.#failure = { error };
    this.#stop.abort(error);
    this.#over.resolve();
    this.#notify();
  }

  /** Waits until something changes, or `ms` have passed. */
  async #wait(ms?: number, change: Promise<unknown> = this.#changed.promise): Promise<void> {
    if (ms === undefined) {
      await change;
      return;
    }
    const timer = new AbortController();
    await Promise.race([change, sleep(ms, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
  }

  #notify(): void {
    const { resolve } = this.#changed;
    this.#changed = deferred();
    resolve();
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** A failure of another kind, as the pool sees it: one that may pass. */
export const passing = (code: PrlError['code'], message: string): Passing => new Passing(new PrlError(code, message));
