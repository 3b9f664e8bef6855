import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { checkOption } from '../base/options.js';
import type { PolicyLossOptions } from './loss-options.js';
import { LOSS_TABLE } from './loss-table.js';
import { copyFloats, copyInts, Tensor } from './tensor.js';

/**
 * The entropy threshold that keeps the `topEntropyQuantile` share of the active tokens with the highest entropy. It is
 * their (1 - topEntropyQuantile) quantile, linearly interpolated (arXiv 2506.01939). -Infinity if no token is active.
 *
 * @param entropies [T] in nats
 * @param topEntropyQuantile share of the tokens, from 0 to 1
 * @param mask [T]; a token with 0 takes no part
 * @throws PrlError ERR_PRL_NON_FINITE when the entropy of an active token is NaN
 */
export function topEntropyThreshold(
  entropies: ArrayLike<number>,
  topEntropyQuantile: number,
  mask?: ArrayLike<number>,
): number {
  checkOption('topEntropyQuantile', LOSS_TABLE.topEntropyQuantile, topEntropyQuantile);
  const values = copyFloats('entropies', entropies);
  const takesPart = mask === undefined ? undefined : copyInts('mask', mask);
  if (takesPart && takesPart.length !== values.length)
    throw outOfRange(`mask must have one entry per entropy, ${values.length}, not ${takesPart.length}`);
  const active = values.filter((_, t) => takesPart === undefined || takesPart[t] !== 0);
  if (active.some(Number.isNaN))
    throw new PrlError('ERR_PRL_NON_FINITE', 'entropy must be finite for every active token, not NaN');
  if (active.length === 0) return -Infinity;
  active.sort();
  const place = (1 - topEntropyQuantile) * (active.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, active.length - 1);
  return active[below] + (place - below) * (active[above] - active[below]);
}

/**
 * The share of the tokens that take part, if its threshold still has to be computed. undefined if all take part or the
 * threshold is given.
 */
export function openQuantile({ topEntropyQuantile, entropyThreshold }: PolicyLossOptions): number | undefined {
  if (topEntropyQuantile === undefined) return undefined;
  checkOption('topEntropyQuantile', LOSS_TABLE.topEntropyQuantile, topEntropyQuantile);
  if (entropyThreshold !== undefined)
    throw invalidArgument('topEntropyQuantile and entropyThreshold set the same limit: pass only one of them');
  return topEntropyQuantile < 1 ? topEntropyQuantile : undefined;
}

/** The entropyThreshold of a call. `entropies` is called only if a quantile needs them. */
export function entropyThreshold(
  options: PolicyLossOptions,
  mask: Tensor | ArrayLike<number> | undefined,
  entropies: () => Tensor | ArrayLike<number>,
): number | undefined {
  const quantile = openQuantile(options);
  return quantile === undefined
    ? options.entropyThreshold
    : topEntropyThreshold(numbersOf(entropies()), quantile, mask && numbersOf(mask));
}

function numbersOf(values: Tensor | ArrayLike<number>): ArrayLike<number> {
  if (!(values instanceof Tensor)) return values;
  if (values.device === 'cpu') return values.data;
  throw new PrlError(
    'ERR_PRL_UNSUPPORTED',
    'topEntropyQuantile needs the entropies on the CPU, and a call on the GPU does not wait for them: pass entropyThreshold, for instance topEntropyThreshold(await entropy.read(), topEntropyQuantile)',
  );
}
