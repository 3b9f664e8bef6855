// Files and folders that are either complete or absent, whenever the process or the machine stops.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readlink, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { PrlError } from './errors.js';
import { isObject, type Json, readJson } from './json.js';
import { isCount } from './options.js';
import { quoted, quotedName } from './text.js';

/** Prefix of the names of unfinished files and folders. Whatever still has it after a crash is rubbish. */
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

/** The system's error codes in words, and what to do about each. */
const REASONS: Record<string, string> = {
  ENOSPC: 'the disk is full: free some space',
  EDQUOT: 'the quota of the disk is used up: free some space',
  EFBIG: 'files may not grow that large here: raise the limit (ulimit -f)',
  EROFS: 'the file system is read-only: choose another place, or make it writable',
  EACCES: 'permission is denied: choose another place, or make it writable',
  EPERM: 'the operation is not permitted: choose another place, or make it writable',
  ENOENT: 'it does not exist (any more): was it moved, deleted or unmounted?',
  ENOTDIR: 'a part of the path is a file, not a folder: move it away',
  EISDIR: 'it is a folder, not a file: choose another name',
  ELOOP: 'links in the path go in a circle',
  ENAMETOOLONG: 'the name is too long',
  EIO: 'the disk reports an error: choose another one',
};

/** Turns a write that the system refused into a typed error. Any other error is returned as it is. */
export function writeError(path: string, error: unknown): unknown {
  const { code, cause, message } = error as PrlError & NodeJS.ErrnoException;
  const system = [code, (cause as NodeJS.ErrnoException | undefined)?.code].find((name) =>
    /^E[A-Z0-9]+$/.test(name ?? ''),
  );
  if (system === undefined) return error;
  return cannotWrite(path, Object.hasOwn(REASONS, system) ? `${REASONS[system]} (${system})` : message, error);
}

const cannotWrite = (path: string, reason: string, cause?: unknown) =>
  new PrlError('ERR_PRL_IO', `cannot write ${path}: ${reason}. What was saved before is intact`, { cause });

/**
 * Makes a folder and those above it, and makes their entries durable too. (Node's mkdir with `recursive` never returns
 * where a folder exists and nothing can be made in it, such as /proc.)
 *
 * @throws PrlError ERR_PRL_IO that says what is in the way
 */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  try {
    for (let at = resolve(path); !(await isFolder(at)); at = dirname(at)) missing.unshift(at);
    for (const folder of missing) {
      await mkdir(folder).catch(async (error) => {
        // Another process may have made it.
        if (error.code === 'EEXIST' && (await isFolder(folder))) return;
        throw error.code === 'ENOENT'
          ? cannotWrite(path, `nothing can be made in ${dirname(folder)} (ENOENT)`, error)
          : error;
      });
      await sync(dirname(folder));
    }
  } catch (error) {
    throw error instanceof PrlError ? error : writeError(path, error);
  }
}

/** False if there is nothing. Anything but a folder is an error. */
async function isFolder(path: string): Promise<boolean> {
  const status = await stat(path).catch((error) => {
    if (error.code !== 'ENOENT') throw error;
  });
  if (status?.isDirectory()) return true;
  if (status) throw cannotWrite(path, 'it is a file, not a folder: choose another place, or move it away');
  const link = await readlink(path).catch(() => undefined);
  if (link !== undefined) throw cannotWrite(path, `it is a link to ${link}, which does not exist`);
  return false;
}

/** Writes bytes to an unfinished file. */
export type Write = (bytes: Uint8Array) => Promise<void>;

/** Writes a file from a text, or piece by piece. Whenever the process ends, the file is complete or unchanged. */
export async function writeFileAtomic(
  path: string,
  contents: string | ((write: Write) => Promise<void>),
): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  // Renaming a file to /dev/stdout or to a pipe would replace it.
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
 * Fills a folder under a temporary name, adds manifest.json with the size and SHA-256 of every file, and only then
 * gives it its name. The folder may contain folders. It replaces an older folder of that name.
 */
export async function writeFolderAtomic(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const parent = dirname(path);
  const temporary = join(parent, `${TEMPORARY}${process.pid}-${basename(path)}`);
  try {
    await makeFolder(parent);
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
    // On a full disk, the half-written folder would take the space that the next attempt needs.
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw writeError(path, error);
  }
}

/** What is wrong with a folder that writeFolderAtomic wrote; undefined if nothing is. */
export async function folderDamage(path: string): Promise<string | undefined> {
  try {
    for (const [name, { size, sha256: expected }] of Object.entries(await readManifest(path))) {
      const file = join(path, name);
      const found = await stat(file);
      if (!found.isFile()) return `${name} is not a file`;
      if (found.size !== size) return `${name} must have ${size} bytes, not ${found.size}`;
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
    // Names that lead out of the folder are refused.
    const isInside = name !== '' && !isAbsolute(name) && normalize(name) === name && name.split(sep)[0] !== '..';
    if (!isInside) throw corrupt(`lists ${quotedName(name)}, which is not inside the folder`);
    const { size, sha256: hash } = (entry ?? {}) as Json;
    if (!isCount(size) || !/^[0-9a-f]{64}$/.test(String(hash)))
      throw corrupt(`must list ${quotedName(name)} with its size and SHA-256, not with ${quoted(entry)}`);
  }
  return files as Manifest;
}

/** Removes what a crash left unfinished. */
export async function removeTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => []))
    if (name.startsWith(TEMPORARY)) await rm(join(folder, name), { recursive: true, force: true });
}
