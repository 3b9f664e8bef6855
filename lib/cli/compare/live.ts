import { rounded, table } from '../kit/table.js';
import { type CellJob, type CompareJob, isDone } from './plan.js';
import { armNames, figureText, readFinished, type Summary, summarize } from './results.js';

/** Seconds between lines if the output is not a terminal. */
const LINE_SECONDS = 15;

/** Shows the state of a comparison: a table that is redrawn on a terminal, and a line per event elsewhere. */
export class LiveTable {
  readonly #jobs: readonly CompareJob[];
  readonly #running = new Map<string, string>();
  readonly #failed = new Set<string>();
  readonly #start = performance.now();
  #summary: Summary | undefined;
  /** The figures are read by one update at a time. */
  #updates: Promise<void> = Promise.resolve();
  #lines = 0;
  #lastLine = performance.now();

  constructor(jobs: readonly CompareJob[]) {
    this.#jobs = jobs;
  }

  /** Reads the figures of the cells that are finished already. */
  async begin(): Promise<void> {
    const finished = this.#jobs.filter(isDone).length;
    if (finished > 0) console.log(`${finished} of ${this.#jobs.length} jobs are already done`);
    await this.#update();
  }

  onEvent(job: CompareJob, event: 'begins' | 'done' | 'failed' | 'progress', text: string): void {
    if (event === 'begins' || event === 'progress')
      this.#running.set(job.id, text || (job.kind === 'warm' ? 'warm start' : 'begins'));
    else this.#running.delete(job.id);
    if (event === 'failed') this.#failed.add(job.id);
    const seconds = `${((performance.now() - this.#start) / 1000).toFixed(0)} s`;
    if (event === 'done') this.#updates = this.#updates.then(() => this.#done(job, seconds));
    else if (process.stdout.isTTY) this.#draw();
    else if (event === 'failed') console.log(`${seconds}  ${job.id} failed: ${text}`);
    else if (performance.now() - this.#lastLine > LINE_SECONDS * 1000) {
      this.#lastLine = performance.now();
      console.log(`${seconds}  ${[...this.#running].map(([id, state]) => `${id} ${state}`).join(', ')}`);
    }
  }

  /** Clears the table and stops drawing. */
  async end(): Promise<void> {
    await this.#updates;
    this.#clear();
  }

  async #done(job: CompareJob, seconds: string): Promise<void> {
    await this.#update().catch(() => {}); // the tables at the end report a result that cannot be read
    if (!process.stdout.isTTY) console.log(`${seconds}  ${job.id} done  ${this.#line(job)}`.trimEnd());
  }

  async #update(): Promise<void> {
    this.#summary = summarize(await readFinished(this.#jobs), armNames(this.#jobs));
    this.#draw();
  }

  /** The arm's figures so far, after one of its cells. */
  #line(job: CompareJob): string {
    const own = job.kind === 'cell' ? this.#summary?.rows.find(({ name }) => name === job.arm) : undefined;
    return (this.#summary?.measures ?? [])
      .flatMap(({ name, digits }, i) => (own?.figures[i] ? [`${name} ${figureText(own.figures[i], digits)}`] : []))
      .join('  ');
  }

  /** A column per arm, with whole figures or only with means. */
  #table(whole: boolean): string {
    const cells = this.#jobs.filter((job): job is CellJob => job.kind === 'cell');
    const arms = armNames(this.#jobs);
    const seeds = arms.map((arm) => {
      const own = cells.filter((job) => job.arm === arm);
      const failed = own.filter(({ id }) => this.#failed.has(id)).length;
      return `${own.filter(isDone).length}/${own.length}${failed > 0 ? `, ${failed} failed` : ''}`;
    });
    const { measures = [], rows = [] } = this.#summary ?? {};
    const figures = measures.map(({ name, digits }, i) => [
      name,
      ...arms.map((arm) => {
        const figure = rows.find((row) => row.name === arm)?.figures[i];
        return whole || !figure ? figureText(figure, digits) : rounded(figure.mean, digits);
      }),
    ]);
    return table([['', ...arms], ['seeds', ...seeds], ...figures]);
  }

  #draw(): void {
    if (!process.stdout.isTTY) return;
    // A wrapped line could not be cleared.
    const width = process.stdout.columns || 80;
    const full = this.#table(true).split('\n');
    const lines = full.some(({ length }) => length >= width) ? this.#table(false).split('\n') : full;
    for (const [id, state] of this.#running) lines.push(`  ${id.padEnd(16)} ${state}`);
    this.#clear();
    process.stdout.write(`${lines.map((line) => line.slice(0, width - 1)).join('\n')}\n`);
    this.#lines = lines.length;
  }

  #clear(): void {
    if (this.#lines > 0) process.stdout.write(`\u001b[${this.#lines}A\u001b[J`);
    this.#lines = 0;
  }
}
