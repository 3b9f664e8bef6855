// Loss options on their way from the trainer to the policy.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { PolicyBatch, UpdateOptions } from '../../lib/index.js';
import { LOSS_TYPES } from '../../lib/kernels/loss-options.js';
import { Trainer, type TrainingStep } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { throwsError } from '../reference/numbers.js';

const SMALL = { promptsPerStep: 4, numGenerations: 8, maxCompletionLength: 4, learningRate: 1e-3, seed: 3 };

/** So many that a policy that has learnt nothing is right now and then. */
const MANY = { promptsPerStep: 16, numGenerations: 32 };

async function run(trainer: Trainer): Promise<TrainingStep[]> {
  const steps: TrainingStep[] = [];
  for await (const step of trainer.run()) steps.push(step);
  return steps;
}

/** What the updates of one step were asked for. */
async function updatesOf(options: object) {
  const policy = new TablePolicy(echoTask.tokenizer.vocabSize);
  const asked: { batch: PolicyBatch; options: UpdateOptions }[] = [];
  const update = policy.update.bind(policy);
  policy.update = (batch, options) => {
    asked.push({ batch, options });
    return update(batch, options);
  };
  const [{ rollout }] = await run(new Trainer({ policy, task: echoTask, ...SMALL, maxSteps: 1, ...options }));
  return { asked, rollout };
}

const losses = suite('Trainer: losses');
losses('every loss type updates the policy, with two passes over a rollout', async () => {
  for (const lossType of LOSS_TYPES) {
    const policy = nativePolicy(echoTask);
    const method = lossType.startsWith('raft') ? 'raft' : 'grpo';
    const options = {
      method,
      lossType,
      beta: 0.02,
      klEstimator: 'k2',
      offPolicyMaskThreshold: 0.5,
      numIterations: 2,
    } as const;
    const steps = await run(
      new Trainer({ policy, task: echoTask, ...SMALL, ...MANY, ...options, topEntropyQuantile: 0.6, maxSteps: 2 }),
    );
    for (const { metrics } of steps) {
      assert.ok(Number.isFinite(metrics.loss), `${lossType}: loss ${metrics.loss}`);
      assert.is(metrics.updates_skipped, 0, lossType);
      assert.is('vespo/phi_seq_mean' in metrics, lossType === 'vespo', lossType);
    }
    assert.ok(steps.some(({ metrics }) => (metrics.grad_norm as number) > 0));
  }
});
losses('given loss options reach the policy by name, and options not given do not', async () => {
  const given = {
    lossType: 'vespo',
    ...{ vespoKPos: 1, vespoLambdaPos: 1.5, vespoKNeg: 2.5, vespoLambdaNeg: 1.75 },
    ...{ beta: 0.1, klEstimator: 'k1', klRatioCorrection: false, entropyCoef: 0.01 },
    ...{ topEntropyQuantile: 0.3, offPolicyMaskThreshold: 0.2, maxCompletionLength: 4 },
  };
  for (const { options } of (await updatesOf({ method: 'grpo', ...given })).asked) {
    for (const [name, value] of Object.entries(given)) assert.is(options[name as keyof UpdateOptions], value, name);
    for (const name of ['epsilon', 'epsilonHigh', 'delta', 'sapoTemperaturePos'] as const)
      assert.is(options[name], undefined);
  }
  const cispo = (await updatesOf({ method: 'grpo', lossType: 'cispo', epsilonHigh: 3 })).asked[0].options;
  assert.equal([cispo.lossType, cispo.epsilonHigh], ['cispo', 3]);
});
losses("the default loss is dapo, and raft for method 'raft'", async () => {
  const lossOf = async (options: object) => (await updatesOf({ ...MANY, ...options })).asked[0].options.lossType;
  assert.is(await lossOf({ method: 'grpo' }), 'dapo');
  assert.is(await lossOf({ method: 'raft' }), 'raft');
  assert.is(await lossOf({ method: 'raft', lossType: 'raft++' }), 'raft++');
});
losses('bnpo has no normalizer, and a quantile is taken over the whole minibatch', async () => {
  for (const options of [{ lossType: 'bnpo' }, { topEntropyQuantile: 0.5 }]) {
    const { asked, rollout } = await updatesOf({ method: 'grpo', ...options, numMinibatches: 1 });
    assert.is(asked.length, 1);
    assert.is(asked[0].batch.completions.length, rollout.rewards.length);
    assert.is(asked[0].options.normalizer === undefined, options.lossType === 'bnpo');
  }
});
losses('loss options that cannot go together are refused before anything runs', () => {
  const wrong = (options: object, message: RegExp) =>
    throwsError(
      () => new Trainer({ policy: new TablePolicy(echoTask.tokenizer.vocabSize), task: echoTask, ...options }),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      message,
    );
  wrong({ lossType: 'cispo', epsilon: 0.1 }, /epsilon has no meaning with lossType 'cispo'/);
  wrong({ lossType: 'vespo', importanceSamplingLevel: 'sequence' }, /importanceSamplingLevel has no meaning/);
  wrong({ method: 'raft', delta: 3 }, /delta has no meaning with lossType 'raft'/);
  wrong({ sapoTemperatureNeg: 1 }, /sapoTemperatureNeg has no meaning with lossType 'dapo'/);
});
losses.run();
