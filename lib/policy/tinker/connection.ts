// A session with a Tinker server: requests, futures, heartbeat. It repeats only what the server cannot run twice.

import { types } from 'node:util';
import { PrlError, type PrlErrorCode } from '../../base/errors.js';
import { type Answer, attempt, excerpt, giveUp, Passing, pause, retryPause, utf8 } from '../../base/http.js';
import { isObject, type Json, parseJson } from '../../base/json.js';
import { API, PROTOBUF_TYPE, TRY_AGAIN } from './wire/messages.js';

/** How a connection behaves; see TinkerOptions. */
export interface ConnectionOptions {
  url: string;
  apiKey?: string | undefined;
  timeout: number;
  resultTimeout: number;
  retries: number;
  retryDelay: number;
  onStatus?: ((status: string) => void) | undefined;
}

/** One request. */
export interface Ask {
  /** What it is for, for messages: 'forward_backward'. */
  what: string;
  signal?: AbortSignal | undefined;
  /**
   * Whether the server may get the request again when nobody knows if it arrived. Default: yes, because it changes
   * nothing or has a number that the server knows again.
   */
  mayRepeat?: (() => Promise<boolean>) | undefined;
}

/** The result of a future: JSON, or the bytes of a protobuf message. */
export type Result = Json | Uint8Array;

const RETRIEVE = 'retrieve_future';
const HEARTBEAT_MS = 10_000;
/** Pauses between questions for a result that is not there, if the server answers at once: they double up to this. */
const MOST_PAUSE_MS = 1000;
const UNSUPPORTED_MEDIA_TYPE = 415;
/** What a server says of a model that it no longer has. */
const FORGOTTEN = /\b(model|session)\b.*\bnot (found|loaded)\b/i;
/** Failures to connect: the request did not arrive. */
const NO_CONNECTION = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'];

const QUEUE_STATES: { [state: string]: string } = {
  paused_capacity: 'the server has no capacity now',
  paused_rate_limit: 'the server limits the rate of requests',
};

/** The server answered that it does not take a request: nothing of it was run. */
export class Refusal extends PrlError {}

