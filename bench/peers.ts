// The peers: a lasting python process that answers lines of JSON, so that its runs can alternate with ours.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Device, PrlError } from '../lib/index.js';
import { packageRoot } from '../lib/kernels/native.js';

/** What the peers compute in a group: see bench/peers/server.py. */
export interface PeerCase {
  /** Which of the server's cases. */
  kind: string;
  parameters: { readonly [name: string]: number | string | boolean | readonly number[] };
  /** Inputs, passed as files. */
  arrays: { readonly [name: string]: Float32Array | Int32Array };
  /** What is wrong with a variant's outputs; undefined if they match ours. */
  verify(outputs: ReadonlyMap<string, Output>): string | undefined | Promise<string | undefined>;
}

export interface Output {
  values: Float32Array;
  /** The type in which the peer computed it; `values` has its numbers. */
  dtype: 'float32' | 'bfloat16' | 'float16';
}

export interface Variant {
  name: string;
  /** Formulations of one thing. Only the fastest is measured. */
  family: string;
  /** Peak memory of a run beyond what was in use; null if the peer does not say. */
  extraBytes: number | null;
}
export interface Rejected {
  name: string;
  reason: string;
}

// By default glibc returns large blocks to the system at every free and gets them again page by page, which takes a
// large part of eager PyTorch's time. These settings let it keep them.
const ENVIRONMENT = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: '100000000000' };

/** A peer that cannot do a task is named and left out. The others continue. */
export class PeerFailure extends Error {}

export class Peers {
  /** Versions of the packages found, and the missing packages. */
  versions: Record<string, string> = {};
  missing: Rejected[] = [];
  /** Processor time of the peer's process in seconds, as of its last answer. */
  cpuSeconds = 0;
  readonly #python: string;
  readonly #arguments: string[];
  readonly #scratch = mkdtempSync(join(tmpdir(), 'prl-peers-'));
  #child!: ChildProcess;
  #answers!: AsyncIterator<string>;
  #errors = '';
  /** Why the process ended, if it has. */
  #ended?: string;

  private constructor(python: string, threads: number, device: Device) {
    this.#python = python;
    const server = join(packageRoot, 'bench', 'peers', 'server.py');
    this.#arguments = [server, '--threads', String(threads), '--device', device, '--scratch', this.#scratch];
  }

  static async start(python: string, options: { threads: number; device: Device }): Promise<Peers> {
    const peers = new Peers(python, options.threads, options.device);
    try {
      await peers.#launch();
    } catch (error) {
      peers.close();
      if (!(error instanceof PeerFailure)) throw error;
      throw new PrlError('ERR_PRL_UNSUPPORTED', `--peers ${python}: ${error.message}`);
    }
    return peers;
  }

  async #launch(): Promise<void> {
    this.#errors = '';
    this.#ended = undefined;
    const child = spawn(this.#python, this.#arguments, {
      env: { ...process.env, ...ENVIRONMENT },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.on('error', ({ message }) => (this.#errors += message));
    child.stderr.on('data', (text: Buffer) => (this.#errors = (this.#errors + text).slice(-4000)));
    child.stdin.on('error', () => {}); // it is gone: the missing answer says so
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { versions, missing } = await this.#answer('its start');
    this.versions = versions;
    this.missing = missing;
  }

  /** Loads a case and checks every variant against `verify`. Those that pass can be timed. */
  async load({ kind, parameters, arrays, verify }: PeerCase): Promise<{ variants: Variant[]; rejected: Rejected[] }> {
    if (this.#ended !== undefined) await this.#launch(); // a new group, a new process
    const files: Record<string, { file: string; dtype: string }> = {};
    for (const [name, data] of Object.entries(arrays)) {
      const file = join(this.#scratch, `in-${name}`);
      writeFileSync(file, data);
      files[name] = { file, dtype: data instanceof Float32Array ? 'float32' : 'int32' };
    }
    const variants: Variant[] = [];
    const rejected: Rejected[] = [];
    const orReject = async (name: string, attempt: () => Promise<void>) => {
      try {
        await attempt();
      } catch (error) {
        if (!(error instanceof PeerFailure)) throw error;
        rejected.push({ name, reason: error.message });
      }
    };
    await orReject(`all peers of '${kind}'`, async () => {
      const answer = await this.#ask({ op: 'load', kind, parameters, arrays: files }, 'loading the inputs');
      rejected.push(...answer.rejected);
      for (const { name, family } of answer.variants)
        await orReject(name, async () => {
          variants.push({ name, family, extraBytes: await this.#check(name, verify) });
        });
    });
    return { variants, rejected };
  }

  /** Returns its peak memory. Throws if its outputs are wrong. */
  async #check(variant: string, verify: PeerCase['verify']): Promise<number | null> {
    const { outputs, yardstick, extraBytes } = await this.#ask({ op: 'check', variant }, `checking '${variant}'`);
    if (yardstick) return extraBytes;
    const read = new Map<string, Output>();
    for (const [name, { file, dtype }] of Object.entries<{ file: string; dtype: Output['dtype'] }>(outputs)) {
      const bytes = readFileSync(file);
      read.set(name, { values: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), dtype });
    }
    const wrong = await verify(read);
    if (wrong !== undefined) throw new PeerFailure(wrong);
    return extraBytes;
  }

  /** Milliseconds of one run, by the peer's own clock. */
  async time(variant: string): Promise<number> {
    return (await this.#ask({ op: 'time', variant }, `timing '${variant}'`)).milliseconds;
  }

  /** Frees the case. */
  async unload(): Promise<void> {
    if (this.#ended === undefined) await this.#ask({ op: 'unload' }, 'freeing the inputs');
  }

  close(): void {
    this.#child.stdin!.end(); // it ends with its input
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the question
  async #ask(request: object, doing: string): Promise<any> {
    if (this.#ended !== undefined) throw new PeerFailure(this.#ended);
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    const answer = await this.#answer(doing);
    this.cpuSeconds = answer.cpuSeconds;
    if (answer.error !== undefined) throw new PeerFailure(answer.error);
    return answer;
  }

  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the question
  async #answer(doing: string): Promise<any> {
    const { value, done } = await this.#answers.next();
    if (!done) return JSON.parse(value);
    const how = this.#child.pid === undefined ? '' : ` (${await howItEnded(this.#child)})`;
    this.#ended = `its process ended in ${doing}${how} ${this.#errors.trim()}`.trim();
    throw new PeerFailure(this.#ended);
  }
}

async function howItEnded(child: ChildProcess): Promise<string> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.signalCode ?? `exit code ${child.exitCode}`;
}
