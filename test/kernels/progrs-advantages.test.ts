import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cumulative as offsetsOf } from '../../lib/base/packed.js';
import {
  groupAdvantages,
  PrlError,
  type ProgrsAdvantagesArgs,
  progrsAdvantages,
  stepsOfResponses,
  Tensor,
} from '../../lib/index.js';
import { progrsReference } from '../reference/advantages.js';
import { near, random, throwsError, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { readSafetensors } from '../reference/safetensors.js';

const ROUNDOFF = UNIT_ROUNDOFF.float32;
const list = (tensor: Tensor) => Array.from(tensor.data);
const cumulative = (lengths: readonly number[]) => Array.from(offsetsOf(lengths));

/**
 * Responses in three groups: a mixed one, one of wrong responses and one of right ones, interleaved; some without
 * steps.
 */
function sample(seed: number) {
  const next = random(seed);
  const count = 3 * (2 + Math.floor(5 * next()));
  const groupIds = Int32Array.from({ length: count }, (_, i) => 7 - 3 * (i % 3));
  const correct = Int32Array.from(groupIds, (group) => (group === 7 ? Number(next() < 0.4) : Number(group === 1)));
  const steps = Array.from({ length: count }, () =>
    Array.from({ length: Math.floor(7 * next()) }, () => Math.fround(next())),
  );
  const lengths = steps.map((own) => own.map(() => 1 + Math.floor(4 * next())));
  const outcome = Array.from(groupAdvantages(correct, groupIds).data);
  const args = {
    outcomeAdvantages: outcome,
    stepScores: Float32Array.from(steps.flat()),
    correct,
    groupIds,
    cuSeqlens: cumulative(lengths.map((own) => own.reduce((a, b) => a + b, 0))),
    cuSteps: cumulative(lengths.flat()),
    lambda: 0.7,
  } satisfies ProgrsAdvantagesArgs;
  return { args, steps, lengths, outcome, correct, groupIds };
}

const progrs = suite('progrsAdvantages');
progrs('progrsAdvantages agrees with the formulas for every centering, granularity and combination', () => {
  let cases = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const { args, steps, lengths, outcome, correct, groupIds } = sample(seed);
    for (const center of ['incorrect', 'both', 'none'] as const) {
      for (const options of [
        {},
        { alpha: 0.25, windows: [1, 4], lambdaVar: 0.5 },
        { alpha: 1 },
        { granularity: 'step' },
      ] as const) {
        const expected = progrsReference(outcome, steps, lengths, correct, groupIds, 0.7, { ...options, center });
        // Roundings of the coherence, the process score, its centred value and the sum, each of a number up to 2 +
        // lambda.
        near(
          progrsAdvantages({ ...args, ...options, center }).data,
          expected,
          4 * 2.7 * ROUNDOFF,
          JSON.stringify(options),
        );
        cases++;
      }
      const { outcomeAdvantages: _, ...rest } = args;
      const normalize = { kind: 'dr_grpo' } as const;
      const options = { combine: 'reward', center, normalize } as const;
      const expected = progrsReference(correct, steps, lengths, correct, groupIds, 0.7, options);
      near(progrsAdvantages({ ...rest, ...options, rewards: correct }).data, expected, 4 * 2.7 * ROUNDOFF, 'reward');
      cases++;
    }
  }
  assert.is(cases, 150);
});

