import asciichart from 'asciichart';
import type { Row } from '../../train/run-folder.js';

/** Charts of a run of reinforcement learning for the terminal. */
export const plots = (rows: readonly Row[]): string =>
  curves(rows, [
    ['reward', 'average reward of the training batch (average@n)', 2],
    ['share_step_by_step', 'share of responses that show their work', 2],
    ['completions/mean_length', 'tokens per response', 1],
    ['first_token_entropy', 'entropy of the first token, nats', 2],
  ]);

/** Charts of metrics: name, title, decimals. A metric that a row lacks has none. */
export function curves(rows: readonly Row[], series: readonly [name: string, title: string, digits: number][]): string {
  if (rows.length < 2) return '';
  return series
    .filter(([name]) => rows.every((row) => Number.isFinite(row[name])))
    .map(([name, title, digits]) => {
      const values = stretch(
        rows.map((row) => row[name]),
        60,
      );
      const format = (value: number) => value.toFixed(digits).padStart(8);
      // A constant series has no range to scale by.
      const flat = values.every((value) => value === values[0]);
      const chart = flat ? format(values[0]) : asciichart.plot(values, { height: 7, format });
      return `${title}, steps ${rows[0].step} to ${rows[rows.length - 1].step}\n${chart}`;
    })
    .join('\n\n');
}

/** Spreads `values` over `width` columns: repeats fewer values, averages more. */
function stretch(values: number[], width: number): number[] {
  return Array.from({ length: width }, (_, column) => {
    const from = Math.floor((column * values.length) / width);
    const to = Math.max(from + 1, Math.floor(((column + 1) * values.length) / width));
    return values.slice(from, to).reduce((a, b) => a + b, 0) / (to - from);
  });
}
