import type { EvaluationResult } from '../eval/evaluate.js';
import { deviation, mean } from '../methods/method.js';
import type { UpdateMetrics } from '../policy/types.js';
import type { Rollout } from '../rollout/rollout.js';
import type { TrainerState } from './checkpoint.js';
import type { LeftOut } from './minibatch.js';
import type { Step } from './step.js';
import type { StepMetrics } from './step-metrics.js';

/** Parts of a step that are timed as seconds/NAME. */
export type Phase = 'sync' | 'rollout' | 'check' | 'reference' | 'prm' | 'advantages' | 'update' | 'evaluation';

/** Phases with a rate, tokens_per_second/NAME. */
export const RATED_PHASES = ['rollout', 'reference', 'prm', 'update'] as const satisfies readonly Phase[];

/** Results of the stages of a step, besides the step itself. */
interface StepFindings {
  /** Metrics of the log-probabilities of sampling, compared with ours. */
  sampling: Record<string, number>;
  /** Metrics of the method. */
  credit: Record<string, number>;
  /** Mean entropy of the first token over the problems. */
  entropy: number;
  updates: readonly Update[];
  /** Whether there is a frozen reference. */
  reference: boolean;
  evaluation?: EvaluationResult;
  /** Tokens that the process reward model read in this step, if there is one. */
  prmTokens?: number;
  /** The state after the step. */
  state: TrainerState;
  seconds: Partial<Record<Phase, number>>;
  /** Seconds of the whole step. */
  total: number;
}

/** The row of metrics.jsonl of a step. */
export function stepMetrics(
  { step, rollout, advantages, cuSteps }: Step,
  { sampling, credit, entropy, updates, reference, evaluation, prmTokens, state, seconds, total }: StepFindings,
): StepMetrics {
  return {
    step,
    ...rolloutMetrics(rollout),
    ...sampling,
    ...credit,
    ...creditMetrics(rollout, advantages),
    'step_count/mean': (cuSteps.length - 1) / rollout.rewards.length,
    first_token_entropy: entropy,
    ...updateMetrics(updates, { reference }),
    ...(evaluation && { 'eval/average_at_n': evaluation.averageAtN, 'eval/pass_at_n': evaluation.passAtN }),
    num_tokens: state.tokens,
    ...(prmTokens !== undefined && { 'prm/tokens': prmTokens, num_prm_tokens: state.prmTokens }),
    tokens_per_second: rollout.logProbs.length / total,
    ...rates(seconds, {
      rollout: rollout.logProbs.length,
      reference: rollout.logProbs.length,
      prm: prmTokens ?? 0,
      update: updates.reduce((sum, { metrics }) => sum + metrics.tokens, 0),
    }),
    ...Object.fromEntries(Object.entries(seconds).map(([phase, value]) => [`seconds/${phase}`, value])),
    'seconds/step': total,
  };
}

/** Tokens over the time of each phase that had any. */
const rates = (seconds: Partial<Record<Phase, number>>, tokens: Record<(typeof RATED_PHASES)[number], number>) =>
  Object.fromEntries(
    RATED_PHASES.flatMap((phase) => {
      const time = seconds[phase] ?? 0;
      return tokens[phase] > 0 && time > 0 ? [[`tokens_per_second/${phase}`, tokens[phase] / time]] : [];
    }),
  );

/** Metrics of a rollout before the step learns from it, under TRL's names. */
export function rolloutMetrics(rollout: Rollout) {
  const { problems, groupIds, rewards, completions, finished } = rollout;
  const groups = problems.map((_, group) => rewards.filter((_, i) => groupIds[i] === group));
  const deviations = groups.map(deviation);
  const lengths = completions.map(({ length }) => length);
  return {
    reward: mean(rewards),
    pass_at_n: mean(groups.map((values) => (values.some((reward) => reward > 0) ? 1 : 0))),
    reward_std: mean(deviations),
    frac_reward_zero_std: mean(deviations.map((value) => (value === 0 ? 1 : 0))),
    'completions/mean_length': mean(lengths),
    'completions/min_length': Math.min(...lengths),
    'completions/max_length': Math.max(...lengths),
    'completions/clipped_ratio': mean(finished.map((ended) => (ended ? 0 : 1))),
    ...rollout.measures,
  };
}

