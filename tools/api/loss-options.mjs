// What is written from the tables of the loss (lib/kernels/loss-table.ts): the type of its options, whose comments an
// editor shows, and the table of the loss types in docs/api.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** lib/kernels/policy-loss-options.ts. */
export function policyLossOptions(table, root) {
  const text = `// Made from loss-table.ts by \`npm run docs\`; do not edit.

/**
 * Options of the policy loss, named as in TRL's GRPOConfig. The formulas: native/kernels/clipped_loss/clipped_loss.h.
 */
export interface PolicyLossOptions {
${Object.entries(table.LOSS_TABLE)
  .map(([name, spec]) => `${comment(paragraphs(name, spec, table))}\n${name}?: ${typeOf(spec)};`)
  .join('\n')}
}
`;
  const biome = join(root, 'node_modules', '.bin', 'biome');
  const run = spawnSync(biome, ['format', '--stdin-file-path=policy-loss-options.ts'], {
    cwd: root,
    input: text,
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(`biome: ${run.stderr}`);
  return run.stdout;
}

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
  const bounds = [
    spec.above !== undefined && `above ${spec.above}`,
    spec.min !== undefined && `at least ${spec.min}`,
    spec.max !== undefined && `at most ${spec.max}`,
  ].filter(Boolean);
  const sentences = [
    `${lineOf(spec)}.`,
    spec.default !== undefined && `Default ${JSON.stringify(spec.default).replaceAll('"', "'")}.`,
    bounds.length && `${bounds.join(', ').replace(/^./, (first) => first.toUpperCase())}.`,
    spec.details,
  ].filter(Boolean);
  if (name !== 'lossType') return [sentences.join(' ')];
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

function typeOf(spec) {
  if (spec.choices) return spec.choices.map((choice) => `'${choice}'`).join(' | ');
  if (!spec.fields) return spec.type === 'integer' ? 'number' : spec.type;
  return `{\n${Object.entries(spec.fields)
    .map(([name, doc]) => `/** ${doc}. */\n${name}: number;`)
    .join('\n')}\n}`;
}

/** A doc comment of lines that end by column 120. */
function comment(texts) {
  const lines = texts.flatMap((text, i) => [...(i ? [''] : []), ...text.match(/\S.{0,113}(?=\s|$)/g)]);
  if (lines.length === 1) return `/** ${lines[0]} */`;
  return ['/**', ...lines.map((line) => ` * ${line}`.trimEnd()), ' */'].join('\n');
}
