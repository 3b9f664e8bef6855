import { invalidArgument } from '../base/errors.js';
import { frpoAdvantages } from '../kernels/step-advantages.js';
import { defineMethod, mean } from './method.js';
import { outcomeAdvantages } from './outcome.js';

/**
 * FRPO (arXiv 2601.10201v2, "Future-KL Regularized GRPO"). A token gets the outcome advantage minus beta times its
 * future divergence: the divergence from the reference of this token and all tokens after it.
 */
export const frpo = defineMethod({
  doc: 'future KL',
  options: {
    frpoBeta: {
      type: 'number',
      default: 0.01,
      min: 0,
      doc: 'frpo: weight of the future divergence from the reference',
    },
    frpoEstimator: {
      type: 'choice',
      choices: ['k1', 'k3'],
      default: 'k1',
      doc: 'frpo: estimator of the divergence',
    },
    frpoDirection: {
      type: 'choice',
      choices: ['reverse', 'forward'],
      default: 'reverse',
      doc: 'frpo: KL(policy | reference), or KL(reference | policy)',
    },
    frpoBaseline: {
      type: 'boolean',
      default: false,
      doc: "frpo: subtract the batch's mean token divergence from each future token's (k3 only)",
    },
  },
  needs: ['reference'],

  check({ frpoEstimator, frpoBaseline }) {
    if (frpoBaseline && frpoEstimator === 'k1')
      throw invalidArgument("frpoBaseline needs frpoEstimator 'k3': the terms of k1 have both signs and need none");
  },

  run(batch, options) {
    const { frpoBeta, frpoEstimator: estimator, frpoDirection: direction, frpoBaseline: baseline } = options;
    const { oldLogProbs, refLogProbs, cuSeqlens, rewards } = batch;
    const advantages = (outcomeAdvantages: Float32Array, beta: number, baseline: boolean) =>
      frpoAdvantages({
        ...{ outcomeAdvantages, oldLogProbs, refLogProbs: refLogProbs!, cuSeqlens, beta },
        ...{ estimator, direction, baseline },
      }).data as Float32Array;
    // The divergence alone, without weight and baseline. It is 0 for equal policies: the terms of forward k1 are -1
    // there.
    const alike = direction === 'forward' && estimator === 'k1' ? -1 : 0;
    const divergence = -mean(advantages(new Float32Array(rewards.length), 1, false)) - alike;
    return {
      advantages: advantages(outcomeAdvantages(batch, options), frpoBeta, baseline),
      metrics: { 'future_kl/mean': divergence },
    };
  },
});
