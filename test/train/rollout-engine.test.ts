// The trainer with an engine that samples in the policy's place: what it learns from, measures and refuses.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { importanceWeights, PrlError, type RolloutEngine } from '../../lib/index.js';
import type { PolicyBatch } from '../../lib/policy/types.js';
import { Trainer, type TrainingStep } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';
import { near, throwsError } from '../reference/numbers.js';

const SMALL = { promptsPerStep: 4, numGenerations: 8, maxCompletionLength: 4, learningRate: 4, maxSteps: 3, seed: 3 };
const fresh = () => new TablePolicy(echoTask.tokenizer.vocabSize);

async function run(trainer: Trainer): Promise<TrainingStep[]> {
  const steps: TrainingStep[] = [];
  for await (const step of trainer.run()) steps.push(step);
  return steps;
}

/** The policy behind an engine that says of each log-probability what `say` makes of it. */
const behind = (policy: TablePolicy, say = (logProb: number, _t: number) => logProb): RolloutEngine => ({
  async generate(prompts, options) {
    const groups = await policy.generate(prompts, options);
    return groups.map(({ completions }) => ({
      completions: completions.map((completion) => ({ ...completion, logProbs: completion.logProbs.map(say) })),
    }));
  },
});

/** The batches that `policy` is updated with. */
function batchesOf(policy: TablePolicy): PolicyBatch[] {
  const batches: PolicyBatch[] = [];
  const update = policy.update.bind(policy);
  policy.update = (batch, options) => {
    batches.push(batch);
    return update(batch, options);
  };
  return batches;
}

const engines = suite('Trainer: rollout engine');

engines('an engine that samples as the policy does changes nothing, and all weights are 1', async () => {
  const [alone, served] = [fresh(), fresh()];
  const expected = await run(new Trainer({ policy: alone, task: echoTask, ...SMALL, maxSteps: 12 }));
  const steps = await run(
    new Trainer({ policy: served, rolloutEngine: behind(served), task: echoTask, ...SMALL, maxSteps: 12 }),
  );
  assert.equal(served.table, alone.table);
  assert.ok(served.table.some((value) => value !== 0));
  for (const [i, { metrics, rollout }] of steps.entries()) {
    assert.is(metrics.reward, expected[i].metrics.reward);
    assert.equal(rollout.rolloutLogProbs, rollout.logProbs);
    for (const name of [
      ...([
        'importance_sampling_ratio/min',
        'importance_sampling_ratio/mean',
        'importance_sampling_ratio/max',
      ] as const),
      ...(['sequence_ratio_sum/min', 'sequence_ratio_sum/max'] as const),
      ...(['sequence_ratio_mean/min', 'sequence_ratio_mean/max'] as const),
    ] as const)
      assert.is(metrics[`sampling/${name}`], 1, name);
    assert.is(metrics['sampling/sampling_logp_difference/max'], 0);
    assert.type(metrics['seconds/rollout'], 'number');
  }
});

engines('the engine is synced before every rollout, and again after a resume', async () => {
  const policy = fresh();
  const seen: [number, boolean][] = [];
  const engine: RolloutEngine = {
    ...behind(policy),
    async sync(synced, version) {
      seen.push([version, synced === policy]);
    },
  };
  const trainer = new Trainer({ policy, rolloutEngine: engine, task: echoTask, ...SMALL });
  for await (const { step } of trainer.run()) if (step === 2) break;
  await run(trainer);
  assert.equal(seen, [
    [0, true],
    [1, true],
    [2, true],
  ]);
});

engines("old log-probs are the policy's own, and importance weights correct the engine's", async () => {
  const policy = fresh();
  const batches = batchesOf(policy);
  const engine = behind(policy, (logProb, t) => logProb - 0.1 - 0.05 * t);
  const [{ rollout, metrics }] = await run(
    new Trainer({ policy, rolloutEngine: engine, task: echoTask, ...SMALL, maxSteps: 1, entropyCoef: 1e-300 }),
  );
  const { cuSeqlens, logProbs, rolloutLogProbs } = rollout;
  const differences = logProbs.map((own, t) => own - rolloutLogProbs![t]);
  // The table is uniform at first; the two are float32, near log 13.
  for (let i = 0; i + 1 < cuSeqlens.length; i++)
    near(
      differences.subarray(cuSeqlens[i], cuSeqlens[i + 1]),
      Float32Array.from({ length: cuSeqlens[i + 1] - cuSeqlens[i] }, (_, t) => 0.1 + 0.05 * t),
      2 ** -21,
    );
  near([metrics['sampling/sampling_logp_difference/max']!], [Math.max(...differences)], 1e-6);
  const weights = importanceWeights({ oldLogProbs: logProbs, rolloutLogProbs: rolloutLogProbs!, cuSeqlens });
  assert.equal(rollout.importanceWeights, weights.data);
  const lengths = rollout.completions.map(({ length }) => length);
  const sums = lengths.map((length) => 0.1 * length + (0.05 * length * (length - 1)) / 2);
  near(
    [metrics['sampling/sequence_ratio_sum/max']!, metrics['sampling/sequence_ratio_mean/min']!],
    [Math.exp(Math.max(...sums)), Math.exp(Math.min(...sums.map((sum, i) => sum / lengths[i])))],
    1e-5,
  );
  near(
    [metrics['sampling/importance_sampling_ratio/mean']!],
    [sums.map(Math.exp).reduce((a, b) => a + b, 0) / sums.length],
    1e-5,
  );
  let found = 0;
  for (const { completions, ...batch } of batches) {
    let t = 0;
    for (const completion of completions) {
      const i = rollout.completions.findIndex(
        (each, j) =>
          each === completion &&
          (batch.importanceWeights as Float32Array)[t] === (weights.data as Float32Array)[cuSeqlens[j]],
      );
      assert.ok(i >= 0);
      for (const [name, expected] of [
        ['oldLogProbs', logProbs],
        ['rolloutLogProbs', rolloutLogProbs],
        ['importanceWeights', weights.data],
      ] as const)
        assert.equal(
          (batch[name] as Float32Array).subarray(t, t + completion.length),
          expected!.subarray(cuSeqlens[i], cuSeqlens[i + 1]),
          name,
        );
      t += completion.length;
      found++;
    }
  }
  assert.is(found, rollout.completions.length);
});

