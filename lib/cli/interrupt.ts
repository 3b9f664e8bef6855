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

  constructor() {
    process.on('SIGINT', () => this.#receive(130));
    process.on('SIGTERM', () => this.#receive(143));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Calls back at the first signal. */
  onStop(listener: () => void): void {
    this.#listeners.add(listener);
    if (this.exitCode !== undefined) listener();
  }

  #receive(code: number): void {
    const now = performance.now();
    if (this.exitCode !== undefined) {
      if (now - this.#first > SAME_SIGNAL_SECONDS * 1000) process.exit(code);
      return;
    }
    this.#first = now;
    this.exitCode = code;
    process.stderr.write('\nprl: finishing the step and saving; once more to leave at once\n');
    for (const listener of this.#listeners) listener();
    this.#controller.abort();
  }
}
