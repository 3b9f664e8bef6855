// Float64 reference of multi-scale coherence, written from the formula; the variance as mean of squares of pairwise
// differences.

export function coherenceReference(scores: readonly number[], windows: readonly number[], lambdaVar: number): number {
  if (scores.length === 0) return 0;
  const average = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const windowScore = (own: readonly number[]) => {
    const mean = average([...own]);
    const variance = average(own.map((x) => average(own.map((y) => (x - y) ** 2)))) / 2;
    return mean === 0 ? 0 : mean * Math.exp((-lambdaVar * Math.sqrt(variance)) / mean);
  };
  return average(
    windows.map((size) => {
      const pieces: (readonly number[])[] = [];
      for (let k = 0; k < scores.length; k += size) pieces.push(scores.slice(k, k + size));
      return average(pieces.map(windowScore));
    }),
  );
}
