// The peers: a python that stays, with which we talk in lines of JSON, so that its runs stand between ours.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Device, PrlError } from '../lib/index.js';
import { packageRoot } from '../lib/native.js';

/** What the peers compute in a group: see bench/peers/server.py. */
export interface PeerCase {
  /** Which of the server's cases. */
  kind: string;
  parameters: { readonly [name: string]: number | string | boolean | readonly number[] };
  /** Inputs, handed over as files. */
  arrays: { readonly [name: string]: Float32Array | Int32Array };
  /** What is wrong with a variant's outputs; nothing when they are ours. */
  verify(outputs: ReadonlyMap<string, Output>): string | undefined | Promise<string | undefined>;
}

export interface Output {
  values: Float32Array;
  /** The type that the peer computed it in; `values` has its numbers. */
  dtype: 'float32' | 'bfloat16' | 'float16';
}

export interface Variant {
  name: string;
  /** Formulations of one thing: only the fastest is measured. */
  family: string;
  /** Peak memory of a run beyond what was in use; null where the peer does not say. */
  extraBytes: number | null;
}
export interface Rejected {
  name: string;
  reason: string;
}

// glibc gives large blocks back to the system at every free and gets them again page by page, which costs eager PyTorch a large
// part of its time: we let it keep them.
const ENVIRONMENT = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: '100000000000' };

export class Peers {
  /** Versions of what was found, and what is missing. */
  readonly versions: Record<string, string>;
  readonly missing: Rejected[];
  /** Processor time of the peer's process, in seconds, as of its last answer. */
  cpuSeconds = 0;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #scratch: string;
  #errors = '';

  private constructor(python: string, threads: number, device: Device) {
    this.#scratch = mkdtempSync(join(tmpdir(), 'prl-peers-'));
    const server = join(packageRoot, 'bench', 'peers', 'server.py');
    const args = [server, '--threads', String(threads), '--device', device, '--scratch', this.#scratch];
    this.#child = spawn(python, args, {
      env: { ...process.env, ...ENVIRONMENT },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.on('error', ({ message }) => (this.#errors += message));
    this.#child.stderr!.on('data', (text: Buffer) => (this.#errors = (this.#errors + text).slice(-4000)));
    this.#child.stdin!.on('error', () => {}); // it is gone: the missing answer says so
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    this.versions = {};
    this.missing = [];
  }

  static async start(python: string, options: { threads: number; device: Device }): Promise<Peers> {
    const peers = new Peers(python, options.threads, options.device);
    const { versions, missing } = await peers.#answer(`${python} as --peers`);
    Object.assign(peers.versions, versions);
    peers.missing.push(...missing);
    return peers;
  }

  /** Loads a case; checks every variant against what `verify` expects. Those that pass can be timed. */
  async load({ kind, parameters, arrays, verify }: PeerCase): Promise<{ variants: Variant[]; rejected: Rejected[] }> {
    const files: Record<string, { file: string; dtype: string }> = {};
    for (const [name, data] of Object.entries(arrays)) {
      const file = join(this.#scratch, `in-${name}`);
      writeFileSync(file, data);
      files[name] = { file, dtype: data instanceof Float32Array ? 'float32' : 'int32' };
    }
    const answer = await this.#ask({ op: 'load', kind, parameters, arrays: files });
    const rejected: Rejected[] = [...answer.rejected];
    const variants: Variant[] = [];
    for (const { name, family } of answer.variants) {
      const reason = await this.#check(name, verify);
      if (reason === undefined) variants.push({ name, family, extraBytes: this.#extraBytes });
      else rejected.push({ name, reason });
    }
    return { variants, rejected };
  }
  #extraBytes: number | null = null;

  async #check(variant: string, verify: PeerCase['verify']): Promise<string | undefined> {
    const { outputs, yardstick, extraBytes, error } = await this.#ask({ op: 'check', variant });
    if (error !== undefined) return error;
    this.#extraBytes = extraBytes;
    if (yardstick) return undefined;
    const read = new Map<string, Output>();
    for (const [name, { file, dtype }] of Object.entries<{ file: string; dtype: Output['dtype'] }>(outputs)) {
      const bytes = readFileSync(file);
      read.set(name, { values: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), dtype });
    }
    return verify(read);
  }

  /** Milliseconds of one run, by the peer's own clock. */
  async time(variant: string): Promise<number> {
    const { milliseconds, error } = await this.#ask({ op: 'time', variant });
    if (error !== undefined)
      throw new PrlError('ERR_PRL_INTERNAL', `the peer '${variant}' failed when timed: ${error}`);
    return milliseconds;
  }

  /** Frees the case. */
  unload(): Promise<unknown> {
    return this.#ask({ op: 'unload' });
  }

  close(): void {
    this.#child.stdin!.end(); // it ends with its input
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  #ask(request: object) {
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    return this.#answer('the peer');
  }

  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the question
  async #answer(who: string): Promise<any> {
    const { value, done } = await this.#answers.next();
    if (done) {
      this.close();
      throw new PrlError('ERR_PRL_UNSUPPORTED', `${who} ended without an answer:\n${this.#errors.trim()}`);
    }
    const answer = JSON.parse(value);
    this.cpuSeconds = answer.cpuSeconds ?? this.cpuSeconds;
    return answer;
  }
}
