import { setTimeout as sleep } from 'node:timers/promises';
import { PrlError } from '../../base/errors.js';
import type { Completion, GenerateOptions } from '../../policy/types.js';

/** The options that all requests of a batch share. */
export interface BatchPolicy {
  generate(prompts: ArrayLike<number>[], options: GenerateOptions): Promise<{ completions: Completion[] }[]>;
}

export type BatchOptions = Required<
  Pick<GenerateOptions, 'n' | 'maxNewTokens' | 'temperature' | 'topK' | 'topP' | 'stop'>
>;

export interface Work {
  prompts: Int32Array[];
  options: BatchOptions;
  seed: number;
}

/** A finished job. Without groups, a pause ended it. */
export interface Done {
  groups?: { completions: Completion[] }[];
  /** Version of the weights that sampled it, or would have. */
  version: string;
}

interface Job extends Work {
  signal: AbortSignal;
  resolve(done: Done): void;
  reject(error: unknown): void;
}

/**
 * The first request waits for those that come with it: this many milliseconds without a newcomer end the wait, after at
 * most so many rounds.
 */
const GATHER = 3;
const GATHER_ROUNDS = 16;
/** Completions in one batch. A pause or a newcomer may have to wait for them. */
const MAX_BATCH = 4096;

/**
 * Combines requests that arrived while the policy was busy into one call: those that differ only in prompt and seed.
 * Samples do not depend on the other requests of the batch.
 */
export class Batcher {
  #queue: Job[] = [];
  /** Requests that came after a pause. */
  #held: Job[] = [];
  #paused = false;
  #running: Promise<void> | undefined;
  #batch: { jobs: Job[]; controller: AbortController } | undefined;

  constructor(
    public policy: BatchPolicy,
    public version: string,
  ) {}

  get paused(): boolean {
    return this.#paused;
  }

  /** @param signal of the client. If nobody waits for the work any more, it does not start, or it ends */
  submit(work: Work, signal: AbortSignal): Promise<Done> {
    return new Promise((resolve, reject) => {
      const job = { ...work, signal, resolve, reject };
      signal.addEventListener('abort', () => this.#leave(job), { once: true });
      if (signal.aborted) return this.#leave(job);
      (this.#paused ? this.#held : this.#queue).push(job);
      this.#start();
    });
  }

  /**
   * Stops generation until resume(). 'wait' finishes all requests so far. 'abort' ends them. 'keep' finishes the
   * running batch and keeps the rest for later.
   */
  async pause(mode: 'abort' | 'wait' | 'keep'): Promise<void> {
    this.#paused = true;
    if (mode !== 'wait') {
      const waiting = this.#queue.splice(0);
      if (mode === 'keep') this.#held.unshift(...waiting);
      else for (const job of waiting) job.resolve({ version: this.version });
    }
    if (mode === 'abort') this.#batch?.controller.abort();
    while (this.#running) await this.#running;
  }

  resume(): void {
    this.#paused = false;
    this.#queue.push(...this.#held.splice(0));
    this.#start();
  }

  #start(): void {
    if (this.#running || this.#queue.length === 0) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.#start();
    });
  }

  async #run(): Promise<void> {
    for (let round = 0, known = -1; known !== this.#queue.length && round < GATHER_ROUNDS; round++) {
      known = this.#queue.length;
      await sleep(GATHER);
    }
    while (this.#queue.length > 0) await this.#generate(this.#take());
  }

  async #generate(jobs: Job[]): Promise<void> {
    const controller = new AbortController();
    const { version } = this;
    this.#batch = { jobs, controller };
    try {
      const groups = await this.policy.generate(
        jobs.flatMap(({ prompts }) => prompts),
        {
          ...jobs[0].options,
          // A request of several prompts is a batch of its own: its prompts use the streams of one seed.
          seed: jobs[0].prompts.length > 1 ? jobs[0].seed : jobs.map(({ seed }) => seed),
          signal: controller.signal,
        },
      );
      let at = 0;
      for (const job of jobs) job.resolve({ groups: groups.slice(at, (at += job.prompts.length)), version });
    } catch (error) {
      const broken = controller.signal.aborted && (error as PrlError).code === 'ERR_PRL_ABORTED';
      for (const job of jobs) {
        if (broken) job.resolve({ version });
        else job.reject(error);
      }
    } finally {
      this.#batch = undefined;
    }
  }

  /** The oldest request, with the later ones that can join its batch. */
  #take(): Job[] {
    const [first] = this.#queue;
    const key = JSON.stringify(first.options);
    let completions = 0;
    const taken = this.#queue.filter((job) => {
      if (job === first) completions += job.prompts.length * job.options.n;
      else if (first.prompts.length > 1 || job.prompts.length > 1 || JSON.stringify(job.options) !== key) return false;
      else if (completions + job.options.n > MAX_BATCH) return false;
      else completions += job.options.n;
      return true;
    });
    this.#queue = this.#queue.filter((job) => !taken.includes(job));
    return taken;
  }

  /** The client of a job has left. */
  #leave(job: Job): void {
    this.#queue = this.#queue.filter((each) => each !== job);
    this.#held = this.#held.filter((each) => each !== job);
    job.reject(new PrlError('ERR_PRL_ABORTED', 'the client is gone'));
    const batch = this.#batch;
    if (batch?.jobs.includes(job) && batch.jobs.every(({ signal }) => signal.aborted)) batch.controller.abort();
  }
}
