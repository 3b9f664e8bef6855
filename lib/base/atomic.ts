// Files and folders that are either whole or absent, whenever the process or the machine stops.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { PrlError } from './errors.js';
import { isObject, type Json, readJson } from './json.js';
import { isCount } from './options.js';
import { quoted, quotedName } from './text.js';

/** Begins the names of what is being written; whatever carries it after a crash is rubbish. */
export const TEMPORARY = '.tmp-';
const MANIFEST = 'manifest.json';
type Manifest = { [name: string]: { size: number; sha256: string } };

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What stands behind the system's word for it, and what to do. */
const REASONS: Record<string, string> = {
  ENOSPC: 'the disk is full: free some space',
  EDQUOT: 'the quota of the disk is used up: free some space',
  EFBIG: 'files may not grow that large here: raise the limit (ulimit -f)',
  EROFS: 'the file system is read-only: choose another place, or make it writable',
  EACCES: 'permission is denied: choose another place, or make it writable',
  EPERM: 'it is not permitted: choose another place, or make it writable',
  ENOENT: 'it is not there (any more): was it moved, deleted or unmounted?',
  ENOTDIR: 'what should be a folder on the way is none: move it away',
  EIO: 'the disk fails: choose another one',
};

/** The typed error of a write that the system refused; any other error as it is. */
export function writeError(path: string, error: unknown): unknown {
  const { code, cause, message } = error as PrlError & NodeJS.ErrnoException;
  const system = [code, (cause as NodeJS.ErrnoException | undefined)?.code].find((name) =>
    /^E[A-Z0-9]+$/.test(name ?? ''),
  );
  if (system === undefined) return error;
  const reason = Object.hasOwn(REASONS, system) ? `${REASONS[system]} (${system})` : message;
  return new PrlError('ERR_PRL_IO', `cannot write ${path}: ${reason}. What was saved before is whole`, {
    cause: error,
  });
}

/** Makes a folder with those above it, and makes their entries durable too. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; ; made = dirname(made)) {
    await sync(dirname(made));
    if (made === first || made === dirname(made)) return;
  }
}

/** Writes bytes to a file that is being made. */
export type Write = (bytes: Uint8Array) => Promise<void>;

/** Writes a file, a text or what is produced piece by piece, that is whole or as before, whenever the process ends. */
export async function writeFileAtomic(
  path: string,
  contents: string | ((write: Write) => Promise<void>),
): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  // What is renamed to /dev/stdout or to a pipe takes its place.
  const inPlace = there !== undefined && !there.isFile();
  const temporary = inPlace ? path : join(dirname(path), `${TEMPORARY}${process.pid}-${basename(path)}`);
  try {
    const handle = await open(temporary, 'w');
    try {
      if (typeof contents === 'string') await handle.writeFile(contents);
      else await contents((bytes) => writeFully(handle, bytes));
      if (!inPlace) await handle.sync();
    } finally {
      await handle.close();
    }
    if (inPlace) return;
    await rename(temporary, path);
    await sync(dirname(path));
  } catch (error) {
    if (!inPlace) await rm(temporary, { force: true }).catch(() => {});
    throw writeError(path, error);
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes as Uint8Array<ArrayBuffer>, done, Math.min(bytes.length - done, 1 << 30)))
      .bytesWritten;
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/**
 * Fills a folder under a temporary name, adds manifest.json with the size and SHA-256 of every file, and only then gives it
 * its name; folders in it are legal. An older folder of that name is replaced.
 */
export async function writeFolderAtomic(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const parent = dirname(path);
  const temporary = join(parent, `${TEMPORARY}${process.pid}-${basename(path)}`);
  try {
    await mkdir(parent, { recursive: true });
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary);
    await fill(temporary);
    const files: Manifest = {};
    for (const name of (await readdir(temporary, { recursive: true })).sort()) {
      const file = join(temporary, name);
      await sync(file);
      const status = await stat(file);
      if (status.isFile()) files[name] = { size: status.size, sha256: await sha256(file) };
    }
    await writeFileAtomic(join(temporary, MANIFEST), `${JSON.stringify({ files }, null, 1)}\n`);
    await rm(path, { recursive: true, force: true });
    await rename(temporary, path);
    await sync(parent);
  } catch (error) {
    // On a full disk the half of it would keep the space that the next try needs.
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw writeError(path, error);
  }
}

/** Why the folder is not what writeFolderAtomic left; undefined when it is. */
export async function folderDamage(path: string): Promise<string | undefined> {
  try {
    for (const [name, { size, sha256: expected }] of Object.entries(await readManifest(path))) {
      const file = join(path, name);
      const found = await stat(file);
      if (!found.isFile()) return `${name} is no file`;
      if (found.size !== size) return `${name} has ${found.size} bytes instead of ${size}`;
      if ((await sha256(file)) !== expected) return `${name} does not match its SHA-256`;
    }
  } catch (error) {
    return (error as Error).message;
  }
}

async function readManifest(path: string): Promise<Manifest> {
  const { files } = await readJson(join(path, MANIFEST));
  const corrupt = (message: string) => new PrlError('ERR_PRL_CORRUPT', `${MANIFEST} ${message}`);
  const entries = Object.entries(isObject(files) ? files : {});
  if (entries.length === 0) throw corrupt('lists no files');
  for (const [name, entry] of entries) {
    // Names that lead out of the folder are not ours.
    const isInside = name !== '' && !isAbsolute(name) && normalize(name) === name && name.split(sep)[0] !== '..';
    if (!isInside) throw corrupt(`lists ${quotedName(name)}, which is no file of the folder`);
    const { size, sha256: hash } = (entry ?? {}) as Json;
    if (!isCount(size) || !/^[0-9a-f]{64}$/.test(String(hash)))
      throw corrupt(`says ${quoted(entry)} of ${quotedName(name)}, which is no size and SHA-256`);
  }
  return files as Manifest;
}

/** Removes what a crash left half-written. */
export async function removeTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => []))
    if (name.startsWith(TEMPORARY)) await rm(join(folder, name), { recursive: true, force: true });
}