/** The server does not read this kind of body. */
export class UnsupportedBody extends Refusal {}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #headers: { [name: string]: string };
  #session: string | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #lost: PrlError | undefined;
  #models = 0;
  #samplers = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#headers = options.apiKey === undefined ? {} : { 'x-api-key': options.apiKey };
  }

  /** Opens the session and keeps it alive. */
  async open(signal?: AbortSignal): Promise<void> {
    const body = {
      tags: ['prl-node'],
      user_metadata: null,
      sdk_version: 'prl-node',
      type: 'create_session',
    };
    const { session_id } = await this.post('create_session', body, { what: 'create_session', signal });
    if (typeof session_id !== 'string') throw this.#unusable('create_session', 'a session_id', session_id);
    this.#session = session_id;
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS).unref();
  }

  get session(): string {
    return this.#session!;
  }

  /** Number of the next model of the session, from 0. */
  nextModel(): number {
    return this.#models++;
  }

  /** Number of the next set of weights for sampling, from 0. */
  nextSampler(): number {
    return this.#samplers++;
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.#lost ??= new PrlError('ERR_PRL_DISPOSED', 'the connection to the server was closed');
  }

  async #beat(): Promise<void> {
    try {
      await this.#once('session_heartbeat', { session_id: this.#session, type: 'session_heartbeat' }, undefined);
    } catch (error) {
      // A server that is away shows in the requests, which wait for it. One that forgot the session is remembered.
      if (!(error instanceof Passing) && (error as PrlError).code === 'ERR_PRL_SESSION_LOST')
        this.#lose(error as PrlError);
    }
  }

  #lose(error: PrlError): PrlError {
    clearInterval(this.#heartbeat);
    this.#lost ??= error;
    return error;
  }

  /** Shows what is going on: a wait, a choice. '' when there is nothing to show. */
  status(text: string): void {
    this.#options.onStatus?.(text);
  }

  /** A GET, or a POST with JSON. The answer must be an object. */
  async post(path: string, body: object | undefined, ask: Ask): Promise<Json> {
    const answer = await this.#persist(path, body, ask);
    if (types.isUint8Array(answer)) throw this.#unusable(ask.what, 'JSON', 'protobuf');
    return answer;
  }

  /** Sends a request that has a future, and returns its request_id. */
  async submit(path: string, body: object | Uint8Array, ask: Ask): Promise<string> {
    return this.requestId(await this.#persist(path, body, ask), ask.what);
  }

  /** The request_id in an answer. */
  requestId(answer: Result, what: string): string {
    const id = types.isUint8Array(answer) ? undefined : answer.request_id;
    if (typeof id !== 'string' && typeof id !== 'number') throw this.#unusable(what, 'a request_id', id);
    return String(id);
  }

  /** Waits for the result of a future. */
  async result(requestId: string, { what, signal }: Ask): Promise<Result> {
    const { retries, retryDelay, timeout, resultTimeout } = this.#options;
    const begun = performance.now();
    let wait = 0;
    for (let failures = 0; ; ) {
      this.#alive();
      const left = resultTimeout - (performance.now() - begun);
      if (left <= 0)
        throw this.#error(
          'ERR_PRL_TIMEOUT',
          `gave no result of ${what} (request ${requestId}) within ${resultTimeout} ms`,
        );
      try {
        const body = { request_id: requestId };
        const answer = await this.#once(RETRIEVE, body, signal, Math.ceil(Math.min(timeout, left)));
        if (types.isUint8Array(answer) || answer.type !== TRY_AGAIN) {
          this.status('');
          return this.#checked(answer, what);
        }
        failures = 0;
        this.status(QUEUE_STATES[String(answer.queue_state)] ?? `waiting for ${what}`);
        await pause(wait, this.#options.url, signal);
        wait = Math.min(MOST_PAUSE_MS, 2 * wait + 20);
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        if (failures >= retries) throw this.#gaveUp(error, failures + 1, what);
        this.status(`waiting for the server: ${error.message}`);
        await pause(retryPause(error, failures++, retryDelay), this.#options.url, signal);
      }
    }
  }

  #checked(answer: Result, what: string): Result {
    if (types.isUint8Array(answer) || answer.error == null) return answer;
    throw this.#refused(what, excerpt(String(answer.error)), answer.category);
  }

  /** Sends a request until it is answered. */
  async #persist(path: string, body: object | Uint8Array | undefined, ask: Ask): Promise<Result> {
    const { retries, retryDelay, url } = this.#options;
    for (let attempts = 0; ; attempts++) {
      this.#alive();
      try {
        const answer = await this.#once(path, body, ask.signal, this.#options.timeout, ask.what);
        if (attempts > 0) this.status('');
        return this.#checked(answer, ask.what);
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        if (attempts >= retries) throw this.#gaveUp(error, attempts + 1, ask.what);
        if (!error.busy && ask.mayRepeat && !(await ask.mayRepeat()))
          throw this.#error(
            'ERR_PRL_ENGINE',
            `may have run ${ask.what} or not (${error.message}), and does not know a repeated request again, so it cannot be sent twice`,
          );
        this.status(`waiting for the server: ${error.message}`);
        await pause(retryPause(error, attempts, retryDelay), url, ask.signal);
      }
    }
  }

  /** One request and its answer. @throws Passing for what may pass; `busy` if the server did not take the request */
  async #once(
    path: string,
    body: object | Uint8Array | undefined,
    signal: AbortSignal | undefined,
    timeout = this.#options.timeout,
    what = path,
  ): Promise<Result> {
    const binary = types.isUint8Array(body);
    const headers = {
      ...this.#headers,
      ...(binary && { 'content-type': PROTOBUF_TYPE }),
      // Where the server has it: arrays of numbers are short and exact.
      ...(path === RETRIEVE && { accept: `${PROTOBUF_TYPE}, application/json` }),
    };
    const sent = body === undefined || binary ? body : JSON.stringify(body);
    let answer: Answer;
    try {
      answer = await attempt(`${this.#options.url}${API}/${path}`, sent, { headers, timeout, signal });
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      const { cause } = error.failure as { cause?: NodeJS.ErrnoException };
      throw new Passing(error.failure, 0, NO_CONNECTION.includes(cause?.code ?? ''));
    }
    return this.#read(answer, path, what);
  }

  #read({ status, bytes, type, retryAfter }: Answer, path: string, what: string): Result {
    if (status >= 200 && status < 300) {
      if (type === PROTOBUF_TYPE) return bytes;
      const json = parseJson(bytes, () => this.#unusable(what, 'JSON', excerpt(utf8(bytes))));
      if (!isObject(json)) throw this.#unusable(what, 'an object', excerpt(utf8(bytes)));
      return json;
    }
    const said = this.#said(bytes);
    const retrieving = path === RETRIEVE;
    if (status === 408 && retrieving) return { type: TRY_AGAIN, queue_state: this.#field(bytes, 'queue_state') };
    if (status === 429 || status === 503)
      throw new Passing(this.#error('ERR_PRL_HTTP', `answered ${status} to ${what}: ${said}`), retryAfter, true);
    if (status >= 500 || status === 408)
      throw new Passing(this.#error('ERR_PRL_HTTP', `answered ${status} to ${what}: ${said}`), retryAfter);
    if (status === UNSUPPORTED_MEDIA_TYPE)
      throw new UnsupportedBody('ERR_PRL_ENGINE', this.#message(`answered 415 to ${what}: ${said}`));
    if (status === 401 || status === 403)
      throw this.#error('ERR_PRL_ACCESS', `answered ${status} to ${what}: ${said}. Check the API key`);
    if (status === 404 || status === 410)
      throw this.#session === undefined
        ? this.#error('ERR_PRL_ENGINE', `answered ${status} to ${what}: ${said}. Is it a Tinker server?`)
        : this.#forgotten(what, said);
    throw this.#refused(what, said, status);
  }

  #refused(what: string, said: string, kind: unknown): PrlError {
    return FORGOTTEN.test(said)
      ? this.#forgotten(what, said)
      : new Refusal('ERR_PRL_ENGINE', this.#message(`refused ${what} (${kind ?? 'unknown'}): ${said}`));
  }

  #forgotten(what: string, said: string): PrlError {
    return this.#error(
      'ERR_PRL_SESSION_LOST',
      `does not know the session or the model of ${what} any more: ${said}. It was restarted, or it heard nothing for too long. Connect again, and resume from the last checkpoint`,
    );
  }

  #unusable(what: string, expected: string, came: unknown): PrlError {
    return this.#error('ERR_PRL_ENGINE', `must answer ${what} with ${expected}, not ${JSON.stringify(came)}`);
  }

  #gaveUp(error: Passing, attempts: number, what: string): PrlError {
    const { code, message } = giveUp(error.failure, attempts);
    return new PrlError(code, `${message}, while it was asked for ${what}`, { cause: error.failure });
  }

  #error(code: PrlErrorCode, message: string): PrlError {
    return new PrlError(code, this.#message(message));
  }

  /** A message that names the server. It never holds the key, not even if the server repeats it. */
  #message(said: string): string {
    const { url, apiKey } = this.#options;
    const text = `the server ${url} ${said}`;
    return apiKey ? text.replaceAll(apiKey, '***') : text;
  }

  /** An error of the caller's, in the words of this connection. */
  unusable(what: string, problem: string): PrlError {
    return this.#error('ERR_PRL_ENGINE', `gave an unusable answer to ${what}: ${problem}`);
  }

  /** The message in the body of an error, in quotes. */
  #said(bytes: Uint8Array): string {
    const detail = this.#field(bytes, 'error') ?? this.#field(bytes, 'detail') ?? utf8(bytes);
    return excerpt(typeof detail === 'string' ? detail : JSON.stringify(detail));
  }

  #field(bytes: Uint8Array, name: string): unknown {
    try {
      const json: unknown = JSON.parse(utf8(bytes));
      return isObject(json) ? json[name] : undefined;
    } catch {
      return undefined;
    }
  }

  #alive(): void {
    if (this.#lost) throw new PrlError(this.#lost.code, this.#lost.message, { cause: this.#lost });
  }
}
