import { parseHTML } from 'linkedom';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { WarmResult } from '../../../lib/cli/compare/jobs.js';
import { figureText, summarize, summaryTables } from '../../../lib/cli/compare/results.js';
import { chartSvg, ticks } from '../../../lib/cli/report/svg.js';
import { cellResult as cell, levelFigures as figures } from '../../fakes/cell-result.js';
import { near } from '../../reference/numbers.js';

const warm: WarmResult[] = [{ seed: 0, levels: figures(0.1), seconds: 1 }];

const results = suite('prl compare: results');
results('summarize gives means, intervals and differences paired by seed', () => {
  const cells = [cell('a', 0, 0.2), cell('a', 1, 0.4), cell('a', 2, 0.9), cell('b', 1, 0.5), cell('b', 0, 0.3)];
  const summary = summarize({ cells, warm }, ['a', 'b', 'c'])!;
  const [[, all], [, paired]] = summaryTables(summary);
  assert.equal(all[0], ['', 'before', 'a', 'b', 'c']);
  const row = (name: string) => all.find(([first]) => first === name)!;
  assert.equal(row('average@8 2-4'), ['average@8 2-4', '0.100', '0.500 [0.200, 0.900]', '0.400 [0.300, 0.500]', '']);
  assert.is(row('average@8 5-6')[3], '0.200 [0.150, 0.250]');
  assert.is(row('drift')[1], '', 'before training there is none');
  assert.is(row('seconds')[2], '4.0 [4.0, 4.0]');
  assert.is(row('policy tokens (k)')[2], '2 [2, 2]');
  assert.is(row('PRM tokens (k)')[2], '3 [3, 3]');
  assert.equal(paired[0], ['', 'b - a', 'c - a']);
  // Only seeds 0 and 1 have both: +0.1 each, though b's mean is lower than a's.
  assert.equal(paired[1], ['average@8 2-4', '+0.100 [+0.100, +0.100]', '']);
  near([summary.paired[0].figures[0]!.seeds], [2], 0);
  assert.is(summarize({ cells: [], warm }, ['a']), undefined);
});
results('figureText rounds, signs and leaves absent figures empty', () => {
  assert.is(figureText(undefined, 3), '');
  assert.is(figureText({ mean: -0.0001, interval: [-0.0002, 0.5], seeds: 2 }, 3, true), '+0.000 [+0.000, +0.500]');
  assert.is(figureText({ mean: 1.25, seeds: 1 }, 1), '1.3');
});
results.run();

const svg = suite('SVG charts');
svg('ticks are round numbers inside the range', () => {
  assert.equal(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.equal(ticks(-0.03, 0.11, 5), [0, 0.05, 0.1]);
  assert.equal(ticks(1, 50, 6), [10, 20, 30, 40, 50]);
});
svg('a chart has a line per curve, a band over seeds, and its labels as text', () => {
  const text = chartSvg({
    title: 'a < b & "c"',
    steps: [1, 2, 3],
    curves: [
      { label: '</svg><script>', color: 0, mean: [0, 1, null], low: [0, 0.5, null], high: [0.5, 1, null] },
      { label: 'b', color: 9, mean: [0.5, 0.5, 0.5] },
    ],
  });
  const { document } = parseHTML(`<body>${text}</body>`);
  assert.is(document.querySelectorAll('polyline').length, 2);
  assert.is(document.querySelectorAll('polygon').length, 1);
  assert.is(document.querySelectorAll('script').length, 0);
  const labels = [...document.querySelectorAll('text')].map(({ textContent }) => textContent);
  assert.is(labels[0], 'a < b & "c"');
  assert.ok(labels.includes('</svg><script>') && labels.includes('b'));
  const [line] = document.querySelectorAll('polyline');
  const points = line
    .getAttribute('points')!
    .split(' ')
    .map((point: string) => point.split(',').map(Number));
  assert.is(points.length, 2, 'what is not there is left out');
  assert.ok(points[1][0] > points[0][0] && points[1][1] < points[0][1], 'right is later, up is more');
  assert.not.match(text, /NaN|undefined/);
  assert.not.match(
    chartSvg({ title: 'flat', steps: [1], curves: [{ label: 'a', color: 0, mean: [0] }] }),
    /NaN|Infinity/,
  );
});
svg.run();
