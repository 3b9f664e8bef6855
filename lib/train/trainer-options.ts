// Made from options.ts by `npm run docs`; do not edit.

/** Options of the Trainer, besides its setup. */
export interface TrainerOptions {
  /**
   * How rewards become advantages: prl (process rewards from the log-ratios of each step), frpo (future KL), progrs
   * (scores of a process reward model), grpo (outcome only) or raft (right responses only). Default 'prl'.
   */
  method?: 'prl' | 'frpo' | 'progrs' | 'grpo' | 'raft' | undefined;
  /** Seed of problems, samples and shuffles. Default 0. At least 0. */
  seed?: number | undefined;
  /** Number of training steps, each with one rollout. Default 25. At least 0. */
  maxSteps?: number | undefined;
  /**
   * Number of sampled tokens at which training ends, after the step that reaches it, if maxSteps does not end it
   * before (default: no limit). At least 1.
   */
  maxTokens?: number | undefined;
  /** Difficulty of the training problems (default: the task's first level). */
  level?: string | undefined;
  /** Problems per rollout. Default 32. At least 1. */
  promptsPerStep?: number | undefined;
  /** Responses per problem, which form a group. Default 8. At least 1. */
  numGenerations?: number | undefined;
  /** Longest response in tokens. Default 72. At least 1. */
  maxCompletionLength?: number | undefined;
  /** Temperature of sampling and of the trained log-probabilities. Default 1. Above 0. */
  temperature?: number | undefined;
  /** Leave responses that hit the length limit out of the loss. Default false. */
  maskTruncatedCompletions?: boolean | undefined;
  /** Learning rate of AdamW at its peak. Default 0.0003. At least 0. */
  learningRate?: number | undefined;
  /** Schedule of the learning rate after the warm-up. Default 'constant'. */
  lrSchedulerType?: 'constant' | 'linear' | 'cosine' | undefined;
  /** Optimizer updates in which the learning rate rises linearly. Default 10. At least 0. */
  warmupSteps?: number | undefined;
  /** Final learning rate of linear and cosine, as a share of learningRate. Default 0. At least 0, at most 1. */
  minLearningRateRate?: number | undefined;
  /** Decay of AdamW's mean of gradients. Default 0.9. At least 0, at most 1. */
  adamBeta1?: number | undefined;
  /** Decay of AdamW's mean of squared gradients. Default 0.99. At least 0, at most 1. */
  adamBeta2?: number | undefined;
  /** Epsilon of AdamW. Default 1e-8. Above 0. */
  adamEpsilon?: number | undefined;
  /** Decoupled weight decay of matrices. Default 0. At least 0. */
  weightDecay?: number | undefined;
  /** Largest global gradient norm; larger gradients are scaled down to it. Default 1. Above 0. */
  maxGradNorm?: number | undefined;
  /** Optimizer updates per pass over a rollout. Default 2. At least 1. */
  numMinibatches?: number | undefined;
  /** Passes over each rollout. Default 1. At least 1. */
  numIterations?: number | undefined;
  /** Tokens per forward and backward pass, which affect memory and rounding (default: the policy's). At least 1. */
  microBatchTokens?: number | undefined;
  /**
   * Recompute activations in the backward pass instead of keeping them: a fraction of the memory, a third more time,
   * the same bits. Default false.
   */
  gradientCheckpointing?: boolean | undefined;
  /**
   * Loss term of each token, and how the terms are averaged (default: dapo; raft with method raft). raft++ is for
   * method raft.
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
   * default none). Above 1.
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
  /** Schulman's estimator of the KL term. Default 'k3'. */
  klEstimator?: 'k1' | 'k2' | 'k3' | undefined;
  /** Multiply the KL term by the ratio, as TRL does by default. Default true. */
  klRatioCorrection?: boolean | undefined;
  /** Weight of the entropy bonus: the mean entropy of the active tokens, with any lossType. Default 0. */
  entropyCoef?: number | undefined;
  /**
   * Share of the active tokens that get a policy term: those with the highest entropy, arXiv 2506.01939. Default 1. At
   * least 0, at most 1.
   */
  topEntropyQuantile?: number | undefined;
  /**
   * Leave sequences out of the policy term if the advantage is negative and the mean log-probability drift exceeds
   * this, arXiv 2512.02556 (default: none). At least 0.
   */
  offPolicyMaskThreshold?: number | undefined;
  /** Weight a rollout engine's samples by our probability over its own (default: true). */
  vllmImportanceSamplingCorrection?: boolean | undefined;
  /**
   * Importance ratio per token or sequence, limited to its bounds (truncate) or 0 outside of them (mask) (default:
   * sequence_mask).
   */
  vllmImportanceSamplingMode?: 'token_truncate' | 'token_mask' | 'sequence_truncate' | 'sequence_mask' | undefined;
  /** Upper bound of the importance ratio (default: 3; Infinity: none). Above 0. */
  vllmImportanceSamplingClipMax?: number | undefined;
  /** Lower bound of the importance ratio (default: 0). At least 0. */
  vllmImportanceSamplingClipMin?: number | undefined;
  /** Divide centred rewards by the group's deviation, by the batch's, or not at all (Dr. GRPO). Default 'group'. */
  scaleRewards?: 'group' | 'batch' | 'none' | undefined;
  /**
   * Baseline of a reward: the mean of its group, scaled (grpo, see scaleRewards) or not (dr_grpo), or the mean of the
   * others (rloo). Default 'grpo'.
   */
  advantageEstimator?: 'grpo' | 'dr_grpo' | 'rloo' | undefined;
  /** Divisor of the deviation for scaleRewards: n - 1 (sample) or n (population). Default 'sample'. */
  advantageStd?: 'sample' | 'population' | undefined;
  /** Number that is added to the deviation for scaleRewards. Default 0.0001. At least 0. */
  advantageEpsilon?: number | undefined;
  /** Advantage of the only response of a group: zero, or its reward (PRL's published code). Default 'zero'. */
  singleton?: 'zero' | 'raw' | undefined;
  /** prl: divisor of the log-ratios that are process rewards. Default 100. Above 0. */
  eta?: number | undefined;
  /** prl: suffix sum of a step with or without the step's own last token. Default 'inclusive'. */
  suffix?: 'inclusive' | 'exclusive' | undefined;
  /**
   * prl: add process rewards to the outcome advantage, or sum them with the reward per response and normalise in the
   * group. Default 'outcome'.
   */
  prlAdvantage?: 'outcome' | 'process' | undefined;
  /** frpo: weight of the future divergence from the reference. Default 0.01. At least 0. */
  frpoBeta?: number | undefined;
  /** frpo: estimator of the divergence. Default 'k1'. */
  frpoEstimator?: 'k1' | 'k3' | undefined;
  /** frpo: KL(policy | reference), or KL(reference | policy). Default 'reverse'. */
  frpoDirection?: 'reverse' | 'forward' | undefined;
  /** frpo: subtract the batch's mean token divergence from each future token's (k3 only). Default false. */
  frpoBaseline?: boolean | undefined;
  /** progrs: weight of the process scores. Default 1. At least 0, at most 1000000000. */
  lambda?: number | undefined;
  /**
   * progrs: weight of the mean step score in a process score; coherence has the rest. Default 0.5. At least 0, at most
   * 1.
   */
  alpha?: number | undefined;
  /** progrs: window sizes of coherence, in steps. Default [2,3,5]. At least 1. */
  coherenceWindows?: readonly number[] | undefined;
  /** progrs: penalty of variation within a window. Default 1. At least 0. */
  lambdaVar?: number | undefined;
  /**
   * progrs: responses to centre on the mean process score of their outcome in the group (none: naive, for comparison).
   * Default 'incorrect'.
   */
  center?: 'incorrect' | 'both' | 'none' | undefined;
  /**
   * progrs: one process score per response, or each step's own score for its tokens (without alpha and coherence).
   * Default 'response'.
   */
  granularity?: 'response' | 'step' | undefined;
  /** progrs: add process scores to the advantage, or to the reward before it is normalised. Default 'advantage'. */
  combine?: 'advantage' | 'reward' | undefined;
  /**
   * Where reasoning steps end: after lines, blank lines, stepLength tokens, stepTokens or stepStrings; offsets calls
   * stepOffsets of the setup. Default 'newline'.
   */
  stepSplit?: 'newline' | 'blankLine' | 'length' | 'tokens' | 'strings' | 'offsets' | undefined;
  /** Tokens per step, for stepSplit 'length'. Default 256. At least 1. */
  stepLength?: number | undefined;
  /** Token ids that end a step, for stepSplit 'tokens'. At least 0. */
  stepTokens?: readonly number[] | undefined;
  /** Strings that end a step in the decoded text, for stepSplit 'strings' (\n is a newline). */
  stepStrings?: readonly string[] | undefined;
  /** Evaluate every N steps (0: only before and after training). Default 0. At least 0. */
  evalSteps?: number | undefined;
  /** Held-out problems per evaluation (0: no evaluation). Default 200. At least 0. */
  evalProblems?: number | undefined;
  /** Responses per held-out problem. Default 8. At least 1. */
  evalSamples?: number | undefined;
  /** Save a checkpoint every N steps. Default 5. At least 1. */
  saveSteps?: number | undefined;
  /** Number of checkpoints to keep. Default 2. At least 1. */
  saveTotalLimit?: number | undefined;
  /**
   * Compare the log-probabilities of sampling with recomputed ones every N steps (0: never). Default 10. At least 0.
   */
  logProbCheckSteps?: number | undefined;
  /**
   * Responses that are compared then, spread over the rollout. The policy's own samples need no more; a rollout
   * engine's are compared in every step, all of them. Default 8. At least 1.
   */
  logProbCheckResponses?: number | undefined;
  /** Stop after N steps in a row without a finite update. Default 3. At least 1. */
  maxNonFiniteSteps?: number | undefined;
}
