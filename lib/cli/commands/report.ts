import { dirname, join, relative } from 'node:path';
import { makeFolder, writeFileAtomic } from '../../base/atomic.js';
import type { OptionTable } from '../../base/options.js';
import type { Command } from '../kit/args.js';
import { reportPage } from '../report/page.js';
import { readReport } from '../report/report.js';

const OPTIONS = {
  output: {
    type: 'string',
    doc: 'File of the page (default: report.html in the run folder, or in the current folder for several runs)',
  },
} as const satisfies OptionTable;

export const reportCommand: Command = {
  name: 'report',
  summary:
    'Makes one HTML page of a run, of several runs or of a comparison: results, curves, histograms, the credit of each step.',
  groups: [{ title: 'Options', options: OPTIONS }],
  operands: { name: 'folders', usage: 'RUN...', required: true },
  notes: `The page needs no network and no other file. Runs need not be finished. They are named after their folders. Runs that differ only
in the seed become one curve, their mean: with its seeds, and from 5 seeds on with a 95% t interval.`,
  examples: [
    ['prl report runs/a', 'Writes runs/a/report.html'],
    ['prl report runs/a runs/b runs/c --output compared.html', 'Several runs in one page'],
  ],
  async run({ folders, output }) {
    const paths = folders as string[];
    const file = (output as string | undefined) ?? (paths.length === 1 ? join(paths[0], 'report.html') : 'report.html');
    const page = await reportPage(await readReport(paths));
    await makeFolder(dirname(file));
    await writeFileAtomic(file, page);
    console.log(`${relative('', file)}: ${(page.length / 1024).toFixed(0)} KiB`);
    return 0;
  },
};
