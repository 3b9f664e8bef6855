// Figures of a process reward model as text.
import type { CalibrationBin, PrmEvaluation } from '../../prm/evaluate.js';
import { table } from '../kit/table.js';

export const auc = (value: number | null) => value?.toFixed(3) ?? 'undefined (all responses end alike)';

export function evaluationText(result: PrmEvaluation): string {
  const { responses, leftOut, steps, right, quantile, coverage, brier, brierConstant, pinball, pinballConstant } =
    result;
  return [
    ...(leftOut > 0 ? [`${leftOut} responses were left out: the model may have been trained on their problems`] : []),
    `${responses} responses (${(100 * right).toFixed(0)}% right), ${steps} steps; the score is quantile ${quantile}`,
    '',
    ...verdict(result),
    '',
    table([
      ['', 'model', 'best constant'],
      ['Brier score', brier.toFixed(4), brierConstant.toFixed(4)],
      ['pinball loss', pinball.toFixed(4), pinballConstant.toFixed(4)],
      ['AUC of the answer, last step', auc(result.aucLast), '0.500'],
      ['AUC of the answer, any step', auc(result.aucAny), '0.500'],
    ]),
    '',
    table([
      ['quantile', 'targets below', 'below or equal'],
      ...coverage.map(({ quantile, below, notAbove }) => [String(quantile), below.toFixed(3), notAbove.toFixed(3)]),
    ]),
    'A calibrated quantile lies between the two shares.',
    '',
    ...calibrationPlot(result.calibration),
  ].join('\n');
}

/** Whether the model is better than the base rate, in plain words. */
export function verdict({ betterThanBaseRate, brier, brierConstant, baseRate, aucAny }: PrmEvaluation): string[] {
  const figures = `${baseRate.toFixed(3)} for every step has Brier score ${brierConstant.toFixed(4)}, the model has ${brier.toFixed(4)}`;
  if (betterThanBaseRate) return [`The model is better than the base rate: ${figures}.`];
  const ranks = aucAny !== null && aucAny > 0.5;
  return [
    `The model is NOT better than the base rate: ${figures}.`,
    ranks
      ? `Only the order of its scores tells something (AUC ${auc(aucAny)}). Try another --quantile, or train on more data.`
      : 'Nor does the order of its scores tell which responses end right. Train on more data.',
  ];
}

/** A bar per bin: the share of continuations that ended right (#), and the mean score that it should reach (|). */
function calibrationPlot(bins: readonly CalibrationBin[]): string[] {
  const width = 40;
  return [
    'score      steps  ended right (#), mean score (|)',
    ...bins.map(({ low, high, steps, score, target }) => {
      const bar = [...'#'.repeat(Math.round((target ?? 0) * width)).padEnd(width)];
      if (score !== undefined) bar[Math.min(width - 1, Math.round(score * width))] = '|';
      return `${low.toFixed(1)}-${high.toFixed(1)} ${String(steps).padStart(8)}  ${bar.join('')}  ${target?.toFixed(2) ?? ''}`.trimEnd();
    }),
  ];
}
