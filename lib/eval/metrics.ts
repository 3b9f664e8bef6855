import { invalidArgument } from '../base/errors.js';
import { checkInteger, describe } from '../base/options.js';

/**
 * pass@k of one problem: the chance that k of its n samples, drawn without replacement, include one of the c right
 * ones. It is 1 - C(n - c, k) / C(n, k), which is unbiased, unlike 1 - (1 - c / n)^k (Chen et al., arXiv 2107.03374).
 */
export function passAtK(n: number, c: number, k: number): number {
  checkInteger('n', n, 1, 2 ** 31 - 1);
  checkInteger('c', c, 0, n);
  checkInteger('k', k, 1, n);
  if (n - c < k) return 1;
  // C(n - c, k) / C(n, k) as a product, so that nothing overflows. c and k may change places: the smaller one is the
  // number of factors.
  const [few, many] = c < k ? [c, k] : [k, c];
  let noneRight = 1;
  for (let i = n - few + 1; i <= n && noneRight > 0; i++) noneRight *= 1 - many / i;
  return 1 - noneRight;
}

/**
 * average@n: the mean over problems of the share of right samples.
 *
 * @throws RangeError for problems without samples
 */
export function averageAtN(problems: readonly { n: number; correct: number }[]): number {
  if (!Array.isArray(problems)) throw invalidArgument(`problems must be an array, not ${describe(problems)}`);
  let sum = 0;
  for (const [i, problem] of problems.entries()) {
    if (typeof problem !== 'object' || problem === null)
      throw invalidArgument(`problems[${i}] must be an object with n and correct, not ${describe(problem)}`);
    const n = checkInteger(`problems[${i}].n`, problem.n, 1);
    sum += checkInteger(`problems[${i}].correct`, problem.correct, 0, n) / n;
  }
  return problems.length ? sum / problems.length : 0;
}
