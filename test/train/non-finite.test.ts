// Steps whose loss, gradient, advantages or weights are not finite.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, PrlError, type TrainerOptions } from '../../lib/index.js';
import { SafetensorsFile } from '../../lib/policy/safetensors.js';
import { Trainer, type TrainingStep } from '../../lib/train/trainer.js';
import { echoTask } from '../fakes/echo-task.js';
import { nativePolicy } from '../fakes/native-policy.js';
import { rejectsWith } from '../policy/rejects.js';

const SMALL = {
  promptsPerStep: 4,
  numGenerations: 8,
  maxCompletionLength: 4,
  seed: 3,
  saveSteps: 100,
  numMinibatches: 1,
} as const;
let output: string;
const test = suite('Trainer: steps that are not finite');
test.before.each(() => {
  output = join(mkdtempSync(join(tmpdir(), 'prl-non-finite-')), 'run');
});
test.after.each(() => rmSync(join(output, '..'), { recursive: true }));

/** What was sampled in these steps is said to have had no probability: ratios of e^1000. */
function spoiled(isBad: (step: number) => boolean, policy = nativePolicy(echoTask)): Policy {
  const generate = policy.generate.bind(policy);
  let step = 0;
  policy.generate = async (prompts, options) => {
    const groups = await generate(prompts, options);
    if (isBad(++step))
      for (const { completions } of groups) for (const { logProbs } of completions) logProbs.fill(-1000);
    return groups;
  };
  return policy;
}

interface Watched {
  steps: TrainingStep[];
  /** Weights after each step; the first are those before it all. */
  weights: Float32Array[];
  warnings: string[];
}
async function run(policy: Policy, options: TrainerOptions, resume = false): Promise<Watched & { error?: PrlError }> {
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  const trainer = new Trainer({ policy, task: echoTask, output, resume, onWarning, ...SMALL, ...options });
  const steps: TrainingStep[] = [];
  const weightsNow = () =>
    trainer.policy instanceof Policy
      ? (trainer.policy.readParameter('model.embed_tokens.weight').data as Float32Array)
      : assert.unreachable();
  const weights = [weightsNow() as Float32Array];
  try {
    for await (const step of trainer.run()) {
      steps.push(step);
      weights.push(weightsNow() as Float32Array);
    }
  } catch (error) {
    return { steps, weights, warnings, error: error as PrlError };
  }
  return { steps, weights, warnings };
}
const rows = () =>
  readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const dumps = () => readdirSync(join(output, 'non-finite')).sort();

test('a non-finite step is recorded, not applied, and its batch is kept bit for bit', async () => {
  const { steps, weights, warnings } = await run(
    spoiled((step) => step === 2),
    { method: 'grpo', maxSteps: 3, learningRate: 1e-2 },
  );
  assert.equal(
    rows().map(({ updates_skipped }) => updates_skipped),
    [0, 1, 0],
  );
  assert.is(rows()[1].loss, null);
  assert.ok(Number.isFinite(rows()[2].loss) && Number.isFinite(rows()[1].reward));
  assert.not.equal(weights[1], weights[0]);
  assert.equal(weights[2], weights[1], 'nothing was learnt');
  assert.not.equal(weights[3], weights[2]);

  assert.equal(dumps(), ['step-000002.safetensors']);
  assert.is(warnings.length, 1);
  assert.match(warnings[0], /step 2: .*not applied; its batch is in .*step-000002\.safetensors/);
  const file = await SafetensorsFile.open(join(output, 'non-finite', dumps()[0]));
  const { rollout, advantages } = steps[1];
  for (const [name, values] of Object.entries({ ...rollout, advantages }))
    if (values instanceof Float32Array) assert.equal(await file.read(name), values, name);
  const ints = (name: string) => {
    const { begin, bytes } = file.tensors.get(name)!;
    const all = readFileSync(file.path);
    return Array.from(new Int32Array(all.buffer.slice(all.byteOffset + begin, all.byteOffset + begin + bytes)));
  };
  assert.equal(
    ints('completionIds'),
    rollout.completions.flatMap((ids) => Array.from(ids)),
  );
  assert.equal(
    ints('promptIds'),
    rollout.prompts.flatMap((ids) => Array.from(ids)),
  );
  assert.equal(ints('cuSeqlens'), Array.from(rollout.cuSeqlens));
  assert.equal(JSON.parse(file.metadata.problems), rollout.problems);
  await file.close();
});

test('several non-finite steps in a row end the run, and a resume starts from the last good weights', async () => {
  const options = { method: 'grpo', learningRate: 1e-2, maxSteps: 9, maxNonFiniteSteps: 3 } as const;
  const { steps, weights, error } = await run(
    spoiled((step) => step === 2 || step >= 4),
    options,
  );
  assert.is(error?.code, 'ERR_PRL_NON_FINITE');
  assert.match(error!.message, /3 steps in a row.* step 6/);
  assert.equal(
    steps.map(({ step }) => step),
    [1, 2, 3, 4, 5],
  );
  assert.equal(
    dumps(),
    [2, 4, 5, 6].map((step) => `step-00000${step}.safetensors`),
  );
  const saved = await Policy.load(join(output, 'checkpoints', 'step-000006'));
  assert.equal(saved.readParameter('model.embed_tokens.weight').data, weights[3]);
  assert.ok(weights[3].every(Number.isFinite));

  const again = await run(nativePolicy(echoTask), options, true);
  assert.is(again.error, undefined);
  assert.equal(
    again.steps.map(({ step }) => step),
    [7, 8, 9],
  );
  assert.equal(
    rows().map(({ step, updates_skipped }) => [step, updates_skipped]),
    [0, 1, 0, 1, 1, 1, 0, 0, 0].map((skipped, i) => [i + 1, skipped]),
  );
});

