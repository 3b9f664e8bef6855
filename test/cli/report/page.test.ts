import { createHash } from 'node:crypto';
import { parseHTML } from 'linkedom';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { reportPage } from '../../../lib/cli/report/page.js';
import type { EvaluationFigures, ReportRun } from '../../../lib/cli/report/read.js';
import { chartSvg } from '../../../lib/cli/report/svg.js';
import type { Row } from '../../../lib/train/run-folder.js';
import type { Histogram, SampleRow } from '../../../lib/train/sample-log.js';
import { openPage } from './browser.js';

const HOSTILE = [
  '</script><script>globalThis.caught = 1</script>',
  '<img src=x onerror="caught=1">',
  '" onfocus="caught=1" x="',
  "' autofocus onmouseover='caught=1",
  '<!-- <script>',
  '--></pre></table></style></title>',
  '&lt;b&gt; &amp; \u2028 \u0000',
  '\\u003c/script>',
];

function run(label: string, seed: number, text = '12+7=19\n'): ReportRun {
  const rows = Array.from(
    { length: 20 },
    (_, i): Row => ({
      step: i + 1,
      reward: i / 20 + seed / 100,
      entropy: 0.3,
      kl: 0,
      'clip_ratio/low_mean': 0.01 * i,
      'clip_ratio/high_mean': 0.02,
      something_new: i,
      num_tokens: 2000 * (i + 1),
      'seconds/step': 1,
    }),
  );
  const groups = [
    {
      prompt: text,
      answer: text,
      mean: 0.5,
      n: 4,
      responses: [
        {
          reward: 1,
          finished: false,
          omitted: 3,
          steps: [
            { text, tokens: 8, advantage: 0.75, score: 0.5 },
            { text: '', tokens: 1, advantage: -0.25 },
          ],
        },
        { reward: 0, finished: true, steps: [] },
      ],
    },
  ];
  const samples: SampleRow[] = rows.map(({ step }) => ({
    step,
    rewards: [
      [0, 3],
      [1, 1],
    ],
    lengths: Array.from({ length: 20 }, (_, i) => [i + 1, 2]),
    ...(step % 2 === 0 && { groups }),
  }));
  const name = `${label}-${seed}`;
  return { label, name, path: `/${name}`, options: { method: label, seed, maxSteps: 30, note: text }, rows, samples };
}

const page = suite('report page');
page('model output stays text wherever it stands', async () => {
  for (const text of HOSTILE) {
    const hostile = { ...run(text, 0, text), name: text };
    const { document } = await openPage(await reportPage({ title: text, runs: [hostile, run(`${text}b`, 0)] }));
    assert.equal(
      [...document.querySelectorAll('script')].map((script) => script.getAttribute('type')),
      ['application/json', null, null],
      text,
    );
    assert.is(document.querySelectorAll('img, iframe, object, link, base, form').length, 0, text);
    for (const element of document.querySelectorAll('*'))
      for (const { name } of element.attributes)
        assert.not.ok(/^on|^autofocus$|^src$|^href$/.test(name), `${element.tagName} has ${name} for ${text}`);
    assert.is((globalThis as { caught?: number }).caught, undefined);
    // A document has no NUL; a parser puts U+FFFD in its place or drops it.
    const clean = (value: string) => value.replaceAll('\u0000', '').replaceAll('\ufffd', '');
    assert.is(clean(document.querySelector('h1').textContent), clean(text));
    assert.is(clean(document.querySelector('.group .step').textContent), clean(text));
    assert.is(clean(document.querySelector('.group code').textContent), clean(text));
    const [chart] = JSON.parse(document.getElementById('charts').textContent);
    assert.is(chart.curves[0].label, text);
  }
});

