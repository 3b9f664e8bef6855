import { setTimeout as sleep } from 'node:timers/promises';
import { PrlError } from './errors.js';

export interface RequestOptions {
  headers?: Readonly<Record<string, string>>;
  /** Milliseconds of one attempt, its answer included. */
  timeout: number;
  /** Attempts after the first. */
  retries: number;
  /** Milliseconds before the first retry, about; they double with each. */
  retryDelay: number;
  signal?: AbortSignal;
}

/** Longest wait between attempts, whatever a server asks for: milliseconds. */
const MAX_DELAY = 30_000;

/** What an attempt met that another attempt may not. */
class Passing extends Error {
  constructor(
    readonly failure: PrlError,
    /** Milliseconds that the server asked to be left alone. */
    readonly after = 0,
  ) {
    super(failure.message);
  }
}

/**
 * Posts JSON and reads JSON. Tries again, later and later with jitter, where that may help: no connection, no answer in time, 429
 * and 5xx.
 *
 * @throws PrlError ERR_PRL_HTTP, ERR_PRL_TIMEOUT, or ERR_PRL_ABORTED when the signal says so
 */
export async function postJson(url: string, body: unknown, options: RequestOptions): Promise<unknown> {
  const { retries, retryDelay, signal } = options;
  const text = JSON.stringify(body);
  for (let attempt = 0; ; attempt++) {
    try {
      return await post(url, text, options);
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      if (attempt >= retries) throw attempt === 0 ? error.failure : giveUp(error.failure, attempt + 1);
      // Somewhere in the upper half of the delay, so that requests that failed together do not come back together.
      const delay = retryDelay * 2 ** attempt * (0.5 + 0.5 * Math.random());
      await pause(Math.min(MAX_DELAY, Math.max(delay, error.after)), url, signal);
    }
  }
}

async function post(url: string, body: string, { headers, timeout, signal }: RequestOptions): Promise<unknown> {
  if (signal?.aborted) throw aborted(url, signal);
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal?.addEventListener('abort', abort);
  const timer = setTimeout(abort, timeout);
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
      signal: stop.signal,
    });
    text = await answer.text();
  } catch (cause) {
    if (signal?.aborted) throw aborted(url, signal);
    if (stop.signal.aborted)
      throw new Passing(new PrlError('ERR_PRL_TIMEOUT', `${url} did not answer within ${timeout} ms`));
    const why = (cause as { cause?: Error }).cause?.message || (cause as Error).message;
    throw new Passing(new PrlError('ERR_PRL_HTTP', `cannot reach ${url}: ${why}`, { cause }));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
  if (!answer.ok) {
    const failure = new PrlError('ERR_PRL_HTTP', `${url} answered ${answer.status}: ${excerpt(text)}`);
    if (answer.status !== 429 && answer.status < 500) throw failure;
    throw new Passing(failure, 1000 * (Number(answer.headers.get('retry-after')) || 0));
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new PrlError('ERR_PRL_HTTP', `${url} answered what is not JSON: ${excerpt(text)}`);
  }
}

async function pause(ms: number, url: string, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch {
    throw aborted(url, signal!);
  }
}

const giveUp = ({ code, message }: PrlError, attempts: number) =>
  new PrlError(code, `${message} (tried ${attempts} times)`);
const aborted = (url: string, { reason }: AbortSignal) =>
  new PrlError('ERR_PRL_ABORTED', `the request to ${url} was aborted`, { cause: reason });
const excerpt = (text: string) => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
