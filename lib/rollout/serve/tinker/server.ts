// The Tinker protocol over HTTP: keys, bodies in JSON or protobuf, errors in the protocol's form.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { invalidArgument, PrlError } from '../../../base/errors.js';
import { checkString, type OptionTable, resolveOptions } from '../../../base/options.js';
import type { Policy } from '../../../policy/policy.js';
import { forwardBackwardFromJson } from '../../../policy/tinker/wire/json.js';
import { API, PROTOBUF_TYPE, TRY_AGAIN, WireError } from '../../../policy/tinker/wire/messages.js';
import { forwardBackwardFromProto } from '../../../policy/tinker/wire/protobuf.js';
import type { Tokenizer } from '../../../policy/tokenizer.js';
import { HttpError, isAuthorized, readBody, readBytes, sendJson } from '../http.js';
import { startServer } from '../listening.js';
import type { RunningServer } from '../running.js';
import { SERVE_OPTIONS } from '../server.js';
import { notFound, TinkerService } from './service.js';
import type { TinkerServeSettings } from './tinker-settings.js';

const { host, port, servedModelName, maxRequests, maxCompletions, maxBodyBytes, bodyTimeout } = SERVE_OPTIONS;

export const TINKER_OPTIONS = {
  host,
  port,
  apiKey: {
    type: 'string',
    doc: "Key that requests must send as X-API-Key; Thinking Machines' SDK wants one that begins with tml- (default: PRL_API_KEY; neither: no key)",
  },
  servedModelName,
  maxRequests,
  maxCompletions,
  maxBodyBytes,
  bodyTimeout,
  stateFolder: { type: 'string', default: 'runs/tinker', doc: 'Folder of the states that clients save' },
  maxModels: {
    type: 'integer',
    default: 4,
    min: 1,
    doc: 'Most models in training at once, each with the memory of a policy and its optimizer; further ones wait for a place',
  },
  maxSamplers: {
    type: 'integer',
    default: 4,
    min: 1,
    doc: 'Most copies of weights for sampling in memory; the one that was not used longest goes first',
  },
  sessionTimeout: {
    type: 'integer',
    default: 300_000,
    min: 1,
    doc: 'Milliseconds without a heartbeat after which a session ends and its models are freed',
  },
  microBatchTokens: { type: 'integer', default: 4096, min: 1, doc: 'Tokens per forward and backward pass' },
} as const satisfies OptionTable;

/** Options of {@link serveTinker}. */
export interface TinkerServeOptions extends TinkerServeSettings {
  /** The base model. Models in training are copies of it. */
  policy: Policy;
  /** Tokenizer of the policy. Without it, stop texts are refused. */
  tokenizer?: Tokenizer | undefined;
  /** Id or folder from which clients load the tokenizer. Default: servedModelName. */
  tokenizerId?: string | undefined;
  /** Called with the errors of requests that failed for a reason of ours. */
  onError?: ((error: Error) => void) | undefined;
  /** Called with a line for each model that is made, and for each session that ends with models. */
  onLog?: ((line: string) => void) | undefined;
}

/** Milliseconds that a client may wait for a result in one request. SDKs give up after 45 s. */
const LONG_POLL = 30_000;
/** Most bytes of requests without data. */
const MOST_SMALL = 2 ** 20;

/**
 * Serves a policy with the Tinker protocol, so that a client of Tinker trains it; see docs/engines.md.
 *
 * @returns once it listens
 * @throws PrlError ERR_PRL_IO if it cannot listen at the address; TypeError or RangeError that names an option
 */
export async function serveTinker(given: TinkerServeOptions): Promise<RunningServer> {
  const { policy, tokenizer, tokenizerId, onError, onLog, ...options } = given;
  if (!policy) throw invalidArgument("serveTinker needs 'policy'");
  const settings = resolveOptions('serveTinker', TINKER_OPTIONS, options);
  const { servedModelName = 'policy' } = settings;
  const service = new TinkerService(
    policy,
    tokenizer,
    { ...settings, servedModelName, tokenizerId: tokenizerId ?? servedModelName },
    onLog ?? (() => {}),
  );
  return startServer(settings, new TinkerHttp(service, settings, onError));
}

