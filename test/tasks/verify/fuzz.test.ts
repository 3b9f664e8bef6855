// Random LaTeX through the pool: none may take its second (it would be stopped), none may throw. PRL_FUZZ_VERIFY is how
// many (`npm run fuzz:verify`: 100,000), PRL_FUZZ_SEED which.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { verifyMath } from '../../../lib/index.js';
import { goldAnswers } from './benchmarks.js';
import { hedge, plainHedges } from './hedges.js';
import { soup } from './soup.js';

const FULL = process.env.PRL_FUZZ_VERIFY;
const COUNT = Number(FULL ?? 1000);
const SEED = Number(process.env.PRL_FUZZ_SEED ?? 1);
/** In flight at a time: enough that no thread waits for the next. */
const LANES = 16;

const fuzz = suite('random LaTeX');
fuzz(`${COUNT} soups: none over a second, none fails`, async () => {
  await verifyMath('1', '1'); // the threads are up
  const reasons: Record<string, number> = {};
  let next = 0;
  let slowest = { milliseconds: 0, answer: '', gold: '' };
  const start = performance.now();
  const lane = async () => {
    while (next < COUNT) {
      const index = next++;
      const { gold, answer } = soup(SEED, index);
      const boxed = index % 2 === 0;
      const began = performance.now();
      const { reason } = await verifyMath(boxed ? `so \\boxed{${answer}}` : answer, gold, {
        extraction: boxed ? 'boxed' : index % 4 === 1 ? 'whole' : 'any',
      });
      const milliseconds = performance.now() - began;
      if (milliseconds > slowest.milliseconds) slowest = { milliseconds, answer, gold };
      reasons[reason] = (reasons[reason] ?? 0) + 1;
      assert.ok(
        reason !== 'failed' && reason !== 'timeout',
        `soup ${index} of seed ${SEED}: ${reason}: ${answer} for ${gold}`,
      );
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const seconds = (performance.now() - start) / 1000;
  if (FULL)
    console.log(
      `\n${COUNT} soups in ${seconds.toFixed(1)} s`,
      reasons,
      '\nslowest, its wait for a thread included:',
      slowest,
    );
  // The generator reaches what it is for: answers that are compared, and some that are equal.
  assert.ok(reasons.different > COUNT / 3 && reasons.equal > COUNT / 100, JSON.stringify(reasons));
});
fuzz.run();

const search = suite('a response that holds many numbers');
/** Golds of AIME are integers from 0 to 999. Without the public ones, some of these stand for them. */
const GOLDS = goldAnswers('aime24') ?? Array.from({ length: 30 }, (_, k) => String((37 * k + 25) % 1000));
const HEDGES = FULL ? COUNT / 10 : COUNT / 4;
search(`is right for no problem: ${HEDGES} random ones`, async () => {
  let next = 0;
  const lane = async () => {
    while (next < HEDGES) {
      const response = hedge(SEED, next++);
      // What stands in it, and what is next to that.
      const near = [...new Set((response.match(/\d+/g) ?? []).flatMap((n) => [Number(n), Number(n) + 1]))];
      const golds = near.map(String).slice(0, 12).concat(near.map(String).slice(-12));
      const hits: string[] = [];
      for (const gold of new Set(golds)) if ((await verifyMath(`\\boxed{${response}}`, gold)).correct) hits.push(gold);
      // 506-1 has a value; no other response that holds several numbers is right for one.
      assert.ok(hits.length <= (/[-/:!]|\\(?:div|frac)/.test(response) ? 1 : 0), `${response} for ${hits}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
});
search('is right for no problem: one of each separator in one of each bracket', async () => {
  for (const numbers of [GOLDS.slice(0, 10), ['506', '507']]) {
    const asked = plainHedges(numbers).flatMap((response) => numbers.slice(0, 2).map((gold) => ({ response, gold })));
    await Promise.all(
      asked.map(async ({ response, gold }) => {
        assert.not((await verifyMath(`\\boxed{${response}}`, gold)).correct, `${response} for ${gold}`);
      }),
    );
  }
});
search('all golds in one response are right for none of them', async () => {
  for (const response of plainHedges(GOLDS).filter((_, k) => k % (FULL ? 1 : 7) === 0))
    for (const gold of GOLDS.filter((_, k) => k % 10 === 0))
      assert.not((await verifyMath(`\\boxed{${response}}`, gold)).correct, `${response} for ${gold}`);
});
search.run();
