// Draws docs/results/quickstart.svg, the README's picture, from a run of the quickstart:
//   npm start -- --output runs/quickstart && node --import tsx scripts/quickstart-picture.mjs runs/quickstart
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chartSvg } from '../lib/cli/report/svg.ts';
import { readRows } from '../lib/train/run-folder.ts';

const rows = await readRows(join(process.argv[2], 'metrics.jsonl'));
const curve = (label, metric, color) => ({ label, color, mean: rows.map((row) => row[metric]) });
const chart = {
  title: 'npm start: share of the responses to each training step',
  range: [0, 1],
  steps: rows.map(({ step }) => step),
  curves: [curve('right', 'reward', 0), curve('show work', 'share_step_by_step', 1)],
};
writeFileSync(new URL('../docs/results/quickstart.svg', import.meta.url), chartSvg(chart));