test('only the last 8 batches of non-finite steps are kept', async () => {
  const { warnings } = await run(
    spoiled(() => true),
    { method: 'grpo', learningRate: 1e-2, maxSteps: 11, maxNonFiniteSteps: 100 },
  );
  assert.is(warnings.length, 11);
  assert.equal(
    dumps(),
    Array.from({ length: 8 }, (_, i) => `step-${String(i + 4).padStart(6, '0')}.safetensors`),
  );
});

test('advantages that overflow skip the step, and the warning says where', async () => {
  const { steps, weights, warnings, error } = await run(
    spoiled((step) => step === 1),
    { method: 'frpo', frpoEstimator: 'k3', learningRate: 1e-2, maxSteps: 2 },
  );
  assert.is(error?.message, undefined);
  assert.equal(
    rows().map(({ updates_skipped }) => updates_skipped),
    [1, 0],
  );
  assert.ok(steps[0].advantages.every(Number.isNaN));
  assert.equal(weights[1], weights[0]);
  assert.is(warnings.length, 2);
  assert.match(warnings[0], /step 1: the advantage of token \d+ overflows/);
  assert.equal(dumps(), ['step-000001.safetensors']);
});

test('logits that overflow in the policy or the reference skip the step', async () => {
  // Those of the policy, then those of the reference.
  for (const [scored, warning] of [
    ['policy', /step 2: logits of the policy overflow/],
    ['reference', /step 2: logits of the reference overflow/],
  ] as const) {
    rmSync(output, { recursive: true, force: true });
    const policy = nativePolicy(echoTask);
    let step = 0;
    const spoil = (model: Policy, name: string) => {
      const logProbs = model.logProbs.bind(model);
      model.logProbs = async (sequences, options = {}) => {
        // The first tokens are scored once a step, before the reference scores anything.
        if (options.entropy) step++;
        if (step === 2 && name === scored) throw new PrlError('ERR_PRL_NON_FINITE', `logits of the ${name} overflow`);
        return logProbs(sequences, options);
      };
      return model;
    };
    const clone = policy.clone.bind(policy);
    policy.clone = () => spoil(clone(), 'reference');
    const { steps, weights, warnings, error } = await run(spoil(policy, 'policy'), {
      ...{ method: 'prl', maxSteps: 3, learningRate: 1e-2, logProbCheckSteps: 0 },
    });
    assert.is(error, undefined);
    assert.equal(
      rows().map(({ updates_skipped }) => updates_skipped),
      [0, 1, 0],
    );
    assert.is(warnings.length, 2);
    assert.match(warnings[0], warning);
    assert.ok(steps[1].advantages.every(Number.isNaN));
    assert.equal(weights[2], weights[1]);
    assert.not.equal(weights[3], weights[2]);
    assert.equal(dumps(), ['step-000002.safetensors']);
  }
});

test('a step to non-finite weights is not taken and leaves weights and moments as they were', async () => {
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const { config } = nativePolicy(echoTask);
    const [policy, untried] = [1, 2].map(() => Policy.create(config, { seed: 1, dtype }));
    const sequences = { prompts: [[2, 3]], completions: [[4, 5, 1]], advantages: Float32Array.of(1) };
    for (const each of [policy, untried]) await each.update(sequences, { learningRate: 1e-3 });
    const before = new Map(policy.parameters.map(({ name }) => [name, policy.readParameter(name)]));
    // Of the order of the largest float; with decay, the weights alone would do.
    for (const options of [{ learningRate: 3e38 }, { learningRate: 1e38, weightDecay: 1e30 }, { maxGradNorm: 1e30 }]) {
      const scale = { advantages: Float32Array.of('maxGradNorm' in options ? 1e25 : 1) };
      const { applied } = await policy.update({ ...sequences, ...scale }, { learningRate: 1e-3, ...options });
      assert.is(applied, false, JSON.stringify(options));
      for (const [name, { data }] of before) assert.equal(policy.readParameter(name).data, data, name);
    }
    for (const each of [policy, untried])
      assert.ok((await each.update(sequences, { learningRate: 1e-3 })).applied, 'it goes on');
    for (const { name } of policy.parameters)
      assert.equal(policy.readParameter(name).data, untried.readParameter(name).data, name);
  }
});

test('a reward that is not finite is ERR_PRL_NON_FINITE and names the task', async () => {
  const task = { ...echoTask, verify: () => Number.POSITIVE_INFINITY };
  const trainer = new Trainer({ policy: nativePolicy(echoTask), task, output, ...SMALL });
  await rejectsWith(trainer.run().next(), PrlError, 'ERR_PRL_NON_FINITE', /task 'echo' must give a finite reward/);
  assert.equal(readdirSync(join(output, 'checkpoints')), []);
});
test.run();
