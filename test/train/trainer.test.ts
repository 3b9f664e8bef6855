import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PrlError } from '../../lib/index.js';
import type { PolicyBatch, UpdateOptions } from '../../lib/policy/types.js';
import { TRAINER_OPTIONS } from '../../lib/train/options.js';
import { Trainer, type TrainingStep } from '../../lib/train/trainer.js';
import { warmStart } from '../../lib/train/warm-start.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { near, throwsError } from '../reference/numbers.js';

const SMALL = { promptsPerStep: 4, numGenerations: 8, maxCompletionLength: 4, learningRate: 4, maxSteps: 12, seed: 3 };
const policy = () => new TablePolicy(echoTask.tokenizer.vocabSize);

async function run(trainer: Trainer): Promise<TrainingStep[]> {
  const steps: TrainingStep[] = [];
  for await (const step of trainer.run()) steps.push(step);
  return steps;
}
const rewards = (steps: TrainingStep[]) => steps.map(({ metrics }) => metrics.reward);
const last = <T>(list: T[]) => list[list.length - 1];

const learning = suite('Trainer');
for (const method of ['grpo', 'prl'] as const) {
  learning(`${method} learns a task that chance solves now and then`, async () => {
    const steps = await run(new Trainer({ policy: policy(), task: echoTask, method, ...SMALL, maxSteps: 60 }));
    assert.is(steps.length, 60);
    const mean = (part: TrainingStep[]) => rewards(part).reduce((a, b) => a + b, 0) / part.length;
    assert.ok(mean(steps.slice(0, 5)) < 0.3, `begins at ${mean(steps.slice(0, 5))}`);
    assert.ok(mean(steps.slice(-5)) > 0.9, `ends at ${mean(steps.slice(-5))}`);
  });
}

learning('the same seed gives the same run, another seed another', async () => {
  const once = rewards(await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL })));
  assert.equal(rewards(await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL }))), once);
  assert.not.equal(rewards(await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL, seed: 4 }))), once);
});

learning('metrics under the names of TRL', async () => {
  const [{ metrics }] = await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL, maxSteps: 1 }));
  for (const name of [
    'step',
    'reward',
    'reward_std',
    'frac_reward_zero_std',
    'loss',
    'grad_norm',
    'learning_rate',
    'kl',
    'entropy',
    'clip_ratio/low_mean',
    'clip_ratio/high_mean',
    'clip_ratio/region_mean',
    'completions/mean_length',
    'completions/clipped_ratio',
    'sampling/sampling_logp_difference/max',
    'process_reward/mean',
    'step_count/mean',
    'first_token_entropy',
    'num_tokens',
    'tokens_per_second',
    'seconds/rollout',
    'seconds/reference',
    'seconds/update',
  ])
    assert.type(metrics[name], 'number', name);
  near([metrics.first_token_entropy], [Math.log(policy().vocab)], 1e-6);
  near([metrics.learning_rate], [SMALL.learningRate * 0.2], 1e-12);
});

learning('leaving responses without an advantage out of a batch changes nothing', async () => {
  // The entropy bonus (of no weight that the table knows) keeps them in.
  const without = await run(new Trainer({ policy: policy(), task: echoTask, method: 'grpo', ...SMALL }));
  const kept = await run(
    new Trainer({ policy: policy(), task: echoTask, method: 'grpo', ...SMALL, entropyCoef: 1e-300 }),
  );
  assert.ok(without.some(({ metrics }) => metrics.frac_reward_zero_std > 0));
  assert.equal(rewards(kept), rewards(without));
});

learning(
  'every response is in one minibatch per pass, with its own values, and the normalizer is the minibatch',
  async () => {
    const table = policy();
    const batches: { batch: PolicyBatch; options: UpdateOptions }[] = [];
    const update = table.update.bind(table);
    table.update = (batch, options) => {
      batches.push({ batch, options });
      return update(batch, options);
    };
    const trainer = new Trainer({
      policy: table,
      task: echoTask,
      ...SMALL,
      maxSteps: 1,
      numMinibatches: 3,
      numIterations: 2,
      entropyCoef: 1e-300,
    });
    const [{ rollout, advantages }] = await run(trainer);
    assert.is(batches.length, 6);
    const key = (completion: ArrayLike<number>, old: Float32Array, values: Float32Array) =>
      [Array.from(completion), Array.from(old), Array.from(values)].join('|');
    const expected = rollout.completions
      .map((completion, i) => {
        const [from, to] = [rollout.cuSeqlens[i], rollout.cuSeqlens[i + 1]];
        return key(completion, rollout.logProbs.subarray(from, to), advantages.subarray(from, to));
      })
      .sort();
    const orders = [0, 3].map((first) =>
      batches.slice(first, first + 3).flatMap(({ batch, options }) => {
        let t = 0;
        const old = batch.oldLogProbs as Float32Array;
        const values = batch.advantages as Float32Array;
        const keys = batch.completions.map((completion) => {
          const from = t;
          t += completion.length;
          return key(completion, old.subarray(from, t), values.subarray(from, t));
        });
        assert.equal(options.normalizer, { tokens: t, sequences: batch.completions.length });
        return keys;
      }),
    );
    assert.equal([...orders[0]].sort(), expected);
    assert.equal([...orders[1]].sort(), expected);
    assert.not.equal(orders[0], orders[1]);
  },
);

