// Prints a group as a table.
import type { GroupResult, Row } from './harness.js';

/** A table has those of these columns that some row fills. */
const COLUMNS: { title: string; cell: (row: Row) => string | undefined }[] = [
  { title: 'median ms', cell: ({ median }) => milliseconds(median) },
  { title: '10%', cell: ({ p10 }) => milliseconds(p10) },
  { title: '90%', cell: ({ p90 }) => milliseconds(p90) },
  { title: 'MB moved', cell: ({ traffic }) => (traffic ? megabytes(traffic) : undefined) },
  { title: 'GB/s', cell: ({ gigabytesPerSecond }) => gigabytesPerSecond?.toFixed(gigabytesPerSecond < 100 ? 1 : 0) },
  { title: 'of copy', cell: ({ ofCopy }) => ofCopy && `${Math.round(100 * ofCopy.median)}%` },
  { title: 'GFLOP/s', cell: ({ gigaflops }) => gigaflops?.toFixed(gigaflops < 100 ? 1 : 0) },
  { title: 'of product', cell: ({ ofProduct }) => ofProduct && `${Math.round(100 * ofProduct.median)}%` },
  {
    title: 'k tokens/s',
    cell: ({ tokensPerSecond: speed }) => (speed ? (speed / 1000).toFixed(speed < 10_000 ? 3 : 1) : undefined),
  },
  {
    title: 'extra MB',
    cell: ({ side, extraBytes }) => (side === 'copy' ? '' : extraBytes === null ? 'n/a' : megabytes(extraBytes)),
  },
];

const milliseconds = (ms: number) => ms.toFixed(ms < 1 ? 4 : ms < 100 ? 2 : 1);
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0);

export function tableOf({ name, runs, rows, rejected, slower, othersCores }: GroupResult, machine: string): string {
  const compared = rows.filter(({ peers }) => peers);
  const letter = (row: Row) =>
    compared.length > 1 && compared.includes(row) ? `${'abcdefgh'[compared.indexOf(row)]}  ` : '';
  // How many times as long as ours a peer takes.
  const ratios = compared.map((own) => ({
    title: compared.length > 1 ? `/ ${letter(own).trim()}` : '/ ours',
    cell: (row: Row) => (row.side === 'peer' ? `${own.peers![row.name].median.toFixed(2)}x` : undefined),
  }));
  const columns = [...COLUMNS, ...ratios].filter(({ cell }) => rows.some((row) => cell(row)));
  const lines = [
    ['', ...columns.map(({ title }) => title)],
    ...rows.map((row) => [letter(row) + row.name, ...columns.map(({ cell }) => cell(row) || '')]),
  ];
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  const text = lines.map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[i]))).join('  '),
  );
  return [
    `${name}  (${machine}, ${runs} runs)`,
    ...text,
    ...slower.map((peer) => `slower: ${peer.name}, ${milliseconds(peer.milliseconds)} ms in the warm-up`),
    ...rejected.map((peer) => `not timed: ${peer.name}: ${peer.reason}`),
    ...(othersCores > 0.1
      ? [
          `Other processes kept ${othersCores.toFixed(1)} cores busy meanwhile: the times are not those of a quiet machine.`,
        ]
      : []),
  ].join('\n');
}
