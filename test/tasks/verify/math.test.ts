// What verifyMath takes for the same answer, and what not.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { extractAnswer } from '../../../lib/tasks/verify/extract.js';
import { judgeMath, sameMath } from '../../../lib/tasks/verify/judge.js';
import { CASES, PROMISED } from './cases.js';
import { EXPLOITS } from './exploits.js';

const r = String.raw;
const KINDS = Object.entries({ promised: PROMISED, ...CASES, ...EXPLOITS });
const GOLDS = [...new Set(KINDS.flatMap(([, { accept, reject }]) => [...accept, ...reject].map(([gold]) => gold)))];

const table = suite('math answers');
for (const [kind, { accept, reject }] of KINDS) {
  table(`${kind}: ${accept.length} accepted, ${reject.length} rejected`, () => {
    for (const [gold, answer] of accept) assert.ok(sameMath(gold, answer), `'${answer}' is '${gold}'`);
    for (const [gold, answer] of reject) assert.not(sameMath(gold, answer), `'${answer}' is not '${gold}'`);
  });
}
table('every gold answer is itself, however it looks', () => {
  const looks: ((s: string) => string)[] = [
    (s) => s,
    (s) => `$${s}$`,
    (s) => r`\(${s}\)`,
    (s) => r`\displaystyle ${s}`,
    (s) => ` ${s} `,
    (s) => `${s}.`,
    (s) => r`\boxed{${s}}`,
    (s) => s.replaceAll(r`\frac`, r`\dfrac`),
    (s) => s.replaceAll(r`\frac`, r`\tfrac`),
    (s) => s.replace(/(?<!\\)([=<>+,])/g, ' $1 '),
    (s) => s.replace(/(?<!\\),\s*/g, r`,\,`),
    (s) => s.replaceAll('-', '−'),
    (s) => (/\\(?:left|text|begin)/.test(s) ? s : s.replace(/[([]/g, r`\left$&`).replace(/[)\]]/g, r`\right$&`)),
  ];
  for (const gold of GOLDS)
    for (const [k, look] of looks.entries()) {
      // \sqrt[3] takes no \left, and groups of digits are no list.
      if ((k === 12 && gold.includes('sqrt[')) || (k === 10 && /\d[,{]\S*\d{3}/.test(gold))) continue;
      assert.ok(sameMath(gold, look(gold)), `'${look(gold)}' is '${gold}'`);
    }
});
table('with one digit changed it is another', () => {
  let changed = 0;
  for (const gold of GOLDS) {
    const other = gold.replace(/\d/, (digit) => String((Number(digit) + 1) % 10));
    if (other === gold) continue;
    changed++;
    assert.not(sameMath(gold, other), `'${other}' is not '${gold}'`);
    // The last digit of a decimal may be within its tolerance, and the power of a unit is dropped with it.
    if (/\d\.\d|\\(?:text|mathrm)/.test(gold)) continue;
    const last = gold.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 1) % 10));
    assert.not(sameMath(gold, last), `'${last}' is not '${gold}'`);
  }
  assert.ok(changed > 200, `${changed} gold answers have digits`);
});
table('no answer is right for every problem', () => {
  const dodges = ['0:0', '0:0:0', 'x-x:x-x', '0=0', r`\frac00`, r`\text{ }`, '()', r`\infty-\infty`, r`\cup`, '?'];
  dodges.push(r`10^{30}\pi-10^{30}\pi`, r`10^{300}\pi-10^{300}\pi`, r`10^{30}\sin x-10^{30}\sin x`, r`\tan\frac\pi2`);
  dodges.push(r`10^{-320}\sqrt x=0`, r`10^{-320}\sqrt x<0`);
  for (const gold of GOLDS)
    for (const dodge of gold === '0=0' || sameMath(gold, '0') ? [] : dodges)
      assert.not(sameMath(gold, dodge), `'${dodge}' is not '${gold}'`);
});
table('what the parser leaves incomplete is not understood, and no defect', () => {
  for (const answer of [
    r`\sin^{-1}`,
    r`\sin^{-1}()`,
    r`\cos()^{-1}`,
    r`x\sin^{-1}`,
    r`\frac{1}`,
    '2^',
    r`\sqrt`,
    r`\log_`,
    r`x=\cos^{-1}`,
    r`\binom{3}`,
    '-',
    '+',
    r`\cdot`,
  ])
    for (const gold of ['1', 'x+1', 'y=2x', '1:2', r`2\%`])
      assert.is(judgeMath(`\\boxed{${answer}}`, gold, 'boxed').reason, 'different', `'${answer}' for '${gold}'`);
});
table.run();

