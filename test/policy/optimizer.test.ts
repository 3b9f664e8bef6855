import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Policy, PrlError } from '../../lib/index.js';
import { loadOptimizer } from '../../lib/policy/optimizer-state.js';
import { SafetensorsFile, writeSafetensors } from '../../lib/policy/safetensors.js';
import { adamw } from '../reference/adamw.js';
import { near } from '../reference/numbers.js';
import { rejectsWith } from './rejects.js';
import { tinyBatch, tinyPolicy } from './tiny.js';

const { sequences: _, ...batch } = tinyBatch();
const weightsOf = (policy: Policy) =>
  new Map(policy.parameters.map(({ name }) => [name, policy.readParameter(name).data]));
const gradientsOf = (policy: Policy) => new Map(Array.from(policy.gradients(), ([name, t]) => [name, t.data]));
const folder = mkdtempSync(join(tmpdir(), 'prl-optimizer-'));
const test = suite('Policy optimizer');
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('AdamW with clipping and weight decay agrees with float64 over four steps', async () => {
  for (const maxGradNorm of [0.05, Infinity]) {
    const policy = tinyPolicy({ model_type: 'qwen2' });
    const start = weightsOf(policy);
    const options = {
      learningRate: 0.01,
      weightDecay: 0.1,
      adamBeta1: 0.8,
      adamBeta2: 0.95,
      adamEpsilon: 1e-6,
      maxGradNorm,
    };
    const gradients: Map<string, ArrayLike<number>>[] = [];
    for (let step = 0; step < 4; step++) {
      const metrics = await policy.update(batch, options);
      assert.ok(metrics.applied);
      const taken = gradientsOf(policy);
      near([metrics.gradNorm], [Math.hypot(...[...taken.values()].map((g) => Math.hypot(...g)))], 0, 'gradNorm', 1e-6);
      assert.ok(metrics.gradNorm > 0.06, 'the small bound clips');
      gradients.push(taken);
    }
    const decays = (name: string) => policy.parameters.find((p) => p.name === name)!.shape.length > 1;
    const expected = adamw(start, gradients, decays, {
      learningRate: 0.01,
      weightDecay: 0.1,
      beta1: 0.8,
      beta2: 0.95,
      epsilon: 1e-6,
      maxGradNorm,
    });
    // Four steps of at most about 0.01 each, a dozen float32 roundings in each; weights up to about 4.
    for (const [name, values] of weightsOf(policy)) near(values, expected.get(name)!, 2e-6, name);
  }
});

test('a learning rate of 0 changes no weight, not even by decay', async () => {
  const policy = tinyPolicy();
  const before = weightsOf(policy);
  await policy.update(batch, { learningRate: 0, weightDecay: 0.5 });
  assert.equal(weightsOf(policy), before);
});

test('an update lowers the loss', async () => {
  const policy = tinyPolicy();
  const old = await policy.logProbs(tinyBatch().sequences, { start: batch.prompts.map((p) => p.length) });
  const data = { ...batch, oldLogProbs: old.logProbs };
  const first = await policy.update(data, { learningRate: 3e-4 });
  const second = await policy.computeGradients(data);
  near([first.loss], [-average(data)], 1e-4, 'loss at ratio 1');
  assert.ok(second.loss < first.loss - 1e-4, `${second.loss} is below ${first.loss}`);
});
// Mean over tokens of the sequence's advantage.
function average({ completions, advantages }: { completions: ArrayLike<number>[]; advantages: unknown }) {
  const tokens = completions.reduce((n, c) => n + c.length, 0);
  return completions.reduce((sum, c, i) => sum + c.length * (advantages as Float32Array)[i], 0) / tokens;
}

test('update applies and reports the gradients of computeGradients', async () => {
  const policy = tinyPolicy();
  const metrics = await policy.computeGradients(batch, { entropyCoef: 0.01 });
  const gradients = gradientsOf(policy);
  const { applied, ...updated } = await policy.update(batch, { entropyCoef: 0.01, learningRate: 1e-3 });
  assert.ok(applied);
  assert.equal(updated, metrics);
  assert.equal(gradientsOf(policy), gradients);
});

test('a loss or gradient that is not finite is not applied and leaves no trace', async () => {
  const policy = tinyPolicy();
  await policy.update(batch, { learningRate: 1e-3 });
  const name = 'model.layers.1.mlp.down_proj.weight';
  const values = policy.readParameter(name).data as Float32Array;
  policy.writeParameter(
    name,
    values.map((x, i) => (i === 5 ? Number.NaN : x)),
  );
  const others = () => Array.from(weightsOf(policy)).filter(([other]) => other !== name);
  const before = others();
  const metrics = await policy.update(batch, { learningRate: 1e-3 });
  assert.is(metrics.applied, false);
  assert.ok(Number.isNaN(metrics.loss));
  assert.equal(others(), before);
  // Step count and moments too: it goes on as if nothing had happened.
  policy.writeParameter(name, values);
  const twin = tinyPolicy();
  await twin.update(batch, { learningRate: 1e-3 });
  await policy.update(batch, { learningRate: 1e-3 });
  await twin.update(batch, { learningRate: 1e-3 });
  assert.equal(weightsOf(policy), weightsOf(twin));
});

