import { coherence } from '../kernels/coherence.js';
import { type ProgrsAdvantagesArgs, progrsAdvantages } from '../kernels/progrs-advantages.js';
import { stepsOfResponses } from '../kernels/split-steps.js';
import {
  groupOptions,
  isRight,
  type MethodBatch,
  type MethodResult,
  mean,
  type OutcomeOptions,
  outcomeAdvantages,
} from './method.js';

export interface ProgrsOptions extends OutcomeOptions {
  lambda: number;
  alpha: number;
  coherenceWindows: readonly number[];
  lambdaVar: number;
  center: 'incorrect' | 'both' | 'none';
  granularity: 'response' | 'step';
  combine: 'advantage' | 'reward';
}

/**
 * PROGRS (arXiv 2604.02341): the outcome advantage plus lambda times a process score from a frozen process reward model, which in
 * each group has lost its mean over the wrong responses. So wrong responses are ranked, and none is lifted above zero for being
 * fluent; groups of one outcome teach as well.
 */
export function progrs(batch: MethodBatch, options: ProgrsOptions): MethodResult {
  const { rewards, groupIds, cuSeqlens, cuSteps } = batch;
  const stepScores = batch.stepScores!;
  const { lambda, center, granularity, combine, coherenceWindows: windows, lambdaVar, alpha } = options;
  const correct = Int32Array.from(rewards, (reward) => Number(isRight(reward)));
  const common: ProgrsAdvantagesArgs = {
    ...{ stepScores, correct, groupIds, cuSeqlens, cuSteps, lambda, granularity, combine },
    ...(granularity === 'response' && { alpha, windows, lambdaVar }),
    ...(combine === 'reward'
      ? { rewards, normalize: groupOptions(options) }
      : { outcomeAdvantages: outcomeAdvantages(batch, options) }),
  };
  const centeredBy = (how: ProgrsOptions['center']) =>
    progrsAdvantages({ ...common, center: how }).data as Float32Array;
  const advantages = centeredBy(center);
  const metrics: MethodResult['metrics'] = {};
  if (stepScores.length > 0) {
    metrics['prm/score_mean'] = mean(stepScores);
    const coherent = coherence(stepScores, stepsOfResponses(cuSteps, cuSeqlens), { windows, lambdaVar });
    metrics['prm/coherence_mean'] = mean(coherent.data);
  }
  // Fluent wrong answers: how many are pushed up with centred scores, and would be with scores as they are.
  const wrong = [...rewards.keys()].filter((i) => correct[i] === 0 && cuSeqlens[i + 1] > cuSeqlens[i]);
  const share = (values: Float32Array) =>
    mean(wrong.map((i) => Number(mean(values.subarray(cuSeqlens[i], cuSeqlens[i + 1])) > 0)));
  if (wrong.length > 0) {
    metrics['prm/wrong_positive_share'] = share(center === 'none' ? centeredBy('incorrect') : advantages);
    metrics['prm/wrong_positive_share_naive'] = share(center === 'none' ? advantages : centeredBy('none'));
  }
  return { advantages, metrics };
}
