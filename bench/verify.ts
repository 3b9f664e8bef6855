// How many responses verifyMath judges per second: in one thread, by its own time, and in its pool, by the clock.
//   npx tsx bench/verify.ts
import { availableParallelism } from 'node:os';
import { verifyMath } from '../lib/index.js';
import { judgeMath } from '../lib/tasks/verify/judge.js';

const r = String.raw;
/** Gold answers of the kinds that problem sets have, each with right and wrong responses. */
const ANSWERS: [gold: string, answers: string[]][] = [
  ['204', ['204', '113', r`204\text{ ways}`, '1024']],
  [r`\frac{14}{3}`, [r`\dfrac{14}{3}`, r`4\frac{2}{3}`, r`\frac{13}{3}`, '4.67']],
  [r`2\sqrt{113}`, [r`\sqrt{452}`, r`2\sqrt{103}`]],
  [r`\left(3, \frac{\pi}{2}\right)`, [r`(3, \pi/2)`, r`(3, \frac{\pi}{3})`]],
  [r`(-\infty, 2) \cup (3, \infty)`, [r`(3,\infty)\cup(-\infty,2)`, r`(-\infty, 2] \cup (3, \infty)`]],
  ['x^2+7x+10', ['(x+2)(x+5)', 'x^2-7x+10']],
  ['1,2,3', [r`\{3,2,1\}`, '1, 2']],
  [r`\text{(C)}`, ['C', 'B']],
  ['y=2x+3', ['2x-y+3=0', 'y=3x+2']],
  ['6-5i', ['-5i+6', '6+5i']],
];
const steps = 'First we rewrite the equation, then we factor it and look at each case in turn. '.repeat(30);
const all = ANSWERS.flatMap(([gold, answers]) =>
  answers.map((answer) => ({ gold, response: `${steps}Hence the answer is $\\boxed{${answer}}$.` })),
);
/** Every round has other numbers, so that no answer repeats, except answers without numbers. */
const round = (n: number) =>
  all.map(({ gold, response }) => ({
    gold: gold.replace(/\d+/, (digits) => String(Number(digits) + n)),
    response: response.replace(/\d+/, (digits) => String(Number(digits) + n)),
  }));

const rate = (count: number, milliseconds: number) => `${Math.round((1000 * count) / milliseconds)} a second`;
const ROUNDS = 200;
for (const warm of [true, false]) {
  const rounds = Array.from({ length: ROUNDS }, (_, n) => round(n + (warm ? 0 : ROUNDS))).flat();
  const before = process.cpuUsage();
  for (const { response, gold } of rounds) judgeMath(response, gold, 'boxed');
  const { user, system } = process.cpuUsage(before);
  const alone = rate(rounds.length, (user + system) / 1000);
  const start = performance.now();
  await Promise.all(rounds.map(({ response, gold }) => verifyMath(response, gold)));
  if (!warm)
    console.log(
      `one thread: ${alone}; the pool, ${availableParallelism()} threads: ${rate(rounds.length, performance.now() - start)}`,
    );
}
