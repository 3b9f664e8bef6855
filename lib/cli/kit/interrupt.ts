import { constants } from 'node:os';
import type { PrlError } from '../../base/errors.js';

/** A terminal's Ctrl-C can reach the process twice: from the terminal, and from npm passing it on. */
const SAME_SIGNAL_SECONDS = 0.4;

/** The first SIGINT or SIGTERM asks to finish and save, the second one ends the process at once. */
export class Interrupt {
  /** Exit code after a signal (128 + its number); undefined while there was none. */
  exitCode: number | undefined;
  /** Aborted by the first signal: for work that is not worth finishing. */
  readonly #controller = new AbortController();
  readonly #listeners = new Set<() => void>();
  #first = 0;
  /** The one of this process, where its command has made it. */
  static current: Interrupt | undefined;

  constructor() {
    Interrupt.current = this;
    process.on('SIGINT', () => this.#receive('SIGINT'));
    process.on('SIGTERM', () => this.#receive('SIGTERM'));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the signal broke off what threw this. */
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
    process.stderr.write('\nprl: finishing the step and saving; once more to leave at once\n');
    for (const listener of this.#listeners) listener();
    this.#controller.abort();
  }
}

/** process.exit() would wait for the native call that runs. A shell says 128 + the signal's number of this end, too. */
function endBy(signal: 'SIGINT' | 'SIGTERM'): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}
