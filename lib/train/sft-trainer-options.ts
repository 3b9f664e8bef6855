// Made from sft-options.ts by `npm run docs`; do not edit.

/** Options of SftTrainer, besides its setup. */
export interface SftOptions {
  /** Seed of the order of the demonstrations. Default 0. At least 0. */
  seed?: number | undefined;
  /** Passes over the demonstrations. Default 3. Above 0. */
  numTrainEpochs?: number | undefined;
  /** Number of training steps, instead of numTrainEpochs. At least 0. */
  maxSteps?: number | undefined;
  /** Demonstrations per step. With packing: rows of up to maxLength tokens. Default 8. At least 1. */
  perDeviceTrainBatchSize?: number | undefined;
  /** Fill rows of up to maxLength tokens with whole demonstrations, which do not see each other. Default false. */
  packing?: boolean | undefined;
  /**
   * Longest demonstration in tokens; longer ones lose their end. With packing also the length of a row. Default 1024.
   * At least 2.
   */
  maxLength?: number | undefined;
  /** Learning rate of AdamW at its peak. Default 0.00002. At least 0. */
  learningRate?: number | undefined;
  /** Schedule of the learning rate after the warm-up. Default 'linear'. */
  lrSchedulerType?: 'linear' | 'cosine' | 'constant' | undefined;
  /** Steps in which the learning rate rises linearly. Default 0. At least 0. */
  warmupSteps?: number | undefined;
  /** Final learning rate of linear and cosine, as a share of learningRate. Default 0. At least 0, at most 1. */
  minLearningRateRate?: number | undefined;
  /** Decay of AdamW's mean of gradients. Default 0.9. At least 0, at most 1. */
  adamBeta1?: number | undefined;
  /** Decay of AdamW's mean of squared gradients. Default 0.999. At least 0, at most 1. */
  adamBeta2?: number | undefined;
  /** Epsilon of AdamW. Default 1e-8. Above 0. */
  adamEpsilon?: number | undefined;
  /** Decoupled weight decay of matrices. Default 0. At least 0. */
  weightDecay?: number | undefined;
  /** Largest global gradient norm; larger gradients are scaled down to it. Default 1. Above 0. */
  maxGradNorm?: number | undefined;
  /** Tokens per forward and backward pass, which affect memory and rounding (default: the policy's). At least 1. */
  microBatchTokens?: number | undefined;
  /**
   * Recompute activations in the backward pass instead of keeping them: a fraction of the memory, a third more time,
   * the same bits. Default false.
   */
  gradientCheckpointing?: boolean | undefined;
  /** Evaluate on held-out demonstrations every N steps (0: only before and after training). Default 0. At least 0. */
  evalSteps?: number | undefined;
  /** Save a checkpoint every N steps. Default 50. At least 1. */
  saveSteps?: number | undefined;
  /** Number of checkpoints to keep. Default 1. At least 1. */
  saveTotalLimit?: number | undefined;
}
