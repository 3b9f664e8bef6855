import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type CoherenceOptions, coherence, PrlError, setThreads } from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import { coherenceReference } from '../reference/coherence.js';
import { fails, ON_GPU, place } from '../reference/device.js';
import { near, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';

/** The first input of a call: on the GPU a tensor, which takes the call there; on the CPU the plain array. */
const here = (data: ArrayLike<number>) => (ON_GPU ? place(data) : data);
const run = async (scores: ArrayLike<number>, cuScores: ArrayLike<number>, options?: CoherenceOptions) =>
  coherence(here(scores), cuScores, options).read();

/** Responses of these numbers of steps, as packed scores and their offsets. */
function batch(lengths: readonly number[], seed: number) {
  const next = random(seed);
  const responses = lengths.map((n) => Float32Array.from({ length: n }, () => next()));
  return { responses, ...pack(responses) };
}

function pack(responses: readonly Float32Array[]) {
  const cuScores = new Int32Array(responses.length + 1);
  for (const [i, own] of responses.entries()) cuScores[i + 1] = cuScores[i] + own.length;
  return { stepScores: Float32Array.from(responses.flatMap((own) => [...own])), cuScores };
}

const LENGTHS = [1, 2, 3, 4, 5, 6, 7, 0, 12, 13, 31, 64, 1];

const tests = suite('coherence');
tests('coherence agrees with the formula for every set of windows and lambdaVar', async () => {
  const { responses, stepScores, cuScores } = batch(LENGTHS, 1);
  let cases = 0;
  // Windows of one step; that divide the lengths, and do not (a shorter last one); larger than any response; many.
  for (const windows of [
    [1],
    [2],
    [3],
    [2, 3, 5],
    [100],
    [2 ** 31 - 1, 4],
    [5, 5, 2],
    Array.from({ length: 16 }, (_, j) => j + 1),
  ])
    for (const lambdaVar of [0, 0.1, 1, 20]) {
      const out = await run(stepScores, cuScores, { windows, lambdaVar });
      const expected = responses.map((own) => coherenceReference([...own], windows, lambdaVar));
      // Double arithmetic, then one rounding.
      near(out, expected, 1e-12, `windows ${windows}, lambdaVar ${lambdaVar}`, 1.01 * UNIT_ROUNDOFF.float32);
      cases++;
    }
  assert.is(cases, 32);
});
tests('the defaults are windows [2, 3, 5] and lambdaVar 1', async () => {
  const { stepScores, cuScores } = batch(LENGTHS, 2);
  const explicit = await run(stepScores, cuScores, { windows: [2, 3, 5], lambdaVar: 1 });
  assert.equal(await run(stepScores, cuScores), explicit);
  const tensors = coherence(place(stepScores), place(cuScores), { windows: Int32Array.of(2, 3, 5) });
  assert.equal(await tensors.read(), explicit);
  assert.not.equal(await run(stepScores, cuScores, { lambdaVar: 2 }), explicit);
});
tests('windows of two with a shorter last one agree with hand computation', async () => {
  // (0.2, 0.6): mean 0.4, deviation 0.2; then 0.9 alone.
  const out = await run([0.2, 0.6, 0.9], [0, 3], { windows: [2], lambdaVar: 2 });
  near(out, [(0.4 * Math.exp(-1) + 0.9) / 2], 1e-7);
});
tests('constant scores keep their value exactly, for every length and lambdaVar', async () => {
  const next = random(3);
  for (let n = 1; n <= 40; n++) {
    const value = Math.fround(next());
    for (const score of [value, 0, 1, 2 ** -149])
      for (const lambdaVar of [0, 1, 1e300])
        assert.equal([...(await run(new Float32Array(n).fill(score), [0, n], { lambdaVar }))], [score], `${n} steps`);
  }
});
tests('volatility within a window costs, and the same steps in slow order do not', async () => {
  const [steady, volatile] = [
    [0.2, 0.2, 0.8, 0.8],
    [0.2, 0.8, 0.2, 0.8],
  ];
  const out = await run([...steady, ...volatile], [0, 4, 8], { windows: [2] });
  near(out, [0.5, 0.5 * Math.exp(-0.6)], 1e-7);
});
tests('one step gives its score, no steps give 0, and no responses give nothing', async () => {
  assert.equal([...(await run([0.25, 1], [0, 0, 1, 1, 2, 2]))], [0, 0.25, 0, 1, 0]);
  assert.equal([...(await run([], [0, 0]))], [0]);
  assert.equal((await run([], [0])).length, 0);
});
tests('a response gets the same bits in any order and with any neighbours', async () => {
  const { responses, stepScores, cuScores } = batch(LENGTHS, 4);
  const together = [...(await run(stepScores, cuScores))];
  const reversed = pack([...responses].reverse());
  assert.equal([...(await run(reversed.stepScores, reversed.cuScores))].reverse(), together);
  for (const [i, own] of responses.entries()) assert.is((await run(own, [0, own.length]))[0], together[i]);
});
tests('coherence gives the same bits for 1, 2, 3 and 8 threads', async () => {
  // Enough scores for several tasks.
  const { stepScores, cuScores } = batch(
    Array.from({ length: 900 }, (_, i) => (i * 7) % 41),
    5,
  );
  assert.ok(stepScores.length > 16384);
  const { threads } = nativeInfo();
  const runs: ArrayLike<number>[] = [];
  for (const n of [1, 2, 3, 8]) {
    setThreads(n);
    runs.push(await run(stepScores, cuScores));
  }
  setThreads(threads);
  for (const other of runs) assert.equal(other, runs[0]);
});
tests('scores outside [0, 1], wrong offsets and wrong options are refused by name', async () => {
  const scores = (change: Record<number, number>) => () =>
    coherence(here(Object.assign([0.5, 0.5, 0.5], change)), [0, 1, 3]);
  const RANGE = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;
  await fails(scores({ 1: NaN }), PrlError, 'ERR_PRL_NON_FINITE', /stepScores\[1\] = nan is outside \[0, 1\]/);
  await fails(scores({ 2: 1.5 }), ...RANGE, /stepScores\[2\] = 1.5 is outside \[0, 1\]/);
  await fails(scores({ 0: -0.25, 2: 7 }), ...RANGE, /stepScores\[0\] = -0.25 is outside/);
  await fails(scores({ 0: Infinity }), ...RANGE, /stepScores\[0\] = inf is outside/);

  const both = (onCpu: RegExp, onGpu: RegExp) => (ON_GPU ? onGpu : onCpu);
  const offsets = (cuScores: unknown) => () => coherence(here([0.5, 0.5, 0.5]), cuScores as number[]);
  await fails(
    offsets([0, 2]),
    ...RANGE,
    both(/cuScores must end at 3, the number of scores, not at 2/, /cuScores must rise from 0 to 3; piece 0 ends at 2/),
  );
  await fails(
    offsets([0, 4]),
    ...RANGE,
    both(/cuScores must end at 3/, /cuScores must rise from 0 to 3; piece 0 ends at 4/),
  );
  await fails(offsets([1, 3]), ...RANGE, both(/cuScores must start with 0/, /cuScores must rise from 0 to 3/));
  throwsError(offsets([]), ...RANGE, /cuScores must start with 0/);
  throwsError(offsets([0]), ...RANGE, /cuScores must end at 3, the number of scores, not at 0/);
  await fails(
    offsets([0, 2, 1, 3]),
    ...RANGE,
    both(/cuScores\[2\] = 1 is less than the entry before it, 2/, /cuScores must rise from 0 to 3; piece 1 ends at 1/),
  );
  throwsError(offsets([0, 1.5, 3]), ...RANGE, /cuScores\[1\] = 1.5/);
  throwsError(offsets(Float32Array.of(0, 3)), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /cuScores must be an Int32Array/);

  const options = (given: object) => () => coherence(here([0.5]), [0, 1], given);
  throwsError(options({ windows: [] }), ...RANGE, /windows must hold 1 to 16 sizes, not 0/);
  throwsError(options({ windows: new Int32Array(17).fill(1) }), ...RANGE, /windows must hold 1 to 16 sizes, not 17/);
  throwsError(options({ windows: [2, 0] }), ...RANGE, /windows\[1\] must be an integer from 1/);
  throwsError(options({ windows: [2.5] }), ...RANGE, /windows\[0\] must be an integer/);
  throwsError(options({ windows: 3 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /windows must be an array/);
  throwsError(options({ lambdaVar: -1 }), ...RANGE, /lambdaVar must be at least 0/);
  throwsError(options({ lambdaVar: NaN }), ...RANGE, /lambdaVar/);
  throwsError(options({ lambdaVar: Infinity }), ...RANGE, /lambdaVar/);
  throwsError(options({ window: [2] }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'windows'/);
  throwsError(
    () => coherence(place(new Int32Array(1)), [0, 1]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /stepScores must be float32/,
  );
});
tests.run();
