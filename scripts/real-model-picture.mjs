// Draws docs/results/real-model.svg, the picture of docs/real-model.md, from the run of its prl train command:
//   node --import tsx scripts/real-model-picture.mjs runs/rl
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chartSvg } from '../lib/cli/report/svg.ts';
import { readRows } from '../lib/train/run-folder.ts';

const run = process.argv[2];
const rows = await readRows(join(run, 'metrics.jsonl'));
const { trained } = JSON.parse(readFileSync(join(run, 'evaluation-before.json'), 'utf8'));
const held = (metric, before) => [before, ...rows.map((row) => row[metric] ?? null)];
const chart = {
  title: `Right responses to word problems, ${trained.n} each to ${trained.problems} held-out problems`,
  range: [0, 1],
  steps: [0, ...rows.map(({ step }) => step)],
  curves: [
    { label: `held out, average@${trained.n}`, color: 0, mean: held('eval/average_at_n', trained.averageAtN) },
    { label: `held out, pass@${trained.n}`, color: 1, mean: held('eval/pass_at_n', trained.passAtN) },
    { label: 'training', color: 2, mean: [null, ...rows.map(({ reward }) => reward)] },
  ],
};
writeFileSync(new URL('../docs/results/real-model.svg', import.meta.url), chartSvg(chart));
