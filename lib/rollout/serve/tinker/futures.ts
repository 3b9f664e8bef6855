// Requests in progress and their results, which clients fetch by request_id.
import { randomUUID } from 'node:crypto';
import type { TryAgain } from '../../../policy/tinker/wire/messages.js';
import { HttpError } from '../http.js';

/** A result in the protocol's two encodings. */
export interface Answer {
  json(): object;
  proto?(): Uint8Array;
}

export type QueueState = TryAgain['queue_state'];

/** What a request in progress gets: whether it is to end early, and a way to say what it waits for. */
export interface Progress {
  signal: AbortSignal;
  state(state: QueueState): void;
}

interface Future {
  /** Settles when the request has ended, either way. */
  ended: Promise<void>;
  outcome?: { answer: Answer } | { error: unknown };
  controller: AbortController;
  state: QueueState;
}

/** Results that are kept. The oldest go first: their clients have fetched them or are gone. */
const MOST_RESULTS = 4096;

export class Futures {
  readonly #all = new Map<string, Future>();
  #running = 0;
  #closed = false;

  /** @param most requests that may be unfinished at once */
  constructor(readonly most: number) {}

  /** Throws where no further request can start. */
  checkRoom(): void {
    if (this.#closed) throw new HttpError(503, 'the server is closing');
    if (this.#running >= this.most)
      throw new HttpError(429, `${this.most} requests are already in progress: try again later`, {
        'retry-after': '1',
      });
  }

  /** Starts a request at once. @returns its request_id */
  start(run: (progress: Progress) => Promise<Answer>): string {
    this.checkRoom();
    const id = randomUUID();
    const controller = new AbortController();
    this.#running++;
    const future: Future = { controller, ended: Promise.resolve(), state: 'active' };
    const state = (now: QueueState) => {
      future.state = now;
    };
    future.ended = run({ signal: controller.signal, state })
      .then(
        (answer) => {
          future.outcome = { answer };
        },
        (error) => {
          future.outcome = { error };
        },
      )
      .finally(() => {
        this.#running--;
      });
    this.#all.set(id, future);
    this.#forget();
    return id;
  }

  /**
   * Waits at most so many milliseconds.
   *
   * @returns while the request is unfinished, what it waits for
   * @throws what the request threw; HttpError 410 for an unknown or forgotten request
   */
  async wait(id: string, milliseconds: number, gone: AbortSignal): Promise<Answer | QueueState> {
    const future = this.#find(id);
    if (!future.outcome) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, milliseconds);
        gone.addEventListener('abort', () => resolve(), { once: true });
        future.ended.then(resolve).finally(() => clearTimeout(timer));
      });
    }
    if (!future.outcome) return future.state;
    if ('error' in future.outcome) throw future.outcome.error;
    return future.outcome.answer;
  }

  /** Ends a request early, if it listens to its signal. */
  cancel(id: string): void {
    this.#find(id).controller.abort();
  }

  /** Ends all requests, and waits for them. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { controller } of this.#all.values()) controller.abort();
    await Promise.all(Array.from(this.#all.values(), ({ ended }) => ended));
  }

  #find(id: string): Future {
    const future = this.#all.get(id);
    if (!future)
      throw new HttpError(410, 'there is no such request: the server has restarted, or has dropped its result');
    return future;
  }

  #forget(): void {
    for (const [id, { outcome }] of this.#all) {
      if (this.#all.size <= MOST_RESULTS + this.#running) return;
      if (outcome) this.#all.delete(id);
    }
  }
}
