import { outOfRange } from '../base/errors.js';
import { checkChoice, checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asFlags, asFloats, asInts, copyInts, type Device, deviceOf, Tensor } from './tensor.js';

// Numbers of native/kernels/group_center/group_center.h.
const CENTERING = { grpo: 0, dr_grpo: 1, rloo: 2 } as const;

/** Options of {@link groupAdvantages}. */
export interface GroupAdvantagesOptions {
  /** 'grpo' (default): (r - mean) / (deviation + epsilon). 'dr_grpo': r - mean. 'rloo': r - mean of the others. */
  kind?: 'grpo' | 'dr_grpo' | 'rloo' | undefined;
  /** The deviation of 'grpo': 'sample' (default, n - 1), 'population' (n), or 'none', which makes it 'dr_grpo'. */
  std?: 'sample' | 'population' | 'none' | undefined;
  /** Takes the deviation of the 'group' (default) or of the whole 'batch'. */
  scale?: 'group' | 'batch' | undefined;
  /** Added to the deviation. Default 1e-4, as in TRL; verl and PRL use 1e-6. */
  epsilon?: number | undefined;
  /**
   * Advantage of a response alone in its group: 'zero' (default: there is nothing to compare with), or its 'raw'
   * reward.
   */
  singleton?: 'zero' | 'raw' | undefined;
}

/**
 * Turns the rewards of responses into advantages over the other responses to the same prompt (GRPO, arXiv 2402.03300;
 * Dr.GRPO, 2503.20783; RLOO, 2402.14740). Equal rewards give exactly 0.
 *
 * @param rewards [B] finite numbers of any size
 * @param groupIds [B] any integers; equal ids mean the same prompt; members need not be adjacent
 * @returns [B] float32
 * @throws PrlError ERR_PRL_NON_FINITE for a reward that is not finite, which it names; RangeError if lengths differ
 */
export function groupAdvantages(
  rewards: Tensor | ArrayLike<number>,
  groupIds: Tensor | ArrayLike<number>,
  options: GroupAdvantagesOptions = {},
): Tensor {
  options = checkOptions('groupAdvantages', options, ['kind', 'std', 'scale', 'epsilon', 'singleton']);
  const kind = checkChoice('kind', options.kind ?? 'grpo', ['grpo', 'dr_grpo', 'rloo']);
  const std = checkChoice('std', options.std ?? 'sample', ['sample', 'population', 'none']);
  const device = deviceOf({ rewards, groupIds });
  const values = asFloats('rewards', rewards, device);
  const advantages = Tensor.empty([values.size], { device });
  native().groupAdvantage({
    rewards: values,
    ...groupsOf(groupIds, values.size, device),
    centering: CENTERING[kind === 'grpo' && std === 'none' ? 'dr_grpo' : kind],
    population: std === 'population',
    batchDeviation: checkChoice('scale', options.scale ?? 'group', ['group', 'batch']) === 'batch',
    epsilon: checkNumber('epsilon', options.epsilon ?? 1e-4, 0),
    singletonRaw: checkChoice('singleton', options.singleton ?? 'zero', ['zero', 'raw']) === 'raw',
    advantages,
  });
  return advantages;
}

/** Options of {@link outcomeConditionedCenter}. */
export interface OutcomeConditionedCenterOptions {
  /** 'incorrect' (default): correct responses keep their scores. 'both': each outcome is centred on its own mean. */
  center?: 'incorrect' | 'both' | undefined;
}

/**
 * PROGRS' outcome-conditioned centering (arXiv 2604.02341): in each group, the scores of incorrect responses lose their
 * mean. Process scores then rank wrong responses without lifting them above right ones.
 *
 * @param scores [B] process scores
 * @param groupIds [B] any integers; equal ids mean the same prompt
 * @param groupIds [B] any integers: equal means the same prompt
 * @returns [B] float32
 * @throws PrlError ERR_PRL_NON_FINITE for a score that is not finite, which it names; RangeError if lengths differ
 */
export function outcomeConditionedCenter(
  scores: Tensor | ArrayLike<number>,
  correct: Tensor | ArrayLike<number> | readonly boolean[],
  groupIds: Tensor | ArrayLike<number>,
  options: OutcomeConditionedCenterOptions = {},
): Tensor {
  options = checkOptions('outcomeConditionedCenter', options, ['center']);
  const device = deviceOf({ scores, correct, groupIds });
  const values = asFloats('scores', scores, device);
  const centered = Tensor.empty([values.size], { device });
  native().outcomeCenter({
    scores: values,
    correct: asFlags('correct', correct, device),
    ...groupsOf(groupIds, values.size, device),
    centerCorrect: checkChoice('center', options.center ?? 'incorrect', ['incorrect', 'both']) === 'both',
    centered,
  });
  return centered;
}

/**
 * Group ids as the addon takes them: on the CPU renumbered 0, 1, ... in the order of their first response, on the GPU
 * unchanged.
 */
function groupsOf(groupIds: Tensor | ArrayLike<number>, responses: number, device: Device) {
  const ids = asInts('groupIds', groupIds, device);
  if (ids.size !== responses) throw outOfRange(`groupIds must have ${responses} elements, not ${ids.size}`);
  if (device === 'cuda') return { group: ids, groups: 0 };
  const seen = new Map<number, number>();
  const group = copyInts('groupIds', ids).map((id) => {
    const known = seen.get(id);
    if (known !== undefined) return known;
    seen.set(id, seen.size);
    return seen.size - 1;
  });
  return { group: Tensor.from(group), groups: seen.size };
}
