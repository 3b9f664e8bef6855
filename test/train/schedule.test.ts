import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { learningRateAt } from '../../lib/train/schedule.js';
import { near } from '../reference/numbers.js';

const schedule = suite('learningRateAt');
const course = (type: 'constant' | 'linear' | 'cosine', totalSteps: number, warmupSteps: number, minRate = 0) =>
  Array.from({ length: totalSteps }, (_, i) =>
    learningRateAt(i, { learningRate: 2, type, warmupSteps, totalSteps, minRate }),
  );

schedule('constant holds its rate after a linear warm-up that is never 0', () => {
  near(course('constant', 6, 4), [0.5, 1, 1.5, 2, 2, 2], 1e-12);
  near(course('constant', 3, 0), [2, 2, 2], 0);
});
schedule('linear falls to its end in the last update', () => {
  near(course('linear', 6, 2), [1, 2, 1.5, 1, 0.5, 0], 1e-12);
  near(course('linear', 4, 0, 0.2), [1.6, 1.2, 0.8, 0.4], 1e-12);
});
schedule('cosine is half way at the middle, at its minimum at the end, and never rises', () => {
  const rates = course('cosine', 100, 0, 0.1);
  near([rates[49]], [1.1], 1e-12);
  near([rates[99]], [0.2], 1e-12);
  for (let i = 1; i < 100; i++) assert.ok(rates[i] < rates[i - 1]);
});
schedule('a course shorter than its warm-up rises only, and updates after its end keep the minimum', () => {
  near(course('cosine', 2, 4), [0.5, 1], 1e-12);
  assert.is(
    learningRateAt(500, { learningRate: 2, type: 'cosine', warmupSteps: 0, totalSteps: 10, minRate: 0.1 }),
    0.2,
  );
});
schedule.run();
