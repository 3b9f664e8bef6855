import { groupAdvantages } from '../kernels/group-advantages.js';
import { prlAdvantages } from '../kernels/step-advantages.js';
import { defineMethod, spread } from './method.js';
import { groupOptions, outcomeAdvantages } from './outcome.js';

/**
 * PRL (arXiv 2601.10201v1, "Process Reward Learning"). The optimal policy of reward maximisation under a KL penalty makes the
 * log-ratio to the reference a process reward: a step earns -(1 / eta) * sum of (oldLogp - refLogp), and the tokens of a step
 * get the outcome advantage plus what is earned from the step's last token on.
 *
 * prlAdvantage 'process' is what the published code's other way (its prm.adv) is meant to be: the reward plus what is earned from each
 * token on, summed over a response's tokens, then normalised in the group: one value per response, whatever the steps. (As published
 * the normalisation is never reached. The reward counts once per token, so of right responses the longer one is preferred.)
 */
export const prl = defineMethod({
  doc: 'process rewards from the log-ratios of each step',
  options: {
    eta: { type: 'number', default: 100, above: 0, doc: 'prl: process rewards are log-ratios divided by eta' },
    suffix: {
      type: 'choice',
      choices: ['inclusive', 'exclusive'],
      default: 'inclusive',
      doc: "prl: whether a step's own last token counts in its suffix sum",
    },
    prlAdvantage: {
      type: 'choice',
      choices: ['outcome', 'process'],
      default: 'outcome',
      doc: "prl: process rewards are added to the outcome's advantage, or summed with it per response and normalised in the group",
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
