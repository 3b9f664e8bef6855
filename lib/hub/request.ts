// Requests to the hub: retries, redirects, the token only for the hub itself, and errors that say what to do.
import { setTimeout as sleep } from 'node:timers/promises';
import { PrlError } from '../base/errors.js';
import { Passing, retryAfterMs, retryPause } from '../base/http.js';

/** Settings shared by all requests for one repository. */
export interface HubAccess {
  /** https://huggingface.co, or a mirror of it. */
  endpoint: string;
  token: string | undefined;
  /** Milliseconds without a byte after which a request fails. */
  stall: number;
  /** Number of attempts after the first that may fail without progress. */
  retries: number;
  signal: AbortSignal | undefined;
  /** 'model owner/name', for messages. */
  what: string;
  /** The repository's page. */
  page: string;
}

export interface Answer {
  status: number;
  headers: Headers;
  chunks: AsyncGenerator<Uint8Array>;
  /** Ends the request, read or not. */
  close(): void;
}

const MAX_REDIRECTS = 10;
/** Milliseconds before the first retry, roughly. They double each time. */
const RETRY_DELAY = 500;
/** Largest answer that is not a file: a page of a listing. */
const MAX_ANSWER = 64 << 20;

/**
 * Repeats `attempt` while its failure may pass, with growing, jittered pauses. An attempt that moved `position` forward
 * resets the count.
 */
export async function retrying<T>(hub: HubAccess, attempt: () => Promise<T>, position = () => 0): Promise<T> {
  for (let failures = 0; ; ) {
    const before = position();
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      failures = position() > before ? 1 : failures + 1;
      if (failures > hub.retries) throw error.failure;
      await sleep(retryPause(error, failures - 1, RETRY_DELAY), undefined, { signal: hub.signal }).catch(() => {
        throw aborted(hub);
      });
    }
  }
}

/** One attempt at a GET. It fails with a final PrlError, or with an error for `retrying`. */
export async function open(url: string, headers: Record<string, string>, hub: HubAccess): Promise<Answer> {
  if (hub.signal?.aborted) throw aborted(hub);
  const stop = new AbortController();
  const abort = () => stop.abort();
  hub.signal?.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(abort, hub.stall);
  const release = () => {
    clearTimeout(timer);
    hub.signal?.removeEventListener('abort', abort);
    stop.abort();
  };
  const failed = (cause: unknown) => {
    const silent = stop.signal.aborted;
    release();
    if (cause instanceof Passing || cause instanceof PrlError) return cause;
    if (hub.signal?.aborted) return aborted(hub);
    const host = new URL(url).host;
    if (silent) return new Passing(new PrlError('ERR_PRL_TIMEOUT', `${host} sent nothing for ${hub.stall} ms`));
    const why = (cause as { cause?: Error }).cause?.message || (cause as Error).message;
    return new Passing(new PrlError('ERR_PRL_OFFLINE', `cannot reach ${host}: ${why}`, { cause }));
  };
  async function* read(body: Response['body']): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of body ?? []) {
        timer.refresh();
        yield chunk;
      }
    } catch (cause) {
      throw failed(cause);
    } finally {
      release();
    }
  }
  try {
    const response = await follow(url, headers, hub, stop.signal);
    timer.refresh();
    if (!response.ok && response.status !== 416) throw await refusal(response, url, hub);
    return { status: response.status, headers: response.headers, chunks: read(response.body), close: release };
  } catch (cause) {
    throw failed(cause);
  }
}

/** `fetch` for @huggingface/hub: returns the whole answer, with retries. */
export function hubFetch(hub: HubAccess): typeof fetch {
  return async (input, init) => {
    const headers = { ...(init?.headers as Record<string, string> | undefined) };
    return retrying(hub, async () => {
      const { status, headers: answered, chunks } = await open(String(input), headers, hub);
      let text = '';
      const decoder = new TextDecoder();
      let size = 0;
      for await (const chunk of chunks) {
        size += chunk.length;
        if (size > MAX_ANSWER)
          throw new PrlError(
            'ERR_PRL_HTTP',
            `${new URL(String(input)).host} answered with more than ${MAX_ANSWER} bytes`,
          );
        text += decoder.decode(chunk, { stream: true });
      }
      const kept = new Headers();
      for (const name of ['content-type', 'link']) {
        const value = answered.get(name);
        if (value !== null) kept.set(name, value);
      }
      return new Response(text, { status, headers: kept });
    });
  };
}

/** Follows redirects. Only the hub gets the token: files come from other hosts, which must not see it. */
async function follow(url: string, headers: Record<string, string>, hub: HubAccess, signal: AbortSignal) {
  let at = new URL(url);
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const ours = at.origin === new URL(hub.endpoint).origin;
    const response = await fetch(at.href, {
      headers: {
        'user-agent': 'prl-node',
        // Sizes and ranges belong to the file, not to a compressed form of it.
        'accept-encoding': 'identity',
        ...headers,
        ...(ours && hub.token ? { authorization: `Bearer ${hub.token}` } : {}),
      },
      redirect: 'manual',
      signal,
    });
    const location = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || location === null) return response;
    await response.body?.cancel();
    const next = URL.canParse(location, at.href) ? new URL(location, at) : undefined;
    const allowed = at.protocol === 'https:' ? ['https:'] : ['http:', 'https:'];
    if (!next || !allowed.includes(next.protocol))
      throw new PrlError('ERR_PRL_HTTP', `${at.host} redirects to ${JSON.stringify(location)}, which is not followed`);
    at = next;
  }
  throw new PrlError('ERR_PRL_HTTP', `${new URL(url).host} redirects more than ${MAX_REDIRECTS} times`);
}

async function refusal(response: Response, url: string, hub: HubAccess): Promise<PrlError | Passing> {
  const { status, headers } = response;
  const reason = headers.get('x-error-message')?.slice(0, 300);
  await response.body?.cancel();
  const host = new URL(url).host;
  const code = headers.get('x-error-code');
  const said = reason ? ` (${JSON.stringify(reason)})` : '';
  if (status === 404)
    return new PrlError(
      'ERR_PRL_NOT_FOUND',
      code === 'RevisionNotFound'
        ? `the ${hub.what} has no such revision${said}`
        : code === 'EntryNotFound'
          ? `the ${hub.what} has no file ${new URL(url).pathname}${said}`
          : `there is no ${hub.what} on ${host}${said}`,
    );
  if (status === 401 || status === 403) {
    // Without a token the hub gives the same answer for a missing repository and for a hidden one.
    const advice = hub.token
      ? `accept its licence on ${hub.page} with the account that the token belongs to, or check that the token may read it`
      : `set HF_TOKEN to a token of an account that has accepted its licence on ${hub.page}, or check the name: the hub gives the same answer for a repository that does not exist`;
    return new PrlError(
      'ERR_PRL_ACCESS',
      `${host} refuses the ${hub.what} (${status}${code ? `, ${code}` : ''}): ${advice}`,
    );
  }
  const failure = new PrlError('ERR_PRL_HTTP', `${host} answered ${status} for the ${hub.what}${said}`);
  if (status !== 408 && status !== 429 && status < 500) return failure;
  return new Passing(failure, retryAfterMs(headers.get('retry-after')));
}

const aborted = (hub: HubAccess) =>
  new PrlError('ERR_PRL_ABORTED', `getting the ${hub.what} was aborted`, { cause: hub.signal?.reason });