learning('truncated responses can be left out', async () => {
  const table = policy();
  const completions: Int32Array[] = [];
  const update = table.update.bind(table);
  table.update = (batch, options) => {
    completions.push(...(batch.completions as Int32Array[]));
    return update(batch, options);
  };
  const [{ rollout }] = await run(
    new Trainer({
      policy: table,
      task: echoTask,
      ...SMALL,
      maxSteps: 1,
      maskTruncatedCompletions: true,
      entropyCoef: 1e-300,
    }),
  );
  assert.ok(rollout.finished.includes(true) && rollout.finished.includes(false));
  assert.is(completions.length, rollout.finished.filter(Boolean).length);
  for (const completion of completions) assert.is(last(Array.from(completion)), echoTask.tokenizer.eosTokenId);
});

learning('an update that is not finite is passed over; several in a row end the run', async () => {
  const table = policy();
  table.failNext = 1;
  const warnings: string[] = [];
  const steps = await run(
    new Trainer({
      policy: table,
      task: echoTask,
      ...SMALL,
      maxSteps: 3,
      onWarning: (message) => warnings.push(message),
    }),
  );
  assert.equal(
    steps.map(({ metrics }) => metrics.updates_skipped),
    [1, 0, 0],
  );
  assert.is(warnings.length, 1);
  table.failNext = 100;
  const trainer = new Trainer({ policy: table, task: echoTask, ...SMALL, maxNonFiniteSteps: 2 });
  try {
    await run(trainer);
    assert.unreachable();
  } catch (error) {
    assert.is((error as PrlError).code, 'ERR_PRL_NON_FINITE');
    assert.is(trainer.step, 2);
  }
});

learning('evaluate counts right responses of held-out problems', async () => {
  const table = policy();
  const trainer = new Trainer({ policy: table, task: echoTask, ...SMALL });
  const before = await trainer.evaluate({ problems: 5, n: 4 });
  assert.is(before.problems, 5, 'there are five held-out digits');
  for (const { prompt } of before.records) assert.is(Number(prompt) % 2, 1);
  // A table that repeats the digit, then ends.
  for (let digit = 2; digit < 12; digit++) {
    table.table[digit * table.vocab + digit] = 50;
    table.table[(table.vocab + digit) * table.vocab + echoTask.tokenizer.eosTokenId] = 50;
  }
  const after = await trainer.evaluate({ problems: 5, n: 4 });
  assert.is(after.averageAtN, 1);
  assert.is(after.passAtN, 1);
  assert.equal(after.averageAtNInterval, [1, 1]);
  assert.is(after.meanLength, 2);
  assert.ok(before.averageAtN < 0.5);
  const fewer = await trainer.evaluate({ problems: 100, n: 1 });
  assert.is(fewer.problems, 5, 'no problem is counted twice');
});

learning('warm start: learns the demonstrations, and goes on from any step as if never stopped', async () => {
  const phases = [
    { steps: 6, batchSize: 8, learningRate: 5, warmupSteps: 2, level: 'all', styles: { steps: 1 } },
    { steps: 5, batchSize: 8, learningRate: 3, warmupSteps: 2, level: 'all', styles: { steps: 1 } },
  ];
  const whole = policy();
  const losses: number[] = [];
  for await (const { loss } of warmStart({ policy: whole, task: echoTask, phases, seed: 1, logSteps: 1 }))
    losses.push(loss!);
  assert.is(losses.length, 11);
  near([losses[0]], [Math.log(whole.vocab)], 1e-6);
  assert.ok(last(losses) < losses[0] / 4, `${losses}`);
  for (const stop of [4, 6, 8]) {
    const part = policy();
    for await (const { step } of warmStart({ policy: part, task: echoTask, phases, seed: 1 })) if (step === stop) break;
    for await (const _ of warmStart({ policy: part, task: echoTask, phases, seed: 1, from: stop })) {
    }
    assert.equal(part.table, whole.table, `stopped after ${stop}`);
  }
});
learning.run();

