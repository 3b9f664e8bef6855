// The data of forward_backward: sequences, and per target what the loss needs.
import { invalidArgument, outOfRange } from '../../../base/errors.js';
import type { Datum } from '../../../policy/tinker/wire/messages.js';
import type { TINKER_LOSSES } from './losses.js';

export interface Sequence {
  /** The input and, as its last token, the last target. */
  ids: Int32Array;
  /** Per target, which is per token after the first. Absent: 1. */
  weights?: Float32Array;
  logprobs?: Float32Array;
  advantages?: Float32Array;
}

const INPUTS = ['weights', 'logprobs', 'advantages'] as const;

/**
 * Checks the data against what this loss needs.
 *
 * @param context longest sequence of the model
 * @throws TypeError or RangeError that names the datum and the input
 */
export function readData(
  data: readonly Datum[],
  lossFn: string,
  { inputs }: (typeof TINKER_LOSSES)[string],
  { context, forwardOnly }: { context: number; forwardOnly: boolean },
): Sequence[] {
  if (data.length === 0) throw invalidArgument('data must have at least one datum');
  return data.map(({ tokens, lossInputs }, i) => {
    const name = `data[${i}]`;
    const needed = forwardOnly ? [] : inputs;
    for (const input of ['target_tokens', ...needed])
      if (!Object.hasOwn(lossInputs, input)) throw invalidArgument(`${name}: ${lossFn} needs the input ${input}`);
    for (const input of Object.keys(lossInputs))
      if (input !== 'target_tokens' && !INPUTS.includes(input as (typeof INPUTS)[number]))
        throw invalidArgument(`${name} has the input '${input.slice(0, 100)}', which is not one of ${INPUTS}`);
    const sequence: Sequence = { ids: sequenceOf(name, tokens, lossInputs.target_tokens.data, context) };
    for (const input of INPUTS)
      if (Object.hasOwn(lossInputs, input))
        sequence[input] = perTarget(`${name}.${input}`, lossInputs[input].data, tokens.length);
    return sequence;
  });
}

/** The policy predicts the next token of a sequence, so that the targets must be the input, one token later. */
function sequenceOf(name: string, tokens: Int32Array, targets: ArrayLike<number>, context: number): Int32Array {
  if (tokens.length === 0) throw outOfRange(`${name} must have at least one token`);
  if (tokens.length + 1 > context)
    throw outOfRange(
      `${name} must have at most ${context - 1} tokens, one less than the model's positions, not ${tokens.length}`,
    );
  if (targets.length !== tokens.length)
    throw outOfRange(
      `${name}.target_tokens must have one target per token, ${tokens.length}, not ${targets.length}: several targets per token are not supported`,
    );
  const ids = new Int32Array(tokens.length + 1);
  ids.set(tokens);
  ids[tokens.length] = targets[tokens.length - 1];
  for (let i = 0; i < tokens.length; i++)
    if (ids[i + 1] !== targets[i])
      throw outOfRange(
        `${name}.target_tokens[${i}] must be the input's next token, ${ids[i + 1]}, not ${targets[i]}: other targets are not supported`,
      );
  return ids;
}

function perTarget(name: string, values: Float32Array | Int32Array, count: number): Float32Array {
  if (values.length !== count)
    throw outOfRange(`${name} must have one entry per target, ${count}, not ${values.length}`);
  const floats = Float32Array.from(values);
  const bad = floats.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw outOfRange(`${name}[${bad}] must be finite, not ${floats[bad]}`);
  return floats;
}
