// The single source of loss types and loss options: names, defaults, bounds and meanings. What follows from these
// tables: the checks and the kernel's parameters (loss-options.ts), the type of the options (policy-loss-options.ts,
// written by `npm run docs`), the Trainer's options (train/options.ts), the command line's help, docs/api.
// docs/adding-a-loss.md says how to add to them.
import type { OptionSpec } from '../base/options.js';

/**
 * The terms of a token, in the order of Surrogate in native/kernels/clipped_loss/clipped_loss.h. rho is the ratio of
 * new to old probability, A the advantage; [x] is a constant to the gradient.
 */
export const SURROGATES = {
  clipped: '-min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilonHigh) A)',
  cispo: '-[min(rho, epsilonHigh)] A logProb',
  sapo: '-(4 / tau) sigmoid(tau (rho - 1)) A, tau the sapoTemperature',
  vespo: "-[w^k e^(lambda (1 - w))] A logProb, w the product of the sequence's ratios",
  raft: '-A logProb',
} as const;
type Surrogate = keyof typeof SURROGATES;

/** What the terms are averaged over, in the order of Aggregation in the same file. */
export const AGGREGATIONS = {
  tokenMean: 'active tokens',
  sequenceMeanTokenMean: 'tokens of a sequence, then sequences',
  sequenceMeanTokenSum: 'sequences, each the sum of its tokens',
  sequenceMeanTokenSumNorm: 'sequences x maxCompletionLength',
} as const;

export interface LossKind {
  surrogate: Surrogate;
  aggregation: keyof typeof AGGREGATIONS;
  /** arXiv number of the paper. Absent: the loss is TRL's. */
  arxiv?: string;
  note?: string;
  /** Averages over the tokens of one call, not over the whole optimizer batch. So it takes no normalizer. */
  ofCall?: true;
}

const OF_RAFT = 'for advantages of 1 on right responses and 0 on wrong ones';

/** Definition of each lossType. */
export const LOSSES = {
  dapo: { surrogate: 'clipped', aggregation: 'tokenMean', arxiv: '2503.14476' },
  grpo: { surrogate: 'clipped', aggregation: 'sequenceMeanTokenMean', arxiv: '2402.03300' },
  bnpo: { surrogate: 'clipped', aggregation: 'tokenMean', note: 'only those of this call', ofCall: true },
  dr_grpo: { surrogate: 'clipped', aggregation: 'sequenceMeanTokenSumNorm', arxiv: '2503.20783' },
  luspo: {
    surrogate: 'clipped',
    aggregation: 'sequenceMeanTokenSum',
    arxiv: '2602.05261',
    note: 'made for sequence-level ratios',
  },
  cispo: { surrogate: 'cispo', aggregation: 'tokenMean', arxiv: '2506.13585' },
  sapo: { surrogate: 'sapo', aggregation: 'sequenceMeanTokenMean', arxiv: '2511.20347' },
  vespo: { surrogate: 'vespo', aggregation: 'tokenMean', arxiv: '2602.10693' },
  raft: { surrogate: 'raft', aggregation: 'sequenceMeanTokenMean', arxiv: '2304.06767', note: OF_RAFT },
  nll: {
    surrogate: 'raft',
    aggregation: 'tokenMean',
    note: 'with advantages of 1 the cross-entropy of supervised fine-tuning',
  },
  'raft++': { surrogate: 'clipped', aggregation: 'sequenceMeanTokenMean', arxiv: '2504.11343', note: OF_RAFT },
} as const satisfies { [lossType: string]: LossKind };

export type LossType = keyof typeof LOSSES;
export const LOSS_TYPES = Object.keys(LOSSES) as LossType[];

/** A default: a value, or the value of another option. */
type Default = number | { readonly as: string };

/** An option of the loss. `default` holds with every lossType, and the Trainer fills it in. */
export type LossOption = (OptionSpec | { type: 'numbers of'; fields: { [name: string]: string }; doc: string }) & {
  /** The only surrogates that accept it, each with its default. */
  readonly with?: { readonly [surrogate in Surrogate]?: Default };
  /** Surrogates that accept only its default. */
  readonly except?: readonly Surrogate[];
  /** Meaning of an absent option, where the Trainer fills nothing in. An infinity means none. */
  readonly absent?: number | string;
  /** Follows `doc` in the editor and the reference. */
  readonly details?: string;
};

