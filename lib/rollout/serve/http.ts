// HTTP basics of the server: bounded bodies, errors in OpenAI's format, a key that is compared in constant time.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Json, parseObject } from '../../base/json.js';

/** Answers with a status and a message. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** Reads the JSON object in a request's body. @throws HttpError */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Json> {
  // Browsers send other types to other sites without asking.
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new HttpError(415, 'the content-type must be application/json');
  return parseObject(await readBytes(request, maxBytes), (what) => new HttpError(400, `the body ${what}`));
}

/** Reads a request's body. @throws HttpError */
export async function readBytes(request: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const tooLong = new HttpError(413, `the body must have at most ${maxBytes} bytes`, { connection: 'close' });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLong;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > maxBytes) throw tooLong;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

export function sendJson(response: ServerResponse, status: number, body: unknown, headers: object = {}): void {
  if (response.destroyed || response.headersSent) return;
  const text = body === undefined ? '' : JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

const TYPES: { [status: number]: string } = {
  401: 'AuthenticationError',
  404: 'NotFoundError',
  429: 'RateLimitError',
  500: 'InternalServerError',
};

export const errorBody = (status: number, message: string) => ({
  error: { message: message.slice(0, 1000), type: TYPES[status] ?? 'BadRequestError', param: null, code: status },
});

const digest = (text: string) => new Uint8Array(createHash('sha256').update(text).digest());

/** The bearer token of a request. */
export const bearer = ({ headers }: IncomingMessage): string | undefined =>
  /^Bearer (.*)$/.exec(headers.authorization ?? '')?.[1];

/** Whether a request carries the key. It takes the same time whatever key the request carries. */
export const isAuthorized = (given: string | undefined, apiKey: string): boolean =>
  given !== undefined && timingSafeEqual(digest(given), digest(apiKey));