progrs('progrsAdvantages agrees with the stored values, for responses and for steps', () => {
  const stored = readSafetensors(new URL('../fixtures/advantages/progrs.safetensors', import.meta.url));
  const get = (name: string) => stored.get(name)!.data;
  const present = [...get('step_mask').keys()].filter((at) => get('step_mask')[at] !== 0);
  const kept = (name: string) => Float64Array.from(present, (at) => get(name)[at]);
  const counts = Array.from(get('n_steps'));
  const cuSteps = cumulative(present.map(() => 1)); // steps of one token
  const args = {
    outcomeAdvantages: new Float32Array(24),
    stepScores: Float32Array.from(kept('step_score')),
    correct: get('correct') as Int32Array,
    groupIds: get('group') as Int32Array,
    cuSeqlens: cumulative(counts),
    cuSteps,
    lambda: 1,
  };
  const perToken = (name: string) => counts.flatMap((n, i) => Array(n).fill(get(name)[i]));
  const tolerance = 3 * ROUNDOFF;
  near(progrsAdvantages({ ...args, alpha: 1 }).data, perToken('trajectory_centered'), tolerance, 'trajectory_centered');
  const pooled = progrsAdvantages({ ...args, granularity: 'step' });
  near(pooled.data, kept('step_centered_pooled'), tolerance, 'step_centered_pooled');
  // The other reading, each response weighing the same: a step's score, less what centering took from its response's
  // mean.
  const means = perToken('trajectory_score');
  const centered = progrsAdvantages({ ...args, alpha: 1 }).data;
  near(
    Float64Array.from(args.stepScores, (score, t) => score + centered[t] - means[t]),
    kept('step_centered_by_trajectory_mean'),
    2 * tolerance,
    'step_centered_by_trajectory_mean',
  );
  const { outcomeAdvantages: _, ...rest } = args;
  const reward = { ...rest, alpha: 1, lambda: 0.3, combine: 'reward', rewards: args.correct } as const;
  const grpo = progrsAdvantages({ ...reward, normalize: { epsilon: 1e-6 } });
  near(grpo.data, perToken('advantage_grpo'), 2e-6, 'advantage_grpo', 2e-6); // differences of sums rounded to float32
  const drGrpo = progrsAdvantages({ ...reward, normalize: { kind: 'dr_grpo' } });
  near(drGrpo.data, perToken('advantage_drgrpo'), 2 * tolerance, 'advantage_drgrpo');
});

progrs('wrong responses have centred preferences, and groups of one outcome teach', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { args, steps, correct, groupIds } = sample(seed);
    const values = progrsAdvantages({ ...args, lambda: 1 }).data;
    const outOf = (wanted: (i: number) => boolean) =>
      steps.flatMap((own, i) =>
        wanted(i) && own.length > 0 ? [values[args.cuSeqlens[i]] - args.outcomeAdvantages[i]] : [],
      );
    for (const group of [7, 4]) {
      // A response without steps counts with process score 0 but has no token to show it.
      if (steps.some((own, i) => groupIds[i] === group && !correct[i] && own.length === 0)) continue;
      const wrong = outOf((i) => groupIds[i] === group && !correct[i]);
      near(
        [wrong.reduce((a, b) => a + b, 0)],
        [0],
        4 * 3 * ROUNDOFF * Math.max(1, wrong.length),
        'sum over wrong responses',
      );
    }
    const right = outOf((i) => groupIds[i] === 1);
    assert.ok(right.length > 0 && right.every((value) => value > 0), 'a group of right responses');
    const allWrong = new Set(outOf((i) => groupIds[i] === 4));
    assert.ok(allWrong.size > 1, 'a group of wrong responses prefers some of them');
    const byStep = progrsAdvantages({ ...args, granularity: 'step', lambda: 1 }).data;
    let sum = 0;
    const cuScores = stepsOfResponses(args.cuSteps, args.cuSeqlens);
    groupIds.forEach((group, i) => {
      for (let k = cuScores[i]; group === 4 && k < cuScores[i + 1]; k++) sum += byStep[args.cuSteps[k]];
    });
    near([sum], [0], 3 * ROUNDOFF * args.stepScores.length, 'sum over the steps of wrong responses');
  }
});

progrs('equal scores lift no wrong response, whereas uncentred scores lift all of them', () => {
  const args = {
    outcomeAdvantages: [0, 0, 0],
    stepScores: new Float32Array(6).fill(0.9),
    correct: [false, false, false],
    groupIds: [1, 1, 1],
    cuSeqlens: [0, 2, 4, 6],
    cuSteps: [0, 1, 2, 3, 4, 5, 6],
    lambda: 1,
  };
  assert.equal(list(progrsAdvantages(args)), [0, 0, 0, 0, 0, 0]);
  assert.equal(list(progrsAdvantages({ ...args, granularity: 'step' })), [0, 0, 0, 0, 0, 0]);
  assert.ok(list(progrsAdvantages({ ...args, center: 'none' })).every((value) => value === Math.fround(0.9)));
});

progrs('neither the order nor the names of groups matter', () => {
  const { args, steps, lengths, outcome, correct, groupIds } = sample(3);
  const values = progrsAdvantages(args).data;
  const order = [...steps.keys()].sort((a, b) => ((a * 5) % 7) - ((b * 5) % 7) || a - b);
  const moved = progrsAdvantages({
    ...args,
    outcomeAdvantages: order.map((i) => outcome[i]),
    stepScores: Float32Array.from(order.flatMap((i) => steps[i])),
    correct: order.map((i) => correct[i] !== 0),
    groupIds: order.map((i) => 100 + 11 * groupIds[i]),
    cuSeqlens: cumulative(order.map((i) => args.cuSeqlens[i + 1] - args.cuSeqlens[i])),
    cuSteps: cumulative(order.flatMap((i) => lengths[i])),
  });
  const expected = order.flatMap((i) => Array.from(values.slice(args.cuSeqlens[i], args.cuSeqlens[i + 1])));
  // The sum of a group is taken in another order.
  near(moved.data, expected, 3 * ROUNDOFF);
});

