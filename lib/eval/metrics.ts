import { checkInteger } from '../options.js';

/**
 * pass@k of one problem: the chance that k of its n samples, drawn without replacement, hold one of the c right ones,
 * 1 - C(n - c, k) / C(n, k) (Chen et al., arXiv 2107.03374: unbiased, unlike 1 - (1 - c / n)^k).
 */
export function passAtK(n: number, c: number, k: number): number {
  checkInteger('n', n, 1);
  checkInteger('c', c, 0, n);
  checkInteger('k', k, 1, n);
  if (n - c < k) return 1;
  // C(n - c, k) / C(n, k) as a product, so that nothing overflows.
  let noneRight = 1;
  for (let i = n - c + 1; i <= n; i++) noneRight *= 1 - k / i;
  return 1 - noneRight;
}

/** average@n: mean over problems of the share of right samples. Problems without samples are an error. */
export function averageAtN(problems: readonly { n: number; correct: number }[]): number {
  let sum = 0;
  problems.forEach(({ n, correct }, i) => {
    sum += checkInteger(`problems[${i}].correct`, correct, 0, checkInteger(`problems[${i}].n`, n, 1)) / n;
  });
  return problems.length ? sum / problems.length : 0;
}
