// The one place of the loss options: their names, defaults, checks, and what the addon gets.
import { invalidArgument } from '../base/errors.js';
import { checkBoolean, checkChoice, checkInteger, checkNumber, checkOptions } from '../base/options.js';

/** Options of the policy loss, named as in TRL's GRPOConfig. The formulas: native/kernels/clipped_loss/clipped_loss.h. */
export interface PolicyLossOptions {
  /**
   * The term of a token, and how terms are averaged.
   *
   * The clipped ratio: 'dapo' (default, arXiv 2503.14476), mean over the active tokens of the optimizer batch; 'grpo' (2402.03300),
   * mean over sequences of token means; 'bnpo', mean over the active tokens of what is given in this call; 'dr_grpo' (2503.20783),
   * sum over tokens divided by sequences times maxCompletionLength; 'luspo' (2602.05261, made for sequence-level ratios), mean over
   * sequences of token sums; 'raft++' (2504.11343), as grpo, for advantages of 1 on right responses and 0 on wrong ones.
   *
   * The log-probability with a weight: 'cispo' (2506.13585), the ratio bounded by epsilonHigh, averaged as dapo; 'vespo'
   * (2602.10693), a smooth function of the sequence's ratio, averaged as dapo; 'raft' (2304.06767), 1, averaged as grpo, for the
   * advantages of raft++.
   *
   * 'sapo' (2511.20347): a sigmoid in place of the clip, averaged as grpo.
   */
  lossType?: 'grpo' | 'dapo' | 'bnpo' | 'dr_grpo' | 'luspo' | 'cispo' | 'sapo' | 'vespo' | 'raft' | 'raft++';
  /** 'token' (default), or 'sequence': GSPO's exp of the mean log-ratio (2507.18071). Not with vespo or raft. */
  importanceSamplingLevel?: 'token' | 'sequence';
  /** Lower clip: ratios below 1 - epsilon. Default 0.2. Clipped losses only. */
  epsilon?: number;
  /** Upper clip: ratios above 1 + epsilonHigh. Default: epsilon. With cispo the bound itself; default 5. */
  epsilonHigh?: number;
  /** Two-sided clip: an upper bound of the ratio where the advantage is negative (2505.07291). Default: none. Clipped losses only. */
  delta?: number;
  /** Steepness of sapo's sigmoid where the advantage is positive, and elsewhere. Default 1 and 1.05. */
  sapoTemperaturePos?: number;
  /** The same where it is not positive. Default 1.05. */
  sapoTemperatureNeg?: number;
  /** vespo weighs a sequence of ratio w by w^k e^(lambda (1 - w)). Defaults: 2 and 3 where the advantage is not negative, else 3 and 2. */
  vespoKPos?: number;
  /** lambda where the advantage is not negative. Default 3. */
  vespoLambdaPos?: number;
  /** k where the advantage is negative. Default 3. */
  vespoKNeg?: number;
  /** lambda where the advantage is negative. Default 2. */
  vespoLambdaNeg?: number;
  /** Weight of the KL term to refLogProbs. Default 0. */
  beta?: number;
  /** Schulman's estimators; with d = logProbs - refLogProbs: k1 d, k2 d^2 / 2, k3 exp(-d) + d - 1 (default). */
  klEstimator?: 'k1' | 'k2' | 'k3';
  /** Multiplies the KL term by the ratio, as TRL does by default. Default true. */
  klRatioCorrection?: boolean;
  /** Weight of the entropy bonus: the mean entropy of the active tokens, whatever the lossType. Default 0. */
  entropyCoef?: number;
  /**
   * Leaves all but this share of the active tokens, those with the highest entropies, out of the policy term (2506.01939); their KL
   * term, the entropy bonus (TRL limits that too) and the divisors stay. Default 1: all take part. From logits the entropies cost a
   * look more at them.
   */
  topEntropyQuantile?: number;
  /** The same with the entropy given that a token must reach: where this call gets a part of the optimizer batch. */
  entropyThreshold?: number;
  /**
   * Leaves sequences out of the policy term where the advantage is negative and the policy has drifted: the mean of rolloutLogProbs
   * - logProbs is above this (DeepSeek-V3.2, 2512.02556). Default: none.
   */
  offPolicyMaskThreshold?: number;
  /** Needed by 'dr_grpo'. */
  maxCompletionLength?: number;
  /** Active tokens and sequences of the whole optimizer batch, when this call gets a part of it. Default: what is given. */
  normalizer?: { tokens: number; sequences: number };
}