progrs('lambda 0 gives the outcome alone, and no responses give nothing', () => {
  const { args } = sample(5);
  const values = list(progrsAdvantages({ ...args, lambda: 0 }));
  const outcome = args.outcomeAdvantages.flatMap((a, i) => Array(args.cuSeqlens[i + 1] - args.cuSeqlens[i]).fill(a));
  assert.equal(values, outcome);
  const none = { outcomeAdvantages: [], stepScores: [], correct: [], groupIds: [], cuSeqlens: [0], cuSteps: [0] };
  assert.is(progrsAdvantages({ ...none, lambda: 1 }).size, 0);
});

progrs('wrong options, lengths and scores are refused by name', () => {
  const { args } = sample(2);
  const { outcomeAdvantages: _, ...rest } = args;
  const bad =
    (change: object, base: object = args) =>
    () =>
      progrsAdvantages({ ...base, ...change } as never);
  const range = (change: object, message: RegExp) =>
    throwsError(bad(change), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  const type = (change: object, message: RegExp, base?: object) =>
    throwsError(bad(change, base), TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);
  range({ lambda: -1 }, /lambda must be at least 0/);
  range({ alpha: 1.5 }, /alpha/);
  range({ center: 'wrong' }, /center must be one of/);
  range({ stepScores: [0.5] }, /stepScores must have \d+ elements, not 1/);
  range({ outcomeAdvantages: [1] }, /outcomeAdvantages must have \d+ elements, not 1/);
  range({ correct: [1] }, /correct must have/);
  range({ groupIds: [1] }, /groupIds must have/);
  range({ stepScores: args.stepScores.with(1, 1.5) }, /1\.5/);
  range({ granularity: 'step', alpha: undefined, stepScores: args.stepScores.with(1, -0.5) }, /-0\.5/);
  throwsError(
    bad({ stepScores: args.stepScores.with(1, NaN) }),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /stepScores\[1\] is NaN/,
  );
  throwsError(
    bad({ outcomeAdvantages: [Infinity, ...args.outcomeAdvantages.slice(1)] }),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /outcomeAdvantages\[0\] is Infinity/,
  );
  type({}, /combine 'advantage' needs outcomeAdvantages/, rest);
  type({ combine: 'reward' }, /combine 'reward' needs rewards/, rest);
  type({ rewards: args.correct }, /rewards has no meaning/);
  type({ normalize: {} }, /normalize has no meaning/);
  type({ granularity: 'step', windows: [2] }, /windows has no meaning/);
  type({ granularity: 'step', combine: 'reward' }, /needs granularity 'response'/);
  type({ stepScores: Tensor.from(Int32Array.of(1)) }, /stepScores must be float32/);
  type({ correct: new Array(2 ** 32 - 1) }, /correct\[0\] must be true, false or an integer, not undefined/);
  throwsError(bad({ lamda: 1 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'lambda'/);
});
progrs.run();

const owners = suite('stepsOfResponses');
owners('stepsOfResponses counts the steps of each response, and an empty one has none', () => {
  assert.equal([...stepsOfResponses([0, 2, 5, 6], [0, 5, 5, 6, 6])], [0, 2, 2, 3, 3]);
  assert.equal([...stepsOfResponses([0], [0])], [0]);
});
owners('stepsOfResponses refuses steps that do not respect the responses', () => {
  const range = (cuSteps: number[], cuSeqlens: number[], message: RegExp) =>
    throwsError(() => stepsOfResponses(cuSteps, cuSeqlens), RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  range([0, 3, 6], [0, 2, 6], /start of every response, but not cuSeqlens\[1\] = 2/);
  range([0, 2, 2, 6], [0, 6], /cuSteps\[2\] = 2 must be above the offset before it, 2/);
  range([0, 5], [0, 6], /not cuSeqlens\[1\] = 6/);
  range([0, 6, 7], [0, 6], /must end at 6/);
  range([0, NaN, 6], [0, 6], /cuSteps\[1\] = NaN/);
  throwsError(() => stepsOfResponses([], [0]), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /at least one offset/);
});
owners.run();
