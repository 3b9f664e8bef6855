/**
 * The row of metrics.jsonl of a step. Names are TRL's where TRL has them. Times are in seconds. Measures of a task, a
 * verifier or a method of your own join the row: see {@link TrainingStep.measures}.
 */
export interface StepMetrics {
  /** Number of the step, from 1. */
  step: number;
  /** Mean reward of the rollout. */
  reward: number;
  /** Mean over groups of the sample deviation of their rewards. */
  reward_std: number;
  /** Share of groups with a reward above 0. */
  pass_at_n: number;
  /** Share of groups whose rewards are all the same. They teach outcome methods nothing. */
  frac_reward_zero_std: number;
  /** Mean tokens of a response. */
  'completions/mean_length': number;
  /** Fewest tokens of a response. */
  'completions/min_length': number;
  /** Most tokens of a response. */
  'completions/max_length': number;
  /** Share of responses cut at maxCompletionLength. */
  'completions/clipped_ratio': number;
  /** Mean reasoning steps of a response. */
  'step_count/mean': number;
  /** Entropy in nats of the first token, mean over problems: how undecided the policy is between ways to begin. */
  first_token_entropy: number;
  /** Entropy in nats, mean over tokens. Where responses have no gradient, -log p of the samples estimates it. */
  entropy: number;
  /** Loss, mean over the updates of the step. */
  loss: number;
  /** Gradient norm before clipping, mean over the updates. */
  grad_norm: number;
  /** Learning rate of the last update. */
  learning_rate: number;
  /** Mean of old minus new log-probability: how far the updates moved the policy. */
  approx_kl: number;
  /** Mean ratio of new to old probability. */
  'ratio/mean': number;
  /** Largest ratio of new to old probability. */
  'ratio/max': number;
  /** Share of tokens that are clipped below. */
  'clip_ratio/low_mean': number;
  /** Share of tokens that are clipped above. */
  'clip_ratio/high_mean': number;
  /** Share of tokens that are clipped on either side. */
  'clip_ratio/region_mean': number;
  /** Updates that were not finite and not applied. */
  updates_skipped: number;
  /** Updates that were not made, because no response of their part took part in the loss. */
  updates_empty: number;
  /** Tokens generated so far. */
  num_tokens: number;
  /** Generated tokens over the time of the step. */
  tokens_per_second: number;
  /** Generated tokens over the time of the rollout. */
  'tokens_per_second/rollout'?: number;
  /** Generated tokens over the time of the reference. */
  'tokens_per_second/reference'?: number;
  /** Tokens that the process reward model read, over its time. */
  'tokens_per_second/prm'?: number;
  /**
   * Tokens of responses in the updates, once per pass, over the time of the updates. Responses without a gradient are
   * left out. Absent if all are.
   */
  'tokens_per_second/update'?: number;
  /** Time of the whole step. */
  'seconds/step': number;
  /** k3 estimate of the KL divergence to the reference, where there is one. */
  kl?: number;
  /** Share of wrong responses whose advantages add up to more than 0. Absent if none is wrong. */
  'advantage/wrong_positive_ratio'?: number;
  /** Mean future divergence from the reference, with method frpo. */
  'future_kl/mean'?: number;
  /** Mean process reward of a step, with method prl. */
  'process_reward/mean'?: number;
  /** Mean score of the steps, with method progrs. */
  'prm/score_mean'?: number;
  /** Mean coherence of the scores, with method progrs. */
  'prm/coherence_mean'?: number;
  /** Share of wrong responses that centred scores push up, with method progrs. Absent if none is wrong. */
  'prm/wrong_positive_share'?: number;
  /** The same share with raw scores. */
  'prm/wrong_positive_share_naive'?: number;
  /** Tokens that the process reward model read in this step. */
  'prm/tokens'?: number;
  /** Tokens that the process reward model has read so far. */
  num_prm_tokens?: number;
  /** Mean weight of the sequences, with lossType vespo. */
  'vespo/phi_seq_mean'?: number;
  /**
   * Mean difference between the log-probabilities of sampling and of training: every logProbCheckSteps steps, and
   * always with a rollout engine.
   */
  'sampling/sampling_logp_difference/mean'?: number;
  /** Largest such difference. */
  'sampling/sampling_logp_difference/max'?: number;
  /** Smallest importance weight, with a rollout engine. */
  'sampling/importance_sampling_ratio/min'?: number;
  /** Mean importance weight, with a rollout engine. */
  'sampling/importance_sampling_ratio/mean'?: number;
  /** Largest importance weight, with a rollout engine. */
  'sampling/importance_sampling_ratio/max'?: number;
  /** Smallest product of the ratios of a sequence, with a rollout engine. */
  'sampling/sequence_ratio_sum/min'?: number;
  /** Mean product of the ratios of a sequence, with a rollout engine. */
  'sampling/sequence_ratio_sum/mean'?: number;
  /** Largest product of the ratios of a sequence, with a rollout engine. */
  'sampling/sequence_ratio_sum/max'?: number;
  /** Smallest geometric mean of the ratios of a sequence, with a rollout engine. */
  'sampling/sequence_ratio_mean/min'?: number;
  /** Mean geometric mean of the ratios of a sequence, with a rollout engine. */
  'sampling/sequence_ratio_mean/mean'?: number;
  /** Largest geometric mean of the ratios of a sequence, with a rollout engine. */
  'sampling/sequence_ratio_mean/max'?: number;
  /** average@n on held-out problems, every evalSteps steps. */
  'eval/average_at_n'?: number;
  /** pass@n on held-out problems, every evalSteps steps. */
  'eval/pass_at_n'?: number;
  /** Time to send the weights to a rollout engine. */
  'seconds/sync'?: number;
  /** Time to sample the responses. */
  'seconds/rollout'?: number;
  /** Time to recompute log-probabilities for a check. */
  'seconds/check'?: number;
  /** Time of the reference. */
  'seconds/reference'?: number;
  /** Time of the process reward model. */
  'seconds/prm'?: number;
  /** Time to compute advantages. */
  'seconds/advantages'?: number;
  /** Time of the updates. */
  'seconds/update'?: number;
  /** Time of the evaluation. */
  'seconds/evaluation'?: number;
}
