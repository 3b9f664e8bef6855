import { splitSteps } from '../kernels/split-steps.js';
import type { Tokenizer } from '../policy/tokenizer.js';

export interface StepOptions {
  stepSplit: 'newline' | 'blankLine' | 'length';
  /** Tokens of a step, for 'length'. */
  stepLength: number;
}

/** cuSteps [S + 1]: where the reasoning steps of packed completions begin. */
export function completionSteps(
  completions: readonly Int32Array[],
  tokenizer: Tokenizer,
  { stepSplit, stepLength }: StepOptions,
): Int32Array {
  if (stepSplit === 'length') return splitSteps(completions, { kind: 'length', length: stepLength });
  return splitSteps(
    completions.map((tokens) => tokenizer.pieces(tokens)),
    { kind: stepSplit },
  );
}
