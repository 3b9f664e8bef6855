// The trainer with a policy of a server: steps, reference, checkpoints by reference, resume on another connection.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ArithmeticTask, PrlError, type TinkerPolicy, Trainer, type TrainerOptions } from '../../../lib/index.js';
import { rejectsWith } from '../rejects.js';
import { connected } from './connected.js';

const OPTIONS: TrainerOptions = {
  method: 'grpo',
  // No response of a random policy is right: weight decay makes the first difference, and the KL term the next ones.
  ...{ weightDecay: 1, learningRate: 0.05 },
  ...{ promptsPerStep: 3, numGenerations: 4, maxCompletionLength: 6, numMinibatches: 2, beta: 0.1, level: '2' },
};

async function train(policy: TinkerPolicy, output: string, maxSteps: number, options: TrainerOptions = {}) {
  const task = new ArithmeticTask({ levels: ['2'] });
  const trainer = new Trainer({ policy, task, output, resume: true, ...OPTIONS, maxSteps, ...options });
  const steps = [];
  for await (const { metrics } of trainer.run()) steps.push(metrics);
  return { trained: trainer.policy, steps };
}

const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => statSync(path).isFile());

test('a run is trained, saved by reference, and resumed on another connection with its weights and optimizer', () => {
  const apiKey = 'tml-secret-5521';
  return connected({}, { apiKey }, async ({ policy, connect, fake, folder }) => {
    const output = join(folder, 'run');
    const first = await train(policy, output, 2);
    assert.equal(
      first.steps.map(({ step }) => step),
      [1, 2],
    );
    for (const row of first.steps as unknown as { [name: string]: number }[])
      for (const name of ['entropy', 'first_token_entropy', 'kl', 'grad_norm', 'loss'])
        assert.ok(Number.isFinite(row[name]), `${name} ${row[name]}`);
    const sequences = [[3, 4, 5, 6]];
    const before = await first.trained.logProbs(sequences);
    await policy.close();

    const again = await connect();
    const loads = fake.of('load_weights').length;
    const { trained, steps } = await train(again, output, 3);
    assert.equal(
      steps.map(({ step }) => step),
      [3],
    );
    // The optimizer comes with the weights, and the base is not loaded: the server has it.
    const loaded = fake.of('load_weights').slice(loads);
    assert.equal(
      loaded.map(({ body }) => body.optimizer),
      [true],
    );
    const checkpoint = join(output, 'checkpoints', readdirSync(join(output, 'checkpoints')).sort().at(-1)!);
    const restored = await again.restore(checkpoint);
    assert.equal(await restored.logProbs(sequences), await trained.logProbs(sequences));
    assert.not.equal(await trained.logProbs(sequences), before);
    const scored = fake.of('asample').filter(({ body }) => body.prompt_logprobs);
    assert.ok(scored.length > 0 && scored.every(({ body }) => body.base_model === 'base'), 'the reference is the base');
    for (const file of filesOf(output)) assert.not(readFileSync(file, 'utf8').includes(apiKey), file);
    await again.close();
    assert.is(fake.models.size, 0, 'no adapter keeps its place');
  });
});

test('a run begins only if the server can compute its loss', () =>
  connected({}, {}, async ({ policy, folder, fake }) => {
    const sent = fake.asked.length;
    for (const [options, message] of [
      [{ entropyCoef: 0.01 }, /entropyCoef needs the logits/],
      [{ topEntropyQuantile: 0.2 }, /topEntropyQuantile needs the logits/],
    ] as const)
      await rejectsWith(train(policy, join(folder, 'run'), 1, options), PrlError, 'ERR_PRL_UNSUPPORTED', message);
    const expected = /temperature must be 1/;
    await rejectsWith(
      train(policy, join(folder, 'other'), 1, { temperature: 0.8 }),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      expected,
    );
    assert.is(fake.asked.length, sent);
  }));

test('a server that forgets the session ends the run, and the checkpoint of the last whole step is resumed', () =>
  connected({}, {}, async ({ policy, connect, fake, folder }) => {
    const output = join(folder, 'run');
    const task = new ArithmeticTask({ levels: ['2'] });
    const trainer = new Trainer({ policy, task, output, ...OPTIONS, maxSteps: 4, saveSteps: 1 });
    const steps: number[] = [];
    const run = async () => {
      for await (const { metrics } of trainer.run()) {
        steps.push(metrics.step);
        if (metrics.step === 2) fake.models.clear();
      }
    };
    await rejectsWith(run(), PrlError, 'ERR_PRL_SESSION_LOST', /resume from the last checkpoint/);
    assert.equal(steps, [1, 2]);
    const again = await connect();
    const { steps: rest } = await train(again, output, 4, { saveSteps: 1 });
    assert.equal(
      rest.map(({ step }) => step),
      [3, 4],
    );
    const rows = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n');
    assert.equal(
      rows.map((row) => JSON.parse(row).step),
      [1, 2, 3, 4],
    );
    await again.close();
  }));

test.run();
