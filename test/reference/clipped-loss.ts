// Float64 reference of the policy loss: the VALUE only, written from the formulas. Gradients are compared with its
// central differences, so no derivative here can be wrong in the same way as in the kernel. What is a constant to the
// gradient is taken from `base`, the log-probabilities before they are varied. Then the cases that the kernels are
// compared with it on: one of them at least for each loss type and each option.
import type { PolicyLossOptions } from '../../lib/kernels/loss-options.js';
import { normals, random } from './numbers.js';

/** Of the formulas; those of the kernels are in lib/kernels/loss-table.ts. */
const DEFAULTS: Required<Omit<PolicyLossOptions, 'topEntropyQuantile' | 'normalizer'>> = {
  lossType: 'dapo',
  importanceSamplingLevel: 'token',
  epsilon: 0.2,
  epsilonHigh: 0.2, // see toCase
  delta: Infinity,
  sapoTemperaturePos: 1,
  sapoTemperatureNeg: 1.05,
  ...{ vespoKPos: 2, vespoLambdaPos: 3, vespoKNeg: 3, vespoLambdaNeg: 2 },
  beta: 0,
  klEstimator: 'k3',
  klRatioCorrection: true,
  entropyCoef: 0,
  entropyThreshold: -Infinity,
  offPolicyMaskThreshold: Infinity,
  maxCompletionLength: 1,
};

export interface LossCase {
  logProbs: ArrayLike<number>;
  entropy: ArrayLike<number>;
  cuSeqlens: ArrayLike<number>;
  advantages: ArrayLike<number>;
  perToken: boolean;
  old?: ArrayLike<number>;
  ref?: ArrayLike<number>;
  mask?: ArrayLike<number>;
  weights?: ArrayLike<number>;
  rollout?: ArrayLike<number>;
  options: typeof DEFAULTS;
  /** Also the ratio's denominator when on-policy. */
  base: ArrayLike<number>;
}

const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const sum = (tokens: number[], value: (t: number) => number) => tokens.reduce((total, t) => total + value(t), 0);

const KL = {
  k1: (d: number) => d,
  k2: (d: number) => d ** 2 / 2,
  k3: (d: number) => Math.exp(-d) + d - 1,
};

/** vespo's weight of a sequence, for an advantage. */
function phi(c: LossCase, own: number[], advantage: number): number {
  const old = c.old ?? c.base;
  const least = Math.log(1e-8);
  const logWeight = clamp(
    sum(own, (t) => clamp(c.base[t] - old[t], -20, 20) + (c.weights ? clamp(Math.log(c.weights[t]), least, 20) : 0)),
    least,
    20,
  );
  const { vespoKPos, vespoLambdaPos, vespoKNeg, vespoLambdaNeg } = c.options;
  const [k, lambda] = advantage >= 0 ? [vespoKPos, vespoLambdaPos] : [vespoKNeg, vespoLambdaNeg];
  return Math.exp(lambda + k * logWeight - lambda * Math.exp(logWeight));
}

/** What the active tokens of a sequence share. */
interface Shared {
  /** At sequence level the ratio of all, of the log-probabilities as they are and of `base`. */
  ratio: number;
  stopped: number;
  /** vespo's weight, by the sign of the advantage. */
  phi: { positive: number; negative: number };
  /** Mean of the log-probabilities of the rollout less those of `base`. */
  drift: number;
}

function sharedBy(c: LossCase, own: number[]): Shared {
  const old = c.old ?? c.base;
  const ratio = (logProbs: ArrayLike<number>) => Math.exp(sum(own, (t) => logProbs[t] - old[t]) / own.length);
  const rollout = c.rollout ?? old;
  return {
    ratio: ratio(c.logProbs),
    stopped: ratio(c.base),
    phi: { positive: phi(c, own, 1), negative: phi(c, own, -1) },
    drift: sum(own, (t) => rollout[t] - c.base[t]) / own.length,
  };
}

