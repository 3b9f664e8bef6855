import { invalidArgument } from '../base/errors.js';
import { checkOptions } from '../base/options.js';
import { quantileLoss } from '../kernels/quantile-loss.js';
import { Tensor } from '../kernels/tensor.js';
import { mean } from '../methods/method.js';
import type { PrmData } from './data.js';
import { batchOf, splitExamples } from './examples.js';
import { checkQuantile, type QuantilePrm } from './quantile-prm.js';

/** Steps whose scores are alike: a calibrated model has score and target alike too. */
export interface CalibrationBin {
  /** Scores from `low` up to `high`. */
  low: number;
  /** The upper end. */
  high: number;
  /** With such a score. */
  steps: number;
  /** Means over the steps; absent where there are none. */
  score?: number;
  /** Mean share of continuations that ended right. */
  target?: number;
}

/** What {@link evaluatePrm} found on problems that the model was not trained on. */
export interface PrmEvaluation {
  /** That were looked at. */
  responses: number;
  /** Responses to problems that the model may have been trained on. */
  leftOut: number;
  /** Of those responses. */
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
  /** Of the best constant: what a model must be below. */
  brierConstant: number;
  /** Mean over quantiles; the same of the best constants: the quantiles of these targets. */
  pinball: number;
  /** Of the best constants. */
  pinballConstant: number;
  /** Chance that a right response gets the higher score than a wrong one: by its last step, by any step. null without both kinds. */
  aucLast: number | null;
  /** By any step. */
  aucAny: number | null;
  /** Ten bins of scores. */
  calibration: CalibrationBin[];
  /** Tokens that the model read. */
  tokens: number;
}

/**
 * How well a model knows, after each step, how likely the response is to end right. Of problems of the kind it was trained on only
 * those count that its training held out.
 *
 * @throws TypeError for data without such problems
 */
export async function evaluatePrm(
  model: QuantilePrm,
  data: PrmData,
  options: { quantile?: number; signal?: AbortSignal } = {},
): Promise<PrmEvaluation> {
  options = checkOptions('evaluatePrm', options, ['quantile', 'signal']);
  const { quantile = model.quantile, signal } = options;
  checkQuantile(quantile, model.quantiles);
  const { train: seen, heldOut: examples } = unseenExamples(model, data);
  if (examples.length === 0) throw invalidArgument(`the data has no problems that the model was not trained on`);
  const { targets, ...batch } = batchOf(examples);
  const { quantiles } = model;
  const encoded = await model.encode({ ...batch, signal });
  const predicted = await model.predict(encoded, signal);
  const column = (q: number) => targets.map((_, k) => predicted[k * quantiles.length + quantiles.indexOf(q)]);
  const scores = column(quantile);
  // Of each step: whether the response is right in the end, and whether it is the last.
  const outcomes = examples.flatMap(({ targets }) => targets.map(() => targets[targets.length - 1] === 1));
  const last = examples.flatMap(({ targets }) => targets.map((_, k) => k + 1 === targets.length));
  const constant = mean(targets);
  const lossOf = (values: Float32Array) =>
    quantileLoss(Tensor.from(values, [targets.length, quantiles.length]), targets, { quantiles: [...quantiles] }).loss;
  const sorted = targets.slice().sort();
  const constants = quantiles.map((q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]);
  const half = 0.5 / data.settings.continuations;
  const pick = <T>(values: ArrayLike<T>) => Array.from(values).filter((_, k) => last[k]);
  return {
    responses: examples.length,
    leftOut: seen.length,
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

/** Problems of the same task and split as those of the training may be the same ones, whatever the seed. */
function unseenExamples({ info }: QuantilePrm, data: PrmData) {
  const { task, split, heldOut, seed } = info as { [name: string]: unknown };
  const sameKind = task === data.settings.task && split === data.settings.split;
  return splitExamples(data, sameKind ? Number(heldOut) : 1, Number(seed));
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
