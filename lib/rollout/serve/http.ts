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
  const tooLong = new HttpError(413, `the body must have at most ${maxBytes} bytes`, { connection: 'close' });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLong;
  request.setEncoding('utf8');
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > maxBytes) throw tooLong;
  }
  return parseObject(text, (what) => new HttpError(400, `the body ${what}`));
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

/** Whether the request carries the key. It takes the same time whatever the request carries. */
export function isAuthorized(request: IncomingMessage, apiKey: string): boolean {
  return timingSafeEqual(digest(request.headers.authorization ?? ''), digest(`Bearer ${apiKey}`));
}