/** The options of the policy loss, named as in TRL's GRPOConfig. Choices are numbered as in clipped_loss.h. */
export const LOSS_TABLE = {
  lossType: {
    type: 'choice',
    choices: LOSS_TYPES,
    absent: 'dapo',
    doc: 'Loss term of each token, and how the terms are averaged',
  },
  importanceSamplingLevel: {
    type: 'choice',
    choices: ['token', 'sequence'],
    default: 'token',
    except: ['vespo', 'raft'],
    doc: 'One ratio per token, or one per sequence: exp of its mean log-ratio, GSPO, arXiv 2507.18071',
  },
  epsilon: { type: 'number', min: 0, max: 1, with: { clipped: 0.2 }, doc: 'Lower clip of the ratio: 1 - epsilon' },
  epsilonHigh: {
    type: 'number',
    min: 0,
    with: { clipped: { as: 'epsilon' }, cispo: 5 },
    doc: 'Upper clip of the ratio: 1 + epsilonHigh; with cispo the bound itself',
  },
  delta: {
    type: 'number',
    above: 0,
    with: { clipped: Infinity },
    doc: 'Upper bound of the ratio where the advantage is negative: a two-sided clip, arXiv 2505.07291',
  },
  sapoTemperaturePos: {
    type: 'number',
    above: 0,
    with: { sapo: 1 },
    doc: 'Steepness of the sigmoid where the advantage is positive',
  },
  sapoTemperatureNeg: {
    type: 'number',
    above: 0,
    with: { sapo: 1.05 },
    doc: 'Steepness of the sigmoid where the advantage is not positive',
  },
  vespoKPos: {
    type: 'number',
    min: 0,
    with: { vespo: 2 },
    doc: 'k of the weight w^k e^(lambda (1 - w)) where the advantage is not negative',
  },
  vespoLambdaPos: {
    type: 'number',
    above: 0,
    with: { vespo: 3 },
    doc: 'lambda of the same weight where the advantage is not negative',
  },
  vespoKNeg: {
    type: 'number',
    min: 0,
    with: { vespo: 3 },
    doc: 'k of the same weight where the advantage is negative',
  },
  vespoLambdaNeg: {
    type: 'number',
    above: 0,
    with: { vespo: 2 },
    doc: 'lambda of the same weight where the advantage is negative',
  },
  beta: { type: 'number', default: 0, min: 0, doc: 'Weight of the KL term to the frozen reference' },
  klEstimator: {
    type: 'choice',
    choices: ['k1', 'k2', 'k3'],
    default: 'k3',
    doc: "Schulman's estimator of the KL term",
    details: 'With d = logProbs - refLogProbs: k1 is d, k2 is d^2 / 2, k3 is exp(-d) + d - 1.',
  },
  klRatioCorrection: {
    type: 'boolean',
    default: true,
    doc: 'Multiply the KL term by the ratio, as TRL does by default',
  },
  entropyCoef: {
    type: 'number',
    default: 0,
    doc: 'Weight of the entropy bonus: the mean entropy of the active tokens, with any lossType',
  },
  topEntropyQuantile: {
    type: 'number',
    default: 1,
    min: 0,
    max: 1,
    doc: 'Share of the active tokens that get a policy term: those with the highest entropy, arXiv 2506.01939',
    details:
      'The KL term, the entropy bonus (TRL limits that too) and the divisors keep all tokens. With a loss from logits, the entropies take one more pass over them.',
  },
  entropyThreshold: {
    type: 'number',
    absent: -Infinity,
    doc: 'Entropy that a token needs to get a policy term',
    details: 'It replaces topEntropyQuantile in a call that gets only a part of the optimizer batch.',
  },
  offPolicyMaskThreshold: {
    type: 'number',
    min: 0,
    absent: Infinity,
    doc: 'Leave sequences out of the policy term if the advantage is negative and the mean log-probability drift exceeds this, arXiv 2512.02556',
    details: 'The drift of a token is rolloutLogProbs - logProbs.',
  },
  maxCompletionLength: {
    type: 'integer',
    min: 1,
    absent: 1,
    doc: "Divisor of the sums with lossType 'dr_grpo', which requires it",
  },
  normalizer: {
    type: 'numbers of',
    fields: { tokens: 'Active tokens', sequences: 'Sequences' },
    doc: 'Size of the whole optimizer batch, if this call gets only a part of it',
    details: 'Default: the size of this call.',
  },
} as const satisfies { [name: string]: LossOption };

const inWords = (value: Default | string) =>
  typeof value === 'object' ? value.as : Math.abs(Number(value)) === Infinity ? 'none' : `${value}`;

/** One line about an option: its doc, the loss types that take it, and a default that is not filled in. */
export function lineOf({ doc, ...option }: LossOption): string {
  const notes = Object.entries(option.with ?? {}).map(
    ([surrogate, value]) => `${surrogate === 'clipped' ? 'clipped losses' : surrogate}, default ${inWords(value)}`,
  );
  if (option.except) notes.push(`not with ${option.except.join(' and ')}`);
  if (option.absent !== undefined && option.type !== 'integer') notes.push(`default: ${inWords(option.absent)}`);
  return notes.length ? `${doc} (${notes.join('; ')})` : doc;
}
