// Supervised fine-tuning: transformers' numbers, the order of demonstrations, packing, resume.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ArithmeticTask, type Demonstration, Policy, PrlError, RunFolder, SftTrainer } from '../../lib/index.js';
import { rowsOf, rowsOfStep } from '../../lib/train/sft-batches.js';
import { supervise } from '../../lib/train/supervised.js';
import { rejectsWith } from '../policy/rejects.js';
import { tinyPolicy, tokens } from '../policy/tiny.js';
import { near, random, throwsError } from '../reference/numbers.js';

const sft = suite('supervised fine-tuning');
const folder = mkdtempSync(join(tmpdir(), 'prl-sft-'));
sft.after(() => rmSync(folder, { recursive: true }));

interface Steps {
  demonstrations: { prompt: number[]; completion: number[]; mask?: number[] }[];
  rates: number[];
  steps: { loss: number; accuracy: number; gradNorm: number }[];
  final: number;
  weights: { [name: string]: number[] };
}
const fixtures = new URL('../fixtures/', import.meta.url);
const peers: { [model: string]: Steps } = JSON.parse(readFileSync(new URL('sft/steps.json', fixtures), 'utf8'));

for (const [model, peer] of Object.entries(peers)) {
  sft(`${model}: loss, token accuracy and three AdamW steps are those of transformers in float64`, async () => {
    const policy = await Policy.load(fileURLToPath(new URL(`model/${model}`, fixtures)));
    const batch = peer.demonstrations.map(({ prompt, completion, mask }) => ({
      prompt: Int32Array.from(prompt),
      completion: Int32Array.from(completion),
      ...(mask && { mask: Int32Array.from(mask) }),
    }));
    const update = { weightDecay: 0.05, adamBeta1: 0.9, adamBeta2: 0.95, maxGradNorm: 1, microBatchTokens: 30 };
    // A phase per step, since each has another rate; the optimizer goes on, so it is one phase in three pieces.
    const rates = [...peer.rates];
    const phase = {
      steps: 3,
      batch: () => batch,
      schedule: { learningRate: 1, type: 'constant' as const, warmupSteps: 0 },
    };
    const stepped: typeof policy.update = (given, options) =>
      policy.update(given, { ...options, learningRate: rates.shift()! });
    const trained = new Proxy(policy, {
      get: (target, name) => (name === 'update' ? stepped : bound(target, name)),
    });
    let i = 0;
    for await (const { metrics } of supervise(trained, [{ ...phase, update }])) {
      const { loss, accuracy, gradNorm } = peer.steps[i++];
      // Sums of some 40 float32 log-probabilities, each right to a few units in the last place of 6.
      near([metrics.loss], [loss], 1e-5, `loss ${i}`);
      assert.is(metrics.tokenAccuracy, accuracy);
      near([metrics.gradNorm], [gradNorm], 1e-4 * gradNorm, `norm ${i}`);
    }
    assert.is(i, 3);
    for (const [name, [sum, ...first]] of Object.entries(peer.weights)) {
      const values = policy.readParameter(name).data as Float32Array;
      // A step moves a weight by at most its rate, 2e-3; where the gradient is tiny its sign decides.
      near(values.slice(0, first.length), first, 2e-5, name);
      near([values.reduce((a, b) => a + b, 0)], [sum], 1e-5 * values.length, name);
    }
    const trainer = new SftTrainer({ policy, dataset: batch, evalDataset: batch });
    const { loss, tokens } = await trainer.evaluate();
    near([loss], [peer.final], 2e-5);
    assert.is(tokens, 34);
  });
}
const bound = (target: object, name: string | symbol) => {
  const value = Reflect.get(target, name);
  return typeof value === 'function' ? value.bind(target) : value;
};

sft('top1 is 1 for the tokens whose logit is the largest of their row', async () => {
  const policy = tinyPolicy();
  const sequence = tokens(40, 3);
  const { data } = await policy.logits(sequence);
  const best = Array.from({ length: 39 }, (_, t) => {
    const row = (data as Float32Array).subarray(23 * t, 23 * (t + 1));
    return row[sequence[t + 1]] === row.reduce((a, b) => Math.max(a, b)) ? 1 : 0;
  });
  // Half of the tokens are the greedy ones, so that both answers occur.
  for (let t = 1; t < 40; t += 2) {
    const row = (await policy.logits(sequence.slice(0, t))).data as Float32Array;
    sequence[t] = row.subarray(23 * (t - 1)).reduce((a, x, i, all) => (x > all[a] ? i : a), 0);
  }
  const { top1 } = await policy.logProbs([sequence], { top1: true });
  assert.equal(
    [...top1!].filter((_, t) => t % 2 === 0),
    Array(20).fill(1),
  );
  assert.ok(best.some((each) => each === 0));
  const { top1: absent } = await policy.logProbs([sequence]);
  assert.is(absent, undefined);
});

