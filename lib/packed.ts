/** int32 [n + 1]: where each of n pieces of these lengths begins when they lie one after the other, then where the last one ends. */
export function cumulative(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => {
    offsets[i + 1] = offsets[i] + length;
  });
  return offsets;
}
