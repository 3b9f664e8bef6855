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

const batches = suite('Trainer: minibatches');
batches('responses left out for having no advantage are counted', () => {
  const sampled = rollout([2, 1, 3], [true, true, true]);
  const { batch, normalizer, leftOut } = cut(sampled, [0, 0.5, 0]);
  assert.equal(batch.completions, [sampled.completions[1]]);
  assert.equal(normalizer, { tokens: 6, sequences: 3 });
  assert.equal(leftOut, { tokens: 5, surprisal: (1 + 2 + 3 + 4 + 5 + 6) / 8 });
  assert.is(batch.mask, undefined);
  const whole = cut(sampled, [0, 0.5, 0], { beta: 0.1 });
  assert.is(whole.batch.completions.length, 3);
  assert.is(whole.leftOut.tokens, 0);
});
batches('a batch without a usable advantage keeps one response, and not a truncated one', () => {
  const sampled = rollout([2, 1, 3], [false, true, true]);
  const { batch, leftOut } = cut(sampled, [0.5, 0, 0], { maskTruncatedCompletions: true });
  assert.equal(batch.completions, [sampled.completions[1]]);
  assert.equal(Array.from(batch.advantages as Float32Array), [0]);
  assert.equal(leftOut, { tokens: 3, surprisal: (3 + 4 + 5 + 6) / 8 });
});
batches('a batch of masked truncated responses has gradient 0, with KL term and entropy bonus', async () => {
  const sampled = rollout([2, 1], [false, false]);
  const options = { maskTruncatedCompletions: true, beta: 0.5, entropyCoef: 0.1 };
  const { batch, normalizer, leftOut } = cut(sampled, [0.5, -0.5], options);
  assert.equal(normalizer, { tokens: 1, sequences: 1 });
  assert.equal(leftOut, { tokens: 0, surprisal: 0 });
  const refLogProbs = new Float32Array(2).fill(-1);
  const update = { learningRate: 0.1, beta: 0.5, entropyCoef: 0.1, normalizer };
  const { gradNorm, applied } = await nativePolicy(echoTask).update({ ...batch, refLogProbs }, update);
  assert.equal([gradNorm, applied], [0, true]);
});
batches('entropy and clip fractions are means over all tokens', () => {
  const metrics = (tokens: number, entropy: number, clip: number) =>
    ({ tokens, entropy, clipRatioLow: clip, clipRatioHigh: 2 * clip, clipRatioRegion: 3 * clip }) as Update['metrics'];
  const { entropy, ...rest } = updateMetrics(
    [
      { metrics: metrics(4, 0.5, 0.25), learningRate: 1, leftOut: { tokens: 4, surprisal: 6 } },
      { metrics: metrics(2, 1, 0), learningRate: 1, leftOut: { tokens: 0, surprisal: 9 } },
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
