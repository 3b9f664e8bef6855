import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { evaluatePrm, type PrmData, type PrmTrainOptions, QuantilePrm, trainQuantilePrm } from '../../lib/index.js';
import { areaUnderCurve } from '../../lib/prm/evaluate.js';
import { batchOf, pickSteps, splitExamples } from '../../lib/prm/examples.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { near, random } from '../reference/numbers.js';

const M = 8;
/**
 * Responses whose every step is a newline and a digit: after a digit below 5 most continuations end right, else few.
 */
function dataOf(problems: number, { seed = 1, split = 'train' } = {}): PrmData {
  const next = random(seed);
  const { tokenizer } = echoTask;
  return {
    settings: {
      ...{ task: 'echo', model: 'x', split, level: 'all', seed, n: 2, continuations: M, maxCompletionLength: 20 },
      ...{ temperature: 1, stepSplit: 'newline', stepLength: 1 },
    },
    problems: Array.from({ length: problems }, (_, problem) => ({
      problem,
      prompt: [...tokenizer.encode(String(problem + 1000 * seed))],
      responses: Array.from({ length: 2 }, () => {
        const digits = Array.from({ length: 1 + Math.floor(3 * next()) }, () => Math.floor(10 * next()));
        const right: number[] = digits.map((digit) => (digit < 5 ? 6 : 1));
        right[right.length - 1] = digits[digits.length - 1] < 5 ? M : 0;
        return {
          tokens: [...tokenizer.encode(digits.map((digit) => `\n${digit}`).join(''))],
          steps: digits.map((_, k) => 2 * k),
          right,
        };
      }),
    })),
  };
}
const train = (data: PrmData, options: PrmTrainOptions = {}, rest: object = {}) =>
  trainQuantilePrm({ policy: nativePolicy(echoTask), data, options: { learningRate: 0.01, ...options }, ...rest });

const tests = suite('trainQuantilePrm and evaluatePrm');
tests('a problem is on one side of the split, whatever else is in the data', () => {
  const [few, many] = [dataOf(40), dataOf(400)];
  // A problem that comes twice, as problems of few operands do.
  many.problems.push({ ...many.problems[3], problem: 400 });
  const sides = splitExamples(many, 0.25, 7);
  const names = (side: keyof typeof sides) => new Set(sides[side].map(({ prompt }) => prompt.join()));
  for (const name of names('train')) assert.not.ok(names('heldOut').has(name));
  assert.is(sides.train.length + sides.heldOut.length, 802);
  const share = sides.heldOut.length / 802;
  assert.ok(share > 0.18 && share < 0.32, `${share}`);
  for (const { prompt } of splitExamples(few, 0.25, 7).train) assert.ok(names('train').has(prompt.join()));
  assert.is(splitExamples(many, 1, 7).train.length, 0);
});
tests('batchOf packs steps with their targets, and pickSteps picks their rows', () => {
  const { train } = splitExamples(dataOf(3), 1e-9, 0);
  const { cuSteps, targets, completions } = batchOf(train);
  assert.is(
    cuSteps[cuSteps.length - 1],
    completions.reduce((sum, { length }) => sum + length, 0),
  );
  assert.is(targets.length, cuSteps.length - 1);
  assert.equal(
    [...targets],
    train.flatMap(({ targets }) => targets),
  );
  const rows = { steps: 3, hidden: Float32Array.of(1, 2, 3, 4, 5, 6), features: Float32Array.of(7, 8, 9), tokens: 0 };
  const picked = pickSteps(rows, Int32Array.of(2, 0));
  assert.equal(
    [[...picked.hidden], [...picked.features]],
    [
      [5, 6, 1, 2],
      [9, 7],
    ],
  );
});
// The frozen network's weights are random: what its hidden states tell of a digit is not all of it.
for (const [backbone, rest] of [
  ['frozen', 0.6],
  ['finetune', 0.25],
] as const) {
  tests(`${backbone}: training learns what can be learned and holds on unseen problems`, async () => {
    const epochs: number[] = [];
    const { model, epoch, heldOutLoss, steps } = await train(
      dataOf(150),
      { backbone, epochs: 40, batchSize: 64, patience: 40 },
      { onEpoch: ({ epoch }: { epoch: number }) => epochs.push(epoch) },
    );
    assert.is(epochs.length, 40);
    assert.ok(epoch > 0 && steps.train > 3 * steps.heldOut && steps.heldOut > 20);
    const result = await evaluatePrm(model, dataOf(100, { seed: 2, split: 'test' }));
    assert.is(result.leftOut, 0);
    assert.ok(result.brier < rest * result.brierConstant, `${result.brier} against ${result.brierConstant}`);
    assert.ok(result.pinball < ((1 + rest) / 2) * result.pinballConstant);
    assert.ok(
      result.aucLast! > 0.9 && result.aucAny! > 0.7 && result.aucAny! < result.aucLast!,
      `${result.aucLast} ${result.aucAny}`,
    );
    for (const { quantile, below, notAbove } of result.coverage)
      assert.ok(below < quantile + 0.15 && notAbove > quantile - 0.15, `${quantile}: ${below} ${notAbove}`);
    assert.is(
      result.calibration.reduce((sum, { steps }) => sum + steps, 0),
      result.steps,
    );
    assert.ok(heldOutLoss < result.pinballConstant);
    model.dispose();
  });
}
tests('the model remembers how its steps were cut', async () => {
  const { model } = await train(dataOf(20), { epochs: 1 });
  assert.equal(JSON.parse(JSON.stringify(model.steps)), { stepSplit: 'newline', stepLength: 1 });
  model.dispose();
});

