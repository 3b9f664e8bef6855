import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { reportPage } from '../../../lib/cli/report/page.js';
import type { ReportRun } from '../../../lib/cli/report/read.js';
import type { Row } from '../../../lib/train/run-folder.js';
import type { SampleRow } from '../../../lib/train/sample-log.js';
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
  return { label, name: `${label}-${seed}`, options: { method: label, seed, maxSteps: 30, note: text }, rows, samples };
}

const page = suite('report page');
page('model output stays text wherever it stands', async () => {
  for (const text of HOSTILE) {
    const hostile = { ...run(text, 0, text), name: text };
    const { document } = await openPage(await reportPage({ title: text, runs: [hostile] }));
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

page("the page's script draws every chart and shows its numbers", async () => {
  const runs = [run('grpo', 1), run('grpo', 3), run('prl', 1)];
  const { document, drawn, changeColors, settle } = await openPage(await reportPage({ title: 'a', runs }));
  const charts = [...document.querySelectorAll('.chart')];
  const titles = charts.map((chart) => chart.querySelector('figcaption').firstChild.textContent);
  assert.equal(titles, [
    'average@n',
    'Entropy',
    'Clip fractions: clipped low',
    'Clip fractions: clipped high',
    'seconds/step',
    'something_new',
  ]);
  const check = () => {
    for (const chart of charts) assert.is(chart.querySelectorAll('canvas').length, 1);
    // Means of 0.95 + 0.01 and 0.95 + 0.03; the bootstrap interval of two values is the two.
    assert.is(
      [...charts[0].querySelectorAll('.legend span')].map(({ textContent }) => textContent).join('|'),
      'step 20|grpo 0.97 [0.96, 0.98]|prl 0.96',
    );
  };
  check();
  assert.ok(drawn.get('stroke')! >= charts.length, 'curves were drawn');
  assert.ok(drawn.get('fill')! >= 1, 'bands were filled');
  changeColors();
  await settle();
  check();
});

page('steps show their numbers, and their colours scale to the largest advantage', async () => {
  const { document } = await openPage(await reportPage({ title: 'a', runs: [run('prl', 0)] }));
  const [first, second] = document.querySelectorAll('.group .step');
  assert.is(first.getAttribute('data-n'), 'step 1, advantage +0.750, score 0.500, 8 tokens');
  assert.is(first.getAttribute('style'), '--w:1.000;--r:1.000');
  assert.is(first.className, 'step up more');
  assert.is(second.getAttribute('data-n'), 'step 2, advantage -0.250, 1 token');
  assert.is(second.getAttribute('style'), '--w:0.333;--r:1.000');
  assert.is(second.className, 'step down less');
  assert.is(second.textContent, 'end');
  assert.is(document.querySelectorAll('.credit h4').length, 6);
  assert.match(document.querySelector('.response').textContent, /3 more steps/);
  const rewards = document.querySelector('.histogram');
  assert.equal(
    [...rewards.querySelectorAll('rect')].slice(0, 2).map((cell) => cell.getAttribute('fill-opacity')),
    ['0.77', '0.31'],
  );
  const rows = [...document.querySelectorAll('tbody tr')].map((row) => row.textContent);
  assert.ok(rows.some((row) => row.includes('20 of 30')));
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
    ['Run', 'Learning curves', 'Settings'],
  );
});
page.run();
