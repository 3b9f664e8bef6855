// A repository of the hub at one commit: its files, and the wanted ones of them on the disk.
import { readFile, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFolder } from '../base/atomic.js';
import { mapConcurrently } from '../base/concurrency.js';
import { invalidArgument, PrlError } from '../base/errors.js';
import { lockFolder } from '../base/lock.js';
import { downloadBlob } from './blob.js';
import {
  cacheCommit,
  cachedCommit,
  cachedListing,
  cacheFolder,
  cacheListing,
  checkedListing,
  hubHome,
  isCached,
  isCommit,
  isInside,
  linkBlob,
  listSnapshot,
  type RepoCache,
  type RepoFile,
  repoCache,
  snapshotFolder,
} from './cache.js';
import { type HubAccess, hubFetch } from './request.js';

/** Progress of a download. */
export interface DownloadProgress {
  /** The file that just received bytes. */
  file: string;
  /** Bytes on the disk, of all wanted files. */
  bytes: number;
  /** Size of all wanted files in bytes. */
  totalBytes: number;
}

/** Options for access to the hub: which revision, which token, which cache. */
export interface HubOptions {
  /** Branch, tag or commit. Default: main. */
  revision?: string | undefined;
  /** Default: HF_TOKEN, or what `hf auth login` stored. */
  token?: string | undefined;
  /** Default: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub. */
  cacheDir?: string | undefined;
  /** Called while files arrive; never if all are in the cache. */
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Stops the download (ERR_PRL_ABORTED). The bytes that came stay, and a later call resumes. */
  signal?: AbortSignal | undefined;
}
export const HUB_OPTIONS = ['revision', 'token', 'cacheDir', 'onProgress', 'signal'];

export interface Repo {
  type: 'model' | 'dataset';
  name: string;
  commit: string;
  /** The snapshot. */
  folder: string;
  files: RepoFile[];
  /** False if the hub was not asked or did not answer. Then only the cache can be used. */
  online: boolean;
  cache: RepoCache;
  hub: HubAccess;
}

/** Files downloaded at once. The hub's own clients take 8. */
const FILES_AT_ONCE = 4;
const STALL_SECONDS = 30;
const RETRIES = 5;
/** Longest listing that is accepted. */
const MAX_FILES = 100_000;

export const isRepoName = (name: string) => /^[\w][\w.-]{0,95}\/[\w][\w.-]{0,95}$/.test(name) && !/--|\.\./.test(name);

const isOffline = () => /^(1|on|yes|true)$/i.test(process.env.HF_HUB_OFFLINE ?? '');

/**
 * Calls openRepo for a name that could have been meant as a folder. Its errors say that there is no such folder.
 */
export async function openRepoNotFolder(type: 'model' | 'dataset', name: string, options: HubOptions): Promise<Repo> {
  try {
    return await openRepo(type, name, options);
  } catch (error) {
    const { code, message } = error as PrlError;
    if (!['ERR_PRL_NOT_FOUND', 'ERR_PRL_ACCESS', 'ERR_PRL_OFFLINE', 'ERR_PRL_TIMEOUT'].includes(code)) throw error;
    throw new PrlError(code, `there is no folder ${name} here, and as a ${type} of the hub: ${message}`, {
      cause: error,
    });
  }
}

/** Lists the files of the repository: as the hub does, or as the cache does if the hub cannot be reached. */
export async function openRepo(type: 'model' | 'dataset', name: string, options: HubOptions): Promise<Repo> {
  if (!isRepoName(name))
    throw invalidArgument(`the name of a repository must look like owner/name, not ${JSON.stringify(name)}`);
  const { revision = 'main' } = options;
  if (typeof revision !== 'string' || !isInside(revision))
    throw invalidArgument(`the revision must be a branch, tag or commit, not ${JSON.stringify(revision)}`);
  const cache = repoCache(options.cacheDir ?? cacheFolder(), type, name);
  const hub = await hubAccess(type, name, options);
  const base = { type, name, cache, hub };

  const known = await cachedCommit(cache, revision);
  const cached = known && {
    ...base,
    commit: known,
    folder: snapshotFolder(cache, known),
    files: (await cachedListing(cache, known)) ?? (await listSnapshot(cache, known)),
  };
  if (isOffline()) {
    if (cached) return { ...cached, online: false };
    throw new PrlError(
      'ERR_PRL_OFFLINE',
      `HF_HUB_OFFLINE is set and ${cache.folder} does not hold its revision '${revision}'`,
    );
  }
  try {
    // Without a network the user wants to know soon, above all if there is a cached copy.
    const asked = { ...hub, retries: cached ? 1 : 2 };
    // A commit never changes.
    const commit = isCommit(revision) ? revision : await askCommit(type, name, revision, asked);
    const files = (await cachedListing(cache, commit)) ?? (await askListing(type, name, commit, asked, cache));
    await cacheCommit(cache, revision, commit);
    return { ...base, commit, folder: snapshotFolder(cache, commit), files, online: true };
  } catch (error) {
    const { code, message } = error as PrlError;
    if (!cached || !['ERR_PRL_OFFLINE', 'ERR_PRL_TIMEOUT', 'ERR_PRL_HTTP'].includes(code)) throw diskError(error, hub);
    process.emitWarning(
      `${message}: using the cached ${hub.what} of commit ${cached.commit.slice(0, 8)}`,
      'PrlWarning',
    );
    return { ...cached, online: false };
  }
}

