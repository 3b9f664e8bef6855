import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { invalidArgument, PrlError } from './errors.js';
import { parseJson } from './json.js';
import { checkInteger, checkString, describe } from './options.js';
import { shorten } from './text.js';

export interface RequestOptions {
  headers?: Readonly<Record<string, string>>;
  /** Milliseconds that one attempt may take, including its answer. */
  timeout: number;
  signal?: AbortSignal;
}

export interface RetryOptions extends RequestOptions {
  /** Attempts after the first. */
  retries: number;
  /** Milliseconds before the first retry, roughly. They double with each retry. */
  retryDelay: number;
}

/** Longest wait between attempts in milliseconds, even if a server asks for more. */
const MAX_DELAY = 60_000;
/** Longest accepted answer, in bytes. */
const MAX_ANSWER = 2 ** 28;

/** A failure that another attempt may avoid: no connection, no answer in time, 429, 5xx. */
export class Passing extends Error {
  constructor(
    readonly failure: PrlError,
    /** Milliseconds that the server asked us to wait. */
    readonly after = 0,
    /** The server is alive and only asks for fewer requests. */
    readonly busy = false,
  ) {
    super(failure.message);
  }
}

/**
 * Posts JSON and reads JSON. Retries after growing pauses with jitter where that may help: no connection, no answer in
 * time, 429 and 5xx.
 *
 * @throws PrlError ERR_PRL_HTTP, ERR_PRL_TIMEOUT, or ERR_PRL_ABORTED when the signal aborts
 */
export async function postJson(url: string, body: unknown, options: RetryOptions): Promise<unknown> {
  const { retries, retryDelay, signal } = options;
  const text = JSON.stringify(body);
  for (let attempt = 0; ; attempt++) {
    try {
      return parseAnswer(url, await send(url, text, options));
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      if (attempt >= retries) throw giveUp(error.failure, attempt + 1);
      await pause(retryPause(error, attempt, retryDelay), url, signal);
    }
  }
}

/** Milliseconds until the next attempt. */
export function retryPause({ after }: Passing, attempt: number, retryDelay: number): number {
  // A time in the upper half of the delay, so that requests that failed together do not return together.
  const delay = retryDelay * 2 ** attempt * (0.5 + 0.5 * Math.random());
  return Math.min(MAX_DELAY, Math.max(delay, after));
}

/**
 * One attempt: posts `body` (undefined: sends a GET) and returns the text of the answer.
 * @throws Passing, or PrlError for a failure that would only repeat itself
 */
export async function send(url: string, body: string | undefined, options: RequestOptions): Promise<string> {
  const { status, bytes, retryAfter } = await attempt(url, body, options);
  const text = utf8(bytes);
  if (status >= 200 && status < 300) return text;
  const failure = new PrlError('ERR_PRL_HTTP', `${url} answered ${status}: ${excerpt(text)}`);
  if (status !== 429 && status < 500) throw failure;
  throw new Passing(failure, retryAfter, status === 429);
}

/**
 * One attempt: posts `body` (undefined: sends a GET) and returns the answer, whatever its status.
 * @throws Passing if there is no connection or no answer in time, PrlError for an answer that is too long
 */
