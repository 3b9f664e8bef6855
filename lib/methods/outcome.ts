// The outcome advantage, which every method but raft starts from: the reward of a response among those of its group.
import type { OptionTable, ResolvedOptions } from '../base/options.js';
import { groupAdvantages } from '../kernels/group-advantages.js';

export const OUTCOME_OPTIONS = {
  scaleRewards: {
    type: 'choice',
    choices: ['group', 'batch', 'none'],
    default: 'group',
    doc: "Divide centred rewards by the group's deviation, the batch's, or not at all (Dr. GRPO)",
  },
  advantageEstimator: {
    type: 'choice',
    choices: ['grpo', 'dr_grpo', 'rloo'],
    default: 'grpo',
    doc: 'What a reward is compared with: the mean of its group, scaled (grpo, see scaleRewards) or not (dr_grpo), or the mean of the others (rloo)',
  },
  advantageStd: {
    type: 'choice',
    choices: ['sample', 'population'],
    default: 'sample',
    doc: 'The deviation of scaleRewards divides by n - 1 or by n',
  },
  advantageEpsilon: { type: 'number', default: 1e-4, min: 0, doc: 'Added to the deviation of scaleRewards' },
  singleton: {
    type: 'choice',
    choices: ['zero', 'raw'],
    default: 'zero',
    doc: "What the only response of a group gets: nothing, or its reward (PRL's published code)",
  },
} as const satisfies OptionTable;

export type OutcomeOptions = ResolvedOptions<typeof OUTCOME_OPTIONS>;

/** The trainer's options as those of groupAdvantages. */
export const groupOptions = (options: OutcomeOptions) => {
  const { scaleRewards, advantageEstimator: kind, advantageStd, advantageEpsilon: epsilon, singleton } = options;
  const std = scaleRewards === 'none' ? 'none' : advantageStd;
  return { kind, std, scale: scaleRewards === 'batch' ? 'batch' : 'group', epsilon, singleton } as const;
};

/** [B] what each response gets for its reward among the responses to its prompt. */
export const outcomeAdvantages = (
  { rewards, groupIds }: { rewards: Float32Array; groupIds: Int32Array },
  options: OutcomeOptions,
): Float32Array => groupAdvantages(rewards, groupIds, groupOptions(options)).data as Float32Array;
