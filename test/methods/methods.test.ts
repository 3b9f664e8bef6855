import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { coherence, groupAdvantages, progrsAdvantages } from '../../lib/index.js';
import { frpo } from '../../lib/methods/frpo.js';
import { grpo } from '../../lib/methods/grpo.js';
import { METHODS } from '../../lib/methods/index.js';
import type { MethodBatch } from '../../lib/methods/method.js';
import { OUTCOME_OPTIONS, type OutcomeOptions } from '../../lib/methods/outcome.js';
import { prl } from '../../lib/methods/prl.js';
import { progrs } from '../../lib/methods/progrs.js';
import { raft } from '../../lib/methods/raft.js';
import { completionSteps, STEP_OPTIONS } from '../../lib/methods/steps.js';
import type { Rollout } from '../../lib/rollout/rollout.js';
import { ArithmeticTask } from '../../lib/tasks/arithmetic.js';
import { rolloutSteps } from '../../lib/train/advantages.js';
import { type ResolvedTrainerOptions, TRAINER_OPTIONS } from '../../lib/train/options.js';
import { frpoReference, groupAdvantagesReference } from '../reference/advantages.js';
import { near } from '../reference/numbers.js';

const { tokenizer } = new ArithmeticTask();
const texts = ['1+2=3\n3+4=7\n#7', '#6', '1+2=3\n#3', '#7'];
const completions = texts.map((text) => Int32Array.from([...tokenizer.encode(text), tokenizer.eosTokenId]));
const cuSeqlens = Int32Array.from([
  0,
  ...completions.map((_, i) => completions.slice(0, i + 1).reduce((n, c) => n + c.length, 0)),
]);
const total = cuSeqlens[4];
const batch: MethodBatch = {
  rewards: Float32Array.from([1, 0, 0, 0]),
  groupIds: Int32Array.from([5, 5, 5, 9]),
  cuSeqlens,
  cuSteps: completionSteps(completions, tokenizer, { stepSplit: 'newline', stepLength: 1 }),
  oldLogProbs: Float32Array.from({ length: total }, (_, t) => -0.1 * ((t % 7) + 1)),
  refLogProbs: Float32Array.from({ length: total }, (_, t) => -0.2 * ((t % 5) + 1)),
};
const outcomeOptions = (scaleRewards: 'group' | 'batch' | 'none'): OutcomeOptions => ({
  scaleRewards,
  advantageEstimator: 'grpo',
  advantageStd: 'sample',
  advantageEpsilon: 1e-4,
  singleton: 'zero',
});
const prlOptions = { eta: 4, suffix: 'inclusive', prlAdvantage: 'outcome' } as const;
// Mean 1/3; sample deviation of (1, 0, 0).
const deviation = Math.sqrt(1 / 3);

/** What each token of response i gets, in float64. */
const spread = (values: number[]) => values.flatMap((value, i) => Array(completions[i].length).fill(value));

const methods = suite('methods');
methods("every option of a method is the trainer's under its name: no other table has one of that name", () => {
  const own = Object.values(METHODS).flatMap(({ options }) => Object.entries(options));
  const shared = Object.entries({ ...OUTCOME_OPTIONS, ...STEP_OPTIONS });
  for (const [name, spec] of [...own, ...shared])
    assert.is(TRAINER_OPTIONS[name as keyof typeof TRAINER_OPTIONS], spec, name);
  assert.equal(TRAINER_OPTIONS.method.choices, Object.keys(METHODS));
});

methods('steps end after each newline; the answer and the end are the last one', () => {
  const begins = (i: number) => Array.from(batch.cuSteps).filter((at) => at >= cuSeqlens[i] && at < cuSeqlens[i + 1]);
  assert.equal(begins(0), [0, 6, 12]);
  assert.equal(begins(1), [cuSeqlens[1]]);
  assert.equal(begins(2), [cuSeqlens[2], cuSeqlens[2] + 6]);
  const fixed = completionSteps(completions, tokenizer, { stepSplit: 'length', stepLength: 8 });
  assert.equal(Array.from(fixed), [0, 8, cuSeqlens[1], cuSeqlens[2], cuSeqlens[2] + 8, cuSeqlens[3], total]);
});

methods(
  'a rollout that is cut one response at a time has the steps of one that is cut whole, empty responses too',
  async () => {
    const some = [completions[0], new Int32Array(0), ...completions.slice(1), new Int32Array(0)];
    for (const stepSplit of ['newline', 'length'] as const) {
      const options = { stepSplit, stepLength: 3 } as ResolvedTrainerOptions;
      const cut = await rolloutSteps({ completions: some } as unknown as Rollout, tokenizer, options);
      assert.equal(cut, completionSteps(some, tokenizer, options));
    }
  },
);