const made = (n: number, seed = 5): Demonstration[] =>
  Array.from({ length: n }, (_, i) => ({
    prompt: tokens(1 + (i % 5), seed + i),
    completion: tokens(1 + ((7 * i) % 11), seed + 100 + i),
  }));

sft('every epoch shows every demonstration once, each in another order', () => {
  const rows = rowsOf(made(23), { packing: false, maxLength: 99 });
  const options = { seed: 3, perDeviceTrainBatchSize: 4 };
  const epoch = (number: number) =>
    Array.from({ length: 6 }, (_, step) => rowsOfStep(rows, 6 * number + step, options));
  const [first, second] = [epoch(0), epoch(1)];
  assert.equal(
    first.map(({ length }) => length),
    [4, 4, 4, 4, 4, 3],
  );
  for (const each of [first, second])
    assert.equal(
      each.flat().sort((a, b) => a - b),
      [...Array(23).keys()],
    );
  assert.not.equal(first.flat(), second.flat());
  const other = Array.from({ length: 6 }, (_, step) => rowsOfStep(rows, step, { ...options, seed: 4 }));
  assert.not.equal(first.flat(), other.flat());
});

sft('packing puts every demonstration into one row, no row is too long, and rows are full', () => {
  const next = random(9);
  for (let round = 0; round < 50; round++) {
    const maxLength = 10 + Math.floor(90 * next());
    const lengths = Array.from(
      { length: 1 + Math.floor(60 * next()) },
      () => 2 + Math.floor((maxLength - 2) * next() ** 2),
    );
    const demonstrations = lengths.map((n) => ({ prompt: new Int32Array(1), completion: new Int32Array(n - 1) }));
    const rows = rowsOf(demonstrations, { packing: true, maxLength });
    assert.equal(
      rows.flat().sort((a, b) => a - b),
      [...lengths.keys()],
    );
    const filled = rows.map((row) => row.reduce((sum, i) => sum + lengths[i], 0));
    assert.ok(filled.every((n) => n <= maxLength));
    // Best fit decreasing: no two rows could be one.
    const [a = maxLength, b = maxLength] = [...filled].sort((x, y) => x - y);
    assert.ok(rows.length < 2 || a + b > maxLength, `${filled} of ${maxLength}`);
  }
});

sft('demonstrations that share a row or a batch do not see each other: the loss is that of each alone', async () => {
  const policy = tinyPolicy();
  const demonstrations = made(6);
  const evaluate = (dataset: Demonstration[]) => new SftTrainer({ policy, dataset, evalDataset: dataset }).evaluate();
  const together = await evaluate(demonstrations);
  const alone = await Promise.all(demonstrations.map((each) => evaluate([each])));
  const tokensOf = alone.reduce((sum, { tokens }) => sum + tokens, 0);
  near([together.loss], [alone.reduce((sum, { loss, tokens }) => sum + loss * tokens, 0) / tokensOf], 1e-5);
});

/** A run of a tiny policy; `stopAfter`: ends by stop(). */
async function run(output: string, { stopAfter = Infinity, resume = false, options = {} } = {}) {
  const trainer = new SftTrainer({
    ...{ policy: tinyPolicy(), dataset: made(20), evalDataset: made(4, 900), output, resume },
    ...{ numTrainEpochs: 2, perDeviceTrainBatchSize: 3, learningRate: 1e-2, seed: 2, saveSteps: 4, evalSteps: 5 },
    ...options,
  });
  const rows = [];
  for await (const row of trainer.run()) {
    rows.push(row);
    if (row.step >= stopAfter) trainer.stop();
  }
  return { trainer, rows };
}
const logOf = (output: string) =>
  readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { tokens_per_second: _, 'seconds/step': __, ...row } = JSON.parse(line);
      return row;
    });
const weightsOf = ({ policy }: SftTrainer) =>
  (policy as Policy).parameters.map(({ name }) => [...(policy as Policy).readParameter(name).data]);

