// Float64 reference of the quantile head, row by row from its formula.
export type HeadWeights = ReadonlyMap<string, ArrayLike<number>>;

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Outputs of one step. */
export function quantileHead(weights: HeadWeights, hidden: ArrayLike<number>, features: ArrayLike<number>): number[] {
  const [mean, deviation] = [weights.get('features.mean')!, weights.get('features.deviation')!];
  const x = [...Array.from(hidden), ...Array.from(features, (f, i) => (f - mean[i]) / deviation[i])];
  const layer = (name: string, input: readonly number[]) =>
    Array.from(weights.get(`${name}.bias`)!, (bias, j) =>
      input.reduce((sum, value, i) => sum + weights.get(`${name}.weight`)![j * input.length + i] * value, bias),
    );
  const silu = layer('hidden', x).map((z) => z * sigmoid(z));
  return layer('output', silu).map(sigmoid);
}