/**
 * The share of wrong responses that are pushed up all the same. A process reward that takes fluent steps for right ones
 * does this. Empty if no response is wrong.
 */
export function creditMetrics({ rewards, cuSeqlens }: Rollout, advantages: Float32Array) {
  const wrong = [...rewards.keys()].filter((i) => rewards[i] <= 0);
  if (wrong.length === 0) return {};
  const sums = wrong.map((i) => advantages.subarray(cuSeqlens[i], cuSeqlens[i + 1]).reduce((a, b) => a + b, 0));
  return { 'advantage/wrong_positive_ratio': mean(sums.map((sum) => (sum > 0 ? 1 : 0))) };
}

/** The difference between the log-probabilities of generation and those that training computes for the same tokens. */
export function differenceMetrics(sampled: Float32Array, recomputed: Float32Array) {
  let worst = 0;
  let sum = 0;
  for (let t = 0; t < sampled.length; t++) {
    const difference = Math.abs(sampled[t] - recomputed[t]);
    worst = Math.max(worst, difference);
    sum += difference;
  }
  return {
    'sampling/sampling_logp_difference/mean': sum / sampled.length,
    'sampling/sampling_logp_difference/max': worst,
  };
}

/** An optimizer step: its metrics, and what was left out of its batch. */
export interface Update {
  metrics: UpdateMetrics;
  learningRate: number;
  leftOut: LeftOut;
  /** No response took part, so no optimizer step was taken. */
  empty: boolean;
}

/**
 * Means over the updates of a step; an empty update has loss and gradient 0, and no part in the other means. Clip
 * ratios and entropy are means over all tokens that take part, including
 * responses that were left out of their batch because their advantages are 0. Such tokens are never clipped. If there
 * are any, the entropy is estimated by the mean -log p of all sampled tokens, whose expectation it is: the choice of
 * what is left out depends on the samples.
 */
export function updateMetrics(updates: readonly Update[], { reference }: { reference: boolean }) {
  const taken = updates.filter(({ empty }) => !empty);
  const over = (value: (metrics: UpdateMetrics) => number, of = taken.length > 0 ? taken : updates) =>
    mean(of.map(({ metrics }) => value(metrics)));
  const all = updates.reduce((n, { metrics, leftOut }) => n + metrics.tokens + leftOut.tokens, 0);
  const overAll = (sum: (update: Update) => number) =>
    updates.reduce((total, update) => total + sum(update), 0) / Math.max(1, all);
  const phi = over(({ phiMean }) => phiMean);
  return {
    loss: over(({ loss }) => loss, updates),
    grad_norm: over(({ gradNorm }) => gradNorm, updates),
    learning_rate: updates[updates.length - 1].learningRate,
    entropy: overAll(({ metrics, leftOut }) =>
      leftOut.tokens > 0 ? leftOut.surprisal : metrics.entropy * metrics.tokens,
    ),
    ...(reference && { kl: over(({ kl }) => kl) }),
    approx_kl: over(({ approxKl }) => approxKl),
    'ratio/mean': over(({ ratioMean }) => ratioMean),
    'ratio/max': Math.max(...updates.map(({ metrics }) => metrics.ratioMax)),
    'clip_ratio/low_mean': overAll(({ metrics }) => metrics.clipRatioLow * metrics.tokens),
    'clip_ratio/high_mean': overAll(({ metrics }) => metrics.clipRatioHigh * metrics.tokens),
    'clip_ratio/region_mean': overAll(({ metrics }) => metrics.clipRatioRegion * metrics.tokens),
    // Only lossType vespo has weights above 0.
    ...(phi > 0 && { 'vespo/phi_seq_mean': phi }),
    updates_skipped: updates.filter(({ metrics }) => !metrics.applied).length,
    updates_empty: updates.length - taken.length,
  };
}
