// The losses of the Tinker protocol, which are sums over tokens. p is the log-probability of a token now, q the one at
// sampling time, A its advantage. The formulas: https://tinker-docs.thinkingmachines.ai/tinker/losses
import { outOfRange } from '../../../base/errors.js';
import { checkChoice, checkNumber, checkOptions } from '../../../base/options.js';

/** A token's loss, and its derivative with respect to p. */
interface Term {
  loss: number;
  slope: number;
}
type Config = { readonly [name: string]: number };

interface TinkerLoss {
  /** The inputs that a datum must have besides target_tokens. */
  inputs: readonly string[];
  /** The entries of loss_fn_config with their defaults. */
  config: Config;
  term(token: { p: number; q: number; A: number }, config: Config): Term;
}

const OFF_POLICY = ['logprobs', 'advantages'];
const clip = (ratio: number, { clip_low_threshold: low, clip_high_threshold: high }: Config) =>
  Math.min(Math.max(ratio, low), high);

export const TINKER_LOSSES: { readonly [name: string]: TinkerLoss } = {
  cross_entropy: { inputs: ['weights'], config: {}, term: ({ p }) => ({ loss: -p, slope: -1 }) },
  importance_sampling: {
    inputs: OFF_POLICY,
    config: {},
    term({ p, q, A }) {
      const objective = Math.exp(p - q) * A;
      return { loss: -objective, slope: -objective };
    },
  },
  ppo: {
    inputs: OFF_POLICY,
    config: { clip_low_threshold: 0.8, clip_high_threshold: 1.2 },
    term({ p, q, A }, config) {
      const ratio = Math.exp(p - q);
      const clipped = clip(ratio, config) * A;
      return ratio * A <= clipped ? { loss: -ratio * A, slope: -ratio * A } : { loss: -clipped, slope: 0 };
    },
  },
  cispo: {
    inputs: OFF_POLICY,
    config: { clip_low_threshold: 0, clip_high_threshold: 4 },
    term({ p, q, A }, config) {
      const factor = clip(Math.exp(p - q), config) * A;
      return { loss: -factor * p, slope: -factor };
    },
  },
  dro: {
    inputs: OFF_POLICY,
    config: { beta: 0.05 },
    term: ({ p, q, A }, { beta }) => ({ loss: -p * A + 0.5 * beta * (p - q) ** 2, slope: -A + beta * (p - q) }),
  },
};

/** The loss of this name with its whole configuration. @throws TypeError or RangeError that names what is wrong */
export function readLoss(
  name: string,
  given: { readonly [name: string]: number | string } = {},
): { loss: TinkerLoss; config: Config } {
  const loss = TINKER_LOSSES[checkChoice('loss_fn', name, Object.keys(TINKER_LOSSES))];
  const known = Object.keys(loss.config);
  const config = { ...loss.config };
  for (const [key, value] of Object.entries(checkOptions(`loss_fn_config of ${name}`, given, known)))
    config[key] = checkNumber(`loss_fn_config.${key}`, value, 0);
  if (config.clip_low_threshold > config.clip_high_threshold)
    throw outOfRange(
      `clip_low_threshold must be at most clip_high_threshold, not ${config.clip_low_threshold} and ${config.clip_high_threshold}`,
    );
  return { loss, config };
}
