import { type MethodBatch, type MethodResult, type OutcomeOptions, outcomeAdvantages } from './method.js';

/** GRPO (arXiv 2402.03300): every token of a response gets its outcome advantage. */
export function grpo(batch: MethodBatch, options: OutcomeOptions): MethodResult {
  const outcome = outcomeAdvantages(batch, options);
  const { cuSeqlens } = batch;
  const advantages = new Float32Array(cuSeqlens[outcome.length]);
  outcome.forEach((advantage, i) => {
    advantages.fill(advantage, cuSeqlens[i], cuSeqlens[i + 1]);
  });
  return { advantages, metrics: {} };
}
