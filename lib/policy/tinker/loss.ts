// Which loss the server computes. Any loss of log-probabilities goes through it: our kernel gives d loss / d logProbs,
// and a loss of the server that is linear in them has the same gradient. Where the server has the very loss, the pass
// that measures the log-probabilities beforehand is not needed.
import { invalidArgument, PrlError } from '../../base/errors.js';
import type { LossBatch } from '../../kernels/loss-batch.js';
import type { PolicyLossOptions } from '../../kernels/loss-options.js';
import { LOSSES, type LossType } from '../../kernels/loss-table.js';
import { policyLoss } from '../../kernels/policy-loss.js';

/** What the server computes for an update. */
export interface LossPlan {
  /** 'linear': measure, compute the loss here, and send its gradient. The others: a loss of the server. */
  lossFn: 'linear' | 'cross_entropy' | 'ppo' | 'cispo';
  config?: { [name: string]: number };
  /** Why. */
  why: string;
}

/** Refuses what needs logits: the server gives log-probabilities of the tokens only. */
export function checkServerLoss(options: PolicyLossOptions): void {
  const needs = (name: string) => {
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `${name} needs the logits of every token, and a Tinker server gives log-probabilities only: leave it at its default`,
    );
  };
  if ((options.entropyCoef ?? 0) !== 0) needs('entropyCoef');
  if ((options.topEntropyQuantile ?? 1) !== 1) needs('topEntropyQuantile');
  if (options.entropyThreshold !== undefined) needs('entropyThreshold');
}

/** Chooses the loss of the server. `path` 'surrogate' takes the linear one always. */
export function lossPlan(
  options: PolicyLossOptions,
  { oldLogProbs }: { oldLogProbs?: unknown },
  path: 'auto' | 'surrogate',
): LossPlan {
  const lossType: LossType = options.lossType ?? 'dapo';
  const { surrogate } = LOSSES[lossType];
  const linear = (why: string): LossPlan => ({ lossFn: 'linear', why });
  const direct = (lossFn: LossPlan['lossFn'], config?: LossPlan['config']): LossPlan => ({
    lossFn,
    ...(config && { config }),
    why: `lossType ${lossType} is the server's ${lossFn}${oldLogProbs || surrogate === 'raft' ? '' : ' on an on-policy batch'}`,
  });
  if (path === 'surrogate') return linear('lossPath is surrogate');
  if ((options.beta ?? 0) !== 0) return linear("the server's losses have no KL term (beta is not 0)");
  if (options.importanceSamplingLevel === 'sequence') return linear("the server's losses have one ratio per token");
  if (options.delta !== undefined) return linear("the server's losses have no delta");
  if (options.offPolicyMaskThreshold !== undefined) return linear("the server's losses have no offPolicyMaskThreshold");
  if (surrogate === 'raft') return direct('cross_entropy');
  if (surrogate === 'clipped') {
    // Without old log-probabilities the ratio is 1, and its gradient that of the log-probability.
    if (!oldLogProbs) return direct('cross_entropy');
    const { epsilon = 0.2, epsilonHigh = epsilon } = options;
    return direct('ppo', { clip_low_threshold: 1 - epsilon, clip_high_threshold: 1 + epsilonHigh });
  }
  const { epsilonHigh = 5 } = options;
  if (surrogate === 'cispo' && oldLogProbs && epsilonHigh >= 1)
    return direct('cispo', { clip_low_threshold: 0, clip_high_threshold: epsilonHigh });
  return linear(`the server has no loss like lossType ${lossType}`);
}

/**
 * [T] the advantages with everything folded in that is constant to the gradient: divisors, mask, importance weights.
 * The kernel computes them: at ratio 1 the gradient of each loss that has a plan is minus these.
 */
export function foldedAdvantages(batch: LossBatch, options: PolicyLossOptions, tokens: number): Float32Array {
  const { oldLogProbs: _, refLogProbs: __, rolloutLogProbs: ___, ...onPolicy } = batch;
  return minus(policyLoss({ ...onPolicy, ...options, logProbs: new Float32Array(tokens) }).dLogProbs.data);
}

export const minus = (values: ArrayLike<number>): Float32Array => Float32Array.from(values, (value) => -value);

/** Refuses a temperature that the server does not know. */
export function checkServerTemperature(temperature: number | undefined): void {
  if (temperature !== undefined && temperature !== 1)
    throw invalidArgument(
      `temperature must be 1 with a Tinker server, whose log-probabilities are those of temperature 1, not ${temperature}`,
    );
}
