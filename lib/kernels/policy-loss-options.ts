// Made from loss-table.ts by `npm run docs`; do not edit.

/** Options of the policy loss, named as in TRL's GRPOConfig. The formulas: native/kernels/clipped_loss/clipped_loss.h. */
export interface PolicyLossOptions {
  /**
   * Term of a token, and how terms are averaged (default: dapo).
   *
   * rho is the ratio of new to old probability, A the advantage, [x] a constant to the gradient.
   *
   * 'dapo' (2503.14476): -min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilonHigh) A); over active tokens.
   *
   * 'grpo' (2402.03300): the term of dapo; over tokens of a sequence, then sequences.
   *
   * 'bnpo' (TRL): the term of dapo; over active tokens; those of this call alone.
   *
   * 'dr_grpo' (2503.20783): the term of dapo; over sequences x maxCompletionLength.
   *
   * 'luspo' (2602.05261): the term of dapo; over sequences, each the sum of its tokens; made for ratios of sequences.
   *
   * 'cispo' (2506.13585): -[min(rho, epsilonHigh)] A logProb; over active tokens.
   *
   * 'sapo' (2511.20347): -(4 / tau) sigmoid(tau (rho - 1)) A, tau the sapoTemperature; over tokens of a sequence, then
   * sequences.
   *
   * 'vespo' (2602.10693): -[w^k e^(lambda (1 - w))] A logProb, w the product of the sequence's ratios; over active
   * tokens.
   *
   * 'raft' (2304.06767): -A logProb; over tokens of a sequence, then sequences; for advantages of 1 on right responses
   * and 0 on wrong ones.
   *
   * 'raft++' (2504.11343): the term of dapo; over tokens of a sequence, then sequences; for advantages of 1 on right
   * responses and 0 on wrong ones.
   */
  lossType?: 'dapo' | 'grpo' | 'bnpo' | 'dr_grpo' | 'luspo' | 'cispo' | 'sapo' | 'vespo' | 'raft' | 'raft++';
  /**
   * A ratio per token, or one per sequence: exp of its mean log-ratio, GSPO, arXiv 2507.18071 (not with vespo and
   * raft). Default 'token'.
   */
  importanceSamplingLevel?: 'token' | 'sequence';
  /** Lower clip of the ratio: 1 - epsilon (clipped losses, default 0.2). At least 0, at most 1. */
  epsilon?: number;
  /**
   * Upper clip of the ratio: 1 + epsilonHigh; with cispo the bound itself (clipped losses, default epsilon; cispo,
   * default 5). At least 0.
   */
  epsilonHigh?: number;
  /**
   * Upper bound of the ratio where the advantage is negative: a two-sided clip, arXiv 2505.07291 (clipped losses,
   * default none). Above 0.
   */
  delta?: number;
  /** Steepness of the sigmoid where the advantage is positive (sapo, default 1). Above 0. */
  sapoTemperaturePos?: number;
  /** Steepness of the sigmoid elsewhere (sapo, default 1.05). Above 0. */
  sapoTemperatureNeg?: number;
  /** k of the weight w^k e^(lambda (1 - w)) where the advantage is not negative (vespo, default 2). At least 0. */
  vespoKPos?: number;
  /** lambda of that weight where the advantage is not negative (vespo, default 3). Above 0. */
  vespoLambdaPos?: number;
  /** k of that weight where the advantage is negative (vespo, default 3). At least 0. */
  vespoKNeg?: number;
  /** lambda of that weight where the advantage is negative (vespo, default 2). Above 0. */
  vespoLambdaNeg?: number;
  /** Weight of the KL term to the frozen reference. Default 0. At least 0. */
  beta?: number;
  /**
   * Schulman's estimator of the KL term. Default 'k3'. With d = logProbs - refLogProbs: k1 is d, k2 is d^2 / 2, k3 is
   * exp(-d) + d - 1.
   */
  klEstimator?: 'k1' | 'k2' | 'k3';
  /** Multiply the KL term by the ratio, as TRL does by default. Default true. */
  klRatioCorrection?: boolean;
  /** Weight of the entropy bonus: the mean entropy of the active tokens, whatever the lossType. Default 0. */
  entropyCoef?: number;
  /**
   * Share of the active tokens, those of the highest entropy, that the policy term is taken of, arXiv 2506.01939.
   * Default 1. At least 0, at most 1. The KL term, the entropy bonus (TRL limits that too) and the divisors keep all
   * tokens. From logits the entropies cost one more look at them.
   */
  topEntropyQuantile?: number;
  /**
   * Entropy that a token must reach to be in the policy term (default: none). It does what topEntropyQuantile does,
   * for a call that gets a part of the optimizer batch.
   */
  entropyThreshold?: number;
  /**
   * Leave sequences out of the policy term with a negative advantage and more mean drift of the log-probabilities,
   * arXiv 2512.02556 (default: none). At least 0. The drift of a token is rolloutLogProbs - logProbs.
   */
  offPolicyMaskThreshold?: number;
  /** Divides the sums of lossType 'dr_grpo', which needs it. At least 1. */
  maxCompletionLength?: number;
  /** Size of the whole optimizer batch, when this call gets a part of it. Default: what is given. */
  normalizer?: {
    /** Active tokens. */
    tokens: number;
    /** Sequences. */
    sequences: number;
  };
}
