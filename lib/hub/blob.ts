// One file of the hub in blobs/. An interrupted download is resumed. The file gets its name only after its hash was
// checked.
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open as openFile, rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { PrlError } from '../base/errors.js';
import { Passing } from '../base/http.js';
import { type HubAccess, open, retrying } from './request.js';

/**
 * A file that is being downloaded. A blob's name is the SHA-256 of its contents, or git's hash of a header and its
 * contents.
 */
class Download {
  readonly #name: string;
  position = 0;
  #hash: Hash;

  constructor(
    readonly url: string,
    readonly file: FileHandle,
    readonly path: string,
    readonly size: number,
  ) {
    this.#name = basename(path);
    this.#hash = this.#newHash();
  }

  #newHash = () => (this.#name.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${this.size}\0`));

  /** Resumes from the bytes of an earlier attempt. */
  async resume(partial: string): Promise<void> {
    const { size } = await this.file.stat();
    if (size > this.size) return this.restart();
    if (size > 0) for await (const chunk of createReadStream(partial)) this.#hash.update(chunk);
    this.position = size;
  }

  async restart(): Promise<void> {
    await this.file.truncate(0);
    this.position = 0;
    this.#hash = this.#newHash();
  }

  async add(chunk: Uint8Array): Promise<void> {
    await this.file.appendFile(chunk);
    this.#hash.update(chunk);
    this.position += chunk.length;
  }

  isRight = () => this.#hash.digest('hex') === this.#name;
}

/** `onPosition` receives the bytes of the file so far. They drop when the download starts again from the beginning. */
export async function downloadBlob(
  url: string,
  path: string,
  size: number,
  hub: HubAccess,
  onPosition: (bytes: number) => void,
): Promise<void> {
  // Not `.incomplete` alone: another client may be writing a file of that name.
  const partial = `${path}.prl.incomplete`;
  const file = await openFile(partial, 'a');
  try {
    const download = new Download(url, file, path, size);
    await download.resume(partial);
    const resumed = download.position > 0;
    await fetchRest(download, hub, onPosition);
    let right = download.isRight();
    if (!right && resumed) {
      // The existing bytes may come from a crash of the machine.
      await download.restart();
      await fetchRest(download, hub, onPosition);
      right = download.isRight();
    }
    if (!right) {
      await rm(partial, { force: true });
      throw new PrlError(
        'ERR_PRL_CORRUPT',
        `the contents of ${url} do not match its hash and were discarded: try again`,
      );
    }
    // A name in blobs/ must mean complete contents, even after a crash of the machine.
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
}

async function fetchRest(download: Download, hub: HubAccess, onPosition: (bytes: number) => void): Promise<void> {
  onPosition(download.position);
  const attempt = () => fetchOnce(download, hub, onPosition);
  if (download.position < download.size) await retrying(hub, attempt, () => download.position);
}

async function fetchOnce(download: Download, hub: HubAccess, onPosition: (bytes: number) => void): Promise<void> {
  const { url, size, position: from } = download;
  const wrong = (why: string) => new PrlError('ERR_PRL_HTTP', `${url} ${why}`);
  const answer = await open(url, from > 0 ? { range: `bytes=${from}-` } : {}, hub);
  try {
    const range = answer.headers.get('content-range') ?? '';
    if (answer.status === 416) throw wrong(`must have ${size} bytes, as the hub lists, but ends after ${from}`);
    if (answer.status === 206) {
      if (!range.startsWith(`bytes ${from}-`)) throw wrong(`must send the bytes from ${from} on, not '${range}'`);
    } else if (from > 0) {
      await download.restart(); // the whole file, though only a part was asked for
    }
    for await (const chunk of answer.chunks) {
      if (download.position + chunk.length > size)
        throw wrong(`must have ${size} bytes, as the hub lists, but sends more`);
      await download.add(chunk);
      onPosition(download.position);
    }
  } finally {
    answer.close();
  }
  if (download.position < size)
    throw new Passing(wrong(`must have ${size} bytes but ended after ${download.position}`));
}
