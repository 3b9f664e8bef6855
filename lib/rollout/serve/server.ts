import type { IncomingMessage, ServerResponse } from 'node:http';
import { invalidArgument, PrlError } from '../../base/errors.js';
import type { Json } from '../../base/json.js';
import { type OptionTable, type ResolvedOptions, resolveOptions } from '../../base/options.js';
import type { Policy } from '../../policy/policy.js';
import type { Tokenizer } from '../../policy/tokenizer.js';
import { streamedAnswer, wholeAnswer } from './answer.js';
import { Batcher, type Done } from './batcher.js';
import { readCompletionRequest, type ServedCompletions } from './completion-request.js';
import { bearer, errorBody, HttpError, isAuthorized, readBody, sendJson } from './http.js';
import { startServer } from './listening.js';
import type { RunningServer } from './running.js';
import type { ServeSettings } from './serve-settings.js';
import { ServedWeights } from './weights.js';

export const SERVE_OPTIONS = {
  host: { type: 'string', default: '127.0.0.1', doc: 'Address to listen on; 0.0.0.0: all addresses of the machine' },
  port: { type: 'integer', default: 8000, min: 0, max: 65_535, doc: 'Port; 0 chooses a free one and reports it' },
  apiKey: {
    type: 'string',
    doc: 'Key that requests must send as a bearer token (default: PRL_API_KEY; neither: no key)',
  },
  syncFolder: {
    type: 'string',
    doc: 'Folder from which clients may load new weights (default: none, the weights stay)',
  },
  servedModelName: { type: 'string', doc: 'Name of the model in answers (default: --model)' },
  maxRequests: {
    type: 'integer',
    default: 1024,
    min: 1,
    doc: 'Most requests in progress at once; further ones get status 429 and must retry',
  },
  maxCompletions: { type: 'integer', default: 1024, min: 1, max: 2 ** 20, doc: 'Most completions of one request' },
  maxBodyBytes: { type: 'integer', default: 2 ** 24, min: 1, max: 2 ** 28, doc: 'Most bytes of one request' },
  bodyTimeout: { type: 'integer', default: 30_000, min: 1, doc: 'Milliseconds in which a whole request must arrive' },
} as const satisfies OptionTable;

/** Options of {@link serve}. */
export interface ServeOptions extends ServeSettings {
  /** The policy to serve. */
  policy: Policy;
  /** Tokenizer of the policy. Without it prompts must be token ids, and the texts of answers are empty. */
  tokenizer?: Tokenizer | undefined;
  /** Called with the errors of requests that failed for a reason of ours. */
  onError?: ((error: Error) => void) | undefined;
}

/** Milliseconds between signs of life in a stream without events. */
const SIGN_OF_LIFE = 5000;

/**
 * Serves a policy over HTTP with vLLM's endpoints, as far as rollouts need them; see docs/rollout.md.
 *
 * @returns once it listens
 * @throws PrlError ERR_PRL_IO if it cannot listen at the address; TypeError or RangeError that names an option
 */
export async function serve({ policy, tokenizer, onError, ...options }: ServeOptions): Promise<RunningServer> {
  if (!policy) throw invalidArgument("serve needs 'policy'");
  const settings = resolveOptions('serve', SERVE_OPTIONS, options);
  const service = new Service(policy, tokenizer, settings, onError);
  return startServer(settings, service);
}

class Service {
  readonly #batcher: Batcher;
  readonly #weights: ServedWeights | undefined;
  readonly #model: string;
  /** The first policy. Requests are checked against it, even after its weights were replaced. */
  readonly #policy: Policy;
  #active = 0;

