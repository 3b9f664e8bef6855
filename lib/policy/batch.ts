// Sequences and batches packed for the native policy. Everything is copied: the caller may reuse its arrays at once.
import { invalidArgument, outOfRange } from '../errors.js';
import { TOKEN_INPUTS } from '../kernels/loss-batch.js';
import { checkOptions } from '../options.js';
import { asInts, asTensor, Tensor, type TensorLike } from '../tensor.js';
import type { PolicyBatch } from './types.js';

export interface PackedSequences {
  ids: Tensor;
  cuSeqlens: Tensor;
  /** Index of the first scored token of each sequence. */
  start: Tensor;
}

export function checkList(name: string, value: unknown): asserts value is ArrayLike<number>[] {
  if (!Array.isArray(value)) throw invalidArgument(`${name} must be an array of arrays of token ids`);
  for (let i = 0; i < value.length; i++) {
    const ids = value[i];
    if (ids === null || typeof ids !== 'object' || !(Number.isSafeInteger(ids.length) && ids.length >= 0))
      throw invalidArgument(`${name}[${i}] must be an array of token ids`);
  }
}

/** Each sequence is the concatenation of its parts. Ids are checked to be integers here, against the vocabulary by the addon. */
export function packSequences(name: string, parts: ArrayLike<number>[][]) {
  const count = parts[0].length;
  const cuSeqlens = new Int32Array(count + 1);
  let total = 0;
  for (let i = 0; i < count; i++) {
    for (const part of parts) total += part[i].length;
    if (total >= 2 ** 31) throw outOfRange(`${name} have ${total} tokens or more in all: 2^31 - 1 is the most`);
    cuSeqlens[i + 1] = total;
  }
  const ids = new Int32Array(total);
  let at = 0;
  for (let i = 0; i < count; i++) {
    for (const part of parts) {
      if (part[i] instanceof Int32Array) {
        ids.set(part[i], at);
        at += part[i].length;
        continue;
      }
      for (let j = 0; j < part[i].length; j++, at++) {
        ids[at] = part[i][j];
        if (ids[at] !== part[i][j]) throw outOfRange(`${name}[${i}] holds ${part[i][j]}, which is no token id`);
      }
    }
  }
  return { ids: Tensor.from(ids), cuSeqlens: Tensor.from(cuSeqlens) };
}

/** Whole sequences, scored from `start` on (default: from the second token). */
export function packForScoring(sequences: ArrayLike<number>[], start?: ArrayLike<number>) {
  checkList('sequences', sequences);
  const count = sequences.length;
  const starts =
    start === undefined ? new Int32Array(count).fill(1) : (asInts('start', start).data as Int32Array).slice();
  if (starts.length !== count)
    throw outOfRange(`start must have one entry per sequence, ${count}, not ${starts.length}`);
  const cuScored = new Int32Array(count + 1);
  sequences.forEach((ids, i) => {
    if (ids.length < 1) throw outOfRange(`sequences[${i}] is empty`);
    if (starts[i] < 1 || starts[i] > ids.length)
      throw outOfRange(`start[${i}] = ${starts[i]} must be from 1 to ${ids.length}, the length of the sequence`);
    cuScored[i + 1] = cuScored[i] + ids.length - starts[i];
  });
  return { packed: { ...packSequences('sequences', [sequences]), start: Tensor.from(starts) }, cuScored };
}

function copyFloats(name: string, value: TensorLike, active: (i: number) => boolean): Tensor {
  const tensor = asTensor(name, value);
  if (tensor.dtype !== 'float32') throw invalidArgument(`${name} must be float32, not ${tensor.dtype}`);
  const data = (tensor.data as Float32Array).slice();
  for (let i = 0; i < data.length; i++)
    if (!Number.isFinite(data[i]) && active(i)) throw outOfRange(`${name}[${i}] is ${data[i]}: it must be finite`);
  return Tensor.from(data);
}

/** A batch to learn from, with the number of active tokens and of sequences. */
export function packBatch(batch: PolicyBatch) {
  checkOptions('the batch', batch, ['prompts', 'completions', 'advantages', ...TOKEN_INPUTS, 'mask']);
  const { prompts, completions } = batch;
  checkList('prompts', prompts);
  checkList('completions', completions);
  const sequences = prompts.length;
  if (completions.length !== sequences)
    throw outOfRange(`prompts and completions must be as many: ${sequences} and ${completions.length} came`);
  prompts.forEach((ids, i) => {
    if (ids.length < 1) throw outOfRange(`prompts[${i}] is empty: the first completion token needs one to follow`);
  });
  const tokens = completions.reduce((n, ids) => n + ids.length, 0);
  const perToken = (name: string, tensor: Tensor) => {
    if (tensor.size !== tokens)
      throw outOfRange(`${name} must have one entry per completion token, ${tokens}, not ${tensor.size}`);
    return tensor;
  };
  const mask =
    batch.mask === undefined
      ? undefined
      : Tensor.from((perToken('mask', asInts('mask', batch.mask)).data as Int32Array).slice());
  const isActive = (i: number) => mask === undefined || mask.data[i] !== 0;
  const advantagesPerToken = asTensor('advantages', batch.advantages).size === tokens;
  const advantages = copyFloats('advantages', batch.advantages, (i) => !advantagesPerToken || isActive(i));
  if (!advantagesPerToken && advantages.size !== sequences)
    throw outOfRange(
      `advantages must have one entry per completion token (${tokens}) or per sequence (${sequences}), not ${advantages.size}`,
    );
  const optional = (name: (typeof TOKEN_INPUTS)[number]) =>
    batch[name] === undefined ? undefined : perToken(name, copyFloats(name, batch[name], isActive));
  return {
    packed: {
      ...packSequences('sequences', [prompts, completions]),
      start: Tensor.from(Int32Array.from(prompts, (ids) => ids.length)),
      advantages,
      advantagesPerToken,
      oldLogProbs: optional('oldLogProbs'),
      refLogProbs: optional('refLogProbs'),
      importanceWeights: optional('importanceWeights'),
      rolloutLogProbs: optional('rolloutLogProbs'),
      mask,
    },
    given: { tokens: mask ? (mask.data as Int32Array).reduce((n, m) => n + (m !== 0 ? 1 : 0), 0) : tokens, sequences },
  };
}
