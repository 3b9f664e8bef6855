import asciichart from 'asciichart';
import type { Row } from '../../train/run-folder.js';

/** Charts of a run of reinforcement learning for the terminal. */
export const plots = (rows: readonly Row[]): string =>
  curves(rows, [
    ['reward', 'average reward of the training batch (average@n)', 2, true],
    ['share_step_by_step', 'share of responses that show their work', 2, true],
    ['completions/mean_length', 'tokens per response', 1, false],
    ['first_token_entropy', 'entropy of the first token, nats', 2, false],
  ]);

type Series = [name: string, title: string, digits: number, share: boolean];

/** Charts of metrics: name, title, decimals, whether it is a share. A metric that a row lacks has none. */
export function curves(rows: readonly Row[], series: readonly Series[]): string {
  if (rows.length < 2) return '';
  return series
    .filter(([name]) => rows.every((row) => Number.isFinite(row[name])))
    .map(([name, title, digits, share]) => {
      const values = stretch(
        rows.map((row) => row[name]),
        60,
      );
      const format = (value: number) => value.toFixed(digits).padStart(8);
      // A constant series has no range to scale by.
      const flat = values.every((value) => value === values[0]);
      // A share has the whole axis from 0 to 1, with a line per tenth.
      const whole = share && values.every((value) => value >= 0 && value <= 1);
      const axis = whole ? { height: 10, min: 0, max: 1 } : { height: 7 };
      const chart = flat ? format(values[0]) : asciichart.plot(values, { ...axis, format });
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
