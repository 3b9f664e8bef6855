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
results('below 5 seeds the tables list the seeds, and differences are paired by seed', () => {
  const cells = [cell('a', 0, 0.2), cell('a', 1, 0.4), cell('a', 2, 0.9), cell('b', 1, 0.5), cell('b', 0, 0.3)];
  const summary = summarize({ cells, warm }, ['a', 'b', 'c'])!;
  const [[, all], [, paired]] = summaryTables(summary);
  assert.equal(all[0], ['', 'before', 'a', 'b', 'c']);
  const row = (name: string) => all.find(([first]) => first === name)!;
  assert.equal(row('average@8 2-4'), [
    'average@8 2-4',
    '0.100',
    '0.500 (0.200 / 0.400 / 0.900)',
    '0.400 (0.300 / 0.500)',
    '',
  ]);
  assert.is(row('average@8 5-6')[3], '0.200 (0.150 / 0.250)');
  assert.is(row('drift')[1], '', 'before training there is none');
  assert.is(row('seconds')[2], '4.0 (4.0 / 4.0 / 4.0)');
  assert.equal(paired[0], ['', 'b - a', 'c - a']);
  // Only seeds 0 and 1 have both: +0.1 each, though b's mean is lower than a's.
  assert.equal(paired[1], ['average@8 2-4', '+0.100 (+0.100 / +0.100)', '']);
  const [difference] = summary.paired[0].figures;
  assert.is(difference!.seeds, 2);
  near(Object.values(difference!.bySeed), [0.1, 0.1], 1e-15);
  assert.equal(Object.keys(difference!.bySeed), ['0', '1']);
  for (const text of [...all, ...paired].flat()) assert.not.ok(text.includes('['), text);
  for (const { figures } of [...summary.rows, ...summary.paired])
    for (const figure of figures) assert.is(figure?.interval, undefined);
  assert.is(summarize({ cells: [], warm }, ['a']), undefined);
});
results('from 5 seeds on the tables have t intervals, within 0 and 1 for shares', () => {
  const seeds = [0.1, 0.2, 0.3, 0.4, 0.5];
  const cells = seeds.flatMap((value, seed) => [cell('a', seed, value), cell('b', seed, seed < 4 ? 1 : 0.9)]);
  const summary = summarize({ cells, warm }, ['a', 'b'])!;
  const [[, all], [, paired]] = summaryTables(summary);
  // mean 0.3, deviation sqrt(0.025), and t = 2.776 of 4 degrees of freedom: 0.3 -+ 2.776 sqrt(0.025 / 5).
  assert.equal(all[1], ['average@8 2-4', '0.100', '0.300 [0.104, 0.496]', '0.980 [0.924, 1.000]']);
  // The differences are .9 .8 .7 .6 .4: mean .68, variance .037, so .68 -+ 2.776 sqrt(.037 / 5).
  assert.is(paired[1][1], '+0.680 [+0.441, +0.919]');
  const seconds = all.find(([name]) => name === 'seconds')!;
  assert.is(seconds[2], '4.0', 'seeds that are all equal have no interval of width 0');
  const [, four] = summaryTables(summarize({ cells: cells.slice(0, 9), warm }, ['a', 'b'])!)[1];
  assert.match(four[1][1], /^\+0\.750 \(\+0\.900 .*\)$/, 'four pairs are too few');
});
results('figureText rounds, signs and leaves absent figures empty', () => {
  assert.is(figureText(undefined, 3), '');
  const bySeed = { 0: 0, 1: 0, 2: 0, 3: 0, 4: 0 };
  const figure = { mean: -0.0001, interval: [-0.0002, 0.5] as [number, number], seeds: 5, bySeed };
  assert.is(figureText(figure, 3, true), '+0.000 [+0.000, +0.500]');
  assert.is(figureText({ mean: 1.25, seeds: 1, bySeed: { 7: 1.25 } }, 1), '1.3');
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
    range: [0, 1],
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
  assert.equal(labels.slice(1, 7), ['0', '0.2', '0.4', '0.6', '0.8', '1'], 'a share has the whole axis');
  assert.not.match(text, /NaN|undefined/);
  assert.not.match(
    chartSvg({ title: 'flat', range: [0, null], steps: [1], curves: [{ label: 'a', color: 0, mean: [0] }] }),
    /NaN|Infinity/,
  );
});
svg('a chart brings its ground, and both are light or dark', () => {
  const curves = [{ label: 'a', color: 0, mean: [0, 1] }];
  const text = chartSvg({ title: 'a', range: [0, 1], steps: [1, 2], curves });
  const { document } = parseHTML(`<body>${text}</body>`);
  const ground = document.querySelector('rect.ground')!;
  assert.is(ground.getAttribute('fill'), '#ffffff');
  assert.equal([ground.getAttribute('width'), ground.getAttribute('height')], ['600', '300'], 'it fills the picture');
  const [, dark] = /@media\(prefers-color-scheme:dark\)\{(.*)\}<\/style>/.exec(text)!;
  for (const name of ['.ground{fill:', 'text{fill:', 'line{stroke:', '.c0{stroke:', '.f0{fill:'])
    assert.ok(dark.includes(name), name);
});
svg('bands of many curves are left out, as they would hide each other', () => {
  const curve = (label: string, color: number) => ({ label, color, mean: [0, 1], low: [0, 0.5], high: [0.5, 1] });
  const bands = (count: number) =>
    chartSvg({
      ...{ title: 'a', range: [0, 1], steps: [1, 2] },
      curves: Array.from({ length: count }, (_, i) => curve('abc'[i], i)),
    }).match(/<polygon/g)?.length ?? 0;
  assert.equal([1, 2, 3].map(bands), [1, 2, 0]);
});
svg('many long curves are smoothed, and the axis says so', () => {
  const steps = Array.from({ length: 40 }, (_, i) => i + 1);
  const noisy = (label: string, color: number) => ({ label, color, mean: steps.map((step) => step % 2) });
  const chart = (count: number) =>
    chartSvg({
      title: 'a',
      range: [0, 1],
      steps,
      curves: [noisy('a', 0), noisy('b', 1), noisy('c', 2)].slice(0, count),
    });
  /** How far the last two points of the first line are apart, in pixels. */
  const jump = (text: string) => {
    const [a, b] = /points="([^"]*)"/
      .exec(text)![1]
      .split(' ')
      .slice(-2)
      .map((point) => Number(point.split(',')[1]));
    return Math.abs(a - b);
  };
  // The axis is 228 pixels high. An exponential average of 0 1 0 1 ... moves by (1 - w) / (1 + w) = 1/9 of that.
  assert.is(jump(chart(2)), 228);
  assert.ok(Math.abs(jump(chart(3)) - 228 / 9) < 0.2, `${jump(chart(3))}`);
  assert.match(chart(3), /step \(exponential averages, weight 0\.8\)/);
  assert.not.match(chart(2), /averages/);
});
svg.run();
