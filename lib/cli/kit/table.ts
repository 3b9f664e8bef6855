/** Text of a table. Columns are as wide as their widest cell, and a line separates the header. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '));
  return lines.join('\n');
}

/**
 * A figure with its interval: `0.512 [0.47, 0.55]`. `text` formats the figure, `bound` the bounds. Default of `bound`:
 * `text`.
 */
export const withInterval = (
  value: number,
  [low, high]: readonly [number, number],
  text: (value: number) => string,
  bound = text,
): string => `${text(value)} [${bound(low)}, ${bound(high)}]`;

/** Rounded, never as -0.000; with `sign`, a + where it is not negative. */
export function rounded(value: number, digits: number, sign = false): string {
  const number = Number(value.toFixed(digits)) + 0; // no -0
  return `${sign && number >= 0 ? '+' : ''}${number.toFixed(digits)}`;
}
