import { SingleBar } from 'cli-progress';

/** Seconds between lines if no bar can be drawn. */
const LINE_SECONDS = 5;

/** A progress bar with time left and live figures. Without a terminal it prints a plain line now and then. */
export class Progress {
  readonly #label: string;
  readonly #total: number;
  readonly #bar: SingleBar | undefined;
  readonly #start: number;
  readonly #done: number;
  readonly #print: (line: string) => void;
  #lastLine: number;

  /**
   * @param done units that were already done at the start
   * @param print prints plain lines; a command that prints data to stdout passes console.error
   * @param begun when the first unit began (performance.now()), if that was earlier
   */
  constructor(
    label: string,
    total: number,
    done = 0,
    print: (line: string) => void = console.log,
    begun = performance.now(),
  ) {
    this.#label = label;
    this.#total = total;
    this.#done = done;
    this.#print = print;
    this.#start = this.#lastLine = begun;
    if (process.stderr.isTTY) {
      this.#bar = new SingleBar({
        format: `{label} [{bar}] {value}/{total} | {eta_formatted} left | {live}`,
        barsize: 24,
        barCompleteChar: '=',
        barIncompleteChar: ' ',
        etaBuffer: 30,
        linewrap: true,
        clearOnComplete: true,
        gracefulExit: false,
      });
      this.#bar.start(total, done, { label: label.padEnd(12), live: '' });
    }
  }

  update(value: number, live: string): void {
    this.#bar?.update(value, { live });
    if (this.#bar) return;
    const now = performance.now();
    if (now - this.#lastLine < LINE_SECONDS * 1000) return;
    this.#lastLine = now;
    this.#print(`${this.#label.padEnd(12)} ${value}/${this.#total}  ${live}${this.#timeLeft(value, now)}`);
  }

  #timeLeft(value: number, now: number): string {
    if (value <= this.#done || value >= this.#total) return '';
    const seconds = Math.ceil(((now - this.#start) / 1000) * ((this.#total - value) / (value - this.#done)));
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return `  ${h > 0 ? `${h}h${m}m` : m > 0 ? `${m}m${s}s` : `${s}s`} left`;
  }

  /** Prints a text. The bar is drawn again below it. */
  say(text: string): void {
    if (this.#bar) process.stderr.write('\r\x1b[K');
    this.#print(text);
  }

  /** Removes the bar and prints one line. */
  done(summary: string): void {
    this.#bar?.stop();
    const seconds = (performance.now() - this.#start) / 1000;
    this.#print(`${this.#label.padEnd(12)} ${summary} (${seconds.toFixed(1)} s)`);
  }

  /** Removes the bar and prints nothing. */
  stop(): void {
    this.#bar?.stop();
  }
}