  constructor(
    policy: Policy,
    readonly tokenizer: Tokenizer | undefined,
    readonly settings: ResolvedOptions<typeof SERVE_OPTIONS>,
    readonly onError?: (error: Error) => void,
  ) {
    this.#policy = policy;
    this.#model = settings.servedModelName ?? 'policy';
    this.#batcher = new Batcher(policy, 'default');
    if (settings.syncFolder !== undefined)
      this.#weights = new ServedWeights(this.#batcher, policy, settings.syncFolder);
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      // The client has left: there is nobody to tell.
      if (response.destroyed) return;
      const { status, message, headers } = this.#failure(error as Error);
      // The rest of the body is not read.
      sendJson(response, status, errorBody(status, message), {
        ...(!request.complete && { connection: 'close' }),
        ...headers,
      });
    }
  }

  async end(): Promise<void> {
    await this.#batcher.pause('abort');
    if (this.#weights) await this.#weights.close();
    else this.#policy.dispose();
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path, query] = request.url!.split('?', 2);
    const route = `${request.method} ${path}`;
    if (route === 'GET /health') return sendJson(response, 200, undefined);
    const { apiKey, maxBodyBytes } = this.settings;
    if (apiKey !== undefined && !isAuthorized(bearer(request), apiKey))
      throw new HttpError(401, 'the API key is missing or wrong', { 'www-authenticate': 'Bearer' });
    switch (route) {
      case 'GET /v1/models':
        return sendJson(response, 200, this.#models());
      case 'GET /weight_info':
        return sendJson(response, 200, { weight_version: this.#batcher.version });
      case 'POST /v1/completions':
        return this.#completions(request, response);
    }
    if (this.#weights) {
      const answer = await this.#control(route, new URLSearchParams(query), () => readBody(request, maxBodyBytes));
      if (answer) return sendJson(response, 200, answer);
    }
    throw new HttpError(404, `there is no route ${route}`);
  }

  async #completions(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { maxRequests, maxBodyBytes } = this.settings;
    if (this.#active >= maxRequests)
      throw new HttpError(429, `${maxRequests} requests are already in progress: try again later`, {
        'retry-after': '1',
      });
    this.#active++;
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    try {
      const asked = readCompletionRequest(await readBody(request, maxBodyBytes), this.#limits());
      const answering = { model: this.#model, request: asked, tokenizer: this.tokenizer };
      const { prompts, seed, n, maxNewTokens, temperature, topK, topP, stop } = asked;
      const done = this.#batcher.submit(
        { prompts, seed, options: { n, maxNewTokens, temperature, topK, topP, stop } },
        gone.signal,
      );
      if (asked.stream) await this.#stream(response, answering, done);
      else sendJson(response, 200, wholeAnswer(answering, await done));
    } finally {
      this.#active--;
    }
  }

  async #stream(
    response: ServerResponse,
    answering: { model: string; request: ServedCompletions; tokenizer?: Tokenizer },
    done: Promise<Done>,
  ): Promise<void> {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    response.flushHeaders();
    const alive = setInterval(() => response.write(': generating\n\n'), SIGN_OF_LIFE);
    try {
      for (const event of streamedAnswer(answering, await done)) response.write(event);
    } catch (error) {
      if (response.destroyed) return;
      const { status, message } = this.#failure(error as Error);
      response.write(`data: ${JSON.stringify(errorBody(status, message))}\n\n`);
    } finally {
      clearInterval(alive);
      response.end();
    }
  }

  /** The endpoints that change weights. undefined: not one of these routes. */
  async #control(route: string, query: URLSearchParams, body: () => Promise<Json>): Promise<object | undefined> {
    const batcher = this.#batcher;
    switch (route) {
      case 'POST /pause': {
        await body();
        const mode = query.get('mode') ?? 'abort';
        if (mode !== 'abort' && mode !== 'wait' && mode !== 'keep')
          throw new HttpError(400, `mode must be abort, wait or keep, not ${mode.slice(0, 100)}`);
        await batcher.pause(mode);
        return { status: 'paused' };
      }
      case 'POST /resume':
        await body();
        batcher.resume();
        return { status: 'resumed' };
      case 'GET /is_paused':
        return { is_paused: batcher.paused };
      case 'POST /collective_rpc': {
        const { method, kwargs } = await body();
        if (method !== 'reload_weights') throw new HttpError(400, 'method must be reload_weights');
        await this.#weights!.reload((kwargs as Json | null | undefined)?.weights_path);
        return { results: [null] };
      }
      case 'POST /update_weight_version': {
        const { new_version: version } = await body();
        if (typeof version !== 'string' || version === '' || version.length > 1000)
          throw new HttpError(400, 'new_version must be a text of 1 to 1000 characters');
        batcher.version = version;
        return { success: true, new_version: version };
      }
    }
  }

  #models() {
    const { config } = this.#policy;
    const { max_position_embeddings: max_model_len = 2048 } = config;
    return {
      object: 'list',
      data: [{ id: this.#model, object: 'model', created: 0, owned_by: 'prl-node', max_model_len }],
    };
  }

  #limits() {
    const { config } = this.#policy;
    const { tokenizer } = this;
    const eos = config.eos_token_id ?? [];
    return {
      config,
      eos: [...(Array.isArray(eos) ? eos : [eos]), ...(tokenizer?.stopTokenIds ?? [])],
      maxCompletions: this.settings.maxCompletions,
      encode: tokenizer?.encode.bind(tokenizer),
    };
  }

  /** The status and message that the client gets for an error. */
  #failure(error: Error & { code?: string }): { status: number; message: string; headers?: Record<string, string> } {
    if (error instanceof HttpError) return error;
    if (/^ERR_PRL_(INVALID_ARGUMENT|OUT_OF_RANGE|UNKNOWN_OPTION)$/.test(error.code ?? ''))
      return { status: 400, message: error.message };
    this.onError?.(error);
    return { status: 500, message: error instanceof PrlError ? error.message : 'internal error' };
  }
}
