// Which responses an optimizer step gets, and what its metrics say of the others.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Rollout } from '../../lib/rollout/rollout.js';
import { type Update, updateMetrics } from '../../lib/train/metrics.js';
import { cutBatch } from '../../lib/train/minibatch.js';
import type { TrainerOptions } from '../../lib/train/options.js';
import { Trainer, type TrainingStep } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { near } from '../reference/numbers.js';

const trainerOf = (options: TrainerOptions) =>
  new Trainer({ policy: new TablePolicy(echoTask.tokenizer.vocabSize), task: echoTask, ...options });

/** Responses of these lengths, the token t with log-probability -(t + 1) / 8. */
function rollout(lengths: readonly number[], finished: readonly boolean[]): Rollout {
  const cuSeqlens = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
  const total = cuSeqlens[lengths.length];
  return {
    problems: [{ prompt: '1', answer: '1' }],
    groupIds: new Int32Array(lengths.length),
    prompts: lengths.map(() => Int32Array.of(3)),
    completions: lengths.map((length, i) => new Int32Array(length).fill(2 + i)),
    texts: lengths.map(String),
    finished: [...finished],
    rewards: new Float32Array(lengths.length),
    measures: {},
    cuSeqlens,
    logProbs: Float32Array.from({ length: total }, (_, t) => -(t + 1) / 8),
  };
}
function cut(sampled: Rollout, advantages: readonly number[], options: TrainerOptions = {}) {
  const tokens = Float32Array.from(sampled.completions.flatMap(({ length }, i) => Array(length).fill(advantages[i])));
  const order = Int32Array.from(sampled.completions, (_, i) => i);
  const resolved = trainerOf({ method: 'grpo', numMinibatches: 1, ...options }).options;
  const step = { step: 1, rollout: sampled, advantages: tokens, cuSteps: sampled.cuSeqlens };
  return cutBatch(step, order, 0, resolved);
}
/** The batch of `cut`, which must be there. */
function cutOf(...args: Parameters<typeof cut>) {
  const { batch, ...rest } = cut(...args);
  assert.ok(batch);
  return { batch, ...rest };
}

