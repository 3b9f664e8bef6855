import { SingleBar } from 'cli-progress';

/** Seconds between lines if no bar can be drawn. */
const LINE_SECONDS = 5;
/** Updates whose pace decides the time left. Steps become faster where responses become shorter. */
const PACE_UPDATES = 30;

/** A progress bar with time left and live figures. Without a terminal it prints a plain line now and then. */
export class Progress {
  readonly #label: string;
  readonly #total: number;
  readonly #bar: SingleBar | undefined;
  readonly #start: number;
  /** When how many units were done: at the start, then at the last updates. */
  #marks: { time: number; value: number }[];
  readonly #print: (line: string) => void;
  #lastLine: number;
  #live = '';
  #note = '';
  /** The one that is shown. */
  static current: Progress | undefined;

  /**
   * @param done units that were already done at the start
   * @param print prints plain lines; a command that prints data to stdout passes console.error
   */
  constructor(label: string, total: number, done = 0, print: (line: string) => void = console.log) {
    this.#label = label;
    this.#total = total;
    this.#print = print;
    this.#start = this.#lastLine = performance.now();
    this.#marks = [{ time: this.#start, value: done }];
    Progress.current = this;
    if (process.stderr.isTTY) {
      this.#bar = new SingleBar({
        format: `{label} [{bar}] {value}/{total} | {left}{live}`,
        barsize: 24,
        barCompleteChar: '=',
        barIncompleteChar: ' ',
        linewrap: true,
        clearOnComplete: true,
        gracefulExit: false,
      });
      this.#bar.start(total, done, { label: label.padEnd(12), left: '', live: '' });
    }
  }

  /** For a run of which only the first finished step tells where it resumed: `done` steps were done at the start. */
  resumedAt(done: number): void {
    if (done === 0) return;
    this.say(`${'resumed'.padEnd(12)} from the checkpoint of step ${done}`);
    this.#marks = [{ time: this.#start, value: done }];
  }

  /** Shows what is waited for beside the figures; '' for nothing. */
  note(text: string): void {
    if (text === this.#note) return;
    this.#note = text;
    if (this.#bar) this.#bar.update({ live: this.#shown });
    else if (text !== '') this.#line(text);
  }

  get #shown(): string {
    return this.#note === '' ? this.#live : `${this.#live}  ${this.#note}`;
  }

  /** A plain line, unless the last one was printed just now. */
  #line(text: string): void {
    const now = performance.now();
    if (now - this.#lastLine < LINE_SECONDS * 1000) return;
    this.#lastLine = now;
    this.#print(`${this.#label.padEnd(12)} ${text}`);
  }

  update(value: number, live: string): void {
    this.#marks = [...this.#marks.slice(-PACE_UPDATES), { time: performance.now(), value }];
    this.#live = live;
    const left = this.#timeLeft();
    if (this.#bar) this.#bar.update(value, { left: left && `${left} left | `, live: this.#shown });
    else this.#line(`${value}/${this.#total}  ${live}${left && `  ${left} left`}`);
  }

  #timeLeft(): string {
    const [first, last] = [this.#marks[0], this.#marks.at(-1)!];
    if (last.value <= first.value || last.value >= this.#total) return '';
    return durationText(((last.time - first.time) / 1000) * ((this.#total - last.value) / (last.value - first.value)));
  }

  /** Prints a text. The bar is drawn again below it. */
  say(text: string): void {
    if (this.#bar) process.stderr.write('\r\x1b[K');
    this.#print(text);
  }

  /** Removes the bar and prints one line. */
  done(summary: string): void {
    this.stop();
    const seconds = (performance.now() - this.#start) / 1000;
    this.#print(`${this.#label.padEnd(12)} ${summary} (${seconds.toFixed(1)} s)`);
  }

  /** Removes the bar and prints nothing. */
  stop(): void {
    if (Progress.current === this) Progress.current = undefined;
    this.#bar?.stop();
  }
}

/** 42s, 3m20s, 5h12m, 9d3h. */
export function durationText(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [d, h, m, s] = [
    Math.floor(whole / 86400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
    whole % 60,
  ];
  return d > 0 ? `${d}d${h}h` : h > 0 ? `${h}h${m}m` : m > 0 ? `${m}m${s}s` : `${s}s`;
}
