// Float64 references, written from the formulas of algorithms (not from the kernels).

export interface RowReference {
  logProb: number;
  entropy: number;
  logSumExp: number;
  probabilities: Float64Array;
}

/** log softmax(row / temperature)[target], entropy, log-sum-exp and probabilities of one row, in float64. */
export function softmaxRow(row: ArrayLike<number>, target: number, temperature = 1): RowReference {
  let max = -Infinity;
  for (let j = 0; j < row.length; j++) max = Math.max(max, row[j] / temperature);
  let sum = 0;
  for (let j = 0; j < row.length; j++) sum += Math.exp(row[j] / temperature - max);
  const logSumExp = max + Math.log(sum);
  const probabilities = Float64Array.from({ length: row.length }, (_, j) => Math.exp(row[j] / temperature - max) / sum);
  let entropy = 0;
  for (const p of probabilities) if (p > 0) entropy -= p * Math.log(p);
  return { logProb: row[target] / temperature - max - Math.log(sum), entropy, logSumExp, probabilities };
}

/** d(dLogProb * logProb + dEntropy * entropy) / d row. */
export function softmaxRowGradient(
  row: ArrayLike<number>,
  target: number,
  dLogProb: number,
  dEntropy: number,
  temperature = 1,
): Float64Array {
  const { entropy, probabilities } = softmaxRow(row, target, temperature);
  return probabilities.map((p, j) => {
    const logProbTerm = dLogProb * ((j === target ? 1 : 0) - p);
    const entropyTerm = p > 0 ? -dEntropy * p * (Math.log(p) + entropy) : 0;
    return (logProbTerm + entropyTerm) / temperature;
  });
}
