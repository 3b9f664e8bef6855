import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FunctionPrm, PrlError, type ProcessRewardModel, type StepOffsets } from '../../lib/index.js';
import { METHOD_NAMES, methodNeeds } from '../../lib/methods/index.js';
import type { PolicyBatch, UpdateOptions } from '../../lib/policy/types.js';
import { TRAINER_OPTIONS } from '../../lib/train/options.js';
import { Trainer, type TrainingStep } from '../../lib/train/trainer.js';
import { warmStart } from '../../lib/train/warm-start.js';
import { echoTask } from '../fakes/echo-task.js';
import { TablePolicy } from '../fakes/table-policy.js';
import { rejectsWith } from '../policy/rejects.js';
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
/** Knows the answer: how much of a response is as it should be. */
const knowing = () =>
  new FunctionPrm(({ prompt, steps }) => steps.map((step) => (step.startsWith(prompt) ? 1 / step.trim().length : 0)), {
    tokenizer: echoTask.tokenizer,
  });
for (const method of METHOD_NAMES) {
  learning(`${method} learns a task that chance solves now and then`, async () => {
    const setup = methodNeeds(method, 'processRewardModel') ? { processRewardModel: knowing() } : {};
    const steps = await run(
      new Trainer({ policy: policy(), task: echoTask, method, ...setup, ...SMALL, maxSteps: 60 }),
    );
    assert.is(steps.length, 60);
    const mean = (part: TrainingStep[]) => rewards(part).reduce((a, b) => a + b, 0) / part.length;
    assert.ok(mean(steps.slice(0, 5)) < 0.3, `begins at ${mean(steps.slice(0, 5))}`);
    assert.ok(mean(steps.slice(-5)) > 0.9, `ends at ${mean(steps.slice(-5))}`);
  });
}

learning('the same seed gives the same run, and another seed gives another', async () => {
  const once = rewards(await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL })));
  assert.equal(rewards(await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL }))), once);
  assert.not.equal(rewards(await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL, seed: 4 }))), once);
});

learning('the sampler is checked on a few responses, now and then', async () => {
  const [scored, own] = [[] as number[][], policy()];
  const logProbs = own.logProbs.bind(own);
  own.logProbs = (sequences, options) => {
    if (!(options as { entropy?: boolean } | undefined)?.entropy)
      scored.push(sequences.map((sequence) => sequence.length));
    return logProbs(sequences, options);
  };
  const options = { ...SMALL, method: 'grpo', maxSteps: 4, logProbCheckSteps: 3, logProbCheckResponses: 5 } as const;
  const steps = await run(new Trainer({ policy: own, task: echoTask, ...options }));
  assert.equal(
    scored.map(({ length }) => length),
    [5, 5],
    'steps 1 and 4, 5 of 32 responses',
  );
  const name = 'sampling/sampling_logp_difference/max';
  assert.equal(
    steps.map(({ metrics }) => name in metrics),
    [true, false, false, true],
  );
  assert.ok(steps[0].metrics[name]! < 1e-5);
});

learning('a step reports its metrics under the names of TRL', async () => {
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
    'tokens_per_second/update',
  ] as const)
    assert.ok(Number.isFinite(metrics[name]), name);
  for (const phase of ['rollout', 'reference'] as const)
    near([metrics[`tokens_per_second/${phase}`]! * metrics[`seconds/${phase}`]!], [metrics.num_tokens], 1e-6);
  near([metrics.first_token_entropy], [Math.log(policy().vocab)], 1e-6);
  const grpo = new Trainer({ policy: policy(), task: echoTask, method: 'grpo', ...SMALL, maxSteps: 1 });
  assert.not.ok('kl' in (await run(grpo))[0].metrics, 'without a reference there is none to measure');
  near([metrics.learning_rate], [SMALL.learningRate * 0.2], 1e-12);
});

