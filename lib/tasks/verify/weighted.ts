import { invalidArgument, outOfRange } from '../../base/errors.js';
import { checkFunction, checkNumber, checkOptions } from '../../base/options.js';
import { checkVerdict } from './function.js';
import type { Verifier } from './verifier.js';

/** One verifier of a {@link weightedVerifier}. */
export interface WeightedPart {
  /** Name in the metrics: rewards/NAME/mean. */
  name: string;
  /** The verifier. */
  verifier: Verifier;
  /** Weight in the mean, at least 0; with 0 it is only watched. Default 1. */
  weight?: number;
}

/**
 * Combines several verifiers. The reward is the mean of their rewards by weight. Each one's mean over responses is the
 * metric rewards/NAME/mean.
 *
 * @throws TypeError for parts without a name or with the same one, RangeError without a weight above 0
 */
export function weightedVerifier(parts: readonly WeightedPart[]): Verifier {
  if (!Array.isArray(parts) || parts.length === 0)
    throw invalidArgument('weightedVerifier takes an array of { name, verifier, weight }');
  const all = Array.from(parts, (part) => {
    part = checkOptions('a verifier of weightedVerifier', part, ['name', 'verifier', 'weight']);
    if (typeof part.name !== 'string' || part.name === '') throw invalidArgument('each verifier needs a name');
    checkFunction(`the verifier '${part.name}'`, part.verifier);
    return { ...part, weight: checkNumber(`the weight of '${part.name}'`, part.weight ?? 1, 0, Number.MAX_VALUE) };
  });
  if (new Set(all.map(({ name }) => name)).size < all.length) throw invalidArgument('two verifiers have the same name');
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  if (total === 0) throw outOfRange('weightedVerifier needs a weight above 0');
  return async (response, gold, info) => {
    const verdicts = await Promise.all(
      all.map(({ name, verifier }) => checkVerdict(name, verifier, response, gold, info)),
    );
    return {
      reward: verdicts.reduce((sum, { reward }, i) => sum + all[i].weight * reward, 0) / total,
      measures: Object.assign(
        {},
        ...verdicts.map(({ measures }) => measures),
        Object.fromEntries(verdicts.map(({ reward }, i) => [`rewards/${all[i].name}/mean`, reward])),
      ),
    };
  };
}
