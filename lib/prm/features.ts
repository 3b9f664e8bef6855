/**
 * The features that a quantile head reads of a step, beside its hidden state. They come from the log-probabilities of
 * the frozen model. A wrong step is one that the model finds unlikely; its last hidden state does not tell.
 *
 * They are: sum and minimum of the step's log-probabilities, sum and minimum over all steps so far, the step's number
 * from 0, and 1 for the last step.
 */
export const FEATURES = 6;

/**
 * The features of each step.
 *
 * @param logProbs [T] of the packed tokens of the responses
 * @param cuSteps [S + 1] where each step begins among them, then T
 * @param cuScores [B + 1] which steps each response has
 * @returns [S, 6]
 */
export function stepFeatures(logProbs: Float32Array, cuSteps: Int32Array, cuScores: Int32Array): Float32Array {
  const features = new Float32Array((cuSteps.length - 1) * FEATURES);
  for (let i = 0; i + 1 < cuScores.length; i++) {
    let [runningSum, runningMin] = [0, 0];
    for (let k = cuScores[i]; k < cuScores[i + 1]; k++) {
      let [sum, min] = [0, 0];
      for (let t = cuSteps[k]; t < cuSteps[k + 1]; t++) {
        sum += logProbs[t];
        min = Math.min(min, logProbs[t]);
      }
      runningSum += sum;
      runningMin = Math.min(runningMin, min);
      const [index, last] = [k - cuScores[i], k + 1 === cuScores[i + 1] ? 1 : 0];
      features.set([sum, min, runningSum, runningMin, index, last], k * FEATURES);
    }
  }
  return features;
}

/** Mean and population deviation of each column; a constant column gets the deviation 1. */
export function columnMoments(values: Float32Array, columns: number): { mean: Float32Array; deviation: Float32Array } {
  const rows = values.length / columns;
  const mean = new Float32Array(columns);
  const deviation = new Float32Array(columns).fill(1);
  for (let c = 0; rows > 0 && c < columns; c++) {
    let [sum, squares] = [0, 0];
    for (let i = c; i < values.length; i += columns) sum += values[i];
    for (let i = c; i < values.length; i += columns) squares += (values[i] - sum / rows) ** 2;
    mean[c] = sum / rows;
    deviation[c] = Math.fround(Math.sqrt(squares / rows)) || 1;
  }
  return { mean, deviation };
}