learning('progrs scores every step once, and counts the tokens of the model', async () => {
  const scored: number[] = [];
  const model = knowing();
  const counting: ProcessRewardModel = {
    name: 'counting',
    async score(batch) {
      scored.push(batch.completions.length);
      return model.score(batch);
    },
  };
  const setup = { task: echoTask, method: 'progrs', processRewardModel: counting, stepSplit: 'length' } as const;
  const steps = await run(new Trainer({ policy: policy(), ...setup, stepLength: 2, ...SMALL, maxSteps: 3 }));
  let total = 0;
  for (const [i, { metrics, rollout, cuSteps, stepScores }] of steps.entries()) {
    assert.is(stepScores!.length, cuSteps.length - 1);
    assert.is(cuSteps[cuSteps.length - 1], rollout.logProbs.length);
    near([metrics['prm/score_mean']!], [stepScores!.reduce((a, b) => a + b, 0) / stepScores!.length], 1e-6);
    for (const name of [
      'prm/coherence_mean',
      'prm/wrong_positive_share',
      'prm/wrong_positive_share_naive',
      'seconds/prm',
    ] as const)
      assert.ok(Number.isFinite(metrics[name]), name);
    total += metrics['prm/tokens']!;
    assert.is(metrics.num_prm_tokens, total);
    assert.ok(scored[i] <= rollout.rewards.length);
    const distinct = new Set(rollout.completions.map((tokens, r) => `${rollout.prompts[r]}|${tokens}`));
    assert.is(scored[i], distinct.size, 'each response once');
  }
  assert.ok(total > 0);
  const [{ metrics, stepScores }] = await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL, maxSteps: 1 }));
  assert.is(stepScores, undefined);
  for (const name of ['prm/tokens', 'num_prm_tokens', 'prm/score_mean']) assert.not.ok(name in metrics, name);
});

learning('steps cut other than the process reward model learned them are warned about', async () => {
  const learned = { stepSplit: 'length', stepLength: 2 } as const;
  const warningsOf = async (options: object) => {
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    const processRewardModel = Object.assign(knowing(), { steps: learned });
    const setup = { policy: policy(), task: echoTask, method: 'progrs', processRewardModel, onWarning } as const;
    await run(new Trainer({ ...setup, ...SMALL, maxSteps: 1, ...options }));
    return warnings;
  };
  assert.equal(await warningsOf(learned), []);
  for (const [options, expected] of [
    [{ stepSplit: 'length', stepLength: 3 }, /trained on steps that were cut differently.* stepLength 3 instead of 2/],
    [{ stepSplit: 'newline' }, /stepSplit "newline" instead of "length"/],
  ] as const) {
    const warnings = await warningsOf(options);
    assert.is(warnings.length, 1);
    assert.match(warnings[0], expected);
  }
});

learning('a group of wrong responses teaches with progrs and not with grpo', async () => {
  const hopeless = { ...echoTask, verify: () => 0 };
  const moved = async (method: 'grpo' | 'progrs') => {
    const table = policy();
    const setup = method === 'progrs' ? { processRewardModel: knowing() } : {};
    const [{ advantages, cuSteps, rollout }] = await run(
      new Trainer({ policy: table, task: hopeless, method, ...setup, ...SMALL, maxSteps: 1 }),
    );
    const own = rollout.problems.map((_, group) =>
      [...rollout.groupIds.keys()]
        .filter((i) => rollout.groupIds[i] === group)
        .map((i) => advantages[rollout.cuSeqlens[i]]),
    );
    // The sum of what a group prefers is 0, up to roundings of numbers up to 1.
    for (const values of own) near([values.reduce((a, b) => a + b, 0)], [0], 4 * values.length * 2 ** -24);
    assert.is(cuSteps[0], 0);
    return table.table.some((value) => value !== 0);
  };
  assert.is(await moved('grpo'), false);
  assert.is(await moved('progrs'), true);
});

learning('stepOffsets decides where steps begin', async () => {
  const seen: string[] = [];
  const stepOffsets: StepOffsets = ({ tokens, text, prompt }) => {
    seen.push(`${prompt} ${text}`);
    return tokens.length > 1 ? [tokens.length - 1] : [];
  };
  const [{ cuSteps, rollout }] = await run(
    new Trainer({ policy: policy(), task: echoTask, ...SMALL, maxSteps: 1, stepSplit: 'offsets', stepOffsets }),
  );
  const expected = rollout.completions.flatMap(({ length }, i) => {
    const begin = rollout.cuSeqlens[i];
    return length > 1 ? [begin, begin + length - 1] : [begin];
  });
  assert.equal(Array.from(cuSteps), [...expected, rollout.logProbs.length]);
  assert.equal(
    seen,
    rollout.texts.map((text, i) => `${rollout.problems[rollout.groupIds[i]].prompt} ${text}`),
  );
});

