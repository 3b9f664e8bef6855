// What is written from the tables of the loss (lib/kernels/loss-table.ts): the type of its options, whose comments an
// editor shows, and the table of the loss types in docs/api.
import { optionsModule, sentencesOf } from './option-types.mjs';

/** lib/kernels/policy-loss-options.ts. */
export const policyLossOptions = (tables, root) =>
  optionsModule(
    {
      name: 'PolicyLossOptions',
      from: 'loss-table.ts',
      doc: "Options of the policy loss, named as in TRL's GRPOConfig. The formulas: native/kernels/clipped_loss/clipped_loss.h.",
      table: tables.LOSS_TABLE,
      paragraphs: (name, spec) => paragraphs(name, spec, tables),
    },
    root,
  );

/** The loss types for docs/api/options.md. */
export function lossTypes({ LOSSES, LOSS_TABLE, SURROGATES, AGGREGATIONS }) {
  const rows = Object.entries(LOSSES).map(([name, { surrogate, aggregation, arxiv, note }]) => {
    const own = Object.entries(LOSS_TABLE).filter(([, spec]) => spec.with && surrogate in spec.with);
    const over = note ? `${AGGREGATIONS[aggregation]}; ${note}` : AGGREGATIONS[aggregation];
    const source = arxiv ? `[${arxiv}](https://arxiv.org/abs/${arxiv})` : 'TRL';
    const options = own.map(([option]) => `\`${option}\``).join(', ');
    return `| \`${name}\` | ${SURROGATES[surrogate]} | ${over} | ${options} | ${source} |`;
  });
  return [
    '| `lossType` | term of a token | averaged over | options of its own | source |',
    '|---|---|---|---|---|',
    ...rows,
  ];
}

function paragraphs(name, spec, { lineOf, LOSSES, SURROGATES, AGGREGATIONS }) {
  const sentences = sentencesOf(name, spec, lineOf(spec));
  if (name !== 'lossType') return sentences;
  const types = Object.entries(LOSSES).map(([type, { surrogate, aggregation, arxiv, note }]) => {
    const first = Object.keys(LOSSES).find((other) => LOSSES[other].surrogate === surrogate);
    const term = first === type ? SURROGATES[surrogate] : `the term of ${first}`;
    return `'${type}' (${arxiv ?? 'TRL'}): ${term}; over ${AGGREGATIONS[aggregation]}${note ? `; ${note}` : ''}.`;
  });
  return [
    ...sentences,
    'rho is the ratio of new to old probability, A the advantage, [x] a constant to the gradient.',
    ...types,
  ];
}
