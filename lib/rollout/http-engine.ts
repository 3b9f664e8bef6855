import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { invalidArgument, PrlError } from '../base/errors.js';
import {
  aborted,
  checkHeaders,
  checkRetries,
  checkUrl,
  Passing,
  parseAnswer,
  pause,
  retryPause,
  send,
} from '../base/http.js';
import { checkInteger, checkNumber, checkOptions, checkText, describe } from '../base/options.js';
import { shorten } from '../base/text.js';
import { tokenLists } from '../policy/batch.js';
import { GENERATE_OPTIONS } from '../policy/generate.js';
import type { Completion, GenerateOptions, PolicyLike } from '../policy/types.js';
import { promptSeeds, type RolloutEngine, type SyncOptions } from './engine.js';
import { BrokenOff, type Call, type CompletionRequest, checkSamples, type Protocol, type Weights } from './protocol.js';
import { newServer, passing, type Server, spread } from './servers.js';

/** Options of VllmEngine and SglangEngine. */
export interface HttpEngineOptions {
  /** Addresses of the servers, such as http://localhost:8000. */
  urls: string | readonly string[];
  /** Name of the served model. Default: none is sent. */
  model?: string | undefined;
  /** Bearer token. Default: none. */
  apiKey?: string | undefined;
  /** Headers of each request, such as an authorization. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Prompts in flight per server. Default 64. */
  concurrency?: number | undefined;
  /** Milliseconds of one attempt at a prompt. Default 600000. */
  timeout?: number | undefined;
  /**
   * Attempts after the first, when the server was not reached, broke off, was late, or answered 429 or 5xx. Default 5.
   */
  retries?: number | undefined;
  /** Milliseconds before the first of these attempts, about. They double each time. Default 500. */
  retryDelay?: number | undefined;
  /** Folder for the weights, which the servers see under the same path. Needed to train. */
  syncFolder?: string | undefined;
  /** Milliseconds in which a server must load weights. Default 600000. */
  syncTimeout?: number | undefined;
  /** Called when a server is lost or missed an update. */
  onWarning?: ((message: string) => void) | undefined;
}

const KNOWN = [
  ...['urls', 'model', 'apiKey', 'headers', 'concurrency', 'timeout', 'retries', 'retryDelay'],
  ...['syncFolder', 'syncTimeout', 'onWarning'],
];

/**
 * A rollout engine over HTTP servers that serve one model. Every prompt is one request. A server that fails rests and
 * is tried again while the others do its work. Answers are checked token by token.
 *
 * After a sync, only servers that report its weights sample, as far as they report them. A server that missed the sync,
 * or was restarted, gets the weights first.
 */
export class HttpEngine implements RolloutEngine {
  readonly #protocol: Protocol;
  readonly #options: ReturnType<typeof resolveEngine>;
  readonly #servers: Server[];
  #weights: Weights | undefined;
  #vocabSize = 2 ** 31;

  constructor(protocol: Protocol, options: HttpEngineOptions) {
    options = checkOptions(protocol.name, options, KNOWN);
    this.#protocol = protocol;
    this.#options = resolveEngine(options);
    this.#servers = this.#options.urls.map(newServer);
  }

