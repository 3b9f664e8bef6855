import { invalidArgument } from '../base/errors.js';
import { checkOptions } from '../base/options.js';
import { quantileLoss } from '../kernels/quantile-loss.js';
import { Tensor } from '../kernels/tensor.js';
import { mean } from '../methods/method.js';
import type { PrmData } from './data.js';
import { batchOf, splitExamples } from './examples.js';
import { checkQuantile, type QuantilePrm } from './quantile-prm.js';

/** Steps with similar scores. In a calibrated model their mean score is near their mean target. */
export interface CalibrationBin {
  /** Lowest score of the bin. */
  low: number;
  /** Upper end of the bin. */
  high: number;
  /** Steps with such a score. */
  steps: number;
  /** Mean score of the steps. Absent if there are none. */
  score?: number;
  /** Mean share of continuations that ended right. */
  target?: number;
}

/** Options of {@link evaluatePrm}. */
export interface PrmEvaluationOptions {
  /** The quantile that is the score. Default: the model's. */
  quantile?: number | undefined;
  /** Aborts the evaluation (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
}

/** Result of {@link evaluatePrm}, on problems that the model was not trained on. */
export interface PrmEvaluation {
  /** Responses that were evaluated. */
  responses: number;
  /** Responses to problems that the model may have been trained on. They are left out. */
  leftOut: number;
  /** Steps of the evaluated responses. */
  steps: number;
  /** Share of the evaluated responses that are right. */
  right: number;
  /** The quantile that is the score. */
  quantile: number;
  /**
   * Per quantile: the share of targets below it, and the share not above it. Targets within half a continuation of it
   * count as equal. A calibrated quantile q lies between the two shares. They are far apart if many targets are 0 or 1.
   */
  coverage: { quantile: number; below: number; notAbove: number }[];
  /** Mean squared difference of score and target. */
  brier: number;
  /** The same of the best constant score. A useful model is below it. */
  brierConstant: number;
  /** That constant: the mean share of continuations that end right. */
  baseRate: number;
  /** Whether the scores are better than the base rate for every step: `brier` is below `brierConstant`. */
  betterThanBaseRate: boolean;
  /** Pinball loss, mean over quantiles. */
  pinball: number;
  /** The same of the best constants: the quantiles of these targets. */
  pinballConstant: number;
  /** Chance that a right response gets the higher score than a wrong one, by its last step. null without both kinds. */
  aucLast: number | null;
  /** The same by any step. */
  aucAny: number | null;
  /** Ten bins of scores. */
  calibration: CalibrationBin[];
  /** Tokens that the model read. */
  tokens: number;
}

/**
 * Measures how well a model predicts, after each step, whether the response will end right. Problems that its training
 * may have seen are left out.
 *
 * @throws TypeError for data without other problems
 */
export async function evaluatePrm(
  model: QuantilePrm,
  data: PrmData,
  options: PrmEvaluationOptions = {},
): Promise<PrmEvaluation> {
  options = checkOptions('evaluatePrm', options, ['quantile', 'signal']);
  const { quantile = model.quantile, signal } = options;
  checkQuantile(quantile, model.quantiles);
  const { train: seen, heldOut: examples } = unseenExamples(model, data);
  if (examples.length === 0) throw invalidArgument('the data must have problems that the model was not trained on');
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
  const brier = mean(scores.map((score, k) => (score - targets[k]) ** 2));
  const brierConstant = mean(targets.map((target) => (target - constant) ** 2));
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
    brier,
    brierConstant,
    baseRate: constant,
    betterThanBaseRate: brier < brierConstant,
    pinball: lossOf(predicted),
    pinballConstant: lossOf(Float32Array.from({ length: predicted.length }, (_, i) => constants[i % quantiles.length])),
    aucLast: areaUnderCurve(pick(scores), pick(outcomes)),
    aucAny: areaUnderCurve(scores, outcomes),
    calibration: calibrationBins(scores, targets, 10),
    tokens: encoded.tokens,
  };
}

/** Problems of the training's task and split may be the same ones, whatever the seed. */
function unseenExamples({ info }: QuantilePrm, data: PrmData) {
  const { task, split, heldOut, seed } = info as { [name: string]: unknown };
  const sameKind = task === data.settings.task && split === data.settings.split;
  return splitExamples(data, sameKind ? Number(heldOut) : 1, Number(seed));
}

/**
 * The chance that the score of a positive example is above that of a negative one. Ties count half (Mann and Whitney
 * 1947).
 */
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
