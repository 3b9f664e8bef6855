import { defineMethod, spread } from './method.js';
import { outcomeAdvantages } from './outcome.js';

/** GRPO (arXiv 2402.03300): every token of a response gets the response's outcome advantage. */
export const grpo = defineMethod({
  doc: 'outcome only',
  options: {},
  needs: [],
  run: (batch, options) => ({
    advantages: spread(outcomeAdvantages(batch, options), batch.cuSeqlens),
    metrics: {},
  }),
});
