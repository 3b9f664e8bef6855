import { constants } from 'node:os';
import type { PrlError } from '../../base/errors.js';

/** Signals this close count as one. Ctrl-C can reach the process twice: from the terminal, and from npm. */
const SAME_SIGNAL_SECONDS = 0.4;

/** The first SIGINT or SIGTERM asks the command to finish and save. The second one ends the process at once. */
export class Interrupt {
  /** Exit code after a signal: 128 + its number. undefined before a signal. */
  exitCode: number | undefined;
  /** The first signal aborts it, to stop work that is not worth finishing. */
  readonly #controller = new AbortController();
  readonly #listeners = new Set<() => void>();
  #first = 0;
  /** The interrupt of this process, if its command made one. */
  static current: Interrupt | undefined;

  constructor() {
    Interrupt.current = this;
    process.on('SIGINT', () => this.#receive('SIGINT'));
    process.on('SIGTERM', () => this.#receive('SIGTERM'));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the signal caused this error. */
  isCause(error: unknown): boolean {
    return this.exitCode !== undefined && (error as PrlError).code === 'ERR_PRL_ABORTED';
  }

  /** Calls back at the first signal. */
  onStop(listener: () => void): void {
    this.#listeners.add(listener);
    if (this.exitCode !== undefined) listener();
  }

  #receive(signal: 'SIGINT' | 'SIGTERM'): void {
    const now = performance.now();
    if (this.exitCode !== undefined) {
      if (now - this.#first > SAME_SIGNAL_SECONDS * 1000) endBy(signal);
      return;
    }
    this.#first = now;
    this.exitCode = 128 + constants.signals[signal];
    process.stderr.write('\nprl: finishing the step and saving. Interrupt again to stop at once\n');
    for (const listener of this.#listeners) listener();
    this.#controller.abort();
  }
}

/** process.exit() would wait for the running native call. A shell reports this end as 128 + the signal's number too. */
function endBy(signal: 'SIGINT' | 'SIGTERM'): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}
