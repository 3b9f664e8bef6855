// The weights that clients sample from: the base model, copies in memory, and saved states, which are loaded when they
// are needed. A bounded number is in memory: the ones that were used last.
import { randomUUID } from 'node:crypto';
import { outOfRange } from '../../../base/errors.js';
import type { Policy } from '../../../policy/policy.js';
import { HttpError } from '../http.js';
import { Sampler } from './sampler.js';
import type { States } from './states.js';

/** Where a sampling session's weights are from. */
interface Source {
  session: string;
  /** Address of a saved state, or the key of a copy in memory. Absent: the base model. */
  key?: string;
}

/** Sampling sessions that are remembered, and requests of theirs. */
const MOST_SESSIONS = 4096;

export class Samplers {
  readonly base: Sampler;
  readonly #sources = new Map<string, Source>();
  /** In the order of their last use. */
  readonly #loaded = new Map<string, Promise<Sampler>>();

  constructor(
    readonly states: States,
    /** Most samplers in memory, besides the base. */
    readonly most: number,
  ) {
    this.base = new Sampler(states.base, states.tokenizer);
  }

  /** A sampling session of the base model, or of a saved state. @returns its id */
  open(session: string, address?: string): string {
    return this.#remember({ session, key: address });
  }

  /** A sampling session of these weights, which are then the sampler's. @returns its id */
  keep(session: string, policy: Policy): string {
    const key = randomUUID();
    this.#add(key, Promise.resolve(new Sampler(policy, this.states.tokenizer)));
    return this.#remember({ session, key });
  }

  source(id: string): Source {
    const source = this.#sources.get(id);
    if (!source) throw new HttpError(404, 'there is no such sampling session');
    return source;
  }

  /** The sampler of a sampling session. @throws RangeError if its weights are no longer in memory */
  ofSession(id: string): Promise<Sampler> {
    const { key } = this.source(id);
    return key === undefined ? Promise.resolve(this.base) : this.get(key);
  }

  /** The sampler of a saved state, or of a copy in memory. */
  get(key: string): Promise<Sampler> {
    const loaded = this.#loaded.get(key);
    if (loaded) {
      this.#loaded.delete(key);
      this.#loaded.set(key, loaded);
      return loaded;
    }
    if (!key.startsWith('tinker:'))
      throw outOfRange(
        `the weights of this sampling session are gone: the server keeps those of ${this.most} (--max-samplers). Save weights by a name to keep them on disk`,
      );
    const loading = this.states
      .load(key, { optimizer: false })
      .then((policy) => new Sampler(policy, this.states.tokenizer));
    loading.catch(() => this.#loaded.delete(key));
    return this.#add(key, loading);
  }

  /** Frees what only this session uses. */
  close(session: string): void {
    for (const [id, source] of this.#sources) {
      if (source.session !== session) continue;
      this.#sources.delete(id);
      if (source.key !== undefined && !source.key.startsWith('tinker:')) this.#drop(source.key);
    }
  }

  dispose(): void {
    for (const key of this.#loaded.keys()) this.#drop(key);
    this.base.dispose();
  }

  #remember(source: Source): string {
    const id = `${source.session}:sample:${randomUUID()}`;
    this.#sources.set(id, source);
    if (this.#sources.size > MOST_SESSIONS) this.#sources.delete(this.#sources.keys().next().value!);
    return id;
  }

  #add(key: string, sampler: Promise<Sampler>): Promise<Sampler> {
    this.#loaded.set(key, sampler);
    const surplus = this.#loaded.size - this.most;
    // Those in use stay until the next one comes.
    for (const old of Array.from(this.#loaded.keys()).slice(0, Math.max(0, surplus))) this.#drop(old, { idle: true });
    return sampler;
  }

  #drop(key: string, { idle = false } = {}): void {
    this.#loaded.get(key)?.then(
      (sampler) => {
        if (idle && !sampler.isIdle) return;
        this.#loaded.delete(key);
        sampler.dispose();
      },
      () => {},
    );
  }
}
