// Wrong sequences, batches and options, and objects that are no policy.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type PolicyBatch, PrlError } from '../../lib/index.js';
import { native } from '../../lib/kernels/native.js';
import { nativeConfig } from '../../lib/policy/config.js';
import { normals, throwsError } from '../reference/numbers.js';
import { rejectsWith } from './rejects.js';
import { tinyBatch, tinyConfig, tinyPolicy, tokens } from './tiny.js';

const calls = suite('Policy: arguments');
const policy = tinyPolicy();
const { sequences, ...batch } = tinyBatch();
const range = (promise: Promise<unknown>, message: RegExp) =>
  rejectsWith(promise, RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
const type = (promise: Promise<unknown>, message: RegExp) =>
  rejectsWith(promise, TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);

calls('logProbs and logits refuse wrong sequences and options by name', async () => {
  await range(
    policy.logProbs([
      [1, 2],
      [3, 23],
    ]),
    /token 1 of sequence 1 is 23, outside the vocabulary \[0, 23\)/,
  );
  await range(policy.logProbs([[1, -1]]), /token 1 of sequence 0 is -1/);
  await range(policy.logProbs([[1, 1.5]]), /sequences\[0\]\[1\] = 1.5 is not/);
  await range(policy.logProbs([[1, 2 ** 32]]), /sequences\[0\]\[1\] = 4294967296 is not/);
  await range(policy.logProbs([[1], []]), /sequences\[1\] must have at least one token/);
  await range(policy.logProbs([tokens(301, 1)]), /301 tokens, more than the policy's max_position_embeddings, 300/);
  await range(policy.logProbs([[1, 2]], { start: [0] }), /start\[0\] = 0 must be from 1 to 2/);
  await range(policy.logProbs([[1, 2]], { start: [3] }), /start\[0\] = 3/);
  await range(policy.logProbs([[1, 2]], { start: [1, 1] }), /one entry per sequence/);
  for (const temperature of [0, -1, Number.NaN, Infinity, 1e-50, 1e-39, 1e39])
    await range(policy.logProbs([[1, 2]], { temperature }), /temperature must be/);
  await range(policy.logProbs([[1, 2]], { microBatchTokens: 0 }), /microBatchTokens/);
  await type(policy.logProbs(null as never), /sequences must be an array/);
  await type(policy.logProbs([1] as never), /sequences\[0\] must be an array/);
  for (const length of [-1, 0.5, Number.NaN, Infinity, '2'])
    await type(policy.logProbs([{ length }] as never), /sequences\[0\] must be an array/);
  await type(policy.logProbs([[1, 2]], { signal: {} as never }), /signal/);
  await type(policy.logProbs([[1, 2]], { entropy: 1 as never }), /entropy must be true or false/);
  await rejectsWith(
    policy.logProbs([[1]], { entropies: true } as never),
    TypeError,
    'ERR_PRL_UNKNOWN_OPTION',
    /'entropy'/,
  );
  await range(policy.logits([5, 99]), /is 99, outside the vocabulary/);
  await range(policy.logits([]), /empty/);
});

calls('logProbs of nothing returns empty arrays', async () => {
  assert.equal(await policy.logProbs([]), { logProbs: new Float32Array(0), cuSeqlens: new Int32Array(1) });
  const out = await policy.logProbs([[1], [2, 3]], { start: [1, 2], entropy: true });
  assert.equal(out, { logProbs: new Float32Array(0), entropy: new Float32Array(0), cuSeqlens: new Int32Array(3) });
});

calls('update refuses wrong batches and options by name', async () => {
  const update = (change: object, options: object = {}) =>
    policy.update({ ...batch, ...change } as PolicyBatch, { learningRate: 0, ...options });
  await range(
    update({ completions: batch.completions.slice(1) }),
    /one completion per prompt: 8 prompts, but 7 completions/,
  );
  await range(update({ prompts: [[], ...batch.prompts.slice(1)] }), /prompts\[0\] must have at least one token/);
  await range(update({ advantages: new Float32Array(7) }), /per completion token \(219\) or per sequence \(8\), not 7/);
  await range(update({ advantages: new Float32Array(8).fill(Number.NaN) }), /advantages\[0\] must be finite, not NaN/);
  await range(
    update({ oldLogProbs: new Float32Array(8) }),
    /oldLogProbs must have one entry per completion token, 219, not 8/,
  );
  await range(update({ mask: new Int32Array(8) }), /mask must have/);
  await type(update({ advantages: new Int32Array(8) }), /advantages must be float32/);
  await type(update({ prompts: 'ab' }), /prompts must be an array/);
  await type(update({}, { beta: 0.1 }), /needs refLogProbs/);
  await type(update({}, { learningRate: undefined }), /learningRate/);
  await range(update({}, { adamBeta1: 1 }), /adamBeta1/);
  await range(update({}, { learningRate: Infinity }), /learningRate must be a finite number, not Infinity/);
  await range(update({}, { maxGradNorm: 0 }), /maxGradNorm/);
  await rejectsWith(update({}, { lerningRate: 1 }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /learningRate/);
  await rejectsWith(update({ rewards: [] }), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /rewards/);
});

calls('a masked token may hold NaN and changes no metric', async () => {
  const total = 219;
  const [oldLogProbs, mask] = [normals(total, 3, 0.1).map((x) => x - 3), new Int32Array(total).fill(1)];
  for (let t = 0; t < total; t += 3) mask[t] = 0;
  const clean = await policy.computeGradients({ ...batch, oldLogProbs, mask });
  const spoiled = oldLogProbs.map((x, t) => (mask[t] ? x : Number.NaN));
  assert.equal(await policy.computeGradients({ ...batch, oldLogProbs: spoiled, mask }), clean);
});

calls('a batch whose tokens are all masked has loss 0 and zero gradients', async () => {
  const metrics = await policy.computeGradients({ ...batch, mask: new Int32Array(219) });
  assert.is(metrics.loss, 0);
  assert.is(metrics.gradNorm, 0);
  assert.ok([...policy.gradients().values()].every((t) => (t.data as Float32Array).every((x) => x === 0)));
});

calls('an update without a token to learn from is refused, and changes nothing', async () => {
  const expected = policy.parameters.map(({ name }) => policy.readParameter(name).data);
  const nothing = { prompts: [[1], [2]], completions: [[], []], advantages: Float32Array.of(1, 1) };
  const none = { prompts: [], completions: [], advantages: new Float32Array(0) };
  for (const empty of [{ ...batch, mask: new Int32Array(219) }, nothing, none])
    await type(policy.update(empty, { learningRate: 0.1 }), /at least one completion token/);
  assert.equal(
    policy.parameters.map(({ name }) => policy.readParameter(name).data),
    expected,
  );
});

calls('logProbs copies its inputs before it returns', async () => {
  const expected = await policy.logProbs(sequences);
  const copy = sequences.map((s) => [...s]);
  const promise = policy.logProbs(copy);
  for (const sequence of copy) sequence.fill(0);
  assert.equal(await promise, expected);
});

calls('an unknown parameter, a wrong size, and gradients before any step are typed errors', () => {
  throwsError(
    () => policy.readParameter('model.nothing'),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /no parameter 'model\.nothing'/,
  );
  throwsError(
    () => policy.writeParameter('model.norm.weight', new Float32Array(23)),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /24 elements, not 23/,
  );
  throwsError(() => tinyPolicy().gradients(), PrlError, 'ERR_PRL_UNSUPPORTED', /no gradients/);
});

calls('the addon refuses an object that is no policy', () => {
  for (const forged of [{}, null, 1, Object.create(policy), policy, () => {}, new Float32Array(4)]) {
    throwsError(
      () => native().policyParameters({ policy: forged }),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      /policyCreate/,
    );
    throwsError(
      () => native().policyDispose({ policy: forged }),
      TypeError,
      'ERR_PRL_INVALID_ARGUMENT',
      /policyCreate/,
    );
  }
});

calls('the addon itself checks sequences, configs and parameters', () => {
  const addon = native();
  const handle = addon.policyCreate({ ...nativeConfig(tinyConfig()), dtype: 'float32' });
  const ints = (...values: number[]) => ({
    dtype: 'int32',
    device: 'cpu',
    shape: [values.length],
    data: new Int32Array(values),
  });
  const score = (ids: object, cuSeqlens: object, start: object) => () =>
    addon.policyLogProbs({
      policy: handle,
      ids,
      cuSeqlens,
      start,
      temperature: 1,
      microBatchTokens: 10,
      entropy: false,
    });
  const fails = (run: () => unknown, message: RegExp) => throwsError(run, RangeError, 'ERR_PRL_OUT_OF_RANGE', message);
  fails(score(ints(1, 2), ints(0, 3), ints(1)), /must end at 2/);
  fails(score(ints(1, 2), ints(0, 0, 2), ints(1, 1)), /sequence 0 is empty/);
  fails(score(ints(1, 99), ints(0, 2), ints(1)), /is 99/);
  fails(score(ints(1, 2), ints(0, 2), ints(0)), /start\[0\] = 0/);
  fails(
    () => addon.policyCreate({ ...nativeConfig(tinyConfig()), dtype: 'float32', kvHeads: 4 }),
    /multiple of kvHeads/,
  );
  fails(
    () => addon.policyCreate({ ...nativeConfig(tinyConfig()), dtype: 'float16' }),
    /dtype must be float32 or bfloat16/,
  );
  fails(() => addon.policyRead({ policy: handle, arena: 4, name: 'x', out: ints(1) }), /no parameter 'x'/);
  addon.policyDispose({ policy: handle });
  addon.policyDispose({ policy: handle });
  throwsError(() => addon.policyParameters({ policy: handle }), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
});
calls.run();