methods('grpo: the outcome on every token, scaled as asked', () => {
  const scaled = (scaleRewards: 'group' | 'batch' | 'none') => grpo.run(batch, outcomeOptions(scaleRewards)).advantages;
  const epsilon = 1e-4;
  near(scaled('group'), spread([2 / 3, -1 / 3, -1 / 3, 0].map((a) => a / (deviation + epsilon))), 1e-6);
  near(scaled('none'), spread([2 / 3, -1 / 3, -1 / 3, 0]), 1e-6);
  // The batch's rewards are 1, 0, 0, 0: their sample deviation is 1 / 2.
  near(scaled('batch'), spread([2 / 3, -1 / 3, -1 / 3, 0].map((a) => a / (0.5 + epsilon))), 1e-6);
});

methods('prl: the outcome minus the log-ratio from the last token of the step on, divided by eta', () => {
  const eta = 4;
  const { advantages, metrics } = prl.run(batch, { ...outcomeOptions('none'), ...prlOptions, eta });
  const outcome = [2 / 3, -1 / 3, -1 / 3, 0];
  const delta = Array.from({ length: total }, (_, t) => batch.oldLogProbs[t] - batch.refLogProbs![t]);
  const expected = Array.from({ length: total }, (_, t) => {
    const i = outcome.findIndex((_, response) => t < cuSeqlens[response + 1]);
    const stepEnd = batch.cuSteps.find((begin) => begin > t)! - 1;
    let suffix = 0;
    for (let j = stepEnd; j < cuSeqlens[i + 1]; j++) suffix += delta[j];
    return outcome[i] - suffix / eta;
  });
  near(advantages, expected, 1e-5);
  near([metrics['process_reward/mean']], [-delta.reduce((a, b) => a + b, 0) / eta / (batch.cuSteps.length - 1)], 1e-6);
});

methods('prl with the reference itself is grpo', () => {
  const same = { ...batch, refLogProbs: batch.oldLogProbs };
  const { advantages } = prl.run(same, { ...outcomeOptions('group'), ...prlOptions });
  assert.equal(advantages, grpo.run(batch, outcomeOptions('group')).advantages);
});
methods('advantage estimators, deviations and groups of one, as the kernel has them', () => {
  const { rewards, groupIds } = batch;
  const none = { epsilon: 1e-4 };
  for (const [change, expected] of [
    [{ advantageEstimator: 'rloo' }, { kind: 'rloo' }],
    [{ advantageEstimator: 'dr_grpo' }, { kind: 'dr_grpo' }],
    [{ advantageStd: 'population' }, { std: 'population', ...none }],
    [{ advantageEpsilon: 0.5 }, { epsilon: 0.5 }],
    [{ singleton: 'raw' }, { singleton: 'raw', ...none }],
    [
      { scaleRewards: 'batch', advantageStd: 'population' },
      { scale: 'batch', std: 'population', ...none },
    ],
    [{ scaleRewards: 'none', advantageStd: 'population' }, { std: 'none' }],
  ] as const) {
    const { advantages } = grpo.run(batch, { ...outcomeOptions('group'), ...change });
    const values = Array.from(groupAdvantages(rewards, groupIds, expected).data);
    assert.equal(Array.from(advantages), spread(values), JSON.stringify(change));
  }
});

methods('raft: right responses count, the others do not', () => {
  assert.equal(Array.from(raft.run(batch, outcomeOptions('group')).advantages), spread([1, 0, 0, 0]));
  assert.equal(
    Array.from(raft.run({ ...batch, rewards: Float32Array.of(-1, 0.5, 0, 2) }, outcomeOptions('group')).advantages),
    spread([0, 1, 0, 1]),
  );
});

methods('prl as process advantage: rewards and suffix sums, summed per response, then normalised', () => {
  const eta = 4;
  const delta = Array.from({ length: total }, (_, t) => batch.oldLogProbs[t] - batch.refLogProbs![t]);
  for (const suffix of ['inclusive', 'exclusive'] as const) {
    const sums = completions.map((_, i) => {
      let sum = 0;
      for (let t = cuSeqlens[i]; t < cuSeqlens[i + 1]; t++) {
        sum += batch.rewards[i];
        for (let j = suffix === 'inclusive' ? t : t + 1; j < cuSeqlens[i + 1]; j++) sum -= delta[j] / eta;
      }
      return sum;
    });
    const options = { ...outcomeOptions('group'), eta, suffix, prlAdvantage: 'process' } as const;
    const { advantages, metrics } = prl.run(batch, options);
    // Sums of up to 16 tokens, rounded to float32 before they are compared.
    near(advantages, spread([...groupAdvantagesReference(sums, batch.groupIds)]), 1e-5, suffix);
    const outcome = prl.run(batch, { ...options, prlAdvantage: 'outcome' });
    assert.equal(metrics, outcome.metrics);
  }
});

const frpoOptions = { frpoBeta: 0.25, frpoEstimator: 'k1', frpoDirection: 'reverse', frpoBaseline: false } as const;
methods('prl with steps of one token is frpo with beta 1 / eta and k1, bit for bit', () => {
  const cuSteps = completionSteps(completions, tokenizer, { stepSplit: 'length', stepLength: 1 });
  const { advantages } = prl.run({ ...batch, cuSteps }, { ...outcomeOptions('group'), ...prlOptions, eta: 4 });
  assert.equal(frpo.run(batch, { ...outcomeOptions('group'), ...frpoOptions }).advantages, advantages);
});

