// Refusing what the machine has no memory for, before it is taken.
import { existsSync, readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { PrlError } from '../base/errors.js';
import { checkBoolean, checkChoice } from '../base/options.js';
import type { NativeConfig } from './config.js';
import { estimateOf, parameterCount } from './memory.js';
import type { MemoryEstimate, MemoryOptions, PolicyDType, StorageOptions } from './types.js';

/**
 * Bytes that this process may still take: of the machine, and of the cgroups that hold it. `root`: of the file system,
 * for tests.
 */
export function availableMemory(root = '/'): number {
  const read = (...path: string[]) => {
    const file = join(root, ...path);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  };
  const field = (text: string | undefined, name: string) =>
    Number(text?.match(new RegExp(`^${name}:?\\s+(\\d+)`, 'm'))?.[1] ?? 0);
  const machine = field(read('proc/meminfo'), 'MemAvailable') * 1024;
  const limits = [machine > 0 ? machine : freemem()];
  const left = (folder: string, limit: string, used: string, reclaimable: string) => {
    const most = Number(read(folder, limit)?.trim() ?? Number.NaN); // 'max': no limit
    if (!Number.isFinite(most)) return;
    // File pages that nobody used lately go when memory is wanted: those of a checkpoint that was just read, say.
    limits.push(most - Number(read(folder, used) ?? 0) + field(read(folder, 'memory.stat'), reclaimable));
  };
  for (const line of read('proc/self/cgroup')?.split('\n') ?? []) {
    const [, controllers, path] = line.match(/^\d+:([^:]*):(.*)$/) ?? [];
    if (path === undefined) continue;
    // In a container the group's own folder is often the root of what can be seen.
    for (const group of ancestors(path)) {
      if (controllers === '') left(join('sys/fs/cgroup', group), 'memory.max', 'memory.current', 'inactive_file');
      else if (controllers.split(',').includes('memory'))
        left(
          join('sys/fs/cgroup/memory', group),
          'memory.limit_in_bytes',
          'memory.usage_in_bytes',
          'total_inactive_file',
        );
    }
  }
  return Math.max(0, Math.min(...limits));
}

/** /a/b, /a, / of /a/b. */
function ancestors(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..');
  return parts.map((_, i) => `/${parts.slice(0, parts.length - i).join('/')}`).concat('/');
}

const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 34 ? 2 : 0)} GiB`;

/**
 * Throws where `needed` bytes more are not to be had.
 * @param advice what would fit, for the message
 */
function requireMemory(what: string, needed: number, advice: (available: number) => string): void {
  if (needed <= 0) return;
  const available = availableMemory();
  if (needed <= available) return;
  throw new PrlError(
    'ERR_PRL_OUT_OF_MEMORY',
    `${what} needs about ${gibibytes(needed)} of memory more, and ${gibibytes(available)} are available${advice(available)} (a policy made with memoryCheck: false goes on all the same)`,
  );
}

/**
 * The largest n from `low` to `high` for which `bytes(n)`, which rises, is at most `most`; undefined where there is
 * none.
 */
export function largestThatFits(
  low: number,
  high: number,
  most: number,
  bytes: (n: number) => number,
): number | undefined {
  if (bytes(high) <= most) return high; // as a rule
  if (bytes(low) > most) return undefined;
  let [fits, fails] = [low, high];
  while (fails - fits > 1) {
    const middle = Math.floor((fits + fails) / 2);
    if (bytes(middle) <= most) fits = middle;
    else fails = middle;
  }
  return fits;
}

/** Storage options with their defaults. */
export function checkStorage(options: StorageOptions): Required<StorageOptions> {
  return {
    dtype: checkChoice('dtype', options.dtype ?? 'float32', ['float32', 'bfloat16']),
    memoryCheck: checkBoolean('memoryCheck', options.memoryCheck ?? true),
  };
}

/** What a policy has taken and may take. */
export class PolicyMemory {
  readonly config: NativeConfig;
  readonly dtype: PolicyDType;
  readonly #check: boolean;
  readonly #parameters: number;
  /** Bytes that training and scoring have taken so far, which they keep. */
  #taken = 0;

  constructor(config: NativeConfig, options: StorageOptions) {
    const { dtype, memoryCheck } = checkStorage(options);
    this.config = config;
    this.dtype = dtype;
    this.#check = memoryCheck;
    this.#parameters = parameterCount(config);
  }

  /** For a copy of the policy. */
  another(): PolicyMemory {
    return new PolicyMemory(this.config, { dtype: this.dtype, memoryCheck: this.#check });
  }

  #estimate(options: Omit<MemoryOptions, 'dtype'>): MemoryEstimate {
    const given = { microBatchTokens: 1, gradientCheckpointing: false, maxBatch: 1, promptTokens: 0, maxNewTokens: 0 };
    return estimateOf(this.config, {
      ...given,
      training: false,
      reference: false,
      ...options,
      dtype: this.dtype,
    });
  }

  checkWeights(): void {
    if (!this.#check) return;
    const { weights } = this.#estimate({});
    requireMemory(`a policy of ${this.#parameters} parameters in ${this.dtype}`, weights, (available) =>
      this.dtype === 'float32' && weights / 2 <= available ? ": with dtype 'bfloat16' it fits" : '',
    );
  }

  /** What a run takes that begins now: the weights are there. */
  checkRun(options: Omit<MemoryOptions, 'dtype'>): void {
    if (!this.#check) return;
    const { microBatchTokens = 4096, gradientCheckpointing: asked = false, ...rest } = options;
    const held = this.#estimate({}).weights + this.#taken;
    const bytes = (n: number, gradientCheckpointing = asked) =>
      this.#estimate({ training: true, ...rest, microBatchTokens: n, gradientCheckpointing }).total - held;
    requireMemory('the run', bytes(microBatchTokens), (available) => adviceFor(bytes, 1, microBatchTokens, available));
  }

  /** Before log-probabilities of these sequences: checks, and notes what is then taken. */
  takeScoring(cuSeqlens: Int32Array, { microBatchTokens }: { microBatchTokens: number }): void {
    if (!this.#check) return;
    const longest = Math.max(1, longestOf(cuSeqlens));
    const tokens = Math.max(longest, Math.min(microBatchTokens, cuSeqlens.at(-1)!));
    const bytes = (n: number) => {
      const { total, weights } = this.#estimate({ microBatchTokens: n });
      return total - weights;
    };
    const needed = bytes(tokens);
    requireMemory(`scoring (micro-batches of ${tokens} tokens)`, needed - this.#taken, (available) => {
      const fits = largestThatFits(longest, tokens, available + this.#taken, bytes);
      return fits === undefined ? `: sequences of ${longest} tokens are too long` : `: microBatchTokens ${fits} fits`;
    });
    this.#taken = Math.max(this.#taken, needed);
  }

  /** Before gradients of these sequences: checks, and notes what is then taken. */
  takeTraining(cuSeqlens: Int32Array, options: { microBatchTokens: number; gradientCheckpointing: boolean }): void {
    if (!this.#check) return;
    const longest = Math.max(1, longestOf(cuSeqlens));
    const tokens = Math.max(longest, Math.min(options.microBatchTokens, cuSeqlens.at(-1)!));
    const bytes = (n: number, gradientCheckpointing = options.gradientCheckpointing) => {
      const estimate = this.#estimate({ training: true, microBatchTokens: n, gradientCheckpointing });
      return estimate.total - estimate.weights;
    };
    const needed = bytes(tokens);
    requireMemory(`the update (micro-batches of ${tokens} tokens)`, needed - this.#taken, (available) =>
      adviceFor(bytes, longest, tokens, available + this.#taken),
    );
    this.#taken = Math.max(this.#taken, needed);
  }

  /** Before the logits of a sequence: they exist twice, here and in native code. */
  checkLogits(tokens: number): void {
    if (!this.#check) return;
    const bytes = (n: number) => this.#estimate({ microBatchTokens: n }).activations + 8 * n * this.config.vocab;
    requireMemory(`the computation of the logits of ${tokens} tokens`, bytes(tokens), (available) => {
      const fits = largestThatFits(1, tokens, available, bytes);
      return fits === undefined ? '' : `: those of ${fits} tokens fit`;
    });
  }

  /** How many sequences may be decoded at once, for these prompts. */
  mostBatch(
    cuSeqlens: Int32Array,
    { n, maxNewTokens, maxBatch }: { n: number; maxNewTokens: number; maxBatch: number },
  ): number {
    const asked = maxBatch > 0;
    const most = Math.max(1, Math.min(asked ? maxBatch : 2 ** 20, n * (cuSeqlens.length - 1)));
    if (!this.#check) return most;
    const promptTokens = longestOf(cuSeqlens);
    const bytes = (rows: number) => {
      const { total, weights } = this.#estimate({ promptTokens, maxNewTokens, maxBatch: rows });
      return total - weights;
    };
    const fits = largestThatFits(1, most, availableMemory(), bytes);
    if (fits !== undefined && (fits === most || !asked)) return fits;
    const rows = asked ? most : 1;
    const what = `generation (${promptTokens} + ${maxNewTokens} tokens, ${rows} at once)`;
    requireMemory(what, bytes(rows), () =>
      fits === undefined ? ': maxNewTokens must be lower' : `: maxBatch ${fits} fits`,
    );
    return most;
  }
}

const longestOf = (cuSeqlens: Int32Array) =>
  cuSeqlens.reduce((n, end, i) => Math.max(n, end - (cuSeqlens[i - 1] ?? 0)), 0);

/** The largest microBatchTokens with which training fits, for a message. */
function adviceFor(
  bytes: (microBatchTokens: number, gradientCheckpointing?: boolean) => number,
  least: number,
  most: number,
  available: number,
): string {
  const plain = largestThatFits(least, most, available, (n) => bytes(n));
  const checkpointed = largestThatFits(least, most, available, (n) => bytes(n, true));
  if (checkpointed === undefined)
    return `: ${gibibytes(bytes(least, true))} are the least, with gradientCheckpointing and microBatchTokens ${least}`;
  if (plain === undefined) return `: gradientCheckpointing with microBatchTokens ${checkpointed} fits`;
  const more = checkpointed > plain ? `, and ${checkpointed} with gradientCheckpointing` : '';
  return `: microBatchTokens ${plain} fits${more}`;
}