learning('a process reward model that fails ends the run with its error and changes no weight', async () => {
  const table = policy();
  const failing: ProcessRewardModel = { name: 'mine', score: () => Promise.reject(new Error('gone')) };
  const trainer = new Trainer({
    policy: table,
    task: echoTask,
    method: 'progrs',
    processRewardModel: failing,
    ...SMALL,
  });
  await rejectsWith(run(trainer), PrlError, 'ERR_PRL_REWARD_MODEL', /mine failed: gone/);
  assert.ok(table.table.every((value) => value === 0));
  assert.is(trainer.step, 0);
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

learning("every response is in one minibatch per pass with its own values and the minibatch's normalizer", async () => {
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
});

learning('maskTruncatedCompletions leaves truncated responses out of the updates', async () => {
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

learning('an update that is not finite is skipped, and several in a row end the run', async () => {
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
  // Wilson's interval: 5 of 5 is 5 / (5 + z²), not a point.
  assert.ok(Math.abs(after.averageAtNInterval[0] - 5 / 8.8414588207) < 1e-9);
  assert.is(after.averageAtNInterval[1], 1);
  assert.is(after.meanLength, 2);
  assert.ok(before.averageAtN < 0.5);
  const fewer = await trainer.evaluate({ problems: 100, n: 1 });
  assert.is(fewer.problems, 5, 'no problem is counted twice');
});

learning('evaluate measures entropy and the KL from a reference on its samples', async () => {
  const base = policy();
  const moved = policy();
  for (let i = 0; i < moved.table.length; i++) moved.table[i] = Math.sin(i);
  const evaluate = (trained: TablePolicy, more: object) =>
    new Trainer({ policy: trained, task: echoTask, ...SMALL, maxCompletionLength: 1 }).evaluate({ n: 2000, ...more });
  const same = await evaluate(base, { reference: base });
  near([same.entropy!, same.kl!], [Math.log(base.vocab), 0], 1e-6);
  const away = await evaluate(moved, { reference: base });
  // Responses of one token: entropy and KL are means over the rows of the five held-out digits.
  const rows = [1, 3, 5, 7, 9].map((digit) => {
    const row = moved.table.subarray((digit + 2) * moved.vocab, (digit + 3) * moved.vocab);
    const sum = row.reduce((total, logit) => total + Math.exp(logit), 0);
    return Array.from(row, (logit) => Math.exp(logit) / sum);
  });
  const entropy = rows.flat().reduce((total, p) => total - p * Math.log(p), 0) / rows.length;
  near([away.entropy!], [entropy], 1e-5);
  // To the uniform table the KL is what entropy lacks; 10,000 samples of a spread of about 0.7.
  near([away.kl!], [Math.log(base.vocab) - entropy], (4 * 0.8) / 100);
  assert.is((await evaluate(moved, {})).kl, undefined);
});

learning('warm start learns the demonstrations and resumes from any step as if never stopped', async () => {
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

const files = suite('Trainer: run folder');
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

files('a stopped run resumes from its folder, whatever weights the given policy has', async () => {
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

files('stop() before run() holds for that run and for no later one', async () => {
  const trainer = inFolder();
  trainer.stop();
  assert.equal(await run(trainer), []);
  assert.is((await run(trainer)).length, SMALL.maxSteps);
});

files('the tokens of the process reward model are counted across a resume', async () => {
  const setup = { method: 'progrs', processRewardModel: knowing() };
  const tokens = (steps: TrainingStep[]) => steps.map(({ metrics }) => metrics.num_prm_tokens);
  const whole = await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL, ...setup, method: 'progrs' }));
  const first = await run(inFolder({ ...setup, maxSteps: 5 }));
  const second = await run(inFolder({ ...setup, resume: true }));
  assert.equal([...tokens(first), ...tokens(second)], tokens(whole));
  assert.equal([...rewards(first), ...rewards(second)], rewards(whole));
});

files(
  'a run that a verifier or a process reward model ended says where, and resumes as if nothing had failed',
  async () => {
    const setup = { method: 'progrs', maxSteps: 7 };
    const good = { ...setup, processRewardModel: knowing() };
    const whole = await run(new Trainer({ policy: policy(), task: echoTask, ...SMALL, ...good, method: 'progrs' }));
    let verdicts = 0;
    const verify: typeof echoTask.verify = (...args) => {
      if (verdicts++ === 5 * perStep + 3) throw new Error('the judge is out');
      return echoTask.verify(...args);
    };
    const perStep = SMALL.promptsPerStep * SMALL.numGenerations;
    const failed = await run(inFolder({ ...good, task: { ...echoTask, verify } })).catch((error) => error);
    assert.is(failed.code, 'ERR_PRL_VERIFIER');
    assert.match(failed.message, /response 3 to problem 0: .* for the problem "\d": the judge is out/);

    let calls = 0;
    const out = ({ steps }: { steps: readonly string[] }) => steps.map(() => (calls++ === 0 ? 2 : 0.5));
    const broken = new FunctionPrm(out, { tokenizer: echoTask.tokenizer });
    const resume = { resume: true, ...setup };
    const again = await run(inFolder({ ...resume, processRewardModel: broken })).catch((error) => error);
    assert.is(again.code, 'ERR_PRL_REWARD_MODEL');
    assert.match(again.message, /^step 6, response 0 to problem 0, "\d": .*not 2 for step 0/);

    const rest = await run(inFolder({ ...resume, processRewardModel: knowing() }));
    assert.equal(
      rest.map(({ step }) => step),
      [6, 7],
    );
    assert.equal(rewards(rest), rewards(whole).slice(5));
  },
);

files('leaving the loop saves a checkpoint, and the same trainer can continue', async () => {
  const trainer = inFolder();
  for await (const { step } of trainer.run()) if (step === 2) break;
  assert.equal(readdirSync(join(output, 'checkpoints')), ['step-000002']);
  const rest = await run(trainer);
  assert.is(rest[0].step, 3);
});

files('a run with other options is not resumed, and its folder is unlocked', async () => {
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

files('an error in a step leaves the last whole checkpoint', async () => {
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

const errors = suite('Trainer: wrong options');
errors('a wrong option, method or policy is refused by name', () => {
  const make = (options: object) => () => new Trainer({ policy: policy(), task: echoTask, ...options });
  throwsError(make({ learning_rate: 1 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean 'learningRate'/);
  throwsError(
    make({ topK: 5 }),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /does not take 'topK': sampling from a truncated/,
  );
  throwsError(make({ topP: 0.9 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /truncated/);
  throwsError(
    make({ method: 'ppo' }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    new RegExp(METHOD_NAMES.map((name) => `'${name}'`).join(', ')),
  );
  throwsError(make({ numGenerations: 1.5 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /numGenerations/);
  throwsError(make({ temperature: 0 }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /temperature must be above 0/);
  throwsError(
    make({ maskTruncatedCompletions: 1 }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /maskTruncatedCompletions must be true or false/,
  );
  throwsError(make({ policy: undefined }), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /policy/);
  throwsError(
    make({ policy: new TablePolicy(5) }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /at least 13 symbols.*not 5/,
  );
});
errors('a method without what it needs is refused and says what it needs', () => {
  const make = (options: object) => () => new Trainer({ policy: policy(), task: echoTask, ...options });
  const wrong = (options: object, message: RegExp) =>
    throwsError(make(options), TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);
  const processRewardModel = knowing();
  wrong({ method: 'progrs' }, /needs a process reward model .*prl prm train.*HttpPrm.*FunctionPrm/);
  wrong({ method: 'prl', processRewardModel }, /method must be 'progrs' with a process reward model, not 'prl'/);
  wrong({ method: 'progrs', processRewardModel, combine: 'reward', granularity: 'step' }, /granularity 'response'/);
  wrong({ method: 'frpo', frpoBaseline: true }, /frpoEstimator 'k3'/);
  for (const [kind, name, value] of [
    ['tokens', 'stepTokens', [2]],
    ['strings', 'stepStrings', ['\n']],
    ['offsets', 'stepOffsets', () => []],
  ] as const) {
    wrong({ stepSplit: kind }, new RegExp(`stepSplit '${kind}' needs ${name}`));
    wrong({ [name]: value }, new RegExp(`${name} needs stepSplit '${kind}', not 'newline'`));
    make({ stepSplit: kind, [name]: value })();
  }
  wrong({ stepSplit: 'strings', stepStrings: [''] }, /stepStrings\[0\] must be a non-empty string/);
  wrong({ stepSplit: 'strings', stepStrings: [] }, /stepStrings must be a non-empty array/);
  throwsError(make({ coherenceWindows: [2, 0] }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /coherenceWindows\[1\]/);
});
errors('every default lies within its own bounds', () => {
  for (const [name, spec] of Object.entries(TRAINER_OPTIONS)) {
    if (!('default' in spec)) continue;
    new Trainer({ policy: policy(), task: echoTask, [name]: spec.default });
  }
});
errors.run();