async function hubAccess(type: string, name: string, { token, signal }: HubOptions): Promise<HubAccess> {
  const endpoint = (process.env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint))
    throw invalidArgument(`HF_ENDPOINT must be an address such as https://huggingface.co, not '${endpoint}'`);
  const stored = process.env.HF_TOKEN_PATH || join(hubHome(), 'token');
  const found = token ?? process.env.HF_TOKEN ?? (await readFile(stored, 'utf8').catch(() => ''));
  return {
    endpoint,
    token: found.trim() || undefined,
    stall: 1000 * (Number(process.env.HF_HUB_DOWNLOAD_TIMEOUT) || STALL_SECONDS),
    retries: RETRIES,
    signal,
    what: `${type} ${name}`,
    page: `${endpoint}/${type === 'model' ? '' : `${type}s/`}${name}`,
  };
}

/** Options of @huggingface/hub. Our fetch adds the token: theirs would refuse one that does not begin with 'hf_'. */
const client = (hub: HubAccess) => ({ hubUrl: hub.endpoint, fetch: hubFetch(hub) });

async function askCommit(type: string, name: string, revision: string, hub: HubAccess): Promise<string> {
  const { datasetInfo, modelInfo } = await import('@huggingface/hub');
  const params = { name, revision, additionalFields: ['sha' as const], ...client(hub) };
  const { sha } = await (type === 'model' ? modelInfo(params) : datasetInfo(params)).catch(notTheHub(hub));
  if (typeof sha !== 'string' || !isCommit(sha))
    throw new PrlError(
      'ERR_PRL_HTTP',
      `${hub.endpoint} must name a commit of the ${hub.what}, not ${JSON.stringify(sha)}`,
    );
  return sha;
}

async function askListing(type: 'model' | 'dataset', name: string, commit: string, hub: HubAccess, cache: RepoCache) {
  const { listFiles } = await import('@huggingface/hub');
  const files: unknown[] = [];
  let entries = 0;
  try {
    for await (const entry of listFiles({ repo: { type, name }, recursive: true, revision: commit, ...client(hub) })) {
      // Folders count too, so that a listing must end.
      if (++entries > MAX_FILES)
        throw new PrlError('ERR_PRL_UNSUPPORTED', `the ${hub.what} has more than ${MAX_FILES} files`);
      if (entry.type !== 'file') continue;
      files.push({ path: entry.path, size: entry.lfs?.size ?? entry.size, blob: entry.lfs?.oid ?? entry.oid });
    }
  } catch (error) {
    notTheHub(hub)(error);
  }
  const listing = checkedListing(files);
  await cacheListing(cache, commit, listing);
  return listing;
}

/** Turns the failure of @huggingface/hub on an unexpected answer into ours. */
const notTheHub =
  (hub: HubAccess) =>
  (cause: unknown): never => {
    if (cause instanceof PrlError || (cause as { code?: string }).code !== undefined) throw cause;
    const why = (cause as Error).message;
    throw new PrlError('ERR_PRL_HTTP', `${hub.endpoint} does not answer as the hub does: ${why}`, { cause });
  };