const extraction = suite('the answer in a response');
const answers = (cases: [response: string, answer: string | undefined][], how: 'boxed' | 'any' | 'whole' = 'boxed') => {
  for (const [response, answer] of cases)
    assert.is(extractAnswer(response, how), answer, JSON.stringify(response.slice(0, 80)));
};
extraction('the last balanced box after the thinking', () => {
  answers([
    [r`so \boxed{5}.`, '5'],
    [r`\boxed{4}, no: \boxed{ 5 }`, '5'],
    [r`\boxed{\frac{1}{2}}`, r`\frac{1}{2}`],
    [r`\boxed{\{1,2\}}`, r`\{1,2\}`],
    [r`\boxed{x=\boxed{5}}`, r`x=\boxed{5}`],
    [r`\boxed {5}`, '5'],
    [r`\fbox{5}`, '5'],
    [r`\boxed{5} and then \boxed{6`, '5'],
    [r`\boxed{5} \boxed{\text{a`, '5'],
    [r`\boxed{}`, ''],
    [r`\boxed{\}}`, r`\}`],
    [r`\boxed 5`, undefined],
    ['the answer is 5', undefined],
    ['', undefined],
    [r`<think>\boxed{5}</think> \boxed{6}`, '6'],
    [r`<think>\boxed{5}</think> six`, undefined],
    [r`<think>\boxed{5}`, undefined],
    [r`so \boxed{5}</think> and \boxed{6}`, '6'],
    [r`<think>a</think>\boxed{5}<think>`, undefined],
    [`${r`\boxed{5}`}${'.'.repeat(19_000)}`, '5'],
    [`${r`\boxed{5}`}${'.'.repeat(20_000)}`, undefined],
    [`${'y'.repeat(100_000)}${r`\boxed{5}`}`, '5'],
  ]);
});
extraction('for evaluation: a box, "answer is", the last mathematics, the last number', () => {
  answers(
    [
      [r`\boxed{4}, so the answer is 5`, '4'],
      ['The answer is 5.', '5'],
      ['The final answer is: $x+1$. Done', 'x+1'],
      [r`the answer is \(7\) cm`, '7'],
      ['**Answer:** 12', '12'],
      ['answer: 3.5', '3.5'],
      ['hence $x=1$ or $y=2$ hold', 'y=2'],
      ['it costs $5', '5'],
      ['there are 12 cats and 1,234 dogs', '1,234'],
      ['from -3/4 on', '-3/4'],
      ['between 3-5', '5'],
      ['x = 10-5', '5'],
      ['x = -5', '-5'],
      ['The answer is $$\n5\n$$ as said', '5'],
      [r`answer: \[`.concat('\n5\n', r`\]`), '5'],
      ['The answer is $5.\nSo $x$', '$5'],
      ['nothing', undefined],
    ],
    'any',
  );
});
extraction('dollars are money, unless a second one closes mathematics', () => {
  answers(
    [
      ['She pays $3 for tea and $5 for cake.\n#### 8', '8'],
      ['She pays $3 for tea and $5 for cake.', '5'],
      ['She pays $3 for tea and $5 for cake. So $x=8$ it is', 'x=8'],
      ['He has $20 and gets $5 more, in all $25.', '25'],
      ['so $x$ costs $5', 'x'],
      ['it is $5$', '5'],
      ['it is $ 5 $ then', '5'],
      ['it is $3 x+1$', '3 x+1'],
      [r`it costs \$3 and \$5`, '5'],
      ['A: 8', '8'],
      ['Q: 3+5?\nA: $8', '$8'],
      ['Answer: 8 apples', '8 apples'],
      ['Answer: 9\nNo, wait.\nAnswer: 8', '8'],
      ['**Final Answer:** 8', '8'],
      [r`Answer: $\frac12$.`, r`\frac12`],
      [r`Answer: \boxed{8}`, '8'],
      ['#### 1,234', '1,234'],
      [r`\boxed{4}`.concat('\n#### 8'), '8'],
      [r`so \( x=8 \) holds`, 'x=8'],
      [r`Answer \( (9+1) \)`, '(9+1)'],
      [r`hence \[ 9 \]`, '9'],
      ['hence $$ 9 $$ and $y$', 'y'],
      [r`\boxed 5`, '5'],
      [r`\boxed 12.`, '12'],
      [r`so \boxed x`, 'x'],
    ],
    'any',
  );
});
extraction('all of it', () => {
  answers(
    [
      [' x+1 ', 'x+1'],
      ['<think>5</think> 6', '6'],
      [' ', undefined],
    ],
    'whole',
  );
});
extraction('thousands of boxes that never close take no time', () => {
  const start = performance.now();
  assert.is(extractAnswer(r`\boxed{`.repeat(100_000), 'boxed'), undefined);
  assert.is(extractAnswer('answer is $'.repeat(20_000), 'any'), '$');
  assert.ok(performance.now() - start < 500);
});
extraction.run();