test('a saved optimizer resumes bit for bit, and a reset one starts anew', async () => {
  const options = { learningRate: 1e-2, weightDecay: 0.01 };
  const one = tinyPolicy();
  await one.update(batch, options);
  await one.update(batch, options);
  const two = one.clone();
  const three = one.clone();
  const file = join(folder, 'optimizer.safetensors');
  await one.saveOptimizer(file);
  await two.loadOptimizer(file);
  await Promise.all([one, two, three].map((policy) => policy.update(batch, options)));
  assert.equal(weightsOf(two), weightsOf(one));
  assert.not.equal(weightsOf(three), weightsOf(one), 'a clone has no optimizer state');
  const fresh = three.clone();
  two.resetOptimizer();
  for (const { name } of two.parameters) two.writeParameter(name, fresh.readParameter(name));
  await Promise.all([fresh, two].map((policy) => policy.update(batch, options)));
  assert.equal(weightsOf(two), weightsOf(fresh));
});

test('an optimizer saved before the first step loads as an empty state', async () => {
  const file = join(folder, 'none.safetensors');
  await tinyPolicy().saveOptimizer(file);
  const policy = tinyPolicy();
  await policy.update(batch, { learningRate: 1e-2 });
  const twin = policy.clone();
  await policy.loadOptimizer(file);
  await Promise.all([policy, twin].map((p) => p.update(batch, { learningRate: 1e-2 })));
  assert.equal(weightsOf(policy), weightsOf(twin));
});

test('an optimizer file of another model, a truncated one, or any other file is refused', async () => {
  const policy = tinyPolicy();
  await policy.update(batch, { learningRate: 1e-2 });
  const twin = policy.clone();
  const file = join(folder, 'good.safetensors');
  await policy.saveOptimizer(file);
  await twin.loadOptimizer(file);
  const other = tinyPolicy({ hidden_size: 30 });
  await rejectsWith(
    other.loadOptimizer(file),
    PrlError,
    'ERR_PRL_CORRUPT',
    /moment1\.model\.embed_tokens\.weight.*\[23,30\]/,
  );
  const cut = join(folder, 'cut.safetensors');
  copyFileSync(file, cut);
  truncateSync(cut, statSync(file).size - 4);
  await rejectsWith(policy.loadOptimizer(cut), PrlError, 'ERR_PRL_CORRUPT', /end at byte/);
  await policy.save(folder);
  await rejectsWith(
    policy.loadOptimizer(join(folder, 'model.safetensors')),
    PrlError,
    'ERR_PRL_CORRUPT',
    /not an optimizer state/,
  );
  await rejectsWith(policy.loadOptimizer(join(folder, 'absent')), PrlError, 'ERR_PRL_IO', /absent/);
  for (const steps of ['', ' 3', '-1', '1e3', '0x10', '1'.repeat(16)]) {
    await writeSafetensors(join(folder, 'odd.safetensors'), [], { steps });
    await rejectsWith(
      policy.loadOptimizer(join(folder, 'odd.safetensors')),
      PrlError,
      'ERR_PRL_CORRUPT',
      /not an optimizer state/,
    );
  }
  // A failed load has left the state as it was.
  await Promise.all([policy, twin].map((p) => p.update(batch, { learningRate: 1e-2 })));
  assert.equal(weightsOf(policy), weightsOf(twin));
});

test('optimizer state with NaN, infinite or negative moments is refused and leaves no state', async () => {
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const policy = Policy.create(tinyPolicy().config, { seed: 1, dtype });
    await policy.update(batch, { learningRate: 1e-2 });
    const file = join(folder, 'odd-state.safetensors');
    await policy.saveOptimizer(file);
    const { tensors } = await SafetensorsFile.open(file).then((opened) => opened.close().then(() => opened));
    const good = new Uint8Array(readFileSync(file));
    const name = 'model.layers.0.mlp.down_proj.weight';
    for (const [arena, value] of [
      ['moment1', Number.NaN],
      ['moment1', -Infinity],
      ['moment2', Infinity],
      ['moment2', -1e-30],
      ...(dtype === 'bfloat16' ? [['master', Number.NaN] as const] : []),
    ] as const) {
      const bad = good.slice();
      new DataView(bad.buffer).setFloat32(tensors.get(`${arena}.${name}`)!.begin + 4, value, true);
      writeFileSync(file, bad);
      const twin = policy.clone();
      await policy.loadOptimizer(file).then(
        () => assert.unreachable(`${value} in ${arena}`),
        ({ code, message }) => {
          assert.is(code, 'ERR_PRL_CORRUPT');
          assert.match(
            message,
            new RegExp(`cannot read tensor '${arena}.${name}' of .*odd-state.* a number that is not`),
          );
        },
      );
      if (dtype === 'bfloat16') continue; // the copy has no masters
      await Promise.all([policy, twin].map((each) => each.update(batch, { learningRate: 1e-2 })));
      assert.equal(weightsOf(policy), weightsOf(twin), 'as after a reset');
    }
    writeFileSync(file, good);
    await policy.loadOptimizer(file);
  }
});

test('an optimizer file truncated while it is read leaves no state', async () => {
  const policy = tinyPolicy();
  await policy.update(batch, { learningRate: 1e-2 });
  const file = join(folder, 'vanishing.safetensors');
  await policy.saveOptimizer(file);
  const twin = policy.clone();
  let asked = 0;
  // Asked before each tensor but the first: the moments of the first few are there by then.
  const alive = () => {
    if (++asked === 5) truncateSync(file, statSync(file).size / 2);
  };
  await rejectsWith(
    policy.call(undefined, (handle) => loadOptimizer(file, handle, policy.parameters, 'float32', alive)),
    PrlError,
    'ERR_PRL_CORRUPT',
    /ends too early/,
  );
  assert.ok(asked > 5);
  await Promise.all([policy, twin].map((p) => p.update(batch, { learningRate: 1e-2 })));
  assert.equal(weightsOf(policy), weightsOf(twin), 'as after a reset');
});
test.run();
