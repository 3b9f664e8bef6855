// The order of a model's requests. They arrive in parallel, and their seq_id says which comes first.
import { outOfRange, PrlError } from '../../../base/errors.js';
import { HttpError } from '../http.js';
import type { Answer, Futures } from './futures.js';

type Run = (signal: AbortSignal) => Promise<Answer>;

/** Milliseconds that a request waits for those before it. */
const PATIENCE = 60_000;
/** How far a seq_id may be ahead, and how many are remembered for repetitions. */
const REACH = 4096;

export class Turns {
  readonly #futures: Futures;
  #next: number;
  /** What starts the requests that came too early. */
  readonly #early = new Map<number, () => void>();
  readonly #ids = new Map<number, string>();
  #last: Promise<unknown> = Promise.resolve();

  /** @param first the seq_id that comes first */
  constructor(futures: Futures, first: number) {
    this.#futures = futures;
    this.#next = first;
  }

  /**
   * Runs a request after all earlier ones. Without a seq_id those are the ones that came before. A repeated seq_id is
   * the same request: it gets the request_id of the first.
   */
  submit(seqId: number | undefined, run: Run): string {
    if (seqId === undefined) return this.#futures.start(({ signal }) => this.#enqueue(() => run(signal)));
    const known = this.#ids.get(seqId);
    if (known !== undefined) return known;
    if (seqId < this.#next) throw new HttpError(410, `the request with seq_id ${seqId} is forgotten`);
    if (seqId > this.#next + REACH)
      throw new HttpError(400, `seq_id must be at most ${this.#next + REACH} now, not ${seqId}`);
    const id = this.#futures.start(({ signal }) => this.#inTurn(seqId, run, signal));
    this.#ids.set(seqId, id);
    this.#ids.delete(seqId - 2 * REACH);
    for (let go = this.#early.get(this.#next); go; go = this.#early.get(this.#next)) {
      this.#early.delete(this.#next++);
      go();
    }
    return id;
  }

  #inTurn(seqId: number, run: Run, signal: AbortSignal): Promise<Answer> {
    return new Promise((done, fail) => {
      const leave = (error: Error) => {
        clearTimeout(patience);
        this.#early.set(seqId, () => {});
        fail(error);
      };
      const patience = setTimeout(() => {
        const waited = `seq_id ${seqId} waited ${PATIENCE / 1000} s for seq_id ${this.#next}, which did not come`;
        leave(outOfRange(waited));
      }, PATIENCE);
      const aborted = () => leave(new PrlError('ERR_PRL_ABORTED', 'the request was ended early'));
      signal.addEventListener('abort', aborted, { once: true });
      this.#early.set(seqId, () => {
        clearTimeout(patience);
        signal.removeEventListener('abort', aborted);
        this.#enqueue(() => run(signal)).then(done, fail);
      });
    });
  }

  #enqueue(run: () => Promise<Answer>): Promise<Answer> {
    const turn = this.#last.then(run);
    this.#last = turn.catch(() => {});
    return turn;
  }
}