const batches = suite('Trainer: minibatches');
batches('responses left out for having no advantage are counted', () => {
  const sampled = rollout([2, 1, 3], [true, true, true]);
  const { batch, normalizer, leftOut } = cutOf(sampled, [0, 0.5, 0]);
  assert.equal(batch.completions, [sampled.completions[1]]);
  assert.equal(normalizer, { tokens: 6, sequences: 3 });
  assert.equal(leftOut, { tokens: 5, surprisal: (1 + 2 + 3 + 4 + 5 + 6) / 8 });
  assert.is(batch.mask, undefined);
  const whole = cutOf(sampled, [0, 0.5, 0], { beta: 0.1 });
  assert.is(whole.batch.completions.length, 3);
  assert.is(whole.leftOut.tokens, 0);
});
batches('a batch of advantages 0 keeps one response, and not a truncated one', () => {
  const sampled = rollout([2, 1, 3], [false, true, true]);
  const { batch, leftOut } = cutOf(sampled, [0.5, 0, 0], { maskTruncatedCompletions: true });
  assert.equal(batch.completions, [sampled.completions[1]]);
  assert.equal(Array.from(batch.advantages as Float32Array), [0]);
  assert.equal(leftOut, { tokens: 3, surprisal: (3 + 4 + 5 + 6) / 8 });
});
batches('there is no batch if no response takes part', () => {
  const masked = { maskTruncatedCompletions: true, beta: 0.5, entropyCoef: 0.1 };
  const none = cut(rollout([2, 1], [false, false]), [0.5, -0.5], masked);
  assert.equal(none, { leftOut: { tokens: 0, surprisal: 0 } });
  assert.equal(cut(rollout([2, 1], [true, true]), [0, 0], { method: 'raft' }), {
    leftOut: { tokens: 3, surprisal: (1 + 2 + 3) / 8 },
  });
  assert.is(cut(rollout([0, 0], [true, true]), [1, -1], { beta: 0.5 }).batch, undefined, 'no token');
  const unweighted = { ...rollout([2, 1], [true, true]), importanceWeights: new Float32Array(3) };
  assert.is(cut(unweighted, [1, -1]).batch, undefined, 'importance weights of 0');
  // These terms are of all responses.
  assert.is(cutOf(unweighted, [1, -1], { beta: 0.5 }).batch.completions.length, 2);
  assert.is(cutOf(rollout([2, 1], [true, true]), [0, 0], { method: 'raft', entropyCoef: 0.1 }).batch.prompts.length, 2);
});
batches('an update without a response moves nothing, and the next one keeps its learning rate', async () => {
  const policy = nativePolicy(echoTask);
  const weights = () => policy.parameters.map(({ name }) => policy.readParameter(name).data);
  let answers = 0;
  // Right in the first step, which gives the optimizer its momentum; all wrong in the second.
  const task = { ...echoTask, verify: () => (answers++ < 4 ? 1 : 0) };
  const sizes = { promptsPerStep: 2, numGenerations: 2, maxCompletionLength: 4, maxSteps: 4 };
  const rest = {
    method: 'raft',
    numMinibatches: 1,
    weightDecay: 0.1,
    lrSchedulerType: 'linear',
    warmupSteps: 0,
  } as const;
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  const trainer = new Trainer({ policy, task, ...sizes, ...rest, learningRate: 0.03, onWarning });
  const before = weights();
  const seen = [];
  for await (const { metrics } of trainer.run()) {
    seen.push({ metrics, weights: weights() });
    if (seen.length === 2) answers = 0;
  }
  assert.not.equal(seen[0].weights, before);
  assert.equal(seen[1].weights, seen[0].weights, 'neither momentum nor weight decay');
  assert.not.equal(seen[2].weights, seen[1].weights);
  near(
    seen.map(({ metrics }) => metrics.learning_rate),
    [0.0225, 0.015, 0.0075, 0],
    1e-12,
  );
  const second = seen[1].metrics;
  assert.equal([second.updates_empty, second.updates_skipped, second.loss, second.grad_norm], [1, 0, 0, 0]);
  assert.ok(Object.values(second).every(Number.isFinite));
  assert.is(seen[0].metrics.updates_empty, 0);
  assert.is(warnings.length, 2, 'step 4 too');
  assert.match(warnings[0], /step 2: no response takes part in the loss.*raft learns from right responses/);
});
batches('responses that all hit the length limit are named, if they are left out', async () => {
  const policy = new TablePolicy(echoTask.tokenizer.vocabSize);
  policy.momentum.fill(1);
  const before = policy.table.slice();
  const warnings: string[] = [];
  const sizes = { promptsPerStep: 2, numGenerations: 2, maxCompletionLength: 1, maxSteps: 1 };
  const task = { ...echoTask, stopTokens: [] };
  const options = { method: 'grpo', numMinibatches: 4, maskTruncatedCompletions: true, beta: 0.1 } as const;
  const onWarning = (message: string) => warnings.push(message);
  for await (const { metrics } of new Trainer({ policy, task, ...sizes, ...options, onWarning }).run())
    assert.is(metrics.updates_empty, 4);
  assert.equal(policy.table, before);
  assert.match(warnings.join(), /4 of 4 were cut off at maxCompletionLength, and maskTruncatedCompletions/);
});
batches('more minibatches than responses are refused before anything is sampled', () => {
  const sizes = { promptsPerStep: 2, numGenerations: 3 };
  trainerOf({ ...sizes, numMinibatches: 6 });
  assert.throws(
    () => trainerOf({ ...sizes, numMinibatches: 7 }),
    (error: RangeError & { code: string }) => {
      assert.is(error.code, 'ERR_PRL_OUT_OF_RANGE');
      assert.match(
        error.message,
        /numMinibatches must be at most 6, .*promptsPerStep 2 times numGenerations 3.* not 7/,
      );
      return true;
    },
  );
});
batches('entropy and clip fractions are means over all tokens', () => {
  const metrics = (tokens: number, entropy: number, clip: number) =>
    ({ tokens, entropy, clipRatioLow: clip, clipRatioHigh: 2 * clip, clipRatioRegion: 3 * clip }) as Update['metrics'];
  const { entropy, ...rest } = updateMetrics(
    [
      { metrics: metrics(4, 0.5, 0.25), learningRate: 1, leftOut: { tokens: 4, surprisal: 6 }, empty: false },
      { metrics: metrics(2, 1, 0), learningRate: 1, leftOut: { tokens: 0, surprisal: 9 }, empty: false },
    ],
    { reference: false },
  );
  assert.is(entropy, (6 + 2 * 1) / 10, 'sampled where some were left out, exact elsewhere');
  const clips = (['low_mean', 'high_mean', 'region_mean'] as const).map((name) => rest[`clip_ratio/${name}`]);
  near(clips, [0.1, 0.2, 0.3], 1e-15);
});
batches('methods that leave different responses out report the same entropy', async () => {
  const first = async (options: TrainerOptions) => {
    const sizes = { promptsPerStep: 256, numGenerations: 4, maxCompletionLength: 4, maxSteps: 1, learningRate: 0 };
    const policy = new TablePolicy(echoTask.tokenizer.vocabSize);
    const at = (place: number, last: number, token: number) => (place * policy.vocab + last) * policy.vocab + token;
    const [newline] = echoTask.tokenizer.encode('\n');
    for (let last = 0; last < policy.vocab; last++) {
      // Four in five responses repeat the digit and end, with little doubt; the others begin with a newline and wander.
      policy.table[at(0, last, last)] = 6 + Math.log(4);
      policy.table[at(0, last, newline)] = 6;
      if (last !== newline) policy.table[at(1, last, echoTask.tokenizer.eosTokenId)] = 6;
    }
    const trainer = new Trainer({ policy, task: echoTask, ...sizes, ...options });
    const steps: TrainingStep[] = [];
    for await (const step of trainer.run()) steps.push(step);
    return steps[0];
  };
  const all = await first({ method: 'grpo', entropyCoef: 1e-300 });
  const surprise = all.rollout.logProbs.map((logProb) => -logProb);
  const mean = surprise.reduce((a, b) => a + b, 0) / surprise.length;
  const spread = Math.sqrt(surprise.reduce((sum, x) => sum + (x - mean) ** 2, 0) / surprise.length);
  for (const method of ['grpo', 'raft'] as const) {
    const { metrics, rollout } = await first({ method });
    assert.equal(rollout.logProbs, all.rollout.logProbs);
    // An estimate by one sample each of all tokens: four of its standard errors.
    near([metrics.entropy], [all.metrics.entropy], (4 * spread) / Math.sqrt(surprise.length), method);
  }
});
batches.run();
