// The verifiers besides verifyMath, and how they are put together.
import { setTimeout as later } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  exactVerifier,
  functionVerifier,
  mathVerifier,
  numericVerifier,
  regexVerifier,
  type Verifier,
  verifierByName,
  weightedVerifier,
} from '../../../lib/index.js';
import { rejectsWith } from '../../policy/rejects.js';
import { near, throwsError } from '../../reference/numbers.js';

const r = String.raw;
const info = { prompt: 'What is 2 + 3?', finished: true };
const table = async (verifier: Verifier, cases: [response: string, gold: string, reward: number][]) => {
  for (const [response, gold, reward] of cases) {
    const verdict = await verifier(response, gold, info);
    assert.is(typeof verdict === 'object' ? verdict.reward : verdict, reward, `${response} for ${gold}`);
  }
};

const simple = suite('verifiers');
simple('exact: character by character', async () => {
  await table(exactVerifier(), [
    [r`so \boxed{cat}`, 'cat', 1],
    [r`so \boxed{ a  cat }`, 'a cat', 1],
    [r`so \boxed{Cat}`, 'cat', 0],
    [r`so \boxed{0.5}`, r`\frac12`, 0],
    ['cat', 'cat', 0],
    ['', '', 0],
  ]);
  await table(exactVerifier({ extraction: 'whole', ignoreCase: true }), [
    ['<think>dog</think> Cat ', 'cat', 1],
    ['a cat', 'cat', 0],
  ]);
});
simple('numeric: within a tolerance', async () => {
  await table(numericVerifier(), [
    [r`\boxed{5}`, '5', 1],
    [r`\boxed{5.000001}`, '5', 1],
    [r`\boxed{5.001}`, '5', 0],
    [r`\boxed{-1,234.5}`, '-1234.5', 1],
    [r`\boxed{1.6e-19}`, '1.6e-19', 1],
    [r`\boxed{1.7e-19}`, '1.6e-19', 0],
    [r`\boxed{3/4}`, '0.75', 1],
    [r`\boxed{25\%}`, '.25', 1],
    [r`\boxed{$5$}`, '5', 1],
    [r`\boxed{five}`, '5', 0],
    [r`\boxed{1e999}`, '5', 0],
    [r`\boxed{1,2}`, '12', 0],
    [r`\boxed{}`, '0', 0],
    ['none', '0', 0],
  ]);
  await table(numericVerifier({ relativeTolerance: 0.01, absoluteTolerance: 0.5 }), [
    [r`\boxed{101.4}`, '100', 1],
    [r`\boxed{101.6}`, '100', 0],
    [r`\boxed{0.4}`, '0', 1],
  ]);
  throwsError(
    () => numericVerifier()(r`\boxed{5}`, 'five', info),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /a number as the gold answer, not "five"/,
  );
});
simple('regex: the gold answer as a pattern, or a group that is the gold answer', async () => {
  await table(regexVerifier(), [
    ['it is 5 cm', '\\b5 ?cm', 1],
    ['it is 15 cm', '\\b5 ?cm', 0],
    [`5 cm ${'.'.repeat(20_000)}`, '5 cm', 0],
  ]);
  await table(regexVerifier({ pattern: /#### (-?\d+)/ }), [
    ['#### 4 no #### 5', '5', 1],
    ['#### 5 no #### 4', '5', 0],
    ['5', '5', 0],
  ]);
  throwsError(() => regexVerifier()('5', '(', info), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /"\(" is no regular/);
  throwsError(() => regexVerifier({ pattern: /\d/ }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /has no group/);
});
simple('by name, with their defaults', async () => {
  await table(verifierByName('math'), [[r`\boxed{\frac12}`, '0.5', 1]]);
  await table(verifierByName('exact'), [[r`\boxed{\frac12}`, '0.5', 0]]);
  await table(verifierByName('numeric'), [[r`\boxed{1/2}`, '0.5', 1]]);
  await table(verifierByName('regex'), [['a 5', '\\d', 1]]);
  throwsError(() => verifierByName('maths' as never), RangeError, 'ERR_PRL_OUT_OF_RANGE', /Did you mean 'math'/);
});
simple('options that do not exist', () => {
  throwsError(() => exactVerifier({ ignorecase: true } as never), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'ignoreCase'/);
  throwsError(() => numericVerifier({ tolerance: 1 } as never), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Tolerance'/);
  throwsError(() => regexVerifier({ pattern: 'a' as never }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /a RegExp/);
  throwsError(() => mathVerifier({ extract: 'any' } as never), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'extraction'/);
});
simple('math: what the metrics are told', async () => {
  const measures = async (response: string) =>
    ((await mathVerifier()(response, '5', info)) as { measures: object }).measures;
  assert.equal(await measures(r`\boxed{6}`), { 'verify/answered': 1, 'verify/timeout': 0, 'verify/failed': 0 });
  assert.equal(await measures('6'), { 'verify/answered': 0, 'verify/timeout': 0, 'verify/failed': 0 });
});
simple('a response that the prompt began with <think> is a thought until </think>', async () => {
  const thought = r`so \boxed{5}, or rather`;
  const whole = r`so \boxed{4}</think>It is \boxed{5}.`;
  for (const verifier of [mathVerifier(), exactVerifier(), numericVerifier()])
    for (const [thinking, prompt] of [
      [true, info.prompt],
      [undefined, 'What is 2 + 3?<think>\n'],
    ] as const) {
      const reward = async (response: string) => {
        const verdict = await verifier(response, '5', { prompt, finished: false, thinking });
        return typeof verdict === 'object' ? verdict.reward : verdict;
      };
      assert.is(await reward(thought), 0);
      assert.is(await reward(whole), 1);
    }
  assert.is(verifierByName('math').extract!(thought, { thinking: true }), undefined);
  await table(mathVerifier(), [[thought, '5', 1]]);
});
simple.run();

const own = suite('functionVerifier');
own('an asynchronous function is waited for', async () => {
  const verifier = functionVerifier(async (response, gold, { prompt, finished }) => {
    await later(5);
    return response === gold && prompt === info.prompt && finished ? 0.75 : 0;
  });
  await table(verifier, [
    ['5', '5', 0.75],
    ['6', '5', 0],
  ]);
});
own('what it throws names it and the problem', async () => {
  const judge = () => {
    throw new Error('no connection');
  };
  await rejectsWith(
    Promise.resolve(functionVerifier(judge)('5', '5', info)),
    Error,
    'ERR_PRL_VERIFIER',
    /'judge' failed for the problem "What is 2 \+ 3\?": no connection/,
  );
  const later = functionVerifier(() => Promise.reject('odd'), { name: 'the grader' });
  await rejectsWith(
    Promise.resolve(later('5', '5', { ...info, prompt: 'x'.repeat(500) })),
    Error,
    'ERR_PRL_VERIFIER',
    /'the grader' failed for the problem "x{120}\.\.\.": odd/,
  );
});
own('its deadline, and the signal that comes with it', async () => {
  let aborted = false;
  const slow = functionVerifier(
    (_response, _gold, { signal }) =>
      new Promise(() => {
        signal.addEventListener('abort', () => {
          aborted = true;
        });
      }),
    { name: 'slow', timeout: 30 },
  );
  await rejectsWith(
    Promise.resolve(slow('5', '5', info)),
    Error,
    'ERR_PRL_TIMEOUT',
    /'slow' took more than 30 ms .*2 \+ 3/,
  );
  assert.ok(aborted);
});
own('a reward that is none', async () => {
  for (const reward of [Number.NaN, -0.1, 1.1, Infinity, undefined, null, '1', { reward: 2, measures: {} }])
    await rejectsWith(
      Promise.resolve(functionVerifier(() => reward as never, { name: 'mine' })('5', '5', info)),
      Error,
      'ERR_PRL_VERIFIER',
      /'mine' must give a reward from 0 to 1, not .*, for the problem "What/,
    );
  throwsError(() => functionVerifier(5 as never), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /a function, not the number/);
});
own.run();

const weighted = suite('weightedVerifier');
const constant = (reward: number) => () => reward;
weighted('the mean by weight, and each on its own for the metrics', async () => {
  const verifier = weightedVerifier([
    { name: 'a', verifier: constant(1), weight: 3 },
    { name: 'b', verifier: async () => ({ reward: 0.5, measures: { seen: 7 } }) },
    { name: 'watched', verifier: constant(0.25), weight: 0 },
  ]);
  const { reward, measures } = (await verifier('', '', info)) as { reward: number; measures: Record<string, number> };
  near([reward], [3.5 / 4], 1e-15, 'reward');
  assert.equal(measures, { seen: 7, 'rewards/a/mean': 1, 'rewards/b/mean': 0.5, 'rewards/watched/mean': 0.25 });
});
weighted('one that fails is named', async () => {
  const verifier = weightedVerifier([
    { name: 'a', verifier: constant(1) },
    { name: 'b', verifier: constant(Number.NaN) },
  ]);
  await rejectsWith(
    Promise.resolve(verifier('', '', info)),
    Error,
    'ERR_PRL_VERIFIER',
    /'b' must give a reward from 0 to 1, not NaN/,
  );
});
weighted('what cannot be weighed', () => {
  const verifier = constant(1);
  const wrong = (parts: unknown, kind: new (...args: never[]) => Error, code: string, message: RegExp) =>
    throwsError(() => weightedVerifier(parts as never), kind, code, message);
  wrong([], TypeError, 'ERR_PRL_INVALID_ARGUMENT', /an array/);
  wrong([{ verifier }], TypeError, 'ERR_PRL_INVALID_ARGUMENT', /a name/);
  wrong([{ name: 'a', verifier: 5 }], TypeError, 'ERR_PRL_INVALID_ARGUMENT', /'a' must be a function/);
  wrong([{ name: 'a', verifier, weight: -1 }], RangeError, 'ERR_PRL_OUT_OF_RANGE', /weight of 'a'/);
  wrong([{ name: 'a', verifier, weight: 0 }], RangeError, 'ERR_PRL_OUT_OF_RANGE', /above 0/);
  wrong([{ name: 'a', verifier, weigth: 1 }], TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'weight'/);
  const twice = [
    { name: 'a', verifier },
    { name: 'a', verifier },
  ];
  wrong(twice, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /same name/);
});
weighted.run();