/** Brings the wanted files of the repository onto the disk. Files that are there cost nothing. */
export async function fetchFiles(
  repo: Repo,
  wanted: readonly RepoFile[],
  onProgress?: HubOptions['onProgress'],
): Promise<void> {
  const missing = async () => {
    const there = await Promise.all(wanted.map((file) => isCached(repo.cache, repo.commit, file)));
    return wanted.filter((_, i) => !there[i]);
  };
  if ((await missing()).length === 0) return;
  if (!repo.online || wanted.some((file) => !file.blob)) {
    const names = (await missing()).map(({ path }) => path).join(', ');
    throw new PrlError(
      'ERR_PRL_OFFLINE',
      `the cache lacks ${names} of the ${repo.hub.what}, and the hub cannot be reached`,
    );
  }
  try {
    await makeFolder(join(repo.cache.folder, 'blobs'));
    await makeFolder(repo.cache.locks);
    const unlock = await waitForLock(repo);
    try {
      await downloadAll(repo, wanted, await missing(), onProgress);
    } finally {
      await unlock();
    }
  } catch (error) {
    throw diskError(error, repo.hub);
  }
}

/** One process downloads a repository. Others wait for it and then use its files. */
async function waitForLock(repo: Repo): Promise<() => Promise<void>> {
  for (let said = false; ; said = true) {
    try {
      return await lockFolder(repo.cache.locks);
    } catch (error) {
      if ((error as PrlError).code !== 'ERR_PRL_BUSY') throw error;
      if (!said) process.emitWarning(`waiting for the ${repo.hub.what}: ${(error as Error).message}`, 'PrlWarning');
    }
    const { signal } = repo.hub;
    await sleep(500, undefined, { signal }).catch(() => {
      throw new PrlError('ERR_PRL_ABORTED', `waiting for the ${repo.hub.what} was aborted`, { cause: signal?.reason });
    });
  }
}

async function downloadAll(
  repo: Repo,
  wanted: readonly RepoFile[],
  missing: readonly RepoFile[],
  onProgress: HubOptions['onProgress'],
): Promise<void> {
  const sum = (files: readonly RepoFile[]) => files.reduce((total, { size }) => total + size, 0);
  const totalBytes = sum(wanted);
  let bytes = totalBytes - sum(missing);
  const blobs = join(repo.cache.folder, 'blobs');
  await checkSpace(blobs, missing, repo.hub);
  // Files with the same contents share a blob. It must not be written twice at once.
  const byBlob = new Map<string, RepoFile[]>();
  for (const file of missing) byBlob.set(file.blob!, [...(byBlob.get(file.blob!) ?? []), file]);
  await mapConcurrently(
    [...byBlob],
    FILES_AT_ONCE,
    async ([blob, files], signal) => {
      const [{ path, size }] = files;
      const target = join(blobs, blob);
      const before = await stat(target).catch(() => undefined);
      if (before?.size !== size) {
        let had = 0;
        const url = `${repo.hub.page}/resolve/${repo.commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
        await downloadBlob(url, target, size, { ...repo.hub, signal }, (position) => {
          bytes += position - had;
          had = position;
          onProgress?.({ file: path, bytes, totalBytes });
        });
        bytes += sum(files.slice(1));
      } else bytes += sum(files);
      for (const file of files) await linkBlob(repo.cache, repo.commit, file.path, target);
      onProgress?.({ file: path, bytes, totalBytes });
    },
    repo.hub.signal,
  );
}

/** Fails at once if the disk has too little space. */
async function checkSpace(blobs: string, missing: readonly RepoFile[], hub: HubAccess): Promise<void> {
  let needed = 0;
  for (const { blob, size } of missing) {
    const partial = await stat(join(blobs, `${blob}.prl.incomplete`)).catch(() => undefined);
    needed += Math.max(0, size - (partial?.size ?? 0));
  }
  const { bavail, bsize } = await statfs(blobs);
  if (needed > bavail * bsize) {
    const gigabytes = (n: number) => (n / 1e9).toFixed(2);
    throw new PrlError(
      'ERR_PRL_IO',
      `the ${hub.what} needs ${gigabytes(needed)} GB more in ${blobs}, where ${gigabytes(bavail * bsize)} GB are free. Make room, or set HF_HOME to another disk`,
    );
  }
}

/** Turns an error of the file system into one of ours. */
function diskError(error: unknown, hub: HubAccess): unknown {
  const { code, message, path } = error as NodeJS.ErrnoException;
  if (code === 'ERR_PRL_IO' && message.startsWith('cannot write '))
    return new PrlError('ERR_PRL_IO', `cannot store the ${hub.what}: ${message}`, { cause: error });
  if (error instanceof PrlError || typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return error;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const advice = full ? 'the disk is full (free some space; the next attempt resumes the download): ' : '';
  return new PrlError('ERR_PRL_IO', `cannot store the ${hub.what}${path ? ` in ${path}` : ''}: ${advice}${message}`, {
    cause: error,
  });
}
