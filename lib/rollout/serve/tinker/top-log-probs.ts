// The most likely tokens of each position, with their log-probabilities.
import { NO_LOG_PROB, type TopK } from '../../../policy/tinker/wire/messages.js';

/**
 * Of logits [length, vocab], whose row i is about token i + 1.
 *
 * @param from the first position of the result
 * @param first the first position with values, at least 1
 */
export function topLogProbs(
  logits: Float32Array,
  { length, from, first, k, temperature }: Record<'length' | 'from' | 'first' | 'k' | 'temperature', number>,
): TopK {
  const vocab = logits.length / length;
  const ids = new Int32Array((length - from) * k);
  const logProbs = new Float32Array(ids.length).fill(NO_LOG_PROB);
  for (let token = first; token < length; token++) {
    const row = logits.subarray((token - 1) * vocab, token * vocab);
    const best = topOf(row, k);
    const most = row[best[0]] / temperature;
    let sum = 0;
    for (const logit of row) sum += Math.exp(logit / temperature - most);
    const norm = most + Math.log(sum);
    best.forEach((id, rank) => {
      ids[(token - from) * k + rank] = id;
      logProbs[(token - from) * k + rank] = row[id] / temperature - norm;
    });
  }
  return { k, ids, logProbs };
}

/** The indices of the k largest values, the largest first; of equal ones the earlier first. */
function topOf(row: Float32Array, k: number): number[] {
  const best: number[] = [];
  for (let id = 0; id < row.length; id++) {
    if (best.length === k && !(row[id] > row[best[k - 1]])) continue;
    let at = best.length;
    while (at > 0 && row[id] > row[best[at - 1]]) at--;
    best.splice(at, 0, id);
    if (best.length > k) best.pop();
  }
  return best;
}
