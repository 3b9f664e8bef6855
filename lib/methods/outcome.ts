// The outcome advantage compares the reward of a response with those of its group. Every method but raft starts from
// it.
import type { OptionTable, ResolvedOptions } from '../base/options.js';
import { groupAdvantages } from '../kernels/group-advantages.js';

export const OUTCOME_OPTIONS = {
  scaleRewards: {
    type: 'choice',
    choices: ['group', 'batch', 'none'],
    default: 'group',
    doc: "Divide centred rewards by the group's deviation, by the batch's, or not at all (Dr. GRPO)",
  },
  advantageEstimator: {
    type: 'choice',
    choices: ['grpo', 'dr_grpo', 'rloo'],
    default: 'grpo',
    doc: 'Baseline of a reward: the mean of its group, scaled (grpo, see scaleRewards) or not (dr_grpo), or the mean of the others (rloo)',
  },
  advantageStd: {
    type: 'choice',
    choices: ['sample', 'population'],
    default: 'sample',
    doc: 'Divisor of the deviation for scaleRewards: n - 1 (sample) or n (population)',
  },
  advantageEpsilon: {
    type: 'number',
    default: 1e-4,
    min: 0,
    doc: 'Number that is added to the deviation for scaleRewards',
  },
  singleton: {
    type: 'choice',
    choices: ['zero', 'raw'],
    default: 'zero',
    doc: "Advantage of the only response of a group: zero, or its reward (PRL's published code)",
  },
} as const satisfies OptionTable;

export type OutcomeOptions = ResolvedOptions<typeof OUTCOME_OPTIONS>;

/** The options of groupAdvantages, from the trainer's options. */
export const groupOptions = (options: OutcomeOptions) => {
  const { scaleRewards, advantageEstimator: kind, advantageStd, advantageEpsilon: epsilon, singleton } = options;
  const std = scaleRewards === 'none' ? 'none' : advantageStd;
  return { kind, std, scale: scaleRewards === 'batch' ? 'batch' : 'group', epsilon, singleton } as const;
};

/** [B] advantage of each response, from the rewards of all responses to its prompt. */
export const outcomeAdvantages = (
  { rewards, groupIds }: { rewards: Float32Array; groupIds: Int32Array },
  options: OutcomeOptions,
): Float32Array => groupAdvantages(rewards, groupIds, groupOptions(options)).data as Float32Array;