sft('a run that is stopped and resumed ends with the same bits as one that is not', async () => {
  const [whole, parts] = [join(folder, 'whole'), join(folder, 'parts')];
  const { trainer, rows } = await run(whole);
  assert.is(rows.length, 14);
  assert.is(trainer.totalSteps, 14);
  assert.ok(rows[13].loss < rows[0].loss, 'it learns');
  assert.ok(Number.isFinite(rows[4].eval_loss) && rows[5].eval_loss === undefined);
  assert.is(rows[13].epoch, 2);
  await run(parts, { stopAfter: 3 });
  assert.is(logOf(parts).length, 3);
  // As after a kill: rows of steps that no checkpoint holds.
  const opened = await RunFolder.open(parts, { resume: true });
  await opened.append('metrics.jsonl', { step: 4, loss: 99 });
  await opened.close();
  await run(parts, { stopAfter: 9, resume: true });
  const { trainer: resumed } = await run(parts, { resume: true });
  assert.equal(logOf(parts), logOf(whole));
  assert.equal(weightsOf(resumed), weightsOf(trainer));
  const done = await run(parts, { resume: true });
  assert.is(done.rows.length, 0);
});

sft('a resumed run refuses other demonstrations and other options', async () => {
  const output = join(folder, 'refuses');
  await run(output, { stopAfter: 1 });
  await rejectsWith(
    run(output, { resume: true, options: { learningRate: 1e-3 } }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /learningRate 0.01, not 0.001/,
  );
  await rejectsWith(
    run(output, { resume: true, options: { dataset: made(19) } }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /demonstrations/,
  );
  await rejectsWith(run(output), PrlError, 'ERR_PRL_IO', /already holds a run/);
});

sft('wrong setups are refused with a reason', async () => {
  const policy = tinyPolicy();
  const wrong = (setup: object, kind: new (...args: never[]) => Error, code: string, message: RegExp) =>
    throwsError(() => new SftTrainer({ policy, dataset: made(2), ...setup } as never), kind, code, message);
  wrong({ policy: undefined }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /needs 'policy'/);
  wrong({ dataset: [] }, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /dataset must be a non-empty array/);
  wrong(
    { dataset: [{ prompt: [], completion: [1] }] },
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /dataset\[0\] must have token ids/,
  );
  wrong(
    { dataset: [{ prompt: [1], completion: [1, 2], mask: [1] }] },
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /mask of dataset\[0\] must have one entry per completion token, 2, not 1/,
  );
  wrong({ numTrainEpochs: 0 }, RangeError, 'ERR_PRL_OUT_OF_RANGE', /numTrainEpochs/);
  wrong({ learnigRate: 1 }, TypeError, 'ERR_PRL_UNKNOWN_OPTION', /learningRate/);
  await rejectsWith(
    new SftTrainer({ policy, dataset: made(2) }).evaluate(),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /evalDataset/,
  );
});

sft('an update that is not finite ends the run, and the weights are those before it', async () => {
  const policy = tinyPolicy();
  const name = policy.parameters[0].name;
  const values = policy.readParameter(name).data as Float32Array;
  policy.writeParameter(
    name,
    values.map(() => 3e38),
  );
  const trainer = new SftTrainer({ policy, dataset: made(2) });
  await rejectsWith(
    (async () => {
      for await (const _ of trainer.run());
    })(),
    PrlError,
    'ERR_PRL_NON_FINITE',
    /lower learningRate/,
  );
});

sft('the warm start of a task is this course: the same demonstrations give the same weights', async () => {
  const task = new ArithmeticTask();
  const config = {
    model_type: 'llama',
    vocab_size: task.tokenizer.vocabSize,
    hidden_size: 16,
    intermediate_size: 32,
  } as const;
  const policy = Policy.create({ ...config, num_hidden_layers: 1, num_attention_heads: 2 }, { seed: 1 });
  const twin = policy.clone();
  const { warmStart } = await import('../../lib/index.js');
  const { warmStartPhases } = await import('../../lib/train/warm-start.js');
  const phases = [{ steps: 3, batchSize: 4, learningRate: 1e-2, warmupSteps: 1, level: '2-3', styles: { steps: 1 } }];
  const losses: (number | undefined)[] = [];
  for await (const { loss } of warmStart({ policy, task, phases, seed: 1, logSteps: 1 })) losses.push(loss);
  const [phase] = warmStartPhases({ task, phases, seed: 1 });
  const direct: number[] = [];
  for await (const { metrics } of supervise(twin, [phase])) direct.push(metrics.loss);
  assert.equal(losses, direct);
  assert.ok(losses.every((loss) => loss! > 0));
  for (const { name } of policy.parameters)
    assert.equal(policy.readParameter(name).data, twin.readParameter(name).data);
});

sft.run();