/** The policy term of token t, with `stopped` the ratio that the gradient does not flow through. */
function policyTerm(c: LossCase, shared: Shared, t: number, advantage: number, ratio: number, stopped: number): number {
  const logProb = c.logProbs[t];
  const { options } = c;
  switch (options.lossType) {
    case 'cispo':
      return -Math.min(stopped, options.epsilonHigh) * advantage * logProb;
    case 'vespo':
      return -(advantage >= 0 ? shared.phi.positive : shared.phi.negative) * advantage * logProb;
    case 'raft':
    case 'nll':
      return -advantage * logProb;
    case 'sapo': {
      const tau = advantage > 0 ? options.sapoTemperaturePos : options.sapoTemperatureNeg;
      return ((-4 / tau) * advantage) / (1 + Math.exp(-tau * (ratio - 1)));
    }
    default:
      return -Math.min(
        Math.min(ratio, options.delta) * advantage,
        clamp(ratio, 1 - options.epsilon, 1 + options.epsilonHigh) * advantage,
      );
  }
}

export function lossValue(c: LossCase): number {
  const { options } = c;
  const { lossType } = options;
  const sequences = c.cuSeqlens.length - 1;
  const active = (t: number) => c.mask?.[t] !== 0;
  const old = c.old ?? c.base;
  let count = 0;
  for (let t = 0; t < c.logProbs.length; t++) if (active(t)) count++;
  let loss = 0;
  for (let i = 0; i < sequences; i++) {
    const own: number[] = [];
    for (let t = c.cuSeqlens[i]; t < c.cuSeqlens[i + 1]; t++) if (active(t)) own.push(t);
    if (own.length === 0) continue;
    const shared = sharedBy(c, own);
    const terms = sum(own, (t) => {
      const [ratio, stopped] =
        options.importanceSamplingLevel === 'sequence'
          ? [shared.ratio, shared.stopped]
          : [Math.exp(c.logProbs[t] - old[t]), Math.exp(c.base[t] - old[t])];
      const advantage = c.advantages[c.perToken ? t : i];
      const kept =
        c.entropy[t] >= options.entropyThreshold && (advantage >= 0 || shared.drift <= options.offPolicyMaskThreshold);
      const weight = lossType === 'vespo' ? 1 : (c.weights?.[t] ?? 1);
      const policy = kept ? weight * policyTerm(c, shared, t, advantage, ratio, stopped) : 0;
      const kl = c.ref ? KL[options.klEstimator](c.logProbs[t] - c.ref[t]) : 0;
      return policy + options.beta * kl * (options.klRatioCorrection ? ratio : 1);
    });
    loss -= (options.entropyCoef * sum(own, (t) => c.entropy[t])) / count;
    if (['grpo', 'sapo', 'raft', 'raft++'].includes(lossType)) loss += terms / own.length / sequences;
    else if (lossType === 'luspo') loss += terms / sequences;
    else if (lossType === 'dr_grpo') loss += terms / (sequences * options.maxCompletionLength);
    else loss += terms / count;
  }
  return loss;
}

