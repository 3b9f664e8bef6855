import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stratifiedInterval } from '../../lib/eval/bootstrap.js';
import type { Tally } from '../../lib/eval/record.js';
import { evaluationTable, passCounts } from '../../lib/eval/table.js';
import { near, random } from '../reference/numbers.js';

const tally = (correct: number, majority?: boolean, more: Partial<Tally> = {}): Tally => ({
  correct,
  clipped: 0,
  measures: {},
  ...(majority !== undefined && { majority, answered: correct }),
  ...more,
});

const table = suite('evaluationTable');

table("the table's figures agree with hand computation", async () => {
  // n = 4. Set a: 4, 0, 1 of 4 right; set b: 2 of 4.
  const a = [
    tally(4, true, { tokens: 40, measures: { timeout: 1 } }),
    tally(0, false, { tokens: 80, clipped: 3 }),
    tally(1, true, { tokens: 60, clipped: 1 }),
  ];
  const b = [tally(2, false, { tokens: 20 })];
  const result = await evaluationTable(
    [
      { name: 'a', tallies: a },
      { name: 'b', tallies: b },
    ],
    4,
  );
  const [first, second] = result.sets;
  assert.is(result.n, 4);
  near([first.averageAtN, second.averageAtN], [5 / 12, 1 / 2], 1e-15, 'average@4');
  // One of 4 right: two drawn of four hold it in 3 of 6 ways. Two right: all but 1 of 6.
  const passes = (of: { passAtK: { k: number; value: number }[] }) => of.passAtK.map(({ value }) => value);
  assert.equal(
    first.passAtK.map(({ k }) => k),
    [1, 2, 4],
  );
  near(passes(first), [5 / 12, (1 + 0 + 1 / 2) / 3, 2 / 3], 1e-15, 'pass@k of a');
  near(passes(second), [1 / 2, 5 / 6, 1], 1e-15, 'pass@k of b');
  near([first.majAtN!, second.majAtN!], [2 / 3, 0], 1e-15, 'maj@4');
  near([first.meanLength!, second.meanLength!, first.clippedRatio], [180 / 12, 5, 4 / 12], 1e-15, 'lengths');
  near([first.answeredRatio!, first.measures.timeout], [5 / 12, 1 / 12], 1e-15, 'shares of responses');
  // Four problems alike, or two sets alike.
  near(
    [result.allProblems.averageAtN, result.meanOfSets.averageAtN],
    [7 / 16, (5 / 12 + 1 / 2) / 2],
    1e-15,
    'averages',
  );
  near([result.allProblems.majAtN!, result.meanOfSets.majAtN!], [1 / 2, 1 / 3], 1e-15, 'averages of maj@4');
  near(passes(result.allProblems), [7 / 16, (1.5 + 5 / 6) / 4, 3 / 4], 1e-15, 'pass@k over problems');
  near(passes(result.meanOfSets), [11 / 24, (1 / 2 + 5 / 6) / 2, 5 / 6], 1e-15, 'pass@k over sets');
  assert.is(result.allProblems.problems, 4);
  // A single problem has nothing to resample.
  // One problem: Wilson's interval of a rate of .5 from one trial.
  near(second.averageAtNInterval, [0.0546, 0.9454], 5e-5);
  assert.ok(first.averageAtNInterval[0] < 5 / 12 && first.averageAtNInterval[1] > 5 / 12);
});

table('a figure that is unknown for some response is absent', async () => {
  const sets = [
    { name: 'a', tallies: [tally(1, true, { tokens: 3 }), tally(0)] },
    { name: 'b', tallies: [tally(1, true, { tokens: 3 })] },
  ];
  const { sets: figures, meanOfSets } = await evaluationTable(sets, 1);
  assert.is(figures[0].majAtN, undefined);
  assert.is(figures[0].meanLength, undefined);
  assert.is(figures[0].answeredRatio, undefined);
  assert.is(figures[1].majAtN, 1);
  assert.is(meanOfSets.majAtN, undefined);
});

table('passCounts gives the powers of two and n', async () => {
  assert.equal([1, 2, 3, 8, 12].map(passCounts), [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 12]]);
});

table('the interval of the mean of sets resamples problems within each set', async () => {
  const next = random(5);
  const [large, small] = [400, 25].map((size) => Array.from({ length: size }, () => (next() < 0.5 ? 1 : 0)));
  const variance = (values: number[]) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return (mean * (1 - mean)) / values.length;
  };
  const half = 1.96 * Math.sqrt((variance(large) + variance(small)) / 4);
  const [low, high] = await stratifiedInterval([large, small]);
  // As for one list: a quantile of 1,000 resamples lies within some 13% of the half width.
  assert.ok(Math.abs((high - low) / 2 - half) < 0.2 * half, `${low} ${high}, not +- ${half}`);
  // A set without spread adds nothing but its mean.
  near(await stratifiedInterval([[1, 1, 1], [0]]), [0.5, 0.5], 0);
});
table('evaluationTable gives the event loop its turns', async () => {
  const tallies = Array.from({ length: 1000 }, (_, i) => tally(i % 9, i % 2 === 0));
  let turns = 0;
  let running = true;
  const turn = () => {
    turns++;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  await evaluationTable([{ name: 'a', tallies }], 8);
  running = false;
  // Six rates, three times, of a million values each.
  assert.ok(turns > 100, `${turns} turns`);
});
table.run();
