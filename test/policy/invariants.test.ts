// The rest of the batch, threads, micro-batches and the scored positions must not change a number.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Policy, type PolicyBatch, setThreads, type Tensor, topEntropyThreshold } from '../../lib/index.js';
import { nativeInfo } from '../../lib/kernels/native.js';
import { near, normals } from '../reference/numbers.js';
import { ARCHITECTURES, tinyBatch, tinyPolicy } from './tiny.js';

const THREADS = nativeInfo().threads;
const { sequences, ...batch } = tinyBatch();
const start = batch.prompts.map((p) => p.length);
const gradientsOf = async (policy: Policy, of: PolicyBatch, options = {}) => {
  await policy.computeGradients(of, options);
  return policy.gradients();
};
const largest = (t: Tensor) => (t.data as Float32Array).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
/** Gradients summed in another order: a few hundred roundings of the tensor's largest entry at the very most. */
function gradientsNear(actual: Map<string, Tensor>, expected: Map<string, Tensor>) {
  for (const [name, tensor] of expected) near(actual.get(name)!.data, tensor.data, 1e-5 * largest(tensor), name);
}

for (const model_type of ARCHITECTURES) {
  const test = suite(`Policy invariants: ${model_type}`);
  const policy = tinyPolicy({ model_type });
  test.after.each(() => setThreads(THREADS));

  test('a sequence scores the same bits alone, in a batch, and in any micro-batch', async () => {
    const together = await policy.logProbs(sequences, { entropy: true });
    for (const microBatchTokens of [1, 50, 150]) {
      assert.equal(await policy.logProbs(sequences, { entropy: true, microBatchTokens }), together);
    }
    for (const [i, sequence] of sequences.entries()) {
      const alone = await policy.logProbs([sequence], { entropy: true });
      const [from, to] = [together.cuSeqlens[i], together.cuSeqlens[i + 1]];
      assert.equal(alone.logProbs, together.logProbs.slice(from, to));
      assert.equal(alone.entropy, together.entropy!.slice(from, to));
    }
  });

  test('a completion scores the same bits when it alone is scored', async () => {
    const all = await policy.logProbs(sequences);
    const some = await policy.logProbs(sequences, { start });
    for (const i of sequences.keys()) {
      assert.equal(
        some.logProbs.slice(some.cuSeqlens[i], some.cuSeqlens[i + 1]),
        all.logProbs.slice(all.cuSeqlens[i] + start[i] - 1, all.cuSeqlens[i + 1]),
      );
    }
  });

  test('completions that share a prompt score the same bits as alone and add up to the same gradients', async () => {
    // Prompts of 1, of less and of more than a tile of 64 keys; completions of 1 token too.
    const prompts: number[][] = [];
    const completions: number[][] = [];
    for (const [p, length] of [1, 30, 63, 64, 100].entries()) {
      for (const tokens of [5, 1, 70, 5]) {
        prompts.push(Array.from({ length }, (_, i) => (p * 5 + i * 7) % 23));
        completions.push(Array.from({ length: tokens }, (_, i) => (p + tokens * 3 + i * i) % 23));
      }
    }
    const whole = prompts.map((prompt, i) => [...prompt, ...completions[i]]);
    const starts = prompts.map((prompt) => prompt.length);
    const together = await policy.logProbs(whole, { start: starts, entropy: true });
    for (const [i, sequence] of whole.entries()) {
      const alone = await policy.logProbs([sequence], { start: [starts[i]], entropy: true });
      assert.equal(alone.logProbs, together.logProbs.slice(together.cuSeqlens[i], together.cuSeqlens[i + 1]));
    }
    const total = completions.reduce((n, c) => n + c.length, 0);
    const shared: PolicyBatch = { prompts, completions, advantages: normals(total, 8) };
    const expected = await gradientsOf(policy, shared, { microBatchTokens: 1, entropyCoef: 0.1 });
    gradientsNear(await gradientsOf(policy, shared, { entropyCoef: 0.1 }), expected);
  });

  test('a token does not see what comes after it', async () => {
    const prefix = await policy.logProbs([sequences[4].slice(0, 70)]);
    const whole = await policy.logProbs([sequences[4]]);
    assert.equal(prefix.logProbs, whole.logProbs.slice(0, 69));
  });

  test('the number of threads changes no bit of scores and gradients', async () => {
    setThreads(1);
    const scores = await policy.logProbs(sequences, { entropy: true });
    const gradients = await gradientsOf(policy, batch, { entropyCoef: 0.1 });
    for (const threads of [2, 3, 5]) {
      setThreads(threads);
      assert.equal(await policy.logProbs(sequences, { entropy: true }), scores);
      for (const [name, tensor] of await gradientsOf(policy, batch, { entropyCoef: 0.1 }))
        assert.equal(tensor.data, gradients.get(name)!.data, name);
    }
  });

  test('micro-batches add up to the batch for every loss', async () => {
    const total = sequences.reduce((n, s, i) => n + s.length - start[i], 0);
    const current = (await policy.logProbs(sequences, { start })).logProbs;
    const moved = (by: Float32Array) => current.map((x, t) => x + by[t]);
    const full: PolicyBatch = {
      ...batch,
      oldLogProbs: moved(normals(total, 5, 0.05)),
      refLogProbs: moved(normals(total, 6, 0.2)),
      rolloutLogProbs: moved(normals(total, 7, 0.05)),
      importanceWeights: normals(total, 8, 0.1).map(Math.exp),
    };
    for (const options of [
      { lossType: 'dapo' },
      { lossType: 'grpo' },
      { lossType: 'luspo', importanceSamplingLevel: 'sequence', offPolicyMaskThreshold: 0 },
      { lossType: 'cispo', beta: 0.1, klEstimator: 'k1', topEntropyQuantile: 0.3 },
      { lossType: 'sapo', topEntropyQuantile: 0.6, offPolicyMaskThreshold: 0.001 },
      { lossType: 'vespo', beta: 0.1, klEstimator: 'k2' },
      { lossType: 'raft' },
    ] as const) {
      const whole = await policy.computeGradients(full, options);
      const expected = policy.gradients();
      for (const microBatchTokens of [1, 100]) {
        const parts = await policy.computeGradients(full, { ...options, microBatchTokens });
        const scale = Math.max(1, Math.abs(whole.loss), whole.gradNorm);
        const numbers = ({ loss, entropy, gradNorm, phiMean }: typeof whole) => [loss, entropy, gradNorm, phiMean];
        near(numbers(parts), numbers(whole), 1e-5 * scale, JSON.stringify(options));
        assert.is(parts.tokens, whole.tokens);
        gradientsNear(policy.gradients(), expected);
      }
    }
  });

  test('topEntropyQuantile acts as the entropyThreshold over all its tokens', async () => {
    const { entropy } = await policy.logProbs(sequences, { start, entropy: true });
    const entropyThreshold = topEntropyThreshold(entropy!, 0.25);
    const expected = await policy.computeGradients(batch, { entropyThreshold });
    assert.equal(await policy.computeGradients(batch, { topEntropyQuantile: 0.25 }), expected);
    assert.not.equal((await policy.computeGradients(batch)).gradNorm, expected.gradNorm);
    const mask = entropy!.map((h) => (h >= entropyThreshold ? 1 : 0));
    const tokens = { tokens: entropy!.length, sequences: sequences.length };
    const masked = await policy.computeGradients({ ...batch, mask: Int32Array.from(mask) }, { normalizer: tokens });
    near([masked.gradNorm], [expected.gradNorm], 1e-5 * expected.gradNorm, 'as a mask with the divisor of all');
    const nobody = { ...batch, mask: new Int32Array(entropy!.length) };
    assert.is((await policy.computeGradients(nobody, { topEntropyQuantile: 0.25 })).gradNorm, 0, 'no active token');
  });

  test('an importance weight multiplies a token as its advantage does', async () => {
    const total = sequences.reduce((n, s, i) => n + s.length - start[i], 0);
    const advantages = normals(total, 3);
    const importanceWeights = normals(total, 4, 0.5).map(Math.exp);
    const expected = await gradientsOf(policy, {
      ...batch,
      advantages: advantages.map((x, t) => x * importanceWeights[t]),
    });
    gradientsNear(await gradientsOf(policy, { ...batch, advantages, importanceWeights }), expected);
  });

  test('prompt tokens give the same gradients as masked completion tokens', async () => {
    const expected = await gradientsOf(policy, batch);
    const masked: PolicyBatch = {
      prompts: sequences.map((s) => s.slice(0, 1)),
      completions: sequences.map((s) => s.slice(1)),
      advantages: batch.advantages,
      mask: Int32Array.from(sequences.flatMap((s, i) => s.slice(1).map((_, t) => (t + 1 >= start[i] ? 1 : 0)))),
    };
    gradientsNear(await gradientsOf(policy, masked), expected);
  });

  test('every gradient agrees with finite differences of the loss', async () => {
    const total = sequences.reduce((n, s, i) => n + s.length - start[i], 0);
    const current = (await policy.logProbs(sequences, { start })).logProbs;
    const shift = normals(total, 5, 0.05);
    const full: PolicyBatch = {
      ...batch,
      oldLogProbs: current.map((x, t) => x + shift[t]),
      refLogProbs: current.map((x, t) => x + 4 * shift[total - 1 - t]),
    };
    for (const importanceSamplingLevel of ['token', 'sequence'] as const) {
      const options = { importanceSamplingLevel, epsilon: 0.9, beta: 0.3, entropyCoef: 0.2, temperature: 0.8 };
      const gradients = await gradientsOf(policy, full, options);
      for (const [name, gradient] of gradients) {
        // Along the gradient itself: the slope is its norm. The step makes the loss move by far more than its rounding,
        // and is small beside the weights: a difference of second order below 1%.
        const values = policy.readParameter(name).data as Float32Array;
        const norm = Math.hypot(...(gradient.data as Float32Array));
        const step = 0.004;
        const lossAt = async (h: number) => {
          policy.writeParameter(
            name,
            values.map((x, i) => x + (h * gradient.data[i]) / norm),
          );
          return (await policy.computeGradients(full, options)).loss;
        };
        const slope = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
        policy.writeParameter(name, values);
        near([slope], [norm], 1e-4, `${name}: norm of the gradient`, 0.01);
      }
    }
  });
  test.run();
}
