import { quantileLoss } from '../kernels/quantile-loss.js';
import type { QuantilePrm } from '../reward/quantile-prm.js';
import { Tensor } from '../tensor.js';
import { batchOf, type PrmExample } from './examples.js';

export interface CalibrationBin {
  /** Scores from `low` up to `high`. */
  low: number;
  high: number;
  steps: number;
  /** Means over the steps; absent where there are none. */
  score?: number;
  target?: number;
}

export interface PrmEvaluation {
  responses: number;
  steps: number;
  /** Share of the responses that are right. */
  right: number;
  /** The quantile that is the score. */
  quantile: number;
  /**
   * Shares of the targets below each quantile, and not above it; those within half a continuation of it count as equal. A calibrated
   * quantile q lies between the two shares, which are far apart where many targets are 0 or 1.
   */
  coverage: { quantile: number; below: number; notAbove: number }[];
  /** Mean squared difference of score and target; the same of the best constant. */
  brier: number;
  brierConstant: number;
  /** Mean over quantiles; the same of the best constants: the quantiles of these targets. */
  pinball: number;
  pinballConstant: number;
  /** Chance that a right response gets the higher score than a wrong one: by its last step, by any step. null without both kinds. */
  aucLast: number | null;
  aucAny: number | null;
  calibration: CalibrationBin[];
  /** Tokens that the model read. */
  tokens: number;
}

/** @param continuations per prefix: the resolution of the targets */
export async function evaluatePrm(
  model: QuantilePrm,
  examples: readonly PrmExample[],
  continuations: number,
  { quantile = model.quantile, signal }: { quantile?: number; signal?: AbortSignal } = {},
): Promise<PrmEvaluation> {
  const { targets, ...batch } = batchOf(examples);
  const { quantiles } = model;
  const encoded = await model.encode({ ...batch, signal });
  const predicted = await model.predict(encoded, signal);
  const column = (q: number) => targets.map((_, k) => predicted[k * quantiles.length + quantiles.indexOf(q)]);
  const scores = column(quantile);
  // Of each step: whether the response is right in the end, and whether it is the last.
  const outcomes = examples.flatMap(({ targets }) => targets.map(() => targets[targets.length - 1] === 1));
  const last = examples.flatMap(({ targets }) => targets.map((_, k) => k + 1 === targets.length));
  const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;
  const constant = mean(targets);
  const lossOf = (values: Float32Array) =>
    quantileLoss(Tensor.from(values, [targets.length, quantiles.length]), targets, { quantiles: [...quantiles] }).loss;
  const sorted = targets.slice().sort();
  const constants = quantiles.map((q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]);
  const half = 0.5 / continuations;
  const pick = <T>(values: ArrayLike<T>) => Array.from(values).filter((_, k) => last[k]);
  return {
    responses: examples.length,
    steps: targets.length,
    right: mean(pick(outcomes).map(Number)),
    quantile,
    coverage: quantiles.map((q) => {
      const values = column(q);
      const share = (holds: (k: number) => boolean) => mean(Array.from(values, (_, k) => (holds(k) ? 1 : 0)));
      return {
        quantile: q,
        below: share((k) => targets[k] < values[k] - half),
        notAbove: share((k) => targets[k] <= values[k] + half),
      };
    }),
    brier: mean(scores.map((score, k) => (score - targets[k]) ** 2)),
    brierConstant: mean(targets.map((target) => (target - constant) ** 2)),
    pinball: lossOf(predicted),
    pinballConstant: lossOf(Float32Array.from({ length: predicted.length }, (_, i) => constants[i % quantiles.length])),
    aucLast: areaUnderCurve(pick(scores), pick(outcomes)),
    aucAny: areaUnderCurve(scores, outcomes),
    calibration: calibrationBins(scores, targets, 10),
    tokens: encoded.tokens,
  };
}

/** The chance that a positive one of the scores is above a negative one, ties counting half (Mann and Whitney 1947). */
export function areaUnderCurve(scores: ArrayLike<number>, positive: readonly boolean[]): number | null {
  const order = positive.map((_, i) => i).sort((a, b) => scores[a] - scores[b]);
  let [rankSum, positives] = [0, 0];
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && scores[order[to]] === scores[order[from]]) to++;
    const own = order.slice(from, to).filter((i) => positive[i]).length;
    positives += own;
    rankSum += own * ((from + to + 1) / 2); // the mean of ranks from + 1 .. to
    from = to;
  }
  const negatives = order.length - positives;
  return positives * negatives === 0 ? null : (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}

function calibrationBins(scores: Float32Array, targets: Float32Array, bins: number): CalibrationBin[] {
  const sums = Array.from({ length: bins }, () => ({ steps: 0, score: 0, target: 0 }));
  scores.forEach((score, k) => {
    const bin = sums[Math.min(bins - 1, Math.floor(score * bins))];
    bin.steps++;
    bin.score += score;
    bin.target += targets[k];
  });
  return sums.map(({ steps, score, target }, i) => ({
    low: i / bins,
    high: (i + 1) / bins,
    steps,
    ...(steps > 0 && { score: score / steps, target: target / steps }),
  }));
}
