// Float64 reference of the policy loss: the VALUE only, written from the formulas. Gradients are compared with its central
// differences, so no derivative here can be wrong in the same way as in the kernel. What is a constant to the gradient is taken
// from `base`, the log-probabilities before they are varied.

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
  lossType: 'grpo' | 'dapo' | 'bnpo' | 'dr_grpo' | 'luspo' | 'cispo' | 'sapo' | 'vespo' | 'raft' | 'raft++';
  level: 'token' | 'sequence';
  epsilon: number;
  epsilonHigh: number;
  delta: number;
  beta: number;
  klEstimator: 'k1' | 'k2' | 'k3';
  klRatioCorrection: boolean;
  entropyCoef: number;
  entropyThreshold: number;
  offPolicyMaskThreshold: number;
  maxCompletionLength: number;
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
  const [k, lambda] = advantage >= 0 ? [2, 3] : [3, 2];
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
  switch (c.lossType) {
    case 'cispo':
      return -Math.min(stopped, c.epsilonHigh) * advantage * logProb;
    case 'vespo':
      return -(advantage >= 0 ? shared.phi.positive : shared.phi.negative) * advantage * logProb;
    case 'raft':
      return -advantage * logProb;
    case 'sapo': {
      const tau = advantage > 0 ? 1 : 1.05;
      return ((-4 / tau) * advantage) / (1 + Math.exp(-tau * (ratio - 1)));
    }
    default:
      return -Math.min(
        Math.min(ratio, c.delta) * advantage,
        clamp(ratio, 1 - c.epsilon, 1 + c.epsilonHigh) * advantage,
      );
  }
}

export function lossValue(c: LossCase): number {
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
        c.level === 'sequence'
          ? [shared.ratio, shared.stopped]
          : [Math.exp(c.logProbs[t] - old[t]), Math.exp(c.base[t] - old[t])];
      const advantage = c.advantages[c.perToken ? t : i];
      const kept = c.entropy[t] >= c.entropyThreshold && (advantage >= 0 || shared.drift <= c.offPolicyMaskThreshold);
      const weight = c.lossType === 'vespo' ? 1 : (c.weights?.[t] ?? 1);
      const policy = kept ? weight * policyTerm(c, shared, t, advantage, ratio, stopped) : 0;
      const kl = c.ref ? KL[c.klEstimator](c.logProbs[t] - c.ref[t]) : 0;
      return policy + c.beta * kl * (c.klRatioCorrection ? ratio : 1);
    });
    loss -= (c.entropyCoef * sum(own, (t) => c.entropy[t])) / count;
    if (['grpo', 'sapo', 'raft', 'raft++'].includes(c.lossType)) loss += terms / own.length / sequences;
    else if (c.lossType === 'luspo') loss += terms / sequences;
    else if (c.lossType === 'dr_grpo') loss += terms / (sequences * c.maxCompletionLength);
    else loss += terms / count;
  }
  return loss;
}
