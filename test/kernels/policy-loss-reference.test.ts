// Losses, gradients and metrics against TRL's, in float64. test/fixtures/loss/cases.json says how they were made.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { policyLoss } from '../../lib/index.js';
import type { PolicyLossOptions } from '../../lib/kernels/loss-options.js';
import { ON_GPU, place } from '../reference/device.js';
import { near, UNIT_ROUNDOFF } from '../reference/numbers.js';
import { readSafetensors } from '../reference/safetensors.js';

interface Case {
  name: string;
  inputs: Record<string, string>;
  params: Record<string, number | string | boolean | null> & { vespo?: Record<string, number> };
  loss: number;
  grad: string;
  metrics: Record<string, number>;
}

const folder = new URL('../fixtures/loss/', import.meta.url);
const { meta, cases } = JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as {
  meta: { B: number; T: number; lengths: number[] };
  cases: Case[];
};
const inputs = readSafetensors(new URL('inputs.safetensors', folder));
const grads = readSafetensors(new URL('grads.safetensors', folder));

const CLIPPED = ['grpo', 'bnpo', 'dr_grpo', 'dapo', 'luspo'];
/** TRL divides these by num_items_in_batch. */
const BY_ITEMS = ['dapo', 'cispo', 'vespo'];

const cuSeqlens = new Int32Array(meta.B + 1);
for (let i = 0; i < meta.B; i++) cuSeqlens[i + 1] = cuSeqlens[i] + meta.lengths[i];

/** The first lengths[i] columns of each row of [B, T], or of [B, 1] repeated, one row after the other. */
function pack(padded: ArrayLike<number>): Float64Array {
  const packed = new Float64Array(cuSeqlens[meta.B]);
  const one = padded.length === meta.B;
  for (let i = 0; i < meta.B; i++)
    for (let t = 0; t < meta.lengths[i]; t++) packed[cuSeqlens[i] + t] = padded[one ? i : i * meta.T + t];
  return packed;
}

/** TRL's parameters as our options: only those that the loss type takes. */
function optionsOf({ params }: Case): PolicyLossOptions {
  const number = (name: string) => params[name] as number;
  const lossType = params.loss_type as NonNullable<PolicyLossOptions['lossType']>;
  const { k_pos, lambda_pos, k_neg, lambda_neg } = params.vespo ?? {};
  return {
    lossType,
    ...(lossType !== 'vespo' && {
      importanceSamplingLevel: params.importance_sampling_level as 'token' | 'sequence',
    }),
    ...(CLIPPED.includes(lossType) && { epsilon: number('epsilon_low'), delta: number('delta') ?? undefined }),
    ...((CLIPPED.includes(lossType) || lossType === 'cispo') && { epsilonHigh: number('epsilon_high') }),
    ...(lossType === 'sapo' && {
      sapoTemperaturePos: number('sapo_temperature_pos'),
      sapoTemperatureNeg: number('sapo_temperature_neg'),
    }),
    ...(lossType === 'vespo' && {
      vespoKPos: k_pos,
      vespoLambdaPos: lambda_pos,
      vespoKNeg: k_neg,
      vespoLambdaNeg: lambda_neg,
    }),
    beta: number('beta'),
    klRatioCorrection: params.use_bias_correction_kl as boolean,
    entropyCoef: number('entropy_coef') ?? 0,
    topEntropyQuantile: number('top_entropy_quantile') ?? undefined,
    offPolicyMaskThreshold: number('off_policy_mask_threshold') ?? undefined,
    maxCompletionLength: number('max_completion_length'),
    // TRL's num_items_in_batch counts the tokens of all generation steps.
    ...(BY_ITEMS.includes(lossType) && {
      normalizer: {
        tokens: (number('num_items_in_batch') * number('grad_accumulation')) / number('steps_per_generation'),
        sequences: meta.B,
      },
    }),
  };
}

