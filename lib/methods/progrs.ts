import { invalidArgument } from '../base/errors.js';
import { coherence } from '../kernels/coherence.js';
import { type ProgrsAdvantagesArgs, progrsAdvantages } from '../kernels/progrs-advantages.js';
import { stepsOfResponses } from '../kernels/split-steps.js';
import { defineMethod, isRight, type MethodResult, mean } from './method.js';
import { groupOptions, outcomeAdvantages } from './outcome.js';

/**
 * PROGRS (arXiv 2604.02341): the outcome advantage plus lambda times a process score from a frozen process reward
 * model. In each group, the mean over the wrong responses is subtracted from their scores. So wrong responses are
 * ranked, and fluency does not lift them above zero on average. Groups with only one outcome teach as well.
 */
export const progrs = defineMethod({
  doc: 'scores of a process reward model',
  options: {
    lambda: { type: 'number', default: 1, min: 0, max: 1e9, doc: 'progrs: weight of the process scores' },
    alpha: {
      type: 'number',
      default: 0.5,
      min: 0,
      max: 1,
      doc: 'progrs: weight of the mean step score in a process score; coherence has the rest',
    },
    coherenceWindows: {
      type: 'integers',
      default: [2, 3, 5],
      min: 1,
      max: 2 ** 31 - 1,
      doc: 'progrs: window sizes of coherence, in steps',
    },
    lambdaVar: { type: 'number', default: 1, min: 0, doc: 'progrs: penalty of variation within a window' },
    center: {
      type: 'choice',
      choices: ['incorrect', 'both', 'none'],
      default: 'incorrect',
      doc: 'progrs: responses to centre on the mean process score of their outcome in the group (none: naive, for comparison)',
    },
    granularity: {
      type: 'choice',
      choices: ['response', 'step'],
      default: 'response',
      doc: "progrs: one process score per response, or each step's own score for its tokens (without alpha and coherence)",
    },
    combine: {
      type: 'choice',
      choices: ['advantage', 'reward'],
      default: 'advantage',
      doc: 'progrs: add process scores to the advantage, or to the reward before it is normalised',
    },
  },
  needs: ['processRewardModel'],

  check({ granularity, combine }) {
    if (granularity === 'step' && combine === 'reward')
      throw invalidArgument(
        "combine 'reward' needs granularity 'response', not 'step': it gives one number per response",
      );
  },

  run(batch, options) {
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
    const centeredBy = (how: typeof center) => progrsAdvantages({ ...common, center: how }).data as Float32Array;
    const advantages = centeredBy(center);
    const metrics: MethodResult['metrics'] = {};
    if (stepScores.length > 0) {
      metrics['prm/score_mean'] = mean(stepScores);
      const coherent = coherence(stepScores, stepsOfResponses(cuSteps, cuSeqlens), { windows, lambdaVar });
      metrics['prm/coherence_mean'] = mean(coherent.data);
    }
    // The share of wrong responses that is pushed up, with centred scores and with raw ones.
    const wrong = [...rewards.keys()].filter((i) => correct[i] === 0 && cuSeqlens[i + 1] > cuSeqlens[i]);
    const share = (values: Float32Array) =>
      mean(wrong.map((i) => Number(mean(values.subarray(cuSeqlens[i], cuSeqlens[i + 1])) > 0)));
    if (wrong.length > 0) {
      metrics['prm/wrong_positive_share'] = share(center === 'none' ? centeredBy('incorrect') : advantages);
      metrics['prm/wrong_positive_share_naive'] = share(center === 'none' ? advantages : centeredBy('none'));
    }
    return { advantages, metrics };
  },
});