class TinkerHttp {
  constructor(
    readonly service: TinkerService,
    readonly settings: { apiKey?: string; maxBodyBytes: number },
    readonly onError?: (error: Error) => void,
  ) {}

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      if (response.destroyed) return;
      const { status, headers, body } = this.#failure(error);
      sendJson(response, status, body, { ...(!request.complete && { connection: 'close' }), ...headers });
    }
  }

  end(): Promise<void> {
    return this.service.close();
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [url] = request.url!.split('?', 1);
    const route = `${request.method} ${url}`;
    if (!url.startsWith(`${API}/`)) throw notFound(route);
    const path = url.slice(API.length + 1);
    if (route === `GET ${API}/healthz`) return sendJson(response, 200, { status: 'ok' });
    const { apiKey } = this.settings;
    const key = request.headers['x-api-key'];
    if (apiKey !== undefined && !isAuthorized(typeof key === 'string' ? key : undefined, apiKey))
      throw new HttpError(401, 'the API key is missing or wrong');
    if (request.method === 'GET') return sendJson(response, 200, this.#get(path, route));
    if (request.method !== 'POST') throw notFound(route);
    if (path === 'retrieve_future') return this.#retrieve(request, response);
    sendJson(response, 200, await this.#post(path, route, request));
  }

  #get(path: string, route: string): object {
    if (path === 'get_server_capabilities') return this.service.capabilities();
    const sampler = /^samplers\/([\w:-]{1,200})$/.exec(decode(path));
    if (sampler) return this.service.sampler(sampler[1]);
    throw notFound(route);
  }

  async #post(path: string, route: string, request: IncomingMessage): Promise<object> {
    if (path === 'forward' || path === 'forward_backward') return this.#forwardBackward(path, request);
    const finished = /^sessions\/([\w-]{1,100})\/finish$/.exec(path);
    const handler = finished ? () => this.service.finish(finished[1]) : undefined;
    const known = Object.hasOwn(this.service.posts, path) ? this.service.posts[path] : undefined;
    if (!handler && !known) throw notFound(route);
    const most = path === 'asample' ? this.settings.maxBodyBytes : MOST_SMALL;
    const body = await readBody(request, Math.min(most, this.settings.maxBodyBytes));
    return handler ? handler() : known!(body);
  }

  async #forwardBackward(path: string, request: IncomingMessage): Promise<object> {
    const { maxBodyBytes } = this.settings;
    this.service.futures.checkRoom();
    if (!(request.headers['content-type'] ?? '').startsWith(PROTOBUF_TYPE)) {
      const body = await readBody(request, maxBodyBytes);
      return this.service.forwardBackward(forwardBackwardFromJson(body, path === 'forward'));
    }
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined) throw new HttpError(415, `the content-encoding ${encoding.slice(0, 100)} is not known`);
    return this.service.forwardBackward(forwardBackwardFromProto(await readBytes(request, maxBodyBytes)));
  }

  /** The result of a request as soon as there is one, or that there is none yet. */
  async #retrieve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { request_id } = await readBody(request, MOST_SMALL);
    const id = checkString('request_id', request_id);
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    try {
      const answer = await this.service.futures.wait(id, LONG_POLL, gone.signal);
      if (typeof answer === 'string') {
        sendJson(response, 408, { type: TRY_AGAIN, request_id: id, queue_state: answer });
      } else if (answer.proto && (request.headers.accept ?? '').includes(PROTOBUF_TYPE)) {
        const bytes = answer.proto();
        response.writeHead(200, { 'content-type': PROTOBUF_TYPE, 'content-length': bytes.length });
        response.end(bytes);
      } else {
        sendJson(response, 200, answer.json());
      }
    } catch (error) {
      // A request that has failed is a result, whatever its error. Only a request that is not there is a status.
      if (error instanceof HttpError) throw error;
      const { error: message, category } = this.#failure(error).body;
      sendJson(response, 200, { error: message, category });
    }
  }

  /** The status of an error, and what the client is told. */
  #failure(thrown: unknown) {
    const error = thrown as Error & { code?: string };
    const http = error instanceof HttpError ? error : undefined;
    const user = http ? http.status < 500 : error instanceof WireError || USER.test(error.code ?? '');
    if (!http && !user) this.onError?.(error);
    const told = http || user || error instanceof PrlError ? error.message.slice(0, 1000) : 'internal error';
    const category = user ? 'user' : 'server';
    const headers: Record<string, string> = http?.headers ?? {};
    return { status: http?.status ?? (user ? 400 : 500), headers, body: { error: told, category, detail: told } };
  }
}

/** Codes of errors that the client caused. */
const USER =
  /^ERR_PRL_(INVALID_ARGUMENT|OUT_OF_RANGE|UNKNOWN_OPTION|NON_FINITE|UNSUPPORTED|NOT_FOUND|CORRUPT|OUT_OF_MEMORY|ABORTED|DISPOSED)$/;

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new HttpError(400, 'the path is not valid');
  }
}