methods('frpo: options reach the kernel; the divergence is measured without weight and baseline', () => {
  const outcome = [2 / 3, -1 / 3, -1 / 3, 0];
  for (const estimator of ['k1', 'k3'] as const)
    for (const direction of ['reverse', 'forward'] as const)
      for (const frpoBeta of [0, 0.25]) {
        const baseline = estimator === 'k3';
        const names = { frpoEstimator: estimator, frpoDirection: direction, frpoBaseline: baseline };
        const { advantages, metrics } = frpo.run(batch, { ...outcomeOptions('none'), ...names, frpoBeta });
        const args = [batch.oldLogProbs, batch.refLogProbs!, cuSeqlens] as const;
        const options = { estimator, direction, baseline };
        near(advantages, frpoReference(outcome, ...args, frpoBeta, options), 1e-6, JSON.stringify(options), 1e-6);
        const divergence = frpoReference([0, 0, 0, 0], ...args, -1, { estimator, direction });
        const alike = direction === 'forward' && estimator === 'k1' ? -1 : 0;
        near([metrics['future_kl/mean']], [divergence.reduce((a, b) => a + b, 0) / total - alike], 1e-5);
        const same = frpo.run(
          { ...batch, refLogProbs: batch.oldLogProbs },
          { ...outcomeOptions('none'), ...names, frpoBeta },
        );
        near([same.metrics['future_kl/mean']], [0], 0, 'of the reference itself');
      }
});

const progrsOptions = {
  ...outcomeOptions('group'),
  lambda: 1,
  alpha: 0.5,
  coherenceWindows: [2, 3, 5],
  lambdaVar: 1,
  center: 'incorrect',
  granularity: 'response',
  combine: 'advantage',
} as const;
// Three steps, one, two and one.
const stepScores = Float32Array.of(0.9, 0.8, 0.7, 0.1, 0.9, 0.6, 0.5);
const correct = [1, 0, 0, 0];
methods('progrs: options reach the kernel', () => {
  const { groupIds, cuSteps } = batch;
  const common = { stepScores, correct, groupIds, cuSeqlens, cuSteps };
  const outcomeAdvantages = groupAdvantages(batch.rewards, groupIds).data;
  const same = (change: object, args: object) => {
    const { advantages } = progrs.run({ ...batch, stepScores }, { ...progrsOptions, ...change });
    const expected = progrsAdvantages({ ...common, lambda: 1, ...args }).data;
    assert.equal(Array.from(advantages), Array.from(expected), JSON.stringify(change));
    return expected;
  };
  const outputs = [
    same({}, { outcomeAdvantages }),
    same({ lambda: 3 }, { outcomeAdvantages, lambda: 3 }),
    same({ alpha: 0.25 }, { outcomeAdvantages, alpha: 0.25 }),
    same({ coherenceWindows: [1, 3] }, { outcomeAdvantages, windows: [1, 3] }),
    same({ lambdaVar: 0.5 }, { outcomeAdvantages, lambdaVar: 0.5 }),
    same({ center: 'both' }, { outcomeAdvantages, center: 'both' }),
    same({ center: 'none' }, { outcomeAdvantages, center: 'none' }),
    same({ granularity: 'step' }, { outcomeAdvantages, granularity: 'step' }),
    same(
      { combine: 'reward', scaleRewards: 'none' },
      { rewards: batch.rewards, combine: 'reward', normalize: { std: 'none' } },
    ),
  ];
  assert.is(new Set(outputs.map((values) => values.join())).size, outputs.length, 'each option does something');
});

methods('progrs: what it says of the model, and of wrong responses', () => {
  const of = (change: object, rewards = batch.rewards) =>
    progrs.run({ ...batch, rewards, stepScores }, { ...progrsOptions, ...change }).metrics;
  // One group of the four, all wrong: naive scores push all of them up, centred ones those above the mean.
  const wrong = { ...batch, groupIds: new Int32Array(4), rewards: new Float32Array(4), stepScores };
  for (const center of ['incorrect', 'none', 'both'] as const) {
    const { metrics } = progrs.run(wrong, { ...progrsOptions, center });
    assert.is(metrics['prm/wrong_positive_share_naive'], 1);
    assert.is(metrics['prm/wrong_positive_share'], 0.5, 'the first and the third');
  }
  const metrics = of({});
  near([metrics['prm/score_mean']], [4.5 / 7], 1e-6);
  const coherent = coherence(stepScores, [0, 3, 4, 6, 7]).data;
  near([metrics['prm/coherence_mean']], [Array.from(coherent).reduce((a, b) => a + b, 0) / 4], 1e-6);
  assert.not.ok('prm/wrong_positive_share' in of({}, new Float32Array(4).fill(1)), 'no response is wrong');
});
methods.run();
