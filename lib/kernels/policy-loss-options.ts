// Made from loss-table.ts by `npm run docs`; do not edit.

/**
 * Options of the policy loss, named as in TRL's GRPOConfig. The formulas:
 * native/kernels/clipped_loss/clipped_loss.h.
 */
export interface PolicyLossOptions {
  /**
   * Loss term of each token, and how the terms are averaged (default: dapo).
   *
   * rho is the ratio of new to old probability, A the advantage, [x] a constant to the gradient.
   *
   * 'dapo' (2503.14476): -min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilonHigh) A); over active tokens.
   *
   * 'grpo' (2402.03300): the term of dapo; over tokens of a sequence, then sequences.
   *
   * 'bnpo' (TRL): the term of dapo; over active tokens; only those of this call.
   *
   * 'dr_grpo' (2503.20783): the term of dapo; over sequences x maxCompletionLength.
   *
   * 'luspo' (2602.05261): the term of dapo; over sequences, each the sum of its tokens; made for sequence-level
   * ratios.
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
   * 'nll' (TRL): the term of raft; over active tokens; with advantages of 1 the cross-entropy of supervised
   * fine-tuning.
   *
   * 'raft++' (2504.11343): the term of dapo; over tokens of a sequence, then sequences; for advantages of 1 on right
   * responses and 0 on wrong ones.
   */
  lossType?:
    | 'dapo'
    | 'grpo'
    | 'bnpo'
    | 'dr_grpo'
    | 'luspo'
    | 'cispo'
    | 'sapo'
    | 'vespo'
    | 'raft'
    | 'nll'
    | 'raft++'
    | undefined;
  /**
   * One ratio per token, or one per sequence: exp of its mean log-ratio, GSPO, arXiv 2507.18071 (not with vespo and
   * raft). Default 'token'.
   */
  importanceSamplingLevel?: 'token' | 'sequence' | undefined;
  /** Lower clip of the ratio: 1 - epsilon (clipped losses, default 0.2). At least 0, at most 1. */
  epsilon?: number | undefined;
  /**
   * Upper clip of the ratio: 1 + epsilonHigh; with cispo the bound itself (clipped losses, default epsilon; cispo,
   * default 5). At least 0.
   */
  epsilonHigh?: number | undefined;
  /**
   * Upper bound of the ratio where the advantage is negative: a two-sided clip, arXiv 2505.07291 (clipped losses,
   * default none). Above 0.
   */
  delta?: number | undefined;
  /** Steepness of the sigmoid where the advantage is positive (sapo, default 1). Above 0. */
  sapoTemperaturePos?: number | undefined;
  /** Steepness of the sigmoid where the advantage is not positive (sapo, default 1.05). Above 0. */
  sapoTemperatureNeg?: number | undefined;
  /** k of the weight w^k e^(lambda (1 - w)) where the advantage is not negative (vespo, default 2). At least 0. */
  vespoKPos?: number | undefined;
  /** lambda of the same weight where the advantage is not negative (vespo, default 3). Above 0. */
  vespoLambdaPos?: number | undefined;
  /** k of the same weight where the advantage is negative (vespo, default 3). At least 0. */
  vespoKNeg?: number | undefined;
  /** lambda of the same weight where the advantage is negative (vespo, default 2). Above 0. */
  vespoLambdaNeg?: number | undefined;
  /** Weight of the KL term to the frozen reference. Default 0. At least 0. */
  beta?: number | undefined;
  /**
   * Schulman's estimator of the KL term. Default 'k3'. With d = logProbs - refLogProbs: k1 is d, k2 is d^2 / 2, k3 is
   * exp(-d) + d - 1.
   */
  klEstimator?: 'k1' | 'k2' | 'k3' | undefined;
  /** Multiply the KL term by the ratio, as TRL does by default. Default true. */
  klRatioCorrection?: boolean | undefined;
  /** Weight of the entropy bonus: the mean entropy of the active tokens, with any lossType. Default 0. */
  entropyCoef?: number | undefined;
  /**
   * Share of the active tokens that get a policy term: those with the highest entropy, arXiv 2506.01939. Default 1. At
   * least 0, at most 1. The KL term, the entropy bonus (TRL limits that too) and the divisors keep all tokens. With a
   * loss from logits, the entropies take one more pass over them.
   */
  topEntropyQuantile?: number | undefined;
  /**
   * Entropy that a token needs to get a policy term (default: none). It replaces topEntropyQuantile in a call that
   * gets only a part of the optimizer batch.
   */
  entropyThreshold?: number | undefined;
  /**
   * Leave sequences out of the policy term if the advantage is negative and the mean log-probability drift exceeds
   * this, arXiv 2512.02556 (default: none). At least 0. The drift of a token is rolloutLogProbs - logProbs.
   */
  offPolicyMaskThreshold?: number | undefined;
  /** Divisor of the sums with lossType 'dr_grpo', which requires it. At least 1. */
  maxCompletionLength?: number | undefined;
  /** Size of the whole optimizer batch, if this call gets only a part of it. Default: the size of this call. */
  normalizer?:
    | {
        /** Active tokens. */
        tokens: number;
        /** Sequences. */
        sequences: number;
      }
    | undefined;
}