async function run(c: Case) {
  const { inputs: roles, params } = c;
  const role = (name: string) => (roles[name] ? inputs.get(roles[name])!.data : undefined);
  const packed = (name: string) => {
    const data = role(name);
    return data && Float32Array.from(pack(data));
  };
  const toolMask = packed('tool_mask');
  const mask = Int32Array.from(packed('mask')!, (m, t) => m * (toolMask ? toolMask[t] : 1));
  const advantages = role('adv')!;
  const out = policyLoss({
    logProbs: ON_GPU ? place(packed('new')!) : packed('new')!,
    entropy: packed('entropy')!,
    oldLogProbs: packed('old'),
    refLogProbs: packed('ref'),
    importanceWeights: packed('is_ratio'),
    rolloutLogProbs: packed('sampling'),
    advantages: advantages.length === meta.B ? (advantages as Float32Array) : Float32Array.from(pack(advantages)),
    cuSeqlens,
    mask,
    ...optionsOf(c),
  });
  const [dLogProbs, dEntropy] = await Promise.all([out.dLogProbs.read(), out.dEntropy!.read()]);
  const share = BY_ITEMS.includes(params.loss_type as string) ? 1 : 1 / (params.grad_accumulation as number);
  return { out, dLogProbs, dEntropy, mask, share };
}

const reference = suite('policyLoss against TRL');
for (const c of cases) {
  reference(`loss and gradients agree with TRL in float64: ${c.name}`, async () => {
    const { out, dLogProbs, dEntropy, share } = await run(c);
    // Inputs are exact in float32 and the arithmetic is double: the loss agrees to double rounding, a gradient to its
    // own rounding to float32 (at sequence level two: the direct part and the part through the ratio).
    near([out.loss * share], [c.loss], 1e-12 * (1 + Math.abs(c.loss)), 'loss');
    const expected = Float64Array.from(grads.get(c.grad)!.data);
    const largest = expected.reduce((m, g) => Math.max(m, Math.abs(g)), 0);
    const tolerance = c.params.importance_sampling_level === 'sequence' ? 4 * UNIT_ROUNDOFF.float32 * largest : 1e-30;
    near(
      dLogProbs,
      pack(expected).map((g) => g / share),
      tolerance,
      'gradient',
      1.01 * UNIT_ROUNDOFF.float32,
    );
    const entropyGrad = grads.get(c.grad.replace('grad.', 'entropy_grad.'));
    if (c.params.entropy_coef) assert.ok(entropyGrad, 'an entropy gradient to compare with');
    near(
      dEntropy,
      entropyGrad ? pack(entropyGrad.data) : new Float64Array(dEntropy.length),
      0,
      'entropy gradient',
      1.01 * UNIT_ROUNDOFF.float32,
    );
  });
}

reference('metrics agree with TRL', async () => {
  let compared = 0;
  for (const c of cases) {
    const { out, mask } = await run(c);
    const bySequence = c.params.importance_sampling_level === 'sequence';
    // TRL counts a sequence without a counted token, with ratio 1; we leave it out of means over sequences.
    const empty = meta.lengths.filter((_, i) => !mask.subarray(cuSeqlens[i], cuSeqlens[i + 1]).includes(1)).length;
    const all = (mean: number, of: number) => (bySequence ? (mean * (meta.B - empty) + of * empty) / meta.B : mean);
    const { metrics } = out;
    const pairs: Record<string, number> = {
      entropy: metrics.entropy,
      'clip_ratio/low_mean': all(metrics.clipRatioLow, 0),
      'clip_ratio/high_mean': all(metrics.clipRatioHigh, 0),
      'clip_ratio/region_mean': all(metrics.clipRatioRegion, 0),
      cispo_clip_ratio: all(metrics.clipRatioHigh, 0),
      ratio_mean: all(metrics.ratioMean, 1),
      ratio_min: empty && bySequence ? Math.min(1, metrics.ratioMin) : metrics.ratioMin,
      ratio_max: empty && bySequence ? Math.max(1, metrics.ratioMax) : metrics.ratioMax,
    };
    if (c.params.loss_type === 'vespo')
      pairs['vespo/phi_seq_mean'] = c.inputs.adv.endsWith('token')
        ? metrics.phiMean
        : (metrics.phiMean * (meta.B - empty) + empty) / meta.B;
    if (!c.params.use_bias_correction_kl) pairs.kl = metrics.kl;
    for (const [name, value] of Object.entries(pairs)) {
      if (!(name in c.metrics)) continue;
      near([value], [c.metrics[name]], 1e-12 * (1 + Math.abs(c.metrics[name])), `${c.name} ${name}`);
      compared++;
    }
  }
  assert.ok(compared > 5 * cases.length, `compared ${compared} metrics`);
});

reference('the fixtures hold all 240 cases', () => {
  assert.is(cases.length, 240);
});
reference.run();
