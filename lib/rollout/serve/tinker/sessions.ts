// Clients' sessions with their models. A session without a sign of life ends, and what it holds is freed.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PrlError } from '../../../base/errors.js';
import { checkInteger, checkString } from '../../../base/options.js';
import { HttpError } from '../http.js';
import type { Progress } from './futures.js';
import type { ServedModel } from './model.js';
import type { Samplers } from './samplers.js';

interface Session {
  id: string;
  /** The request that makes each model, by its number in the session. */
  requests: Map<number, string>;
  models: Map<string, ServedModel>;
  seen: number;
}

const MOST_SESSIONS = 4096;
/** Milliseconds without a heartbeat after which a session makes room for others. Clients send one every 10 s. */
const SILENT = 35_000;
/** Milliseconds between looks for room. */
const ROOM_CHECK = 100;

export class Sessions {
  readonly #all = new Map<string, Session>();
  readonly #timer: NodeJS.Timeout;
  /** Models that are being made. */
  #making = 0;

  constructor(
    readonly samplers: Samplers,
    /** Milliseconds without a sign of life after which a session ends. */
    readonly timeout: number,
    readonly log: (line: string) => void,
  ) {
    this.#timer = setInterval(() => this.sweep(Date.now()), Math.min(10_000, timeout)).unref();
  }

  /** Ends the sessions whose last sign of life is too long ago at this time. */
  sweep(now: number, timeout = this.timeout): void {
    for (const { id, seen } of this.#all.values())
      if (now - seen > timeout) this.end(id, `no sign of life for ${timeout / 1000} s`);
  }

  /**
   * Makes a model when fewer than `most` are there. Until then it waits, and sessions that have missed three heartbeats
   * make room.
   */
  async withRoom<T>(session: Session, most: number, { signal, state }: Progress, make: () => Promise<T>): Promise<T> {
    while (this.models + this.#making >= most) {
      state('paused_capacity');
      this.sweep(Date.now(), Math.min(this.timeout, SILENT));
      await sleep(ROOM_CHECK, undefined, { signal }).catch(() => {
        throw new PrlError('ERR_PRL_ABORTED', 'the request was ended early');
      });
      if (!this.#all.has(session.id)) throw new PrlError('ERR_PRL_ABORTED', 'the session has ended');
    }
    state('active');
    this.#making++;
    try {
      return await make();
    } finally {
      this.#making--;
    }
  }

  get models(): number {
    return Array.from(this.#all.values()).reduce((sum, { models }) => sum + models.size, 0);
  }

  start(): string {
    if (this.#all.size >= MOST_SESSIONS) throw new HttpError(429, `there are ${MOST_SESSIONS} sessions already`);
    const id = randomUUID();
    this.#all.set(id, { id, requests: new Map(), models: new Map(), seen: Date.now() });
    return id;
  }

  /** The session of this id, which lives. @throws HttpError 404 */
  get(id: unknown): Session {
    const session = this.#all.get(checkString('session_id', id));
    if (!session) throw new HttpError(404, 'there is no such session: it has ended, or the server has restarted');
    session.seen = Date.now();
    return session;
  }

  /** The model of this id. @throws HttpError 404 */
  model(id: unknown): ServedModel {
    const [session] = checkString('model_id', id).split(':');
    const model = this.#all.get(session)?.models.get(id as string);
    if (!model) throw new HttpError(404, 'there is no such model: its session has ended, or the server has restarted');
    this.get(session);
    return model;
  }

  /** Makes a model once, however often the client asks. @returns the request_id of the first time */
  makeOnce(session: Session, number: unknown, make: (modelId: string) => string): string {
    const seq = checkInteger('model_seq_id', number, 0, 999_999_999);
    const known = session.requests.get(seq);
    if (known !== undefined) return known;
    const request = make(`${session.id}:train:${seq}`);
    session.requests.set(seq, request);
    return request;
  }

  add(model: ServedModel): void {
    const session = this.#all.get(model.id.split(':')[0]);
    if (session) session.models.set(model.id, model);
    else model.dispose();
  }

  unload(id: unknown): void {
    const model = this.model(id);
    this.#all.get(model.id.split(':')[0])!.models.delete(model.id);
    model.dispose();
  }

  end(id: string, why: string): void {
    const session = this.#all.get(id);
    if (!session) return;
    this.#all.delete(id);
    for (const model of session.models.values()) model.dispose();
    this.samplers.close(id);
    if (session.models.size > 0)
      this.log(`session ${id} has ended (${why}); its ${session.models.size} models are freed`);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const id of this.#all.keys()) this.end(id, 'the server is closing');
  }
}
