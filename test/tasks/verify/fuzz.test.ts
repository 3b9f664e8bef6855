// Random LaTeX through the pool: none may take its second (it would be stopped), none may throw. PRL_FUZZ_VERIFY is how
// many (`npm run fuzz:verify`: 100,000), PRL_FUZZ_SEED which.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { verifyMath } from '../../../lib/index.js';
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
