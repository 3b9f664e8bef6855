import { table } from '../cli/summary.js';
import type { CellJob, CompareJob } from './plan.js';
import { armNames, readFinished, summarize, summaryTables } from './results.js';
import { isDone } from './run-jobs.js';

/** How often a line is printed where the table cannot be drawn again and again. */
const LINE_SECONDS = 15;

/** The state of a comparison: on a terminal a table that is drawn anew, elsewhere a line per event. */
export class LiveTable {
  readonly #jobs: readonly CompareJob[];
  readonly #running = new Map<string, string>();
  readonly #failed = new Set<string>();
  readonly #start = performance.now();
  #figures: string[][] = [];
  #lines = 0;
  #lastLine = performance.now();

  constructor(jobs: readonly CompareJob[]) {
    this.#jobs = jobs;
  }

  /** Reads the figures of the cells that are finished already. */
  async begin(): Promise<void> {
    const finished = this.#jobs.filter(isDone).length;
    if (finished > 0) console.log(`${finished} of ${this.#jobs.length} jobs are done already`);
    await this.#update();
  }

  onEvent(job: CompareJob, event: 'begins' | 'done' | 'failed' | 'progress', text: string): void {
    if (event === 'begins' || event === 'progress')
      this.#running.set(job.id, text || (job.kind === 'warm' ? 'warm start' : 'begins'));
    else this.#running.delete(job.id);
    if (event === 'failed') this.#failed.add(job.id);
    const seconds = `${((performance.now() - this.#start) / 1000).toFixed(0)} s`;
    if (process.stdout.isTTY) void (event === 'done' ? this.#update() : this.#draw());
    else if (event === 'failed') console.log(`${seconds}  ${job.id} failed: ${text}`);
    else if (event === 'done')
      void this.#update().then(() => console.log(`${seconds}  ${job.id} done  ${this.#line(job)}`));
    else if (performance.now() - this.#lastLine > LINE_SECONDS * 1000) {
      this.#lastLine = performance.now();
      console.log(`${seconds}  ${[...this.#running].map(([id, state]) => `${id} ${state}`).join(', ')}`);
    }
  }

  /** Leaves the terminal to what comes after. */
  end(): void {
    this.#clear();
  }

  async #update(): Promise<void> {
    const summary = summarize(await readFinished(this.#jobs), armNames(this.#jobs));
    // The first level's two figures and the harder one's.
    this.#figures = summary ? summaryTables(summary).all.slice(0, 5) : [];
    this.#draw();
  }

  /** The arm's figures so far, after one of its cells. */
  #line(job: CompareJob): string {
    if (job.kind !== 'cell' || this.#figures.length === 0) return '';
    const column = this.#figures[0].indexOf(job.arm);
    return this.#figures
      .slice(1)
      .map((row) => `${row[0]} ${row[column]}`)
      .join('  ');
  }

  #draw(): void {
    if (!process.stdout.isTTY) return;
    const cells = this.#jobs.filter((job): job is CellJob => job.kind === 'cell');
    const measures = this.#figures.slice(1);
    const rows = armNames(this.#jobs).map((arm) => {
      const own = cells.filter((job) => job.arm === arm);
      const column = this.#figures[0]?.indexOf(arm) ?? -1;
      const failed = own.filter(({ id }) => this.#failed.has(id)).length;
      return [
        arm,
        `${own.filter(isDone).length}/${own.length}${failed > 0 ? `, ${failed} failed` : ''}`,
        ...measures.map((row) => row[column]),
      ];
    });
    const text = [
      table([['', 'seeds', ...measures.map(([name]) => name)], ...rows]),
      ...[...this.#running].map(([id, state]) => `  ${id.padEnd(16)} ${state}`),
    ].join('\n');
    this.#clear();
    process.stdout.write(`${text}\n`);
    this.#lines = text.split('\n').length;
  }

  #clear(): void {
    if (this.#lines > 0) process.stdout.write(`\u001b[${this.#lines}A\u001b[J`);
    this.#lines = 0;
  }
}
