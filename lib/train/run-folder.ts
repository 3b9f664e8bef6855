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

/** A row of a log: numbers by name, `step` among them. */
export type Row = { step: number; [name: string]: number };
export const ROW: Shape = { '*': 'number or null' };

/**
 * The folder of a run:
 *
 *     config.json                  what was asked for
 *     base/                        the policy before training, which is also the frozen reference
 *     metrics.jsonl                one row per step
 *     samples.jsonl                one row per step: histograms, and responses of some steps
 *     checkpoints/step-000010/     weights, optimizer and the trainer's state, with a manifest
 *     non-finite/                  batches of the last steps whose update was not finite
 *     lock-PID-...                 the process that works here
 *
 * Whatever moment a process is killed at, the folder holds a whole checkpoint (or none yet) and all rows up to it. Where the disk
 * is full, read-only or gone, writing throws ERR_PRL_IO, and what was written before stays.
 */
export class RunFolder {
  readonly path: string;
  readonly #unlock: () => Promise<void>;
  /** What `path` was when it was opened. */
  readonly #identity: Stats;

  private constructor(path: string, identity: Stats, unlock: () => Promise<void>) {
    this.path = path;
    this.#identity = identity;
    this.#unlock = unlock;
  }

  /**
   * Takes hold of a folder. Without `resume` it must not hold a run; with it, a run is gone on with when there is one.
   * @throws PrlError ERR_PRL_BUSY when another process works in it
   */
  static async open(path: string, { resume = false } = {}): Promise<RunFolder> {
    const full = resolve(path);
    try {
      await makeFolder(join(full, 'checkpoints'));
    } catch (error) {
      throw writeError(full, error);
    }
    const unlock = await lockFolder(full);
    try {
      if (!resume && ['config.json', 'metrics.jsonl'].some((name) => existsSync(join(full, name))))
        throw new PrlError('ERR_PRL_IO', `${path} holds a run already: resume it, or choose another folder`);
      await removeTemporaries(join(full, 'checkpoints'));
      return new RunFolder(full, await stat(full), unlock);
    } catch (error) {
      await unlock();
      throw writeError(full, error);
    }
  }

  /** Lets another process work in the folder. */
  async close(): Promise<void> {
    await this.#unlock();
  }

  /** The path of a file in the folder. */
  file(name: string): string {
    return join(this.path, name);
  }

  /** What is written to another folder of the same name (a disk that was unmounted leaves one) would be lost. */
  async #checkThere(): Promise<void> {
    const now = await stat(this.path).catch(() => undefined);
    if (now?.ino !== this.#identity.ino || now.dev !== this.#identity.dev)
      throw new PrlError(
        'ERR_PRL_IO',
        `${this.path} is not the folder any more that this run works in: it was moved, deleted or unmounted. Where it is there again, resume it`,
      );
  }

  /** Writes a JSON file that is whole or as before, whenever the process ends. */
  async writeJson(name: string, value: unknown): Promise<void> {
    await this.#checkThere();
    await writeFileAtomic(this.file(name), `${JSON.stringify(value, null, 2)}\n`);
  }

  /** The contents of a JSON file; undefined when it is not there. */
  // biome-ignore lint/suspicious/noExplicitAny: each file has its own shape
  async readJson(name: string, shape?: Shape): Promise<any> {
    return readJsonFile(this.file(name), shape);
  }

  /** Writes a folder (such as 'base') that is whole or absent. */
  async writeFolder(name: string, fill: (folder: string) => Promise<void>): Promise<void> {
    await this.#checkThere();
    await writeFolderAtomic(this.file(name), fill);
  }

  /** The path of a whole folder; undefined when it is absent or damaged. */
  async wholeFolder(name: string): Promise<string | undefined> {
    return (await folderDamage(this.file(name))) === undefined ? this.file(name) : undefined;
  }

  /**
   * Saves a checkpoint of the course `kind` and drops the oldest ones. Rows of `logs` are made durable first: a checkpoint
   * promises that all rows up to its step are there.
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
    // Not the new one in any case: those of later steps, which were passed over for their damage, count as newer.
    const others = (await this.#checkpoints(kind)).filter(({ path }) => path !== this.file(join('checkpoints', name)));
    for (const old of others.slice(keep - 1))
      await this.writeBelow(relative(this.path, old.path), (path) => rm(path, { recursive: true, force: true }));
  }

  /** The newest checkpoint that is whole; damaged ones are passed over (and named to `onDamage`). */
  async latestCheckpoint(
    kind: string,
    onDamage: (message: string) => void = () => {},
  ): Promise<{ step: number; path: string } | undefined> {
    for (const checkpoint of await this.#checkpoints(kind)) {
      const damage = await folderDamage(checkpoint.path);
      if (damage === undefined) return checkpoint;
      onDamage(`passing over the checkpoint ${checkpoint.path}: ${damage}`);
    }
  }

  /** Whether there are any, whole or not. */
  async hasCheckpoints(kind: string): Promise<boolean> {
    return (await this.#checkpoints(kind)).length > 0;
  }

  /** Removes all checkpoints of the course `kind`. */
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

  /** @internal Writes a file or several below `name`, whole or not at all each; what `write` says is passed on. */
  async writeBelow<R>(name: string, write: (path: string) => Promise<R>): Promise<R> {
    await this.#checkThere();
    return write(this.file(name)).catch((error) => {
      throw writeError(this.file(name), error);
    });
  }

  /** Adds a row to a log (JSON Lines). It is durable when the next checkpoint is. */
  async append<R extends { step: number } = Row>(log: string, row: R): Promise<void> {
    await this.#checkThere();
    const file = this.file(log);
    await appendFile(file, `${JSON.stringify(row)}\n`).catch((error) => {
      throw writeError(file, error);
    });
  }

  /** Rows of a log of numbers. */
  async rows(log: string): Promise<Row[]> {
    return readRows(this.file(log), ROW);
  }

  /** Cuts a log back to the checkpoint that a run goes on from: one row per step, none of them after `lastStep`. */
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
 * The object in a JSON file of a run; undefined where there is no file.
 * @throws PrlError ERR_PRL_CORRUPT for what is none, or not of the shape that the caller counts on
 */
// biome-ignore lint/suspicious/noExplicitAny: each file has its own shape
export const readJsonFile = (file: string, shape: Shape = {}): Promise<any> =>
  readOptionalJson(file, { large: true, shape });

/**
 * Rows of a log, of a run that may be going on: a row that is torn or half-written ends it. None where there is no file.
 * @throws PrlError ERR_PRL_CORRUPT for a row that is not of the shape that the caller counts on
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
