import { type MethodBatch, type MethodResult, type OutcomeOptions, outcomeAdvantages, spread } from './method.js';

/** GRPO (arXiv 2402.03300): every token of a response gets its outcome advantage. */
export const grpo = (batch: MethodBatch, options: OutcomeOptions): MethodResult => ({
  advantages: spread(outcomeAdvantages(batch, options), batch.cuSeqlens),
  metrics: {},
});
