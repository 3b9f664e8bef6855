import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { invalidArgument, PrlError } from '../base/errors.js';
import { readJson } from '../base/json.js';
import { checkChoice, checkFunction, checkOptions } from '../base/options.js';
import {
  fetchFiles,
  HUB_OPTIONS,
  type HubOptions,
  isRepoName,
  openRepo,
  openRepoNotFolder,
  type Repo,
} from './repo.js';

export type { DownloadProgress, HubOptions } from './repo.js';

const TOKENIZER_FILE =
  /^(tokenizer[^/]*\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.(jinja|json)|generation_config\.json|config\.json)$/;
const WEIGHTS = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/** Options of {@link downloadFiles}. */
export interface DownloadOptions extends HubOptions {
  /** Kind of repository. Default 'model'. */
  type?: 'model' | 'dataset' | undefined;
  /** Selects the wanted files by their path. */
  match: (path: string) => boolean;
}

/** Result of {@link downloadFiles}. */
export interface Downloaded {
  /** The snapshot: a folder with the repository's file names. */
  folder: string;
  /** The commit of the revision. */
  commit: string;
  /** Paths in the folder, in the order of the repository. */
  files: string[];
}

/**
 * Downloads files of a repository of the hub into the cache that all its clients share.
 *
 * @throws PrlError ERR_PRL_NOT_FOUND (no such repository or revision, or no file that matches), ERR_PRL_ACCESS
 *   (private, or a licence to accept), ERR_PRL_OFFLINE, ERR_PRL_TIMEOUT, ERR_PRL_HTTP, ERR_PRL_CORRUPT (contents
 *   without the listed hash), ERR_PRL_IO (the disk), ERR_PRL_ABORTED
 */
export async function downloadFiles(repo: string, options: DownloadOptions): Promise<Downloaded> {
  options = checkOptions('downloadFiles', options, [...HUB_OPTIONS, 'type', 'match']);
  const type = checkChoice('type', options.type ?? 'model', ['model', 'dataset']);
  checkFunction('match', options.match, 'a function of a path');
  const opened = await openRepo(type, repo, options);
  const files = await want(opened, options.match, options);
  if (files.length === 0)
    throw new PrlError('ERR_PRL_NOT_FOUND', `the ${opened.hub.what} has no file that matches${whatItHas(opened)}`);
  return { folder: opened.folder, commit: opened.commit, files };
}

/**
 * Returns the folder of a model. If `idOrFolder` is a folder, that is the result. Otherwise it is the id of a model of
 * the hub ('owner/name' or 'owner/name@revision'), which is downloaded into the cache if needed: configuration,
 * tokenizer and safetensors, nothing else.
 *
 * @throws PrlError as downloadFiles
 */
export async function resolveModel(idOrFolder: string, options: HubOptions = {}): Promise<string> {
  options = checkOptions('resolveModel', options, HUB_OPTIONS);
  const repo = await openModel(idOrFolder, options);
  if (typeof repo === 'string') return repo;
  const has = (name: string) => repo.files.some(({ path }) => path === name);
  const sharded = !has(WEIGHTS) && has(INDEX);
  if (!sharded && !has(WEIGHTS))
    throw new PrlError(
      'ERR_PRL_NOT_FOUND',
      `the ${repo.hub.what} has neither ${WEIGHTS} nor ${INDEX}${whatItHas(repo)}`,
    );
  // The index comes first because it names the shards. One progress for all would need their sizes before it is read.
  await want(repo, (path) => TOKENIZER_FILE.test(path) || (sharded && path === INDEX), {});
  const weights = sharded ? await shards(repo) : new Set([WEIGHTS]);
  const absent = [...weights].filter((name) => !has(name));
  if (absent.length > 0)
    throw new PrlError(
      repo.online ? 'ERR_PRL_CORRUPT' : 'ERR_PRL_OFFLINE',
      `the ${repo.hub.what} lacks ${absent.join(', ')}, which its index names${repo.online ? '' : ', in the cache'}`,
    );
  await want(repo, (path) => weights.has(path), options);
  return repo.folder;
}

/** Same as resolveModel, but downloads only the tokenizer's files, not the weights. */
export async function resolveTokenizer(idOrFolder: string, options: HubOptions = {}): Promise<string> {
  options = checkOptions('resolveTokenizer', options, HUB_OPTIONS);
  const repo = await openModel(idOrFolder, options);
  if (typeof repo === 'string') return repo;
  await want(repo, (path) => TOKENIZER_FILE.test(path), options);
  return repo.folder;
}

async function openModel(idOrFolder: string, options: HubOptions): Promise<Repo | string> {
  if (typeof idOrFolder !== 'string' || idOrFolder === '')
    throw invalidArgument(
      `a model is a folder or an id such as Qwen/Qwen2.5-Math-1.5B, not ${JSON.stringify(idOrFolder)}`,
    );
  const status = await stat(idOrFolder).catch(() => undefined);
  if (status?.isDirectory()) return idOrFolder;
  const [, name, revision] = /^([^@]*)(?:@(.*))?$/s.exec(idOrFolder)!;
  if (status) throw new PrlError('ERR_PRL_IO', `${idOrFolder} is a file, not the folder of a model`);
  if (!isRepoName(name)) {
    const path = /^[./~]/.test(idOrFolder) || idOrFolder.split('/').length > 2;
    const hint = path ? '' : ', nor is it an id such as Qwen/Qwen2.5-Math-1.5B';
    throw new PrlError('ERR_PRL_IO', `there is no folder ${idOrFolder}${hint}`);
  }
  if (revision !== undefined && options.revision !== undefined && revision !== options.revision)
    throw invalidArgument(
      `the revision option must agree with ${idOrFolder}, but it is ${options.revision}: leave one of them out`,
    );
  return openRepoNotFolder('model', name, revision === undefined ? options : { ...options, revision });
}

async function want(repo: Repo, match: (path: string) => boolean, { onProgress }: HubOptions): Promise<string[]> {
  const wanted = repo.files.filter(({ path }) => match(path));
  await fetchFiles(repo, wanted, onProgress);
  return wanted.map(({ path }) => path);
}

async function shards(repo: Repo): Promise<Set<string>> {
  const { weight_map } = await readJson(join(repo.folder, INDEX));
  const names = new Set(Object.values((weight_map ?? {}) as Record<string, unknown>));
  for (const name of names)
    if (typeof name !== 'string' || basename(name) !== name || !name.endsWith('.safetensors'))
      throw new PrlError('ERR_PRL_CORRUPT', `${INDEX} of the ${repo.hub.what} names the file ${JSON.stringify(name)}`);
  if (names.size === 0) throw new PrlError('ERR_PRL_CORRUPT', `${INDEX} of the ${repo.hub.what} names no file`);
  return names as Set<string>;
}

function whatItHas({ files, online }: Repo): string {
  const names = files.slice(0, 20).map(({ path }) => path);
  return `; ${online ? 'it' : 'the cache'} has ${names.join(', ') || 'no files'}${files.length > 20 ? ' ...' : ''}`;
}
