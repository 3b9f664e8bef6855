import { frpoAdvantages } from '../kernels/step-advantages.js';
import { type MethodBatch, type MethodResult, mean, type OutcomeOptions, outcomeAdvantages } from './method.js';

export interface FrpoOptions extends OutcomeOptions {
  frpoBeta: number;
  frpoEstimator: 'k1' | 'k3';
  frpoDirection: 'reverse' | 'forward';
  frpoBaseline: boolean;
}

/**
 * FRPO (arXiv 2601.10201v2, "Future-KL Regularized GRPO"): a token gets the outcome advantage minus beta times the divergence from
 * the reference that it and the tokens after it have.
 */
export function frpo(batch: MethodBatch, options: FrpoOptions): MethodResult {
  const { frpoBeta, frpoEstimator: estimator, frpoDirection: direction, frpoBaseline: baseline, ...outcome } = options;
  const { oldLogProbs, refLogProbs, cuSeqlens, rewards } = batch;
  const advantages = (outcomeAdvantages: Float32Array, beta: number, baseline: boolean) =>
    frpoAdvantages({
      ...{ outcomeAdvantages, oldLogProbs, refLogProbs: refLogProbs!, cuSeqlens, beta },
      ...{ estimator, direction, baseline },
    }).data as Float32Array;
  // Nothing but the divergence: without its weight, without what the baseline takes from it, and 0 where the policies are the same,
  // where the terms of forward k1 are -1.
  const alike = direction === 'forward' && estimator === 'k1' ? -1 : 0;
  const divergence = -mean(advantages(new Float32Array(rewards.length), 1, false)) - alike;
  return {
    advantages: advantages(outcomeAdvantages(batch, outcome), frpoBeta, baseline),
    metrics: { 'future_kl/mean': divergence },
  };
}