page('the page loads nothing from elsewhere and lets no other script run', async () => {
  const text = await reportPage({ title: 'a', runs: [run('prl', 0)] });
  const { document } = await openPage(text);
  const policy: string = document.querySelector('meta[http-equiv]').getAttribute('content');
  assert.match(policy, /^default-src 'none'/);
  for (const script of document.querySelectorAll('script:not([type])'))
    assert.ok(policy.includes(createHash('sha256').update(script.textContent).digest('base64')));
  const style: string = [...document.querySelectorAll('style')].map((each) => each.textContent).join('');
  assert.not.match(style, /url\(|@import/);
  assert.match(style, /prefers-color-scheme: dark/);
  assert.match(text, /The MIT License/);
  assert.ok(document.querySelector('meta[name=viewport]'));
});

/** Evaluations as prl train writes them: on 100 problems, with an interval of so much to both sides. */
const figures = (level: string, averageAtN: number, passAtN: number, half = 0.05): EvaluationFigures => ({
  ...{ level, problems: 100, n: 8, averageAtN, passAtN, meanLength: 12, clippedRatio: 0, measures: {}, seconds: 1 },
  averageAtNInterval: [averageAtN - half, averageAtN + half],
  passAtNInterval: [passAtN - half, passAtN + half],
});
const evaluated = (label: string, seed: number, before: number, after: number): ReportRun => ({
  ...run(label, seed),
  before: [figures('2-4', before, 0.9), figures('5-6', 0.1, 0.4)],
  after: [figures('2-4', after, 0.95), figures('5-6', 0.12, 0.2)],
});
/** The document of a page whose scripts do not matter. */
const parsed = async (...runs: ReportRun[]) => parseHTML(await reportPage({ title: 'a', runs })).document;
const textOf = (element: { textContent: string }) => element.textContent.replaceAll(/\s+/g, ' ').trim();

page('the page of a run begins with what was trained, whether it worked, and by how much', async () => {
  const document = await parsed(evaluated('prl', 1, 0.25, 0.75));
  const results = document.querySelector('section');
  assert.is(
    textOf(results.querySelector('.about')),
    'Method prl · seed 1 · 20 of 30 steps · 40 k tokens sampled · 20 s of training',
  );
  assert.is(textOf(results.querySelector('.verdict')), 'It worked: 25% → 75% right responses (average@8, +0.500).');
  assert.equal([...results.querySelectorAll('.card')].map(textOf), [
    'average@8 level 2-4 0.250 → 0.750+0.500 [0.20, 0.30] → [0.70, 0.80]',
    'pass@8 level 2-4 0.900 → 0.950+0.050 [0.85, 0.95] → [0.90, 1.00]',
    'average@8 level 5-6 0.100 → 0.120+0.020 [0.05, 0.15] → [0.07, 0.17]',
    'pass@8 level 5-6 0.400 → 0.200-0.200 [0.35, 0.45] → [0.15, 0.25]',
  ]);
  assert.match(textOf(results), /100 held-out problems of level 2-4, 8 responses each/);
  const [bar] = results.querySelectorAll('.range i');
  assert.is(bar.getAttribute('style'), 'left:25.0%;width:50.0%');
  assert.match(textOf(results.querySelector('table')), /prl-12-4average@81000\.250 \[0\.200, 0\.300\]0\.750/);
});

page('the verdict is no better than the figures', async () => {
  const verdict = async (...runs: ReportRun[]) => {
    const document = await parsed(...runs);
    return textOf(document.querySelector('.verdict'));
  };
  assert.match(await verdict(evaluated('a', 0, 0.25, 0.3)), /^No clear change: 25% → 30% .* within chance\.$/);
  assert.match(await verdict(evaluated('a', 0, 0, 0)), /^No response was right, neither before training nor after/);
  assert.match(await verdict(run('a', 0), run('b', 0)), /^No run has been evaluated on held-out problems\./);
  assert.match(await verdict(evaluated('a', 0, 0.5, 0.3)), /^It got worse: 50% → 30%/);
  assert.match(await verdict(evaluated('a', 0, 0.2, 0.3), evaluated('a', 1, 0.2, 0.6)), /^It worked: 20% → 45%/);
  assert.match(
    await verdict(evaluated('a', 0, 0.2, 0.1), evaluated('a', 1, 0.2, 0.8)),
    /^No clear change/,
    'seeds disagree',
  );
  assert.is(
    await verdict(run('a', 0)),
    'The run has not finished. The mean reward of its training batches went from 0.025 (first 2 steps) to 0.925 (last 2 steps).',
  );
  const one = run('a', 0);
  assert.match(
    await verdict({ ...one, rows: one.rows.slice(0, 1) }),
    /mean reward of its one training step is 0\.000\.$/,
  );
});

page('runs of unlike kinds stand in one table, each with its own problems', async () => {
  const sums: ReportRun = {
    ...run('sums', 0),
    options: {
      method: 'grpo',
      task: 'sums',
      dataset: `60 problems, SHA-256 ${'0123456789abcdef'.repeat(2)}`,
      note: 'x',
    },
    before: [{ ...figures('all', 0, 0), problems: 15, n: 4 }],
    after: [{ ...figures('all', 0, 0), problems: 15, n: 4 }],
  };
  const document = await parsed(evaluated('prl', 0, 0.25, 0.75), sums, run('unfinished', 0));
  const rows = [...document.querySelector('.results table').querySelectorAll('tbody tr')].map(textOf);
  assert.is(
    textOf(document.querySelector('.verdict')),
    '1 of 2 improved. Largest gain: prl, 0.250 → 0.750 (average@8, +0.500).',
  );
  assert.match(rows[0], /^prlprl0\.250 → 0\.750.*▲ improved.*100 held-out problems of level 2-4, 8 responses each/);
  assert.match(rows[1], /^sumsgrpo0\.000 → 0\.000.*● no clear change.*sums15 held-out problems, 4 responses each/);
  assert.match(rows[2], /^unfinishedunfinished0\.025 → 0\.925.*reward of training batches/);
  // Settings: what differs, and hashes cut to what a reader compares.
  const settings = document.querySelector('.settings');
  const [differing] = settings.querySelectorAll('table');
  assert.equal([...differing.querySelectorAll('thead th')].map(textOf), ['option', 'prl', 'sums', 'unfinished']);
  const names = [...differing.querySelectorAll('tbody th')].map(textOf);
  assert.equal(names, ['dataset', 'maxSteps', 'method', 'note', 'seed', 'task']);
  assert.not.match(textOf(document.body), /[0-9a-f]{16}/);
  assert.match(textOf(differing), /60 problems, SHA-256 01234567…/);
});

page('the first line has the tokens per second of each phase, over all steps', async () => {
  const timed = run('grpo', 0);
  // 300 tokens in 2 s, then 300 in 4; the second step has no update.
  const phases = (step: number) => ({
    ...{ 'seconds/rollout': 2 * step, 'tokens_per_second/rollout': 150 / step },
    ...(step === 1 && { 'seconds/update': 4, 'tokens_per_second/update': 32.125 }),
  });
  const rows = [1, 2].map((step) => ({ ...timed.rows[step], step, ...phases(step) }) as Row);
  const document = await parsed({ ...timed, rows });
  assert.match(textOf(document.querySelector('.about')), /of training \(tokens\/s: rollout 100, update 32\.1\)$/);
});

page("the page's script draws every chart, and one legend switches the runs in all of them", async () => {
  const runs = [run('grpo', 1), run('grpo', 3), run('prl', 1)];
  const { document, drawn, changeColors, settle } = await openPage(await reportPage({ title: 'a', runs }));
  const charts = [...document.querySelectorAll('.chart')];
  const titles = charts.map((chart) => chart.querySelector('figcaption').firstChild.textContent);
  assert.equal(titles, [
    'average@n',
    'Entropy',
    'Tokens clipped low',
    'Tokens clipped high',
    'num_tokens',
    'seconds/step',
    'something_new',
  ]);
  assert.is(document.querySelectorAll('.legend').length, 1);
  const buttons = [...document.querySelectorAll('.legend button')];
  assert.equal(buttons.map(textOf), ['grpo', 'prl']);
  const check = () => {
    for (const chart of charts) assert.is(chart.querySelectorAll('canvas').length, 1);
  };
  check();
  // Means of .0 + .01 and .0 + .03 at first, and of .95 + .01 and .95 + .03 at last.
  assert.match(
    textOf(charts[0].querySelector('.numbers')),
    /grpo0\.02 \(1\)0\.97 \(20\)0\.020\.97 prl0\.01 \(1\)0\.96 \(20\)/,
  );
  const strokes = async (act: () => void) => {
    const before = drawn.get('stroke') ?? 0;
    act();
    await settle();
    return (drawn.get('stroke') ?? 0) - before;
  };
  const both = await strokes(changeColors);
  check();
  assert.ok(both >= charts.length, 'curves were drawn');
  const press = (i: number) => strokes(() => buttons[i].dispatchEvent(new document.defaultView.Event('click')));
  const alone = await press(0);
  assert.equal(
    buttons.map((button) => button.getAttribute('aria-pressed')),
    ['false', 'true'],
  );
  assert.ok(alone > 0 && alone < both, `${alone} strokes without a run, ${both} with it`);
  await press(0);
  assert.equal(
    buttons.map((button) => button.getAttribute('aria-pressed')),
    ['true', 'true'],
  );
});

page('steps show their numbers, and their colours scale to the largest advantage', async () => {
  const document = await parsed(run('prl', 0));
  const [first, second] = document.querySelectorAll('.group .step');
  assert.is(first.getAttribute('data-n'), 'step 1, advantage +0.750, score 0.500, 8 tokens');
  assert.is(first.getAttribute('style'), '--w:1.000;--r:1.000');
  assert.is(first.className, 'step up more');
  assert.is(second.getAttribute('data-n'), 'step 2, advantage -0.250, 1 token');
  assert.is(second.getAttribute('style'), '--w:0.333;--r:1.000');
  assert.is(second.className, 'step down less');
  assert.is(second.textContent, 'end');
  assert.is(document.querySelectorAll('.credit h4').length, 6);
  assert.is(
    textOf(document.querySelector('.credit h4')),
    'Training step 2 deepest colour at ±0.75, ±0.5 within a response',
  );
  assert.match(document.querySelector('.response').textContent, /3 more steps/);
  assert.match(textOf(document.querySelector('.histograms')), /Each reward is 0 or 1/);
  assert.is(document.querySelectorAll('.histogram').length, 1, 'rewards of two values need no histogram');
});

page('each training step has its own scale of credit, so that early ones are not blank', async () => {
  const grown = run('prl', 0);
  const samples = grown.samples.map((row) => structuredClone(row));
  samples.forEach(({ groups }, i) => {
    for (const { steps } of groups?.flatMap(({ responses }) => responses) ?? [])
      steps.forEach((step, k) => {
        step.advantage = i < 2 ? 0 : 10 ** (i - 12) * (k === 0 ? 0.75 : -0.25);
      });
  });
  const document = await parsed({ ...grown, samples });
  const weights = [...document.querySelectorAll('.credit .groups')].map((groups) =>
    groups.querySelector('.step').getAttribute('style'),
  );
  assert.is(weights[0], '--w:0.000;--r:0.000');
  assert.equal(new Set(weights.slice(2)), new Set(['--w:1.000;--r:1.000']), 'as deep at 1e-6 as at 1e7');
  assert.match(textOf(document.querySelector('.credit h4')), /no colour: every advantage is 0/);
});

page('a reward of more than two values has a histogram', async () => {
  const graded = run('prl', 0);
  const samples = graded.samples.map((row) => ({
    ...row,
    rewards: [
      [0, 3],
      [0.5, 0],
      [1, 1],
    ] as Histogram,
  }));
  const document = await parsed({ ...graded, samples });
  const [, rewards] = document.querySelectorAll('.histogram');
  assert.equal(
    [...rewards.querySelectorAll('rect')].slice(0, 2).map((cell) => cell.getAttribute('fill-opacity')),
    ['0.77', '0.31'],
  );
  assert.match(rewards.getAttribute('aria-label'), /^Reward from 0 to 1 over 20 steps; median 0 at first/);
});

page('a part without data is left out', async () => {
  const { rows, ...rest } = run('grpo', 0);
  const bare: ReportRun = {
    ...rest,
    rows: rows.slice(0, 1).map(({ step }) => ({ step, reward: Number.NaN })),
    samples: [],
  };
  const { document } = await openPage(await reportPage({ title: 'a', runs: [bare] }));
  assert.is(document.querySelectorAll('.chart').length, 0);
  assert.equal(
    [...document.querySelectorAll('h2')].map(({ textContent }) => textContent),
    ['Results', 'Learning curves', 'Settings'],
  );
});
page('a chart smooths noisy curves, and draws evaluations now and then as they are', () => {
  const steps = Array.from({ length: 41 }, (_, i) => i);
  const noisy = steps.map((i) => i % 2);
  const seldom = steps.map((i) => (i % 20 === 0 ? i / 40 : null));
  const curves = [noisy, noisy, seldom].map((mean, color) => ({ label: `curve ${color}`, color, mean }));
  const svg = chartSvg({ title: 'chart', range: [0, 1], steps, curves }).toString();
  const heights = [...svg.matchAll(/<polyline[^>]* points="([^"]*)"/g)].map(([, points]) =>
    points.split(' ').map((point) => Number(point.split(',')[1])),
  );
  const [, , exact] = heights;
  const [bottom, top] = [exact[0], exact[2]];
  assert.is(exact.length, 3);
  assert.ok(Math.abs(exact[1] - (bottom + top) / 2) <= 0.1, 'the middle evaluation is in the middle');
  assert.ok(Math.min(...heights[0].slice(20)) > top + 50, 'noise of 0 and 1 stays off 1');
  assert.match(svg, /exponential averages/);
  const alone = chartSvg({ title: 'chart', range: [0, 1], steps, curves: [2, 2, 2].map((k) => curves[k]) }).toString();
  assert.not.match(alone, /exponential averages/);
});

page.run();