// Numbers of native/kernels/clipped_loss/clipped_loss.h.
const AGGREGATION = { tokenMean: 0, sequenceMeanTokenMean: 1, sequenceMeanTokenSum: 2, sequenceMeanTokenSumNorm: 3 };
const RATIO_LEVEL = { token: 0, sequence: 1 } as const;
const KL_ESTIMATOR = { k1: 0, k2: 1, k3: 2 } as const;
/** What stands before the KL term, and the options that only it takes. */
const SURROGATE = {
  clipped: { number: 0, options: ['importanceSamplingLevel', 'epsilon', 'epsilonHigh', 'delta'] },
  cispo: { number: 1, options: ['importanceSamplingLevel', 'epsilonHigh'] },
  sapo: { number: 2, options: ['importanceSamplingLevel', 'sapoTemperaturePos', 'sapoTemperatureNeg'] },
  vespo: { number: 3, options: ['vespoKPos', 'vespoLambdaPos', 'vespoKNeg', 'vespoLambdaNeg'] },
  raft: { number: 4, options: [] },
} as const;
const SURROGATE_OPTIONS: ReadonlySet<keyof PolicyLossOptions> = new Set(
  Object.values(SURROGATE).flatMap(({ options }) => [...options]),
);

type LossType = NonNullable<PolicyLossOptions['lossType']>;
const KINDS: Record<LossType, { surrogate: keyof typeof SURROGATE; aggregation: keyof typeof AGGREGATION }> = {
  dapo: { surrogate: 'clipped', aggregation: 'tokenMean' },
  grpo: { surrogate: 'clipped', aggregation: 'sequenceMeanTokenMean' },
  bnpo: { surrogate: 'clipped', aggregation: 'tokenMean' },
  dr_grpo: { surrogate: 'clipped', aggregation: 'sequenceMeanTokenSumNorm' },
  luspo: { surrogate: 'clipped', aggregation: 'sequenceMeanTokenSum' },
  cispo: { surrogate: 'cispo', aggregation: 'tokenMean' },
  sapo: { surrogate: 'sapo', aggregation: 'sequenceMeanTokenMean' },
  vespo: { surrogate: 'vespo', aggregation: 'tokenMean' },
  raft: { surrogate: 'raft', aggregation: 'sequenceMeanTokenMean' },
  'raft++': { surrogate: 'clipped', aggregation: 'sequenceMeanTokenMean' },
};

export const LOSS_TYPES = Object.keys(KINDS) as LossType[];

/** Names of the {@link PolicyLossOptions}, for checkOptions. */
export const LOSS_OPTIONS = [
  'lossType',
  ...SURROGATE_OPTIONS,
  'beta',
  'klEstimator',
  'klRatioCorrection',
  'entropyCoef',
  'topEntropyQuantile',
  'entropyThreshold',
  'offPolicyMaskThreshold',
  'maxCompletionLength',
  'normalizer',
] as const;

/** The loss's parameters as the addon takes them: spread them into its arguments. */
export interface LossParams {
  surrogate: number;
  ratioLevel: number;
  aggregation: number;
  epsilonLow: number;
  epsilonHigh: number;
  delta?: number;
  sapoTemperaturePos: number;
  sapoTemperatureNeg: number;
  vespoKPos: number;
  vespoLambdaPos: number;
  vespoKNeg: number;
  vespoLambdaNeg: number;
  offPolicyMaskThreshold?: number;
  entropyThreshold?: number;
  beta: number;
  klEstimator: number;
  klRatioCorrection: boolean;
  entropyCoef: number;
  normTokens: number;
  normSequences: number;
  maxLength: number;
}

/** What a loss type stands for, and that none of the options belongs to another one. */
function kindOfLoss(options: PolicyLossOptions) {
  const lossType = checkChoice('lossType', options.lossType ?? 'dapo', LOSS_TYPES);
  const { surrogate, aggregation } = KINDS[lossType];
  const takes: readonly string[] = SURROGATE[surrogate].options;
  for (const name of SURROGATE_OPTIONS) {
    // 'token' says nothing: every loss has it.
    const idle = options[name] === undefined || (name === 'importanceSamplingLevel' && options[name] === 'token');
    if (!idle && !takes.includes(name))
      throw invalidArgument(
        `${name} has no meaning with lossType '${lossType}'${takes.length ? `, which takes ${takes.join(', ')}` : ''}`,
      );
  }
  return { lossType, surrogate, aggregation };
}

