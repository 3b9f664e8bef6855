// An update through a server equals the native policy's, with every loss, on servers that sum and that average.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PolicyBatch, UpdateOptions } from '../../../lib/index.js';
import { LOSS_TYPES } from '../../../lib/kernels/loss-options.js';
import { datumOf, readLogProbs, requestsOf, scoredSequences } from '../../../lib/policy/tinker/datums.js';
import { foldedAdvantages, lossPlan } from '../../../lib/policy/tinker/loss.js';
import { normals } from '../../reference/numbers.js';
import { tokens } from '../tiny.js';
import { connected } from './connected.js';

// AdamW's first step is lr g / (|g| + eps). A large eps makes it smooth: rounding of g must not become a sign.
const ADAM = { learningRate: 0.02, adamEpsilon: 0.02, maxGradNorm: 1, weightDecay: 0.1 };

type Case = Omit<UpdateOptions, 'learningRate'> & { onPolicy?: boolean };
const CASES: Case[] = [
  ...LOSS_TYPES.map((lossType): Case => ({ lossType, ...(lossType === 'dr_grpo' && { maxCompletionLength: 90 }) })),
  { lossType: 'dapo', onPolicy: true },
  { lossType: 'cispo', onPolicy: true },
  { lossType: 'grpo', beta: 0.2, klEstimator: 'k1' },
  { lossType: 'dapo', beta: 0.2, klEstimator: 'k2', klRatioCorrection: false },
  { lossType: 'bnpo', beta: 0.2 },
  { lossType: 'luspo', importanceSamplingLevel: 'sequence' },
  { lossType: 'dapo', delta: 1.1, epsilon: 0.05, epsilonHigh: 0.1 },
  { lossType: 'dapo', offPolicyMaskThreshold: 0.01 },
  { lossType: 'dapo', normalizer: { tokens: 500, sequences: 16 } },
];

/** Tolerances: rounding of float32 in sums over the tokens (2^-24 times the root of their number), times ten. */
const LOSS_TOLERANCE = 2e-5;
const LOG_PROB_TOLERANCE = 1e-4;

for (const reduction of ['sum', 'mean'] as const) {
  test(`every loss: loss, norm of the gradient and new log-probabilities are the native policy's (${reduction})`, () =>
    connected({ reduction }, {}, async ({ base, policy, connect }) => {
      const surrogate = await connect({ lossPath: 'surrogate' });
      const lengths = [
        [1, 6],
        [5, 9],
        [3, 0],
        [7, 1],
      ];
      const plain = {
        prompts: lengths.map(([n], i) => tokens(n, i)),
        completions: lengths.map(([, n], i) => tokens(n, 9 + i)),
      };
      const sequences = plain.prompts.map((prompt, i) => [...prompt, ...plain.completions[i]]);
      const start = plain.prompts.map(({ length }) => length);
      const { logProbs: now } = await base.logProbs(sequences, { start });
      const size = now.length;
      const off = (seed: number) => normals(size, seed, 0.2).map((noise, t) => now[t] + noise);
      for (const { onPolicy, ...loss } of CASES) {
        const batch: PolicyBatch = {
          ...plain,
          advantages: normals(size, 5),
          ...(!onPolicy && { oldLogProbs: off(1), rolloutLogProbs: off(2) }),
          ...(loss.lossType !== 'vespo' && { importanceWeights: normals(size, 3).map(Math.abs) }),
          refLogProbs: off(4),
          mask: Int32Array.from({ length: size }, (_, t) => (t % 7 === 3 ? 0 : 1)),
        };
        const native = base.clone();
        const expected = await native.update(batch, { ...ADAM, ...loss });
        const { logProbs: after } = await native.logProbs(sequences, { start });
        native.dispose();
        const direct = lossPlan(loss, batch, 'auto').lossFn !== 'linear';
        for (const each of direct ? [policy, surrogate] : [policy]) {
          const own = each.clone();
          const what = `${JSON.stringify({ onPolicy, ...loss })}, ${each === policy ? 'auto' : 'surrogate'}`;
          const metrics = await own.update(batch, { ...ADAM, ...loss });
          for (const name of ['loss', 'gradNorm', 'kl', 'approxKl', 'ratioMean', 'clipRatioHigh'] as const) {
            const error = Math.abs(metrics[name] - expected[name]);
            assert.ok(
              error <= LOSS_TOLERANCE * Math.max(1, Math.abs(expected[name])),
              `${name}, ${what}: off by ${error}`,
            );
          }
          assert.is(metrics.tokens, expected.tokens, what);
          const { logProbs } = await own.logProbs(sequences, { start });
          const worst = logProbs.reduce((most, value, t) => Math.max(most, Math.abs(value - after[t])), 0);
          const moved = logProbs.reduce((most, value, t) => Math.max(most, Math.abs(value - now[t])), 0);
          assert.ok(worst <= LOG_PROB_TOLERANCE, `${what}: log-probabilities are off by ${worst}`);
          assert.ok(moved > 100 * LOG_PROB_TOLERANCE, `${what}: the update moved nothing (${moved})`);
          own.dispose();
        }
      }
      await surrogate.close();
    }));
}

const SEQUENCES = scoredSequences({
  ids: Int32Array.of(5, 6, 7, 8, 9, 3, 4, 2),
  cuSeqlens: Int32Array.of(0, 4, 5, 8),
  start: Int32Array.of(2, 1, 1),
});

