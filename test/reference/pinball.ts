// Float64 reference of the pinball loss, written from its definition as a maximum.

/** rho_q(e) */
export const pinball = (q: number, e: number): number => Math.max(q * e, (q - 1) * e);

/** Mean over rows and quantiles; values row by row. */
export function quantileLossReference(
  values: ArrayLike<number>,
  targets: ArrayLike<number>,
  quantiles: readonly number[],
): number {
  let sum = 0;
  for (let r = 0; r < targets.length; r++)
    quantiles.forEach((q, j) => {
      sum += pinball(q, targets[r] - values[r * quantiles.length + j]);
    });
  return sum / (targets.length * quantiles.length);
}
