// Which demonstrations a step of supervised fine-tuning learns from.
import { permutation, randomStream } from '../base/random.js';
import type { Demonstration } from '../tasks/data/demonstration.js';
import type { ResolvedSftOptions } from './sft-options.js';

export const lengthOf = ({ prompt, completion }: Demonstration) => prompt.length + completion.length;

/**
 * Rows of indices into `demonstrations`: one each or, with packing, as many as fit in maxLength tokens. Longest first,
 * each goes to the fullest row that has room (best fit decreasing).
 */
export function rowsOf(
  demonstrations: readonly Demonstration[],
  { packing, maxLength }: Pick<ResolvedSftOptions, 'packing' | 'maxLength'>,
): number[][] {
  const indices = demonstrations.map((_, i) => i);
  if (!packing) return indices.map((i) => [i]);
  const lengths = demonstrations.map(lengthOf);
  indices.sort((a, b) => lengths[b] - lengths[a] || a - b);
  const rows: number[][] = [];
  // The rows with so much room left, the newest last.
  const withRoom = new Map<number, number[]>();
  for (const i of indices) {
    let room = lengths[i];
    while (room <= maxLength && !withRoom.get(room)?.length) room++;
    const row = withRoom.get(room)?.pop() ?? rows.push([]) - 1;
    rows[row].push(i);
    const left = (room <= maxLength ? room : maxLength) - lengths[i];
    if (left > 0) withRoom.set(left, [...(withRoom.get(left) ?? []), row]);
  }
  return rows;
}

/** The rows of step `step`, from 0: the next ones of the epoch's shuffle. The last step of an epoch may have fewer. */
export function rowsOfStep(
  rows: readonly number[][],
  step: number,
  { seed, perDeviceTrainBatchSize: size }: Pick<ResolvedSftOptions, 'seed' | 'perDeviceTrainBatchSize'>,
): number[] {
  const perEpoch = stepsPerEpoch(rows.length, size);
  const order = permutation(rows.length, randomStream(seed, 'sft', Math.floor(step / perEpoch)));
  const first = (step % perEpoch) * size;
  return [...order.subarray(first, first + size)].flatMap((row) => rows[row]);
}

export const stepsPerEpoch = (rows: number, size: number) => Math.ceil(rows / size);