export async function attempt(
  url: string,
  body: string | Uint8Array | undefined,
  options: RequestOptions,
): Promise<Answer> {
  const { signal, timeout } = options;
  if (signal?.aborted) throw aborted(url, signal);
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal?.addEventListener('abort', abort);
  const timer = setTimeout(abort, timeout);
  try {
    return await exchange(url, body, options, stop.signal);
  } catch (cause) {
    if (signal?.aborted) throw aborted(url, signal);
    if (cause instanceof PrlError) throw cause;
    if (stop.signal.aborted)
      throw new Passing(new PrlError('ERR_PRL_TIMEOUT', `${url} did not answer within ${timeout} ms`));
    const { message, code } = cause as NodeJS.ErrnoException;
    throw new Passing(new PrlError('ERR_PRL_HTTP', `cannot reach ${url}: ${message || code}`, { cause }));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** The answer of a server. */
export interface Answer {
  status: number;
  bytes: Uint8Array;
  /** The media type, without parameters. */
  type: string;
  /** Milliseconds that the server asks us to wait. */
  retryAfter: number;
}

// Not fetch: it gives up after 300 s without a header, and a server may generate for longer.
function exchange(url: string, body: string | Uint8Array | undefined, options: RequestOptions, signal: AbortSignal) {
  return new Promise<Answer>((resolve, reject) => {
    const request = (url.startsWith('https:') ? requestHttps : requestHttp)(
      url,
      {
        method: body === undefined ? 'GET' : 'POST',
        // A new connection each time: the server may close a kept one just as it is used again.
        agent: false,
        headers: {
          ...(body !== undefined && {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          }),
          ...options.headers,
        },
        signal,
      },
      async (response) => {
        try {
          const chunks: Uint8Array[] = [];
          let length = 0;
          for await (const chunk of response) {
            chunks.push(chunk);
            length += chunk.length;
            if (length > MAX_ANSWER)
              throw new PrlError('ERR_PRL_HTTP', `${url} answered with more than ${MAX_ANSWER} bytes`);
          }
          resolve({
            status: response.statusCode!,
            bytes: new Uint8Array(Buffer.concat(chunks)),
            type: (response.headers['content-type'] ?? '').split(';')[0].trim(),
            retryAfter: retryAfterMs(response.headers['retry-after']),
          });
        } catch (error) {
          request.destroy();
          reject(error);
        }
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** The text in the body of an answer. */
export const utf8 = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Milliseconds to wait by a Retry-After header, which holds seconds or a date. */
export function retryAfterMs(retryAfter: string | null | undefined): number {
  if (retryAfter == null) return 0;
  const seconds = Number(retryAfter);
  const wait = Number.isNaN(seconds) ? Date.parse(retryAfter) - Date.now() : 1000 * seconds;
  return wait > 0 ? wait : 0;
}

export const parseAnswer = (url: string, text: string): unknown =>
  parseJson(text, () => new PrlError('ERR_PRL_HTTP', `${url} must answer with JSON, not ${excerpt(text)}`));

export async function pause(ms: number, url: string, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch {
    throw aborted(url, signal!);
  }
}

/** The last failure, with the number of attempts. */
export const giveUp = (failure: PrlError, attempts: number): PrlError =>
  attempts === 1 ? failure : new PrlError(failure.code, `${failure.message} (tried ${attempts} times)`);
export const aborted = (url: string, { reason }: AbortSignal): PrlError =>
  new PrlError('ERR_PRL_ABORTED', `the request to ${url} was aborted`, { cause: reason });
export const excerpt = (text: string) => JSON.stringify(shorten(text));

/** The options of requests with their defaults. `timeout` is the default of the option of that name. */
export const checkRetries = (options: Partial<RetryOptions>, timeout: number) => ({
  timeout: checkInteger('timeout', options.timeout ?? timeout, 1, 2 ** 31 - 1),
  retries: checkInteger('retries', options.retries ?? 5, 0, 100),
  retryDelay: checkInteger('retryDelay', options.retryDelay ?? 500, 0, 60_000),
});

/** Headers to send with every request. */
export function checkHeaders(headers: unknown): void {
  if (headers === undefined) return;
  if (typeof headers !== 'object' || headers === null)
    throw invalidArgument(`headers must be an object, not ${describe(headers)}`);
  for (const [name, value] of Object.entries(headers)) checkString(`headers['${shorten(name)}']`, value);
}

/** Checks an http(s) address and removes the slashes at its end. */
export function checkUrl(name: string, url: unknown): string {
  if (typeof url !== 'string' || !/^https?:\/\//.test(url) || !URL.canParse(url))
    throw invalidArgument(`${name} must be the http address of a server, not ${describe(url)}`);
  return url.replace(/\/+$/, '');
}
