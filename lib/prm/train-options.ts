// Made from train.ts by `npm run docs`; do not edit.

/** Values of `options` for {@link trainQuantilePrm}. */
export interface PrmTrainOptions {
  /**
   * Train the head alone (frozen), or the network too (finetune), which then keeps a frozen copy for the features.
   * Default 'frozen'.
   */
  backbone?: 'frozen' | 'finetune' | undefined;
  /**
   * Read log-probabilities of the frozen model beside the hidden state; without them the head learns little. Default
   * true.
   */
  features?: boolean | undefined;
  /** Quantiles that the head predicts, rising, each above 0 and below 1. Default [0.1,0.5,0.9]. */
  quantiles?: readonly number[] | undefined;
  /** Quantile that is the score (default: 0.5, else the middle one); a low one is cautious. */
  quantile?: number | undefined;
  /** Width of the head's hidden layer. Default 64. At least 1, at most 16384. */
  width?: number | undefined;
  /** Largest number of epochs. Default 60. At least 1. */
  epochs?: number | undefined;
  /** Epochs without a lower loss on held-out problems before training stops. Default 10. At least 1. */
  patience?: number | undefined;
  /** Reasoning steps per optimizer step. Default 256. At least 1. */
  batchSize?: number | undefined;
  /** Learning rate of AdamW for the head. Default 0.003. At least 0. */
  learningRate?: number | undefined;
  /** Learning rate of AdamW for the network, with --backbone finetune. Default 0.0001. At least 0. */
  backboneLearningRate?: number | undefined;
  /** Decoupled weight decay of matrices. Default 0.01. At least 0. */
  weightDecay?: number | undefined;
  /** Share of the problems held out for early stopping. Default 0.2. Above 0, at most 0.9. */
  heldOut?: number | undefined;
  /** Seed of the weights, the split and the shuffles. Default 0. At least 0. */
  seed?: number | undefined;
}
