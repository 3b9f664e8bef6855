// Float64 reference of the clipped importance-sampling loss: the VALUE only, written from the formulas. Gradients are
// compared with its central differences, so no derivative here can be wrong in the same way as in the kernel.

export interface LossCase {
  logProbs: ArrayLike<number>;
  entropy: ArrayLike<number>;
  cuSeqlens: ArrayLike<number>;
  advantages: ArrayLike<number>;
  perToken: boolean;
  old?: ArrayLike<number>;
  ref?: ArrayLike<number>;
  mask?: ArrayLike<number>;
  lossType: 'grpo' | 'dapo' | 'bnpo' | 'dr_grpo';
  level: 'token' | 'sequence';
  epsilon: number;
  epsilonHigh: number;
  delta: number;
  beta: number;
  klRatioCorrection: boolean;
  entropyCoef: number;
  maxCompletionLength: number;
  /** Value of the ratio's denominator when on-policy: the log-probabilities before they are varied. */
  base: ArrayLike<number>;
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
    const meanLogRatio = own.reduce((sum, t) => sum + c.logProbs[t] - old[t], 0) / own.length;
    let sum = 0;
    for (const t of own) {
      const ratio = Math.exp(c.level === 'sequence' ? meanLogRatio : c.logProbs[t] - old[t]);
      const advantage = c.advantages[c.perToken ? t : i];
      const clipped = Math.min(Math.max(ratio, 1 - c.epsilon), 1 + c.epsilonHigh);
      let term = -Math.min(Math.min(ratio, c.delta) * advantage, clipped * advantage);
      if (c.beta && c.ref) {
        const x = c.ref[t] - c.logProbs[t];
        term += c.beta * (Math.exp(x) - x - 1) * (c.klRatioCorrection ? ratio : 1);
      }
      sum += term;
      loss -= (c.entropyCoef * c.entropy[t]) / count;
    }
    if (own.length === 0) continue;
    if (c.lossType === 'grpo') loss += sum / own.length / sequences;
    else if (c.lossType === 'dr_grpo') loss += sum / (sequences * c.maxCompletionLength);
    else loss += sum / count;
  }
  return loss;
}