const files = suite('Trainer: folder');
let output: string;
files.before.each(() => {
  output = join(mkdtempSync(join(tmpdir(), 'prl-trainer-')), 'run');
});
files.after.each(() => rmSync(join(output, '..'), { recursive: true }));
const inFolder = (more: object = {}) =>
  new Trainer({
    policy: policy(),
    task: echoTask,
    output,
    loadPolicy: TablePolicy.load,
    saveSteps: 5,
    ...SMALL,
    ...more,
  });

files('stop, and resume with a policy of other weights: the folder decides', async () => {
  const whole = await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL }));
  const first = inFolder();
  const steps: TrainingStep[] = [];
  for await (const step of first.run()) {
    steps.push(step);
    if (step.step === 7) first.stop();
  }
  assert.is(steps.length, 7);
  assert.equal(readdirSync(join(output, 'checkpoints')).sort(), ['step-000005', 'step-000007']);
  const other = policy();
  other.table.fill(0.5);
  const second = inFolder({ policy: other, resume: true });
  steps.push(...(await run(second)));
  assert.equal(rewards(steps), rewards(whole));
  assert.is(second.step, SMALL.maxSteps);
  assert.is(readFileSync(join(output, 'metrics.jsonl'), 'utf8').trimEnd().split('\n').length, SMALL.maxSteps);
  assert.equal(await run(inFolder({ resume: true })), [], 'nothing is left to do');
  const longer = await run(inFolder({ resume: true, maxSteps: SMALL.maxSteps + 2 }));
  assert.equal(
    longer.map(({ step }) => step),
    [SMALL.maxSteps + 1, SMALL.maxSteps + 2],
  );
});

files('leaving the loop saves, and the same trainer can go on', async () => {
  const trainer = inFolder();
  for await (const { step } of trainer.run()) if (step === 2) break;
  assert.equal(readdirSync(join(output, 'checkpoints')), ['step-000002']);
  const rest = await run(trainer);
  assert.is(rest[0].step, 3);
});

files('a run that was asked for otherwise is not resumed', async () => {
  await run(inFolder({ maxSteps: 1 }));
  try {
    await run(inFolder({ resume: true, eta: 5 }));
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'ERR_PRL_INVALID_ARGUMENT');
    assert.match((error as Error).message, /has eta 100, not 5/);
  }
  assert.not.ok(
    readdirSync(output).some((name) => name.includes('lock')),
    'the folder is free again',
  );
});

files('an error in a step leaves the last checkpoint, not a torn one', async () => {
  const table = policy();
  const trainer = inFolder({ policy: table, numMinibatches: 2 });
  let updates = 0;
  const update = table.update.bind(table);
  table.update = (batch, options) => {
    if (++updates === 14) throw new PrlError('ERR_PRL_OUT_OF_MEMORY', 'no memory');
    return update(batch, options);
  };
  try {
    await run(trainer);
    assert.unreachable();
  } catch (error) {
    assert.is((error as PrlError).code, 'ERR_PRL_OUT_OF_MEMORY');
  }
  assert.equal(readdirSync(join(output, 'checkpoints')), ['step-000005']);
});
files.run();

const errors = suite('Trainer: errors');
errors('options', () => {
  const make = (options: object) => () => new Trainer({ policy: policy(), task: echoTask, ...options });
  throwsError(make({ learning_rate: 1 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'learningRate'/);
  throwsError(
    make({ topK: 5 }),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /does not take 'topK': sampling from a truncated/,
  );
  throwsError(make({ topP: 0.9 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /truncated/);
  throwsError(make({ method: 'ppo' }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /'prl', 'frpo', 'progrs', 'grpo', 'raft'/);
  throwsError(make({ numGenerations: 1.5 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /numGenerations/);
  throwsError(make({ temperature: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /temperature must be above 0/);
  throwsError(make({ maskTruncatedCompletions: 1 }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /boolean/);
  throwsError(make({ policy: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /policy/);
  throwsError(
    make({ policy: new TablePolicy(5) }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /5 symbols but the task's tokenizer 13/,
  );
});
errors('defaults lie within their own bounds', () => {
  for (const [name, spec] of Object.entries(TRAINER_OPTIONS)) {
    if (!('default' in spec)) continue;
    new Trainer({ policy: policy(), task: echoTask, [name]: spec.default });
  }
});
errors.run();
