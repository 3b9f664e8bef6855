import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { checkStrings, describe } from '../../base/options.js';
import { fetchFiles, type HubOptions, isRepoName, openRepoNotFolder } from '../../hub/repo.js';

export const FORMATS = ['jsonl', 'json', 'csv', 'tsv', 'parquet'] as const;
export type Format = (typeof FORMATS)[number];

export interface DataFile {
  path: string;
  format: Format;
}

/** Selects files of a folder or of a dataset of the hub, and sets the access to the hub. */
export interface SourceOptions extends Omit<HubOptions, 'onProgress'> {
  /** Which split. Default 'train'. */
  split?: string | undefined;
  /** Which of several datasets in a repository: a folder's name, or a part of the file names. */
  config?: string | undefined;
  /** Called with the progress of a download. */
  onDownload?: HubOptions['onProgress'] | undefined;
}
export const SOURCE_OPTIONS = ['split', 'config', 'onDownload', 'revision', 'token', 'cacheDir', 'signal'];

/** The format of a file, by its name. undefined: not a data file. */
export function formatOf(name: string): Format | undefined {
  const extension = extname(name).slice(1).toLowerCase();
  return FORMATS.find((format) => format === (extension === 'ndjson' ? 'jsonl' : extension));
}

/**
 * The files of the sources. Each source is a file, a folder, or a dataset of the hub ('owner/name',
 * 'owner/name@revision').
 */
export async function resolveSources(source: string | readonly string[], options: SourceOptions): Promise<DataFile[]> {
  if (typeof source !== 'string' && !Array.isArray(source))
    throw invalidArgument(`a dataset is a file, a folder or a dataset of the hub by its name, not ${describe(source)}`);
  const sources = checkStrings('the source of a dataset', typeof source === 'string' ? [source] : source);
  const files: DataFile[] = [];
  for (const each of sources) files.push(...(await resolveSource(each, options)));
  return files;
}

async function resolveSource(source: string, options: SourceOptions): Promise<DataFile[]> {
  const status = await stat(source).catch(() => undefined);
  if (status?.isFile()) {
    const format = formatOf(source);
    if (format) return [{ path: source, format }];
    const endings = FORMATS.map((each) => `.${each}`).join(', ');
    throw invalidArgument(`${source} is not a data file: its name must end in ${endings}`);
  }
  const asFiles = (folder: string, paths: string[]) =>
    paths.map((path) => ({ path: join(folder, path), format: formatOf(path)! }));
  if (status?.isDirectory())
    return asFiles(source, chooseFiles(await readdir(source, { recursive: true }), source, options));
  const [, name, revision] = /^([^@]*)(?:@(.*))?$/s.exec(source)!;
  if (!isRepoName(name) || formatOf(name))
    throw new PrlError(
      'ERR_PRL_NOT_FOUND',
      `there is no file or folder ${source}, and it is not the name of a dataset (owner/name) either`,
    );
  const { split: _, config: __, onDownload, ...access } = options;
  const repo = await openRepoNotFolder('dataset', name, { ...access, ...(revision !== undefined && { revision }) });
  const chosen = new Set(
    chooseFiles(
      repo.files.map(({ path }) => path),
      source,
      options,
    ),
  );
  const wanted = repo.files.filter(({ path }) => chosen.has(path));
  await fetchFiles(repo, wanted, onDownload);
  return asFiles(repo.folder, [...chosen]);
}

/** JSON files that hold no data. */
const NOT_DATA = /^(dataset_infos?|dataset_dict|state|config|package|tokenizer.*)\.json$/;

/**
 * Chooses the files of one split by the usual names: `train.jsonl`, `train-00000-of-00002.parquet`,
 * `main/train/0000.parquet`. If several datasets match, the error lists them.
 */
export function chooseFiles(
  paths: readonly string[],
  source: string,
  { split, config }: Pick<SourceOptions, 'split' | 'config'>,
): string[] {
  const data = paths
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => formatOf(path) && !NOT_DATA.test(basename(path)) && !/(^|\/)\./.test(path))
    .sort();
  const words = (path: string) => [...dirname(path).split('/'), ...basename(path, extname(path)).split(/[-_.]/)];
  const named = (path: string, word: string | undefined) =>
    word === undefined || words(path).includes(word) || basename(path, extname(path)).startsWith(`${word}-0`);
  const own = data.filter((path) => named(path, config));
  // A single file is taken whatever its name, unless a split was asked for.
  const found = own.length === 1 && split === undefined ? own : own.filter((path) => named(path, split ?? 'train'));
  const shown = (list: readonly string[]) => `${list.slice(0, 12).join(', ')}${list.length > 12 ? ' ...' : ''}`;
  if (found.length === 0)
    throw new PrlError(
      'ERR_PRL_NOT_FOUND',
      `${source} has no file of split '${split ?? 'train'}'${config === undefined ? '' : ` of config '${config}'`}: its data files are ${shown(data) || 'none'}`,
    );
  const series = new Set(found.map((path) => path.replace(/[-_/]?\d+(-of-\d+)?(?=\.[^./]+$)/, '')));
  if (series.size > 1)
    throw invalidArgument(
      `${source} has several datasets for split '${split ?? 'train'}': ${shown([...series])}. Choose one with config: a folder, or a part of the file names`,
    );
  return found;
}