  async generate(prompts: ArrayLike<number>[], options: GenerateOptions): Promise<{ completions: Completion[] }[]> {
    const requests = this.#requests(prompts, options);
    const { concurrency, retries, retryDelay } = this.#options;
    const { n = 1, signal, onProgress } = options;
    for (const server of this.#servers) {
      // The servers may have changed since the last rollout, so they are asked first.
      server.suspect = true;
      server.restUntil = server.failures = 0;
    }
    const total = n * prompts.length;
    let [finished, tokens] = [0, 0];
    const groups = await spread(this.#servers, requests, {
      ...{ concurrency, retries, retryDelay, signal },
      prepare: (server, stop) =>
        this.#prepare(server, stop).catch((error) => {
          // A server that cannot get the weights is left out. The others continue.
          throw error instanceof PrlError && error.code !== 'ERR_PRL_ABORTED' ? new Passing(error) : error;
        }),
      work: (server, request, stop) => this.#complete(server, request, stop),
      onDone: (completions) => {
        finished += n;
        for (const completion of completions) tokens += completion.tokens.length;
        onProgress?.({ finished, total, tokens });
      },
    });
    // All greedy completions of a prompt are equal.
    return groups.map((completions) => ({
      completions: completions.length === n ? completions : Array.from({ length: n }, () => completions[0]),
    }));
  }

  async sync(policy: PolicyLike, version: number, { signal }: SyncOptions = {}): Promise<void> {
    const { syncFolder, retries, retryDelay, onWarning } = this.#options;
    if (syncFolder === undefined)
      throw invalidArgument(
        `${this.#protocol.name} needs syncFolder, a folder from which its servers can read the weights`,
      );
    checkInteger('version', version);
    // No other run uses this name, so a server cannot report it by accident.
    const name = `step-${String(version).padStart(6, '0')}-${randomUUID().slice(0, 8)}`;
    const folder = join(syncFolder, name);
    await policy.save(folder).catch(async (error) => {
      await rm(folder, { recursive: true, force: true });
      throw error;
    });
    const before = this.#weights;
    this.#weights = { folder, version: name };
    this.#vocabSize = policy.config.vocab_size;
    const some = this.#servers.some((server) => server.version === before?.version);
    const outcomes = await Promise.allSettled(
      this.#servers.map(async (server) => {
        // The server may still be loading older weights.
        while (server.preparing) await server.preparing;
        // A server that missed the last update, when others did not, is not waited for again.
        const patience = before && some && server.version !== before.version ? 0 : retries;
        for (let attempt = 0; ; attempt++) {
          try {
            return await this.#prepare(server, signal);
          } catch (error) {
            if (!(error instanceof Passing)) throw error;
            if (attempt >= patience) throw error.failure;
            await pause(retryPause(error, attempt, retryDelay), server.url, signal);
          }
        }
      }),
    );
    if (before) await rm(before.folder, { recursive: true, force: true });
    const lost = outcomes.flatMap((outcome, i) =>
      outcome.status === 'rejected' ? [{ url: this.#servers[i].url, error: outcome.reason as Error }] : [],
    );
    if (signal?.aborted) throw aborted(this.#servers[0].url, signal);
    if (lost.length === outcomes.length)
      throw new PrlError(
        'ERR_PRL_WEIGHT_SYNC',
        `no server took the weights of step ${version}: ${lost.map(({ error }) => error.message).join('; ')}`,
        { cause: lost[0].error },
      );
    for (const { url, error } of lost)
      onWarning?.(
        `${url} did not take the weights of step ${version} and gets no requests until it does: ${error.message}`,
      );
  }

  /** Makes sure that a server responds and has the weights. */
  async #prepare(server: Server, signal?: AbortSignal): Promise<void> {
    const { timeout, syncTimeout } = this.#options;
    const quick = this.#call(server, Math.min(timeout, 30_000), signal);
    // A server that responds is alive, whether or not it has this page.
    await quick('/health').catch((error) => {
      if (!(error instanceof PrlError) || error.code === 'ERR_PRL_ABORTED') throw error;
    });
    const wanted = this.#weights;
    if (!wanted) return;
    const reported = await this.#protocol.version(quick);
    if (reported === wanted.version) {
      server.version = wanted.version;
      return;
    }
    // A server that reports no version is trusted until it fails.
    if (reported === undefined && server.version === wanted.version) return;
    server.version = undefined;
    await this.#protocol.update(this.#call(server, syncTimeout, signal), wanted, this.#call(server, timeout));
    const now = await this.#protocol.version(quick);
    if (now !== undefined && now !== wanted.version)
      throw new PrlError(
        'ERR_PRL_WEIGHT_SYNC',
        `${server.url} must report the weights ${wanted.version} that it loaded, not ${JSON.stringify(now)}`,
      );
    server.version = wanted.version;
  }

  async #complete(server: Server, request: CompletionRequest, signal: AbortSignal): Promise<Completion[]> {
    const { path, body } = this.#protocol.completions(request);
    const url = `${server.url}${path}`;
    const refuse = (expected: string, came: unknown): never => {
      throw new PrlError(
        'ERR_PRL_ROLLOUT',
        `${url} must answer with ${expected}, not ${shorten(JSON.stringify(came) ?? 'nothing')}`,
      );
    };
    const wanted = this.#weights?.version;
    try {
      const answer = await this.#call(server, this.#options.timeout, signal)(path, body);
      const samples = this.#protocol.read(answer, request, refuse);
      const other = samples.find(({ version }) => version != null && version !== wanted);
      if (wanted !== undefined && other)
        throw passing(
          'ERR_PRL_WEIGHT_SYNC',
          `${url} must sample with the weights ${wanted}, not ${JSON.stringify(other.version)}`,
        );
      return checkSamples(samples, request, this.#vocabSize, refuse);
    } catch (error) {
      const failure =
        error instanceof BrokenOff ? passing('ERR_PRL_ROLLOUT', `${url}: ${error.message}`) : (error as Error);
      if (failure instanceof Passing && !failure.busy) {
        // It may be another process by now, with other weights.
        server.version = undefined;
        this.#options.onWarning?.(`${failure.message}; the server pauses, and the others get its requests`);
      }
      throw failure;
    }
  }

  #call(server: Server, timeout: number, signal?: AbortSignal): Call {
    return async (path, body) => {
      const url = `${server.url}${path}`;
      const text = await send(
        url,
        body === undefined ? undefined : JSON.stringify(body),
        this.#request(timeout, signal),
      );
      return text === '' ? undefined : parseAnswer(url, text);
    };
  }

  #request(timeout: number, signal?: AbortSignal) {
    return { headers: this.#options.headers, timeout, signal };
  }

  #requests(prompts: ArrayLike<number>[], options: GenerateOptions): CompletionRequest[] {
    options = checkOptions('generate', options, GENERATE_OPTIONS);
    const lists = tokenLists('prompts', prompts);
    for (const name of ['topK', 'topP'] as const)
      if (options[name] !== undefined && options[name] !== (name === 'topK' ? 0 : 1))
        throw invalidArgument(
          `${this.#protocol.name} does not take ${name}: a server would report log-probabilities of the truncated distribution, and the ratios would be wrong`,
        );
    const { seed = 0, stop, ignoreEos = false } = options;
    const seeds = promptSeeds(seed, lists.length);
    const temperature = checkNumber('temperature', options.temperature ?? 1, 0);
    const n = checkInteger('n', options.n ?? 1, 1, 2 ** 20);
    const maxNewTokens = checkInteger('maxNewTokens', options.maxNewTokens, 1);
    return lists.map((prompt, i) => ({
      prompt: Array.from(prompt, (id) => checkInteger(`prompts[${i}]`, id, 0, this.#vocabSize - 1)),
      n: temperature === 0 ? 1 : n,
      seed: seeds[i],
      maxNewTokens,
      temperature,
      stop: ignoreEos ? [] : stop,
      ignoreEos,
      model: this.#options.model,
    }));
  }
}

function resolveEngine(options: HttpEngineOptions) {
  const { model, apiKey, headers, syncFolder, onWarning } = options;
  const given = typeof options.urls === 'string' ? [options.urls] : (options.urls ?? []);
  if (!Array.isArray(given)) throw invalidArgument(`urls must be an array of addresses, not ${describe(given)}`);
  if (given.length === 0) throw invalidArgument('urls must name at least one server');
  const urls = Array.from(given, (url, i) => checkUrl(`urls[${i}]`, url));
  checkHeaders(headers);
  const twice = urls.find((url, i) => urls.indexOf(url) !== i);
  if (twice) throw invalidArgument(`urls must name each server once, but has ${twice} twice`);
  for (const [name, value] of Object.entries({ model, apiKey, syncFolder }))
    if (value !== undefined) checkText(name, value);
  return {
    urls,
    model,
    headers: { ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }), ...headers },
    concurrency: checkInteger('concurrency', options.concurrency ?? 64, 1, 65_536),
    ...checkRetries(options, 600_000),
    syncFolder: syncFolder === undefined ? undefined : resolve(syncFolder),
    syncTimeout: checkInteger('syncTimeout', options.syncTimeout ?? 600_000, 1, 2 ** 31 - 1),
    onWarning,
  };
}