engines('vllmImportanceSampling options set the mode and the bounds of the weights', async () => {
  const weightsOf = async (more: object) => {
    const policy = fresh();
    const engine = behind(policy, (logProb, t) => logProb - (t === 0 ? 0.5 : -0.1));
    const trainer = new Trainer({ policy, rolloutEngine: engine, task: echoTask, ...SMALL, maxSteps: 1, ...more });
    const [{ rollout }] = await run(trainer);
    return { weights: rollout.importanceWeights, rollout };
  };
  const truncated = await weightsOf({
    vllmImportanceSamplingMode: 'token_truncate',
    vllmImportanceSamplingClipMax: 1.25,
    vllmImportanceSamplingClipMin: 0.95,
  });
  const starts = new Set(truncated.rollout.cuSeqlens);
  near(
    truncated.weights!,
    truncated.weights!.map((_, t) => (starts.has(t) ? 1.25 : 0.95)),
    1e-7,
  );
  const masked = await weightsOf({ vllmImportanceSamplingMode: 'token_mask', vllmImportanceSamplingClipMax: 1.5 });
  near(
    masked.weights!,
    masked.weights!.map((_, t) => (starts.has(t) ? 0 : Math.exp(-0.1))),
    1e-6,
  );
  assert.is((await weightsOf({ vllmImportanceSamplingCorrection: false })).weights, undefined);
});

engines('a step whose importance weights are all 0 is warned about', async () => {
  const policy = fresh();
  const warnings: string[] = [];
  const [{ metrics }] = await run(
    new Trainer({
      policy,
      rolloutEngine: behind(policy, (logProb) => logProb - 5),
      task: echoTask,
      ...SMALL,
      maxSteps: 1,
      onWarning: (message) => warnings.push(message),
    }),
  );
  assert.is(metrics['sampling/importance_sampling_ratio/max'], 0);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0], /step 1: every importance weight is 0.*policy's weights/);
});

engines('log-probabilities of another temperature are ERR_PRL_ROLLOUT', async () => {
  const skewed = () => {
    const policy = fresh();
    for (let i = 0; i < policy.table.length; i++) policy.table[i] = 2 * Math.sin(i);
    return policy;
  };
  const policy = skewed();
  const raw: RolloutEngine = {
    async generate(prompts, options) {
      const groups = await policy.generate(prompts, options);
      for (const [p, { completions }] of groups.entries())
        for (const completion of completions) {
          const sequence = [...Array.from(prompts[p]), ...completion.tokens];
          completion.logProbs = (await policy.logProbs([sequence], { start: [prompts[p].length] })).logProbs;
        }
      return groups;
    },
  };
  const trainer = (engine: RolloutEngine, temperature: number) =>
    new Trainer({ policy, rolloutEngine: engine, task: echoTask, ...SMALL, maxSteps: 1, temperature });
  await rejectsWith(
    run(trainer(raw, 0.5)),
    PrlError,
    'ERR_PRL_ROLLOUT',
    /must return log-probabilities of temperature 0\.5.*--logprobs-mode processed_logprobs/,
  );
  assert.equal(policy.table, skewed().table, 'nothing was learnt');
  // Just as far off, but not because of the temperature.
  await run(
    trainer(
      behind(policy, (logProb) => logProb - 0.4),
      0.5,
    ),
  );
  await run(trainer(behind(policy), 0.5));
  await run(trainer(raw, 1));
});

engines('engine options without an engine, or against the loss, are refused', () => {
  const policy = fresh();
  const make = (more: object) => () => new Trainer({ policy, task: echoTask, ...more });
  throwsError(
    make({ vllmImportanceSamplingMode: 'token_mask' }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /vllmImportanceSamplingMode needs a rollout engine/,
  );
  const rolloutEngine = behind(policy);
  throwsError(
    make({ rolloutEngine, lossType: 'vespo' }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /needs vllmImportanceSamplingMode 'token_truncate' or 'token_mask'/,
  );
  make({ rolloutEngine, lossType: 'vespo', vllmImportanceSamplingMode: 'token_mask' })();
  make({ rolloutEngine, lossType: 'vespo', vllmImportanceSamplingCorrection: false })();
  throwsError(
    make({ rolloutEngine, vllmImportanceSamplingMode: 'sequence' }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /'token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask'/,
  );
});
engines.run();