tests('the same seed gives the same model, the best epoch is kept, and patience stops training', async () => {
  const data = dataOf(30);
  const run = async (seed: number) => {
    let last = 0;
    const { model, epoch, heldOutLoss } = await train(
      data,
      { seed, epochs: 60, patience: 3, learningRate: 0.1 },
      { onEpoch: ({ epoch }: { epoch: number }) => (last = epoch) },
    );
    const { heldOut } = splitExamples(data, 0.2, seed);
    const { targets: _, ...batch } = batchOf(heldOut);
    return { scores: (await model.score(batch)).scores, epoch, heldOutLoss, last, model };
  };
  const [a, b, c] = [await run(1), await run(1), await run(2)];
  assert.equal(a.scores, b.scores);
  assert.not.equal(a.heldOutLoss, c.heldOutLoss);
  assert.is(a.last, Math.min(60, a.epoch + 3));
  // Held out by this seed: the loss is that of the model that came out, not of the last epoch.
  near([(await evaluatePrm(a.model, data)).pinball], [a.heldOutLoss], 1e-9);
});
tests('evaluation on the training data uses held-out problems only', async () => {
  const { model } = await train(dataOf(60), { epochs: 1 });
  const own = await evaluatePrm(model, dataOf(60));
  assert.is(own.responses, splitExamples(dataOf(60), 0.2, 0).heldOut.length);
  assert.is(own.responses + own.leftOut, 120);
  assert.ok((await evaluatePrm(model, dataOf(60, { seed: 5 }))).leftOut > 0, 'another seed of the same split');
  assert.is((await evaluatePrm(model, dataOf(60, { split: 'test' }))).leftOut, 0);
  const untrained = QuantilePrm.create(nativePolicy(echoTask));
  assert.is((await evaluatePrm(untrained, dataOf(60))).leftOut, 0);
});
tests('data without training problems and unknown options are refused', async () => {
  const usage = [TypeError, 'ERR_PRL_INVALID_ARGUMENT'] as const;
  await rejectsWith(train(dataOf(1)), ...usage, /none of the data's 1 is on the side/);
  await rejectsWith(train(dataOf(0)), ...usage, /none of the data's 0 is on the side/);
  await rejectsWith(train(dataOf(30), { epoch: 3 } as object), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'epochs'/);
  await rejectsWith(
    evaluatePrm((await train(dataOf(60), { epochs: 1 })).model, dataOf(0)),
    ...usage,
    /must have problems/,
  );
});
tests('evaluation by another quantile scores by that column, and an absent one is refused', async () => {
  const { model } = await train(dataOf(60), { epochs: 2 });
  const data = dataOf(40, { split: 'test' });
  const [low, high] = [
    await evaluatePrm(model, data, { quantile: 0.1 }),
    await evaluatePrm(model, data, { quantile: 0.9 }),
  ];
  assert.equal([low.quantile, high.quantile], [0.1, 0.9]);
  const meanScore = ({ calibration, steps }: typeof low) =>
    calibration.reduce((sum, bin) => sum + bin.steps * (bin.score ?? 0), 0) / steps;
  assert.ok(meanScore(low) < meanScore(high));
  assert.equal(low.coverage, high.coverage);
  const wrong = (options: object, kind: typeof RangeError | typeof TypeError, code: string, message: RegExp) =>
    rejectsWith(evaluatePrm(model, data, options), kind, code, message);
  await wrong({ quantile: 0.3 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /quantiles 0\.1, 0\.5, 0\.9, not 0\.3/);
  await wrong({ quantil: 0.1 }, TypeError, 'ERR_PRL_UNKNOWN_OPTION', /'quantile'/);
});
tests('areaUnderCurve agrees with hand computation, counts ties half, and is null when undefined', () => {
  assert.is(areaUnderCurve([0.1, 0.2, 0.3, 0.4], [false, false, true, true]), 1);
  assert.is(areaUnderCurve([0.1, 0.2, 0.3, 0.4], [true, false, true, false]), 0.25);
  assert.is(areaUnderCurve([0.5, 0.5, 0.5], [true, false, true]), 0.5);
  assert.is(areaUnderCurve([0.5, 0.7, 0.5, 0.1], [true, true, false, false]), 0.875);
  assert.is(areaUnderCurve([0.5, 0.7], [true, true]), null);
  assert.is(areaUnderCurve([], []), null);
});
tests.run();
