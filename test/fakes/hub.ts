// A hub on this machine: the part of its interface that clients download with, and a second host that large files come
// from.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeRepo {
  type?: 'model' | 'dataset';
  files: { [path: string]: string | Uint8Array };
  /** Branches and tags besides main. */
  refs?: string[];
  /** Refused without this token. */
  gated?: string;
}

export interface Seen {
  host: 'hub' | 'cdn';
  url: string;
  range: string | undefined;
  authorization: string | undefined;
}

export interface FakeHub {
  /** For HF_ENDPOINT. */
  url: string;
  seen: Seen[];
  /** Mischief: answers itself and says true, or lets the hub answer. */
  intercept: ((request: Seen, response: ServerResponse) => boolean) | undefined;
  /** Changes what the listing says. */
  tamper: ((entry: ListedFile) => void) | undefined;
  close(): Promise<void>;
}

export interface ListedFile {
  type: string;
  path: string;
  size: number;
  oid: string;
  lfs?: { oid: string; size: number; pointerSize: number };
}

export const COMMIT = 'c0ffee'.padEnd(40, '0');
const LARGE = /\.(safetensors|parquet|bin)$/;
const PAGE = 3;

const bytes = (content: string | Uint8Array) => new Uint8Array(Buffer.from(content as string));
const gitId = (content: Uint8Array) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
export const sha256Of = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex');

function listed(path: string, content: Uint8Array): ListedFile {
  const entry: ListedFile = { type: 'file', path, size: content.length, oid: gitId(content) };
  if (LARGE.test(path)) entry.lfs = { oid: sha256Of(content), size: content.length, pointerSize: 130 };
  return entry;
}

const listen = (server: Server) =>
  new Promise<string>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)),
  );

function sendFile(request: IncomingMessage, response: ServerResponse, content: Uint8Array): void {
  const from = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
  if (from === undefined) {
    response.writeHead(200, { 'content-length': content.length });
    response.end(content);
  } else if (Number(from) >= content.length) {
    response.writeHead(416).end();
  } else {
    const part = content.subarray(Number(from));
    const range = `bytes ${from}-${content.length - 1}/${content.length}`;
    response.writeHead(206, { 'content-length': part.length, 'content-range': range });
    response.end(part);
  }
}

/** Serves `repos` (by 'owner/name') until it is closed. */
export async function fakeHub(repos: { [name: string]: FakeRepo }): Promise<FakeHub> {
  const json = (response: ServerResponse, value: unknown, headers = {}) =>
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
  const refuse = (response: ServerResponse, status: number, code: string, message: string) =>
    response.writeHead(status, { 'x-error-code': code, 'x-error-message': message }).end('{"error":"no"}');

  const answer = (host: 'hub' | 'cdn') => (request: IncomingMessage, response: ServerResponse) => {
    const { range, authorization } = request.headers;
    const seen: Seen = { host, url: request.url!, range, authorization };
    hub.seen.push(seen);
    if (hub.intercept?.(seen, response)) return;
    const { pathname, searchParams } = new URL(request.url!, hub.url);
    const path = decodeURIComponent(pathname);
    const [, api, plural = '', name, rest] =
      /^(\/api)?\/(?:(models|datasets)\/)?([^/]+\/[^/]+)\/(.*)$/.exec(path) ?? ([] as string[]);
    const type = plural.startsWith('dataset') ? 'dataset' : 'model';
    const repo = repos[name];
    if (!repo || (repo.type ?? 'model') !== type) return refuse(response, 401, 'RepoNotFound', 'Repository not found');
    if (host === 'hub' && repo.gated && authorization !== `Bearer ${repo.gated}`)
      return refuse(response, authorization ? 403 : 401, 'GatedRepo', 'Access to this model is restricted');
    const [, action, revision] = /^(revision|tree|resolve)\/((?:refs\/pr\/)?[^/]+)/.exec(rest) ?? [];
    if (!['main', COMMIT, ...(repo.refs ?? [])].includes(revision))
      return refuse(response, 404, 'RevisionNotFound', 'Invalid rev id');
    if (api && action === 'revision')
      return json(response, { _id: '1', id: name, sha: COMMIT, private: false, lastModified: '2024-01-01' });
    if (api && action === 'tree') {
      const all = Object.entries(repo.files).map(([path, content]) => listed(path, bytes(content)));
      for (const entry of all) hub.tamper?.(entry);
      const cursor = Number(searchParams.get('cursor') ?? 0);
      const next =
        cursor + PAGE < all.length ? { link: `<${hub.url}${pathname}?cursor=${cursor + PAGE}>; rel="next"` } : {};
      return json(response, all.slice(cursor, cursor + PAGE), next);
    }
    const file = rest.slice(`resolve/${revision}/`.length);
    if (action !== 'resolve' || !(file in repo.files)) return refuse(response, 404, 'EntryNotFound', 'Entry not found');
    if (host === 'hub' && LARGE.test(file)) return response.writeHead(302, { location: `${cdn}${request.url}` }).end();
    sendFile(request, response, bytes(repo.files[file]));
  };
  const servers = [createServer(answer('hub')), createServer(answer('cdn'))];
  const [url, cdn] = await Promise.all(servers.map(listen));
  const hub: FakeHub = {
    url,
    seen: [],
    intercept: undefined,
    tamper: undefined,
    async close() {
      for (const server of servers) server.closeAllConnections();
      await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    },
  };
  return hub;
}
