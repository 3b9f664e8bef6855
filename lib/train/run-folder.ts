import { existsSync, type Stats } from 'node:fs';
import { appendFile, open, readdir, rm, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import {
  folderDamage,
  makeFolder,
  removeTemporaries,
  writeError,
  writeFileAtomic,
  writeFolderAtomic,
} from '../base/atomic.js';
import { PrlError } from '../base/errors.js';
import { isShallow, readOptionalJson, type Shape, shapeMismatch } from '../base/json.js';
import { corruptLine, readJsonLines } from '../base/lines.js';
import { lockFolder } from '../base/lock.js';
import { isCount } from '../base/options.js';

/** A row of a log: numbers by name, including `step`. */
export type Row = { step: number; [name: string]: number };
export const ROW: Shape = { '*': 'number or null' };

/**
 * The folder of a run:
 *
 *     config.json                  the options of the run
 *     base/                        the policy before training, which is also the frozen reference
 *     metrics.jsonl                one row per step
 *     samples.jsonl                one row per step: histograms, and responses of some steps
 *     checkpoints/step-000010/     weights, optimizer and the trainer's state, with a manifest
 *     non-finite/                  batches of the last steps whose update was not finite
 *     lock-PID-...                 the process that uses the folder
 *
 * A process may be killed at any moment: the folder holds a whole checkpoint (or none yet) and all rows up to it. If
 * the disk is full, read-only or gone, writing throws ERR_PRL_IO, and earlier files stay as they were.
 */
export class RunFolder {
  readonly path: string;
  readonly #unlock: () => Promise<void>;
  /** Inode and device of `path` when it was opened. */
  readonly #identity: Stats;

  private constructor(path: string, identity: Stats, unlock: () => Promise<void>) {
    this.path = path;
    this.#identity = identity;
    this.#unlock = unlock;
  }

  /**
   * Opens and locks a folder. Without `resume` it must not hold a run. With it, an existing run is resumed.
   *
   * @throws PrlError ERR_PRL_BUSY if another process uses the folder
   */
  static async open(
    path: string,
    {
      resume = false,
    }: {
      /** Open the run that is there. Default false: the folder must hold none. */
      resume?: boolean;
    } = {},
  ): Promise<RunFolder> {
    const full = resolve(path);
    await makeFolder(join(full, 'checkpoints'));
    const unlock = await lockFolder(full);
    try {
      if (!resume && ['config.json', 'metrics.jsonl'].some((name) => existsSync(join(full, name))))
        throw new PrlError('ERR_PRL_IO', `${path} already holds a run: resume it, or choose another folder`);
      await removeTemporaries(join(full, 'checkpoints'));
      return new RunFolder(full, await stat(full), unlock);
    } catch (error) {
      await unlock();
      throw writeError(full, error);
    }
  }

  /** Unlocks the folder for other processes. */
  async close(): Promise<void> {
    await this.#unlock();
  }

  /** The path of a file in the folder. */
  file(name: string): string {
    return join(this.path, name);
  }

  /**
   * Throws if `path` is another folder now, such as the mount point of an unmounted disk. Files written there would be
   * lost.
   */
  async #checkThere(): Promise<void> {
    const now = await stat(this.path).catch(() => undefined);
    if (now?.ino !== this.#identity.ino || now.dev !== this.#identity.dev)
      throw new PrlError(
        'ERR_PRL_IO',
        `${this.path} is no longer the folder of this run: it was moved, deleted or unmounted. Put it back, then resume the run`,
      );
  }

  /** Writes a JSON file atomically: after a crash it is new or as before. */
  async writeJson(name: string, value: unknown): Promise<void> {
    await this.#checkThere();
    await writeFileAtomic(this.file(name), `${JSON.stringify(value, null, 2)}\n`);
  }

  /** The contents of a JSON file; undefined if it does not exist. */
  // biome-ignore lint/suspicious/noExplicitAny: each file has its own shape
  async readJson(name: string, shape?: Shape): Promise<any> {
    return readJsonFile(this.file(name), shape);
  }

  /** Writes a folder (such as 'base') atomically: it is whole or absent. */
  async writeFolder(name: string, fill: (folder: string) => Promise<void>): Promise<void> {
    await this.#checkThere();
    await writeFolderAtomic(this.file(name), fill);
  }

  /** The path of a whole folder; undefined if it is absent or damaged. */
  async wholeFolder(name: string): Promise<string | undefined> {
    return (await folderDamage(this.file(name))) === undefined ? this.file(name) : undefined;
  }

  /**
   * Saves a checkpoint of kind `kind` and removes the oldest ones. It syncs `logs` to the disk first: a checkpoint
   * promises that all rows up to its step exist.
   */
  async writeCheckpoint(
    kind: string,
    step: number,
    logs: readonly string[],
    keep: number,
    fill: (folder: string) => Promise<void>,
  ): Promise<void> {
    await this.#checkThere();
    for (const log of logs)
      await this.writeBelow(log, async (path) => {
        const handle = await open(path, 'a');
        await handle.sync().finally(() => handle.close());
      });
    const name = `${kind}-${String(step).padStart(6, '0')}`;
    await this.writeFolder(join('checkpoints', name), fill);
    // The new one always stays. Damaged checkpoints of later steps, which were skipped, would count as newer.
    const others = (await this.#checkpoints(kind)).filter(({ path }) => path !== this.file(join('checkpoints', name)));
    for (const old of others.slice(keep - 1))
      await this.writeBelow(relative(this.path, old.path), (path) => rm(path, { recursive: true, force: true }));
  }

  /** The newest whole checkpoint. Damaged ones are skipped and reported to `onDamage`. */
  async latestCheckpoint(
    kind: string,
    onDamage: (message: string) => void = () => {},
  ): Promise<{ step: number; path: string } | undefined> {
    for (const checkpoint of await this.#checkpoints(kind)) {
      const damage = await folderDamage(checkpoint.path);
      if (damage === undefined) return checkpoint;
      onDamage(`skipping the damaged checkpoint ${checkpoint.path}: ${damage}`);
    }
  }

  /** Whether there are checkpoints of a kind, whole or not. */
  async hasCheckpoints(kind: string): Promise<boolean> {
    return (await this.#checkpoints(kind)).length > 0;
  }

  /** Removes all checkpoints of a kind. */
  async removeCheckpoints(kind: string): Promise<void> {
    for (const { path } of await this.#checkpoints(kind)) await rm(path, { recursive: true, force: true });
  }

  /** Checkpoints of a kind, newest first. */
  async #checkpoints(kind: string): Promise<{ step: number; path: string }[]> {
    const found = (await readdir(this.file('checkpoints')))
      .map((name) => ({ name, match: /^(.+)-(\d{6,})$/.exec(name) }))
      .filter(({ match }) => match?.[1] === kind)
      .map(({ name, match }) => ({ step: Number(match![2]), path: join(this.path, 'checkpoints', name) }));
    return found.sort((a, b) => b.step - a.step);
  }

  /** @internal Calls `write` with the path of `name`, and returns its result. Its file errors become ERR_PRL_IO. */
  async writeBelow<R>(name: string, write: (path: string) => Promise<R>): Promise<R> {
    await this.#checkThere();
    return write(this.file(name)).catch((error) => {
      throw writeError(this.file(name), error);
    });
  }

  /** Adds a row to a log (JSON Lines). The next checkpoint makes it durable. */
  async append<R extends { step: number } = Row>(log: string, row: R): Promise<void> {
    await this.#checkThere();
    const file = this.file(log);
    await appendFile(file, `${JSON.stringify(row)}\n`).catch((error) => {
      throw writeError(file, error);
    });
  }

  /** Reads the rows of a log of numbers. */
  async rows(log: string): Promise<Row[]> {
    return readRows(this.file(log), ROW);
  }

  /** Cuts a log back to the checkpoint to resume from: one row per step, none after `lastStep`. */
  async truncate(log: string, lastStep: number): Promise<Row[]> {
    const byStep = new Map<number, Row>();
    for (const row of await readRows(this.file(log)))
      if (row.step <= lastStep && !byStep.has(row.step)) byStep.set(row.step, row);
    const rows = [...byStep.values()];
    await this.#checkThere();
    await writeFileAtomic(this.file(log), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    return rows;
  }
}

/**
 * Reads the object in a JSON file of a run; undefined if the file does not exist.
 *
 * @throws PrlError ERR_PRL_CORRUPT if it is not an object of this shape
 */
// biome-ignore lint/suspicious/noExplicitAny: each file has its own shape
export const readJsonFile = (file: string, shape: Shape = {}): Promise<any> =>
  readOptionalJson(file, { large: true, shape });

/**
 * Reads the rows of a log. The run may still be writing: a half-written row ends the log. A missing file has no rows.
 *
 * @throws PrlError ERR_PRL_CORRUPT for a row of another shape
 */
export async function readRows<R extends { step: number } = Row>(file: string, shape: Shape = {}): Promise<R[]> {
  if (!existsSync(file)) return [];
  const rows: R[] = [];
  for await (const line of readJsonLines(file)) {
    if ('error' in line || !isShallow(line.value)) break;
    const row = line.value as R;
    if (!isCount(row?.step) || row.step < 1) break;
    const mismatch = shapeMismatch(row, shape);
    if (mismatch) throw corruptLine(file, line.number, mismatch);
    rows.push(row);
  }
  return rows;
}
