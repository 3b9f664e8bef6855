import { outOfRange } from '../base/errors.js';
import { checkInteger, checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asFloats, asInts, asNumbers, deviceOf, Tensor } from './tensor.js';

/** Options of {@link coherence}. */
export interface CoherenceOptions {
  /** Window sizes in steps: 1 to 16 sizes, each at least 1. Default [2, 3, 5]. A size listed twice counts twice. */
  windows?: ArrayLike<number> | undefined;
  /**
   * Cost of variation, at least 0. Default 1: a window whose deviation equals its mean counts 1 / e of it. With 0 the
   * result is the mean of the windows' means.
   */
  lambdaVar?: number | undefined;
}

/**
 * Multi-scale coherence of the step scores of each response (PROGRS, arXiv 2604.02341). For each window size, the steps
 * are cut into consecutive windows; the last may be shorter. A window with mean m and population deviation d counts m *
 * exp(-lambdaVar * d / m). The result averages the windows of a size, then the sizes. Constant scores keep their mean
 * exactly. Scores that vary within a few steps get less. The paper leaves the sizes and lambdaVar open: the defaults
 * are ours.
 *
 * @param stepScores [S] scores of all responses, packed, each in [0, 1]
 * @param cuScores int32 [B + 1]: response i owns scores cuScores[i] .. cuScores[i + 1] - 1
 * @returns [B] float32 in [0, 1]; 0 for a response without steps
 * @throws PrlError ERR_PRL_NON_FINITE for a NaN score, RangeError for one outside [0, 1]; both name the score
 */
export function coherence(
  stepScores: Tensor | ArrayLike<number>,
  cuScores: Tensor | ArrayLike<number>,
  options: CoherenceOptions = {},
): Tensor {
  options = checkOptions('coherence', options, ['windows', 'lambdaVar']);
  const device = deviceOf({ stepScores, cuScores });
  const scores = asFloats('stepScores', stepScores, device);
  const offsets = asInts('cuScores', cuScores, device);
  const result = Tensor.empty([Math.max(0, offsets.size - 1)], { device });
  native().coherence({
    stepScores: scores,
    cuScores: offsets,
    windows: checkWindows(options.windows ?? [2, 3, 5]),
    lambdaVar: checkNumber('lambdaVar', options.lambdaVar ?? 1, 0, Number.MAX_VALUE),
    coherence: result,
  });
  return result;
}

function checkWindows(windows: ArrayLike<number>): number[] {
  const sizes = asNumbers('windows', windows, 'an array of window sizes');
  if (sizes.length < 1 || sizes.length > 16) throw outOfRange(`windows must hold 1 to 16 sizes, not ${sizes.length}`);
  sizes.forEach((size, j) => {
    checkInteger(`windows[${j}]`, size, 1, 2 ** 31 - 1);
  });
  return sizes;
}
