import { groupAdvantages } from '../kernels/group-advantages.js';
import { prlAdvantages } from '../kernels/step-advantages.js';
import { defineMethod, spread } from './method.js';
import { groupOptions, outcomeAdvantages } from './outcome.js';

/**
 * PRL (arXiv 2601.10201v1, "Process Reward Learning"). Under a KL penalty, the log-ratio of the optimal policy to the
 * reference is a process reward. A step earns -(1 / eta) * sum of (oldLogp - refLogp). The tokens of a step get the
 * outcome advantage plus all process rewards from the step's last token on.
 *
 * prlAdvantage 'process' is the intent of the published code's other mode, prm.adv. Each token has the reward plus the
 * process rewards from it on. These values are summed over the response and normalised in the group, so a response has
 * one value. (The published code never reaches the normalisation. The reward counts once per token, so longer right
 * responses are preferred.)
 */
export const prl = defineMethod({
  doc: 'process rewards from the log-ratios of each step',
  options: {
    eta: { type: 'number', default: 100, above: 0, doc: 'prl: divisor of the log-ratios that are process rewards' },
    suffix: {
      type: 'choice',
      choices: ['inclusive', 'exclusive'],
      default: 'inclusive',
      doc: "prl: suffix sum of a step with or without the step's own last token",
    },
    prlAdvantage: {
      type: 'choice',
      choices: ['outcome', 'process'],
      default: 'outcome',
      doc: 'prl: add process rewards to the outcome advantage, or sum them with the reward per response and normalise in the group',
    },
  },
  needs: ['reference'],

  run(batch, { eta, suffix, prlAdvantage, ...outcome }) {
    const { rewards, groupIds, oldLogProbs, cuSeqlens, cuSteps } = batch;
    const refLogProbs = batch.refLogProbs!;
    const process = prlAdvantage === 'process';
    const values = prlAdvantages({
      outcomeAdvantages: process ? rewards : outcomeAdvantages(batch, outcome),
      oldLogProbs,
      refLogProbs,
      cuSeqlens,
      cuSteps: process ? Int32Array.from({ length: oldLogProbs.length + 1 }, (_, t) => t) : cuSteps,
      eta,
      suffix,
    }).data as Float32Array;
    let total = 0;
    for (let t = 0; t < oldLogProbs.length; t++) total -= (oldLogProbs[t] - refLogProbs[t]) / eta;
    const metrics = { 'process_reward/mean': total / (cuSteps.length - 1) };
    if (!process) return { advantages: values, metrics };
    const sums = rewards.map((_, i) => values.subarray(cuSeqlens[i], cuSeqlens[i + 1]).reduce((a, b) => a + b, 0));
    const normalized = groupAdvantages(sums, groupIds, groupOptions(outcome)).data as Float32Array;
    return { advantages: spread(normalized, cuSeqlens), metrics };
  },
});