/**
 * Options with their defaults, checked.
 *
 * @param given active tokens (absent: the kernel counts them), and sequences, of what the call gets: the normalizer when the
 *   options have none
 * @param entropyThreshold what topEntropyQuantile comes to in this batch
 */
export function lossParams(
  options: PolicyLossOptions,
  given: { tokens?: number; sequences: number },
  entropyThreshold = options.entropyThreshold,
): LossParams {
  const { lossType, surrogate, aggregation } = kindOfLoss(options);
  const level = checkChoice('importanceSamplingLevel', options.importanceSamplingLevel ?? 'token', [
    'token',
    'sequence',
  ]);
  const estimator = checkChoice('klEstimator', options.klEstimator ?? 'k3', ['k1', 'k2', 'k3']);
  const epsilon = checkNumber('epsilon', options.epsilon ?? 0.2, 0, 1);
  const correction = checkBoolean('klRatioCorrection', options.klRatioCorrection ?? true);
  if (lossType === 'dr_grpo' && options.maxCompletionLength === undefined)
    throw invalidArgument(
      "lossType 'dr_grpo' needs maxCompletionLength: it divides by that length, not by the actual ones",
    );
  const { delta, offPolicyMaskThreshold } = options;
  const optional = (name: string, value: number | undefined, low: number, exclusive = false) =>
    value === undefined || value === Infinity ? undefined : checkNumber(name, value, low, Infinity, exclusive);
  return {
    surrogate: SURROGATE[surrogate].number,
    ratioLevel: RATIO_LEVEL[level],
    aggregation: AGGREGATION[aggregation],
    epsilonLow: epsilon,
    epsilonHigh: checkNumber('epsilonHigh', options.epsilonHigh ?? (surrogate === 'cispo' ? 5 : epsilon), 0),
    delta: optional('delta', delta, 0, true),
    sapoTemperaturePos: checkNumber('sapoTemperaturePos', options.sapoTemperaturePos ?? 1, 0, Infinity, true),
    sapoTemperatureNeg: checkNumber('sapoTemperatureNeg', options.sapoTemperatureNeg ?? 1.05, 0, Infinity, true),
    vespoKPos: checkNumber('vespoKPos', options.vespoKPos ?? 2, 0),
    vespoLambdaPos: checkNumber('vespoLambdaPos', options.vespoLambdaPos ?? 3, 0, Infinity, true),
    vespoKNeg: checkNumber('vespoKNeg', options.vespoKNeg ?? 3, 0),
    vespoLambdaNeg: checkNumber('vespoLambdaNeg', options.vespoLambdaNeg ?? 2, 0, Infinity, true),
    offPolicyMaskThreshold: optional('offPolicyMaskThreshold', offPolicyMaskThreshold, 0),
    entropyThreshold:
      entropyThreshold === undefined || entropyThreshold === -Infinity
        ? undefined
        : checkNumber('entropyThreshold', entropyThreshold),
    beta: checkNumber('beta', options.beta ?? 0, 0),
    klEstimator: KL_ESTIMATOR[estimator],
    klRatioCorrection: correction,
    entropyCoef: checkNumber('entropyCoef', options.entropyCoef ?? 0),
    maxLength: checkInteger('maxCompletionLength', options.maxCompletionLength ?? 1, 1),
    ...normalizer(options, lossType, given),
  };
}

function normalizer(options: PolicyLossOptions, lossType: string, given: { tokens?: number; sequences: number }) {
  const asked = options.normalizer;
  // A batch without an active token has loss 0, not 0 / 0.
  if (asked === undefined)
    return {
      normTokens: given.tokens === undefined ? 0 : Math.max(1, given.tokens),
      normSequences: Math.max(1, given.sequences),
    };
  if (lossType === 'bnpo')
    throw invalidArgument(
      "normalizer has no meaning with lossType 'bnpo', which averages over the tokens of each call: use 'dapo'",
    );
  const { tokens, sequences } = checkOptions('normalizer', asked, ['tokens', 'sequences']);
  return {
    normTokens: checkNumber('normalizer.tokens', tokens, 0, Infinity, true),
    normSequences: checkNumber('normalizer.sequences', sequences, 0, Infinity, true),
  };
}
