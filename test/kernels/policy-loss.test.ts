import { suite } from 'uvu';
import { linearPolicyLoss, policyLoss, Tensor } from '../../lib/index.js';
import type { PolicyLossOptions } from '../../lib/policy/types.js';
import { type LossCase, lossValue } from '../reference/clipped-loss.js';
import { near, normals, random, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { softmaxRow, softmaxRowGradient } from '../reference/softmax.js';

// Packed batches: an empty sequence, one token, several; with `holes` some tokens are masked and one sequence is masked whole.
const LENGTHS = [5, 0, 1, 9, 3, 7];
const CU = Int32Array.from([0, ...LENGTHS.map((_, i) => LENGTHS.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
const T = CU[CU.length - 1];
const B = LENGTHS.length;

const OPTIONS: (PolicyLossOptions & { offPolicy?: boolean; perToken?: boolean; holes?: boolean })[] = [];
for (const lossType of ['grpo', 'dapo', 'bnpo', 'dr_grpo'] as const)
  for (const importanceSamplingLevel of ['token', 'sequence'] as const)
    for (const extra of [
      {},
      { offPolicy: true, epsilonHigh: 0.28, delta: 3, beta: 0.1, perToken: true, holes: true },
      { offPolicy: true, beta: 0.5, klRatioCorrection: false, entropyCoef: 0.05 },
      { beta: 0.3, perToken: true, entropyCoef: 0.02, holes: true },
      { offPolicy: true, delta: 1.1 },
    ])
      OPTIONS.push({ lossType, importanceSamplingLevel, maxCompletionLength: 11, ...extra });

function makeInputs(seed: number, o: (typeof OPTIONS)[number]) {
  const { offPolicy, perToken, holes, ...options } = o;
  const next = random(seed);
  const logProbs = normals(T, seed, 0.5).map((x) => -Math.abs(x) - 0.1);
  const shifted = (scale: number, by: number) => normals(T, seed + by, scale).map((x, t) => x + logProbs[t]);
  const mask = Int32Array.from({ length: T }, (_, t) => (t >= CU[4] && t < CU[5] ? 0 : next() < 0.7 ? 1 : 0));
  const batch = {
    cuSeqlens: CU,
    advantages: normals(perToken ? T : B, seed + 1),
    oldLogProbs: offPolicy ? shifted(0.3, 2) : undefined,
    refLogProbs: shifted(0.3, 3),
    mask: holes ? mask : undefined,
  };
  return { logProbs, entropy: normals(T, seed + 4).map(Math.abs), batch, options, perToken: perToken ?? false };
}

function toCase({ logProbs, entropy, batch, options, perToken }: ReturnType<typeof makeInputs>): LossCase {
  return {
    logProbs,
    entropy,
    cuSeqlens: CU,
    advantages: batch.advantages,
    perToken,
    old: batch.oldLogProbs,
    ref: batch.refLogProbs,
    mask: batch.mask,
    lossType: options.lossType!,
    level: options.importanceSamplingLevel!,
    epsilon: 0.2,
    epsilonHigh: options.epsilonHigh ?? 0.2,
    delta: options.delta ?? Infinity,
    beta: options.beta ?? 0,
    klRatioCorrection: options.klRatioCorrection ?? true,
    entropyCoef: options.entropyCoef ?? 0,
    maxCompletionLength: options.maxCompletionLength!,
    base: logProbs,
  };
}

/** Central differences of lossValue in log-probs and in entropies. Steps of 1e-6 in double: good to about 1e-9. */
function differences(c: LossCase, of: 'logProbs' | 'entropy'): Float64Array {
  const h = 1e-6;
  return Float64Array.from({ length: T }, (_, t) => {
    const at = (d: number) =>
      lossValue({ ...c, [of]: Float64Array.from(c[of] as Float32Array, (x, j) => (j === t ? x + d : x)) });
    return (at(h) - at(-h)) / (2 * h);
  });
}

const fromLogProbs = suite('policyLoss');
fromLogProbs('values and finite differences, every aggregation and level', () => {
  OPTIONS.forEach((o, i) => {
    const inputs = makeInputs(10 * i + 1, o);
    const c = toCase(inputs);
    const name = JSON.stringify(o);
    const out = policyLoss({ logProbs: inputs.logProbs, entropy: inputs.entropy, ...inputs.batch, ...inputs.options });
    near([out.loss], [lossValue(c)], 1e-12, `loss ${name}`);
    near(out.dLogProbs.data, differences(c, 'logProbs'), 1e-8, `dLogProbs ${name}`, 4 * UNIT_ROUNDOFF.float32);
    near(out.dEntropy!.data, differences(c, 'entropy'), 1e-8, `dEntropy ${name}`);
  });
});
fromLogProbs.run();

// --- from logits, and from hidden states ----------------------------------------------------------------------------

function reference(
  values: ArrayLike<number>,
  vocab: number,
  targets: Int32Array,
  inputs: ReturnType<typeof makeInputs>,
) {
  const temperature = 0.8;
  const rows = Array.from({ length: T }, (_, t) => Array.from({ length: vocab }, (_, j) => values[t * vocab + j]));
  const stats = rows.map((row, t) => softmaxRow(row, targets[t], temperature));
  const c = toCase(inputs);
  c.logProbs = c.base = stats.map((s) => s.logProb);
  c.entropy = stats.map((s) => s.entropy);
  const dLogProbs = differences(c, 'logProbs');
  const dEntropy = differences(c, 'entropy');
  const dLogits = rows.flatMap((row, t) => [
    ...softmaxRowGradient(row, targets[t], dLogProbs[t], dEntropy[t], temperature),
  ]);
  const active = (t: number) => c.mask?.[t] !== 0;
  const masked = (x: ArrayLike<number>) => Array.from(x, (v, t) => (active(t) ? v : 0));
  return { loss: lossValue(c), logProbs: masked(c.logProbs), entropy: masked(c.entropy), dLogits, temperature };
}

const fromHidden = suite('linearPolicyLoss');
fromHidden('equals the composition in float64, every aggregation and level', () => {
  const width = 6;
  const vocab = 19;
  OPTIONS.forEach((o, i) => {
    const inputs = makeInputs(10 * i + 5, o);
    const hidden = normals(T * width, i + 50);
    const head = normals(vocab * width, i + 51);
    const next = random(i);
    const targets = Int32Array.from({ length: T }, () => Math.floor(next() * vocab));
    const logits = Float64Array.from({ length: T * vocab }, (_, at) => {
      const [t, j] = [Math.floor(at / vocab), at % vocab];
      let sum = 0;
      for (let k = 0; k < width; k++) sum += hidden[t * width + k] * head[j * width + k];
      return sum;
    });
    // Old log-probabilities near the current ones, as in training.
    const clean = reference(logits, vocab, targets, makeInputs(1, {}));
    const shift = (x: Float32Array | undefined) =>
      x && Float32Array.from(x, (v, t) => v - inputs.logProbs[t] + clean.logProbs[t]);
    inputs.batch.oldLogProbs = shift(inputs.batch.oldLogProbs);
    inputs.batch.refLogProbs = shift(inputs.batch.refLogProbs)!;
    const ref = reference(logits, vocab, targets, inputs);
    const out = linearPolicyLoss({
      hidden: Tensor.from(hidden, [T, width]),
      head: Tensor.from(head, [vocab, width]),
      targets,
      temperature: ref.temperature,
      ...inputs.batch,
      ...inputs.options,
    });
    const name = JSON.stringify(o);
    near([out.loss], [ref.loss], 2e-6, `loss ${name}`);
    near(out.logProbs.data, ref.logProbs, 4e-6, `logProbs ${name}`);
    near(out.entropy.data, ref.entropy, 4e-6, `entropy ${name}`);
    const dHidden = new Float64Array(T * width);
    const dHead = new Float64Array(vocab * width);
    for (let t = 0; t < T; t++)
      for (let j = 0; j < vocab; j++)
        for (let k = 0; k < width; k++) {
          dHidden[t * width + k] += ref.dLogits[t * vocab + j] * head[j * width + k];
          dHead[j * width + k] += ref.dLogits[t * vocab + j] * hidden[t * width + k];
        }
    near(out.dHidden.data, dHidden, 2e-6, `dHidden ${name}`);
    near(out.dHead.data, dHead, 5e-6, `dHead ${name}`);
  });
});
fromHidden.run();
