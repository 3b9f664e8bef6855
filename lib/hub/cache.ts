// The cache that all clients of the hub share: models--owner--name/{blobs,refs,snapshots}.

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { makeFolder } from '../base/atomic.js';
import { PrlError } from '../base/errors.js';
import { isCount } from '../base/options.js';

export interface RepoFile {
  path: string;
  size: number;
  /**
   * Name in blobs/: the SHA-256 of a file in LFS, the git id of another file. Unknown for files that another client
   * cached.
   */
  blob?: string;
}

/** The folders of one repository. */
export interface RepoCache {
  folder: string;
  /** Lock of the process that works on it. */
  locks: string;
}

export const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision);

/** HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub. */
export function cacheFolder(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), 'hub');
}

export function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
}

export function repoCache(root: string, type: string, name: string): RepoCache {
  const own = `${type}s--${name.replaceAll('/', '--')}`;
  return { folder: join(root, own), locks: join(root, '.locks', own) };
}

export const snapshotFolder = (cache: RepoCache, commit: string) => join(cache.folder, 'snapshots', commit);
const refFile = (cache: RepoCache, revision: string) => join(cache.folder, 'refs', revision);
/** Beside the standard layout, like .no_exist of other clients. */
const listingFile = (cache: RepoCache, commit: string) => join(cache.folder, '.listings', `${commit}.json`);

/** The commit of `revision` when the hub was last asked. */
export async function cachedCommit(cache: RepoCache, revision: string): Promise<string | undefined> {
  if (isCommit(revision)) return existsSync(snapshotFolder(cache, revision)) ? revision : undefined;
  const text = await readFile(refFile(cache, revision), 'utf8').catch(() => '');
  return isCommit(text.trim()) ? text.trim() : undefined;
}

export async function cacheCommit(cache: RepoCache, revision: string, commit: string): Promise<void> {
  if (!isCommit(revision) && (await cachedCommit(cache, revision)) !== commit)
    await replaceFile(refFile(cache, revision), commit);
}

/** All files of a commit, as the hub listed them; otherwise the files that another client put in its snapshot. */
export async function cachedListing(cache: RepoCache, commit: string): Promise<RepoFile[] | undefined> {
  try {
    return checkedListing(JSON.parse(await readFile(listingFile(cache, commit), 'utf8')));
  } catch {
    return undefined;
  }
}

export const cacheListing = (cache: RepoCache, commit: string, files: readonly RepoFile[]) =>
  replaceFile(listingFile(cache, commit), `${JSON.stringify(files)}\n`);

export async function listSnapshot(cache: RepoCache, commit: string): Promise<RepoFile[]> {
  const folder = snapshotFolder(cache, commit);
  const files: RepoFile[] = [];
  for (const path of await readdir(folder, { recursive: true }).catch(() => [])) {
    const status = await stat(join(folder, path)).catch(() => undefined);
    if (status?.isFile()) files.push({ path, size: status.size });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Checks a hub's list of files. Names that lead out of the folder are refused. */
export function checkedListing(files: unknown): RepoFile[] {
  if (!Array.isArray(files)) throw new PrlError('ERR_PRL_HTTP', 'the hub must answer with a list of files');
  return files.map(({ path, size, blob }) => {
    if (typeof path !== 'string' || !isInside(path))
      throw new PrlError('ERR_PRL_HTTP', `the hub lists a file named ${JSON.stringify(path)}, which is refused`);
    if (!isCount(size)) throw new PrlError('ERR_PRL_HTTP', `the hub says that ${path} has ${size} bytes`);
    if (typeof blob !== 'string' || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(blob))
      throw new PrlError('ERR_PRL_HTTP', `the hub says that ${path} has the hash ${JSON.stringify(blob)}`);
    return { path, size, blob };
  });
}

/** Whether a relative path stays inside its folder, on any system. */
export const isInside = (path: string) =>
  !/[\\\0:]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

/** Whether the snapshot has the whole file. */
export async function isCached(cache: RepoCache, commit: string, file: RepoFile): Promise<boolean> {
  const status = await stat(join(snapshotFolder(cache, commit), file.path)).catch(() => undefined);
  return status?.isFile() === true && status.size === file.size;
}

/** Gives a blob its name in the snapshot. */
export async function linkBlob(cache: RepoCache, commit: string, path: string, blob: string): Promise<void> {
  const link = join(snapshotFolder(cache, commit), path);
  await makeFolder(dirname(link));
  const temporary = `${link}.${randomUUID().slice(0, 8)}.tmp`;
  await symlink(relative(dirname(link), blob), temporary);
  await rename(temporary, link);
}

/** Saves a note for the next time. A cache that others filled, and that cannot be written, works without it. */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    await makeFolder(dirname(path));
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    if (!['EROFS', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