test('shifts: a token stands at the position before it, in inputs, targets and log-probabilities', () => {
  // The second sequence has no completion.
  assert.equal(
    SEQUENCES.map(({ offset, count }) => [offset, count]),
    [
      [0, 2],
      [2, 2],
    ],
  );
  const values = Float32Array.of(1, 2, 3, 4);
  const [first, second] = SEQUENCES.map((sequence) => datumOf(sequence, { weights: values }));
  assert.equal(first.tokens, Int32Array.of(5, 6, 7));
  assert.equal(first.lossInputs.target_tokens.data, Int32Array.of(6, 7, 8));
  assert.equal(first.lossInputs.weights.data, Float32Array.of(0, 1, 2));
  assert.equal(second.tokens, Int32Array.of(3, 4));
  assert.equal(second.lossInputs.target_tokens.data, Int32Array.of(4, 2));
  assert.equal(second.lossInputs.weights.data, Float32Array.of(3, 4));
  const output = (...lists: number[][]) => ({
    type: '',
    metrics: {},
    outputs: lists.map((list) => ({ logprobs: { data: Float32Array.from(list) } })),
  });
  assert.equal(readLogProbs(SEQUENCES, output([-9, -1, -2], [-3, -4])), Float32Array.of(-1, -2, -3, -4));
  assert.equal(readLogProbs(SEQUENCES, output([-1, -2], [-3, -4])), Float32Array.of(-1, -2, -3, -4));
  assert.throws(() => readLogProbs(SEQUENCES, output([-1], [-3, -4])), /output 0 has 1 logprobs/);
  assert.throws(() => readLogProbs(SEQUENCES, output([0, -9, -1, -2], [-3, -4])), /output 0 has 4 logprobs/);
  assert.throws(() => readLogProbs(SEQUENCES, output([-9, -1, -2])), /1 outputs for 2 sequences/);
});

test('sums and masks: divisors count the tokens that take part, and a masked token has no advantage', () => {
  const batch = {
    advantages: Float32Array.of(1, 2, 3, 4),
    cuSeqlens: [0, 2, 2, 4],
    mask: [1, 1, 1, 0],
    importanceWeights: Float32Array.of(1, 1, 2, 1),
  };
  const folded = (options: object) => Array.from(foldedAdvantages(batch, options, 4), (value) => Math.fround(value));
  const third = (value: number) => Math.fround(value / 3);
  assert.equal(folded({ lossType: 'dapo' }), [third(1), third(2), 2, 0]);
  assert.equal(folded({ lossType: 'dapo', normalizer: { tokens: 4, sequences: 3 } }), [0.25, 0.5, 1.5, 0]);
  // Two tokens in the first sequence, one in the third, three sequences.
  assert.equal(folded({ lossType: 'grpo' }), [Math.fround(1 / 6), third(1), 2, 0]);
  assert.equal(folded({ lossType: 'dr_grpo', maxCompletionLength: 4 }), [
    Math.fround(1 / 12),
    Math.fround(2 / 12),
    0.5,
    0,
  ]);
});

test('bounds of the ratio are those of the server: 1 - epsilon and 1 + epsilonHigh; cispo has no lower one', () => {
  const old = { oldLogProbs: [] };
  assert.equal(lossPlan({ epsilon: 0.25, epsilonHigh: 0.5 }, old, 'auto').config, {
    clip_low_threshold: 0.75,
    clip_high_threshold: 1.5,
  });
  assert.equal(lossPlan({ lossType: 'cispo', epsilonHigh: 3 }, old, 'auto').config, {
    clip_low_threshold: 0,
    clip_high_threshold: 3,
  });
  assert.is(lossPlan({ lossType: 'cispo', epsilonHigh: 0.5 }, old, 'auto').lossFn, 'linear');
  assert.is(lossPlan({}, {}, 'auto').lossFn, 'cross_entropy');
});

test('a large batch is cut into requests, none longer than the limits', () => {
  const one = { ids: new Int32Array(60_000), start: 1, offset: 0, count: 1 };
  assert.equal(
    requestsOf([one, one, one]).map(({ length }) => length),
    [2, 1],
  );
  const short = { ...one, ids: new Int32Array(2) };
  assert.equal(
    requestsOf(Array.from({ length: 1025 }, () => short)).map(({ length }) => length),
    [1024, 1],
  );
});

test('log-probabilities: of the base by sampling, of a trained policy by a forward pass, both as the native ones', async () => {
  for (const fake of [{}, { noFirst: true }, { tailOnly: true }, { protobuf: true }])
    await connected(fake, {}, async ({ base, policy, fake: server }) => {
      const sequences = [[5], [3, 4, 5, 6], [7, 8, 9], [2, 2, 2]];
      const start = [1, 2, 1, 3];
      const expected = await base.logProbs(sequences, { start });
      const scored = await policy.logProbs(sequences, { start });
      assert.equal(scored, { logProbs: expected.logProbs, cuSeqlens: expected.cuSeqlens });
      assert.is(server.of('create_model').length, 0);
      await policy.update({ prompts: [[3]], completions: [[4]], advantages: Float32Array.of(0) }, { learningRate: 0 });
      assert.is(server.of('create_model').length, 1);
      assert.equal(await policy.logProbs(sequences, { start }), scored);
      assert.ok(server.of('forward').length > 0 || 'protobuf' in fake);
    });
});

test.run();