// Packed batches: an empty sequence, one token, several; with `holes` some tokens are masked and one sequence is masked
// whole.
export const LENGTHS = [5, 0, 1, 9, 3, 7];
export const CU = Int32Array.from([0, ...LENGTHS.map((_, i) => LENGTHS.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
export const T = CU[CU.length - 1];
export const B = LENGTHS.length;

interface Inputs {
  offPolicy?: boolean;
  perToken?: boolean;
  holes?: boolean;
  /** importanceWeights, a few of them 0. */
  weights?: boolean;
  rollout?: boolean;
}
export const OPTIONS: (PolicyLossOptions & Inputs)[] = [];
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
const LEVELS = ['token', 'sequence'] as const;
for (const lossType of ['luspo', 'cispo', 'sapo', 'vespo', 'raft', 'nll', 'raft++'] as const)
  for (const importanceSamplingLevel of ['vespo', 'raft', 'nll'].includes(lossType) ? [undefined] : LEVELS)
    for (const extra of [
      { offPolicy: true, weights: true, beta: 0.2, klEstimator: 'k2', perToken: true, holes: true },
      { offPolicy: true, offPolicyMaskThreshold: 0.05, rollout: true, holes: true, entropyCoef: 0.03 },
      { beta: 0.3, klEstimator: 'k1', entropyThreshold: 1.2, weights: true },
      { offPolicy: true, beta: 0.3, klRatioCorrection: false, offPolicyMaskThreshold: 0 },
    ] as const)
      OPTIONS.push({ lossType, importanceSamplingLevel, ...extra });
for (const importanceSamplingLevel of LEVELS)
  for (const klEstimator of ['k1', 'k2'] as const)
    OPTIONS.push({
      lossType: 'dapo',
      importanceSamplingLevel,
      ...{ klEstimator, beta: 0.4, offPolicy: true, perToken: true, holes: true },
      ...{ weights: true, rollout: true, entropyThreshold: 1.2, offPolicyMaskThreshold: 0.02, entropyCoef: 0.01 },
    });
for (const extra of [
  { lossType: 'dapo', epsilon: 0.1 },
  { lossType: 'sapo', sapoTemperaturePos: 1.7, sapoTemperatureNeg: 0.6, importanceSamplingLevel: 'sequence' },
  { lossType: 'vespo', vespoKPos: 1, vespoLambdaPos: 1.5, vespoKNeg: 2.5, vespoLambdaNeg: 1.75, weights: true },
] as const)
  OPTIONS.push({ offPolicy: true, holes: true, ...extra });

export function makeInputs(seed: number, o: (typeof OPTIONS)[number], cuSeqlens = CU) {
  const { offPolicy, perToken, holes, weights, rollout, ...options } = o;
  const next = random(seed);
  const T = cuSeqlens[cuSeqlens.length - 1];
  const logProbs = normals(T, seed, 0.5).map((x) => -Math.abs(x) - 0.1);
  const shifted = (scale: number, by: number) => normals(T, seed + by, scale).map((x, t) => x + logProbs[t]);
  const mask = Int32Array.from({ length: T }, (_, t) =>
    t >= cuSeqlens[4] && t < cuSeqlens[5] ? 0 : next() < 0.7 ? 1 : 0,
  );
  const batch = {
    cuSeqlens,
    advantages: normals(perToken ? T : cuSeqlens.length - 1, seed + 1),
    oldLogProbs: offPolicy ? shifted(0.3, 2) : undefined,
    refLogProbs: shifted(0.3, 3),
    importanceWeights: weights ? normals(T, seed + 5, 0.5).map((x) => (x < -0.7 ? 0 : Math.exp(x))) : undefined,
    rolloutLogProbs: rollout ? shifted(0.3, 6) : undefined,
    mask: holes ? mask : undefined,
  };
  return { logProbs, entropy: normals(T, seed + 4).map(Math.abs), batch, options, perToken: perToken ?? false };
}

export function toCase({ logProbs, entropy, batch, options, perToken }: ReturnType<typeof makeInputs>): LossCase {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return {
    logProbs,
    entropy,
    cuSeqlens: batch.cuSeqlens,
    advantages: batch.advantages,
    perToken,
    old: batch.oldLogProbs,
    ref: batch.refLogProbs,
    mask: batch.mask,
    weights: batch.importanceWeights,
    rollout: batch.rolloutLogProbs,
    options: {
      ...DEFAULTS,
      epsilonHigh: options.lossType === 'cispo' ? 5 : (options.epsilon ?? DEFAULTS.epsilon),
      ...given,
    },
    base: logProbs,
  };
}

/** Central differences of lossValue in log-probs and in entropies. Steps of 1e-6 in double: good to about 1e-9. */
export function differences(c: LossCase, of: 'logProbs' | 'entropy'): Float64Array {
  const h = 1e-6;
  return Float64Array.from({ length: c.logProbs.length }, (_, t) => {
    const at = (d: number) =>
      lossValue({ ...c, [of]: Float64Array.from(c[of] as Float32Array, (x, j) => (j === t ? x + d : x)) });
    return (at(h) - at(-h)) / (2 * h);
  });
}
