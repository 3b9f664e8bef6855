import { realpath } from 'node:fs/promises';
import { isAbsolute, relative } from 'node:path';
import { Policy } from '../../policy/policy.js';
import type { Batcher } from './batcher.js';
import { HttpError } from './http.js';

/** vLLM's development endpoints for weights, for folders inside `syncFolder` only. */
export class ServedWeights {
  #reloads = 0;
  /** The last requested reload. */
  #last: Promise<void> = Promise.resolve();
  readonly #closed = new AbortController();

  constructor(
    readonly batcher: Batcher,
    /** The served policy. Loading weights replaces it. */
    public policy: Policy,
    readonly syncFolder: string,
  ) {}

  /**
   * Replaces the served weights by those of a folder, between two batches. Folders load one after the other, so that
   * the last request wins.
   */
  reload(folder: unknown): Promise<void> {
    const done = this.#last.then(() => this.#reload(folder));
    this.#last = done.catch(() => {});
    return done;
  }

  /** Ends the requests in progress and disposes of the policy. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#last;
    this.policy.dispose();
  }

  async #reload(folder: unknown): Promise<void> {
    const path = await this.#inside(folder);
    const { signal } = this.#closed;
    const fresh = await Policy.load(path, { dtype: this.policy.dtype, signal }).catch((error) => {
      throw new HttpError(400, `cannot load ${path}: ${error.message}`);
    });
    const difference = differing(this.policy, fresh);
    if (difference) {
      fresh.dispose();
      throw new HttpError(400, `${path} must hold the served model with other weights, but it has ${difference}`);
    }
    const { batcher } = this;
    const running = !batcher.paused;
    await batcher.pause('wait');
    const old = this.policy;
    this.policy = fresh;
    batcher.policy = fresh;
    // A new name: nobody may take these weights for the old ones.
    batcher.version = `reload-${++this.#reloads}`;
    old.dispose();
    if (running) batcher.resume();
  }

  async #inside(folder: unknown): Promise<string> {
    if (typeof folder !== 'string')
      throw new HttpError(400, 'reload_weights needs kwargs.weights_path, a folder inside the sync folder');
    const path = await realpath(folder).catch(() => {
      throw new HttpError(400, `there is no folder ${folder}`);
    });
    const way = relative(await realpath(this.syncFolder), path);
    if (way === '..' || way.startsWith('../') || isAbsolute(way))
      throw new HttpError(403, `${folder} is not inside the folder of --sync-folder`);
    return path;
  }
}

/** The difference of two policies in what requests are checked against. */
export function differing(served: Policy, fresh: Policy): string | undefined {
  const shapes = ({ parameters }: Policy) => parameters.map(({ name, shape }) => `${name} [${shape}]`);
  const [before, after] = [shapes(served), shapes(fresh)];
  const i = before.findIndex((shape, k) => shape !== after[k]);
  if (i >= 0 || before.length !== after.length) return `${after[i] ?? 'nothing'} instead of ${before[i] ?? 'nothing'}`;
  const positions = ({ config }: Policy) => config.max_position_embeddings ?? 2048;
  if (positions(fresh) < positions(served)) return `${positions(fresh)} positions instead of ${positions(served)}`;
}
