// Sequences and batches packed for the native policy. Everything is copied: the caller may reuse its arrays at once.
import { invalidArgument, outOfRange } from '../base/errors.js';
import { checkOptions, describe } from '../base/options.js';
import { TOKEN_INPUTS } from '../kernels/loss-batch.js';
import { asTensor, copyFloats, copyInts, Tensor } from '../kernels/tensor.js';
import type { PolicyBatch } from './types.js';

export interface PackedSequences {
  ids: Tensor;
  cuSeqlens: Tensor;
  /** Index of the first scored token of each sequence. */
  start: Tensor;
}

/** Copies of lists of token ids. They are checked to be integers here, against the vocabulary by the addon. */
export function tokenLists(name: string, lists: readonly ArrayLike<number>[]): Int32Array[] {
  if (!Array.isArray(lists))
    throw invalidArgument(`${name} must be an array of arrays of token ids, not ${describe(lists)}`);
  const copies: Int32Array[] = [];
  for (let i = 0; i < lists.length; i++) copies.push(tokenList(`${name}[${i}]`, lists[i]));
  return copies;
}

export function tokenList(name: string, ids: ArrayLike<number>): Int32Array {
  return copyInts(name, ids, 'an array of token ids');
}

/** Each sequence is the concatenation of its parts. */
export function packSequences(name: string, parts: readonly Int32Array[][]) {
  const count = parts[0].length;
  const cuSeqlens = new Int32Array(count + 1);
  let total = 0;
  for (let i = 0; i < count; i++) {
    for (const part of parts) total += part[i].length;
    if (total >= 2 ** 31) throw outOfRange(`${name} must have at most 2^31 - 1 tokens in all, not ${total} or more`);
    cuSeqlens[i + 1] = total;
  }
  const ids = new Int32Array(total);
  let at = 0;
  for (let i = 0; i < count; i++) {
    for (const part of parts) {
      ids.set(part[i], at);
      at += part[i].length;
    }
  }
  return { ids: Tensor.from(ids), cuSeqlens: Tensor.from(cuSeqlens) };
}

/** Whole sequences, scored from `start` on (default: from the second token). */
export function packForScoring(given: readonly ArrayLike<number>[], start?: ArrayLike<number>) {
  const sequences = tokenLists('sequences', given);
  const count = sequences.length;
  const starts = start === undefined ? new Int32Array(count).fill(1) : copyInts('start', start);
  if (starts.length !== count)
    throw outOfRange(`start must have one entry per sequence, ${count}, not ${starts.length}`);
  const cuScored = new Int32Array(count + 1);
  sequences.forEach((ids, i) => {
    if (ids.length < 1) throw outOfRange(`sequences[${i}] must have at least one token`);
    if (starts[i] < 1 || starts[i] > ids.length)
      throw outOfRange(`start[${i}] = ${starts[i]} must be from 1 to ${ids.length}, the length of the sequence`);
    cuScored[i + 1] = cuScored[i] + ids.length - starts[i];
  });
  return { packed: { ...packSequences('sequences', [sequences]), start: Tensor.from(starts) }, cuScored };
}

function checkFinite(name: string, data: Float32Array, active: (i: number) => boolean): Tensor {
  for (let i = 0; i < data.length; i++)
    if (!Number.isFinite(data[i]) && active(i)) throw outOfRange(`${name}[${i}] must be finite, not ${data[i]}`);
  return Tensor.from(data);
}

/** A batch to learn from, with the number of active tokens and of sequences. */
export function packBatch(batch: PolicyBatch) {
  batch = checkOptions('the batch', batch, ['prompts', 'completions', 'advantages', ...TOKEN_INPUTS, 'mask']);
  const prompts = tokenLists('prompts', batch.prompts);
  const completions = tokenLists('completions', batch.completions);
  const sequences = prompts.length;
  if (completions.length !== sequences)
    throw outOfRange(
      `there must be one completion per prompt: ${sequences} prompts, but ${completions.length} completions`,
    );
  prompts.forEach((ids, i) => {
    if (ids.length < 1)
      throw outOfRange(`prompts[${i}] must have at least one token: the first completion token follows it`);
  });
  const tokens = completions.reduce((n, ids) => n + ids.length, 0);
  const perToken = <T extends Float32Array | Int32Array>(name: string, list: T): T => {
    if (list.length !== tokens)
      throw outOfRange(`${name} must have one entry per completion token, ${tokens}, not ${list.length}`);
    return list;
  };
  const mask = batch.mask === undefined ? undefined : perToken('mask', copyInts('mask', batch.mask));
  const isActive = (i: number) => mask === undefined || mask[i] !== 0;
  const advantages = copyFloats('advantages', asTensor('advantages', batch.advantages));
  const advantagesPerToken = advantages.length === tokens;
  if (!advantagesPerToken && advantages.length !== sequences)
    throw outOfRange(
      `advantages must have one entry per completion token (${tokens}) or per sequence (${sequences}), not ${advantages.length}`,
    );
  const optional = (name: (typeof TOKEN_INPUTS)[number]) =>
    batch[name] === undefined
      ? undefined
      : checkFinite(name, perToken(name, copyFloats(name, asTensor(name, batch[name]))), isActive);
  return {
    packed: {
      ...packSequences('sequences', [prompts, completions]),
      start: Tensor.from(Int32Array.from(prompts, (ids) => ids.length)),
      advantages: checkFinite('advantages', advantages, (i) => !advantagesPerToken || isActive(i)),
      advantagesPerToken,
      oldLogProbs: optional('oldLogProbs'),
      refLogProbs: optional('refLogProbs'),
      importanceWeights: optional('importanceWeights'),
      rolloutLogProbs: optional('rolloutLogProbs'),
      mask: mask && Tensor.from(mask),
    },
    given: { tokens: mask ? mask.reduce((n, m) => n + (m !== 0 ? 1 : 0), 0) : tokens, sequences },
  };
}