const judging = suite('judging');
judging('the reason and what was extracted', () => {
  assert.equal(judgeMath(r`\boxed{\frac12}`, '0.5', 'boxed'), {
    correct: true,
    reason: 'equal',
    extracted: r`\frac12`,
  });
  assert.equal(judgeMath(r`\boxed{2}`, '0.5', 'boxed'), { correct: false, reason: 'different', extracted: '2' });
  assert.is(judgeMath('2', '2', 'boxed').reason, 'noAnswer');
  assert.is(judgeMath(r`\boxed{}`, '', 'boxed').reason, 'noAnswer');
});
judging('the gold answer is not searched', () => {
  assert.not(judgeMath(r`\boxed{5}`, 'the answer is 5', 'boxed').correct);
  assert.ok(judgeMath(r`\boxed{5}`, r`\boxed{5}`, 'boxed').correct);
});
judging('what would take long is refused, text for text', () => {
  const nested = `${'('.repeat(40)}1${')'.repeat(40)}`;
  const bars = '|'.repeat(40);
  const long = `${'x+'.repeat(300)}1`;
  const hostile = [
    nested,
    bars,
    long,
    '9^{9^{9^9}}',
    '1000000!',
    '(10^{10^{10}})!',
    `${'\\sqrt{'.repeat(30)}2${'}'.repeat(30)}`,
  ];
  hostile.push(
    '\\binom{10^9}{10^8}',
    '\\binom{25\\%}{1000}',
    '(3/7)^{2800}+(5/11)^{2300}',
    '2^{2^{20}}',
    `${'1,'.repeat(150)}1`,
    '\\frac{'.repeat(100),
    '1'.repeat(400),
    '!'.repeat(400),
  );
  hostile.push(
    'x^{20000}',
    '(x+1)^{20000}',
    '2^{20000}',
    '3^{-20000}',
    'e^{e^{e^{e^e}}}',
    `${'{'.repeat(200)}${'}'.repeat(200)}`,
  );
  for (const answer of hostile) {
    const start = process.cpuUsage();
    assert.not(sameMath('1', answer), answer.slice(0, 40));
    sameMath(answer, answer.replace(/\d/, '7'));
    assert.ok(sameMath(answer, ` ${answer}`), answer.slice(0, 40));
    const took = process.cpuUsage(start).user / 1000;
    assert.ok(took < 500, `${answer.slice(0, 40)} took ${took} ms`);
  }
});
judging.run();
