import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { averageAtN, passAtK } from '../../lib/index.js';
import { near, throwsError } from '../reference/numbers.js';

const metrics = suite('passAtK, averageAtN');
metrics('passAtK is the share of subsets of k samples that hold a right one', () => {
  for (let n = 1; n <= 7; n++)
    for (let c = 0; c <= n; c++)
      for (let k = 1; k <= n; k++) {
        let subsets = 0;
        let hits = 0;
        for (let chosen = 0; chosen < 1 << n; chosen++) {
          if (chosen.toString(2).replaceAll('0', '').length !== k) continue;
          subsets++;
          if (chosen & ((1 << c) - 1)) hits++; // the first c samples are the right ones
        }
        near([passAtK(n, c, k)], [hits / subsets], 1e-15, `n ${n}, c ${c}, k ${k}`);
      }
  near([passAtK(10_000, 1, 5_000)], [0.5], 1e-10, 'no overflow');
});
metrics('averageAtN is the mean over problems of their share of right samples', () => {
  near(
    [
      averageAtN([
        { n: 8, correct: 2 },
        { n: 4, correct: 4 },
      ]),
    ],
    [0.625],
    0,
  );
  assert.is(averageAtN([]), 0);
});
metrics('passAtK and averageAtN refuse counts out of range', () => {
  throwsError(() => passAtK(4, 5, 1), RangeError, 'ERR_PRL_OUT_OF_RANGE', /c must be an integer from 0 to 4/);
  throwsError(() => passAtK(4, 1, 5), RangeError, 'ERR_PRL_OUT_OF_RANGE', /k must be/);
  throwsError(() => averageAtN([{ n: 0, correct: 0 }]), RangeError, 'ERR_PRL_OUT_OF_RANGE', /problems\[0\]\.n/);
});
metrics.run();
