import { prlAdvantages } from '../kernels/step-advantages.js';
import { type MethodBatch, type MethodResult, type OutcomeOptions, outcomeAdvantages } from './method.js';

export interface PrlOptions extends OutcomeOptions {
  eta: number;
  suffix: 'inclusive' | 'exclusive';
}

/**
 * PRL (arXiv 2601.10201v1, "Process Reward Learning"). The optimal policy of reward maximisation under a KL penalty makes the
 * log-ratio to the reference a process reward: a step earns -(1 / eta) * sum of (oldLogp - refLogp), and the tokens of a step
 * get the outcome advantage plus what is earned from the step's last token on.
 */
export function prl(batch: MethodBatch, { eta, suffix, ...options }: PrlOptions): MethodResult {
  const { oldLogProbs, cuSeqlens, cuSteps } = batch;
  const refLogProbs = batch.refLogProbs!;
  const advantages = prlAdvantages({
    outcomeAdvantages: outcomeAdvantages(batch, options),
    oldLogProbs,
    refLogProbs,
    cuSeqlens,
    cuSteps,
    eta,
    suffix,
  }).data as Float32Array;
  let total = 0;
  for (let t = 0; t < oldLogProbs.length; t++) total -= (oldLogProbs[t] - refLogProbs[t]) / eta;
  return { advantages, metrics: { 'process_reward/mean': total / (cuSteps.length - 1) } };
}
