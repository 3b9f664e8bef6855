import { invalidArgument } from '../base/errors.js';
import type { OptionTable } from '../base/options.js';
import { type StepSplit, splitSteps } from '../kernels/split-steps.js';
import type { Tokenizer } from '../policy/tokenizer.js';

export interface StepOptions {
  /** Where reasoning steps end. */
  stepSplit: StepSplit['kind'];
  /** Tokens per step, for 'length'. */
  stepLength: number;
  /** Token ids that end a step, for 'tokens'. */
  stepTokens?: readonly number[] | undefined;
  /** Strings that end a step in the decoded text, for 'strings'. */
  stepStrings?: readonly string[] | undefined;
}

export const STEP_OPTIONS = {
  stepSplit: {
    type: 'choice',
    choices: ['newline', 'blankLine', 'length', 'tokens', 'strings', 'offsets'],
    default: 'newline',
    doc: 'Where reasoning steps end: after lines, blank lines, stepLength tokens, stepTokens or stepStrings; offsets calls stepOffsets of the setup',
  },
  stepLength: { type: 'integer', default: 256, min: 1, doc: "Tokens per step, for stepSplit 'length'" },
  stepTokens: { type: 'integers', min: 0, doc: "Token ids that end a step, for stepSplit 'tokens'" },
  stepStrings: {
    type: 'strings',
    doc: "Strings that end a step in the decoded text, for stepSplit 'strings' (\\n is a newline)",
  },
} as const satisfies OptionTable;

/**
 * A function for stepSplit 'offsets'. It returns the token positions, rising, where the steps after the first begin.
 */
export type StepOffsets = (response: {
  /** Token ids of the response. */
  tokens: Int32Array;
  /** Text of the response. */
  text: string;
  /** Text of the prompt. */
  prompt: string;
}) => ArrayLike<number>;

/** Throws if a stepSplit lacks an option that it needs, or has one of another stepSplit. */
export function checkSteps({ stepSplit, stepTokens, stepStrings }: StepOptions, stepOffsets?: StepOffsets): void {
  for (const [kind, name, value] of [
    ['tokens', 'stepTokens', stepTokens],
    ['strings', 'stepStrings', stepStrings],
    ['offsets', 'stepOffsets', stepOffsets],
  ] as const) {
    if (stepSplit === kind && value === undefined) throw invalidArgument(`stepSplit '${kind}' needs ${name}`);
    if (stepSplit !== kind && value !== undefined)
      throw invalidArgument(`${name} needs stepSplit '${kind}', not '${stepSplit}'`);
  }
}

/**
 * The first difference of two ways to cut steps, as in "stepSplit 'newline' instead of 'length'"; undefined if they are
 * equal.
 */
export function stepDifference(
  wanted: StepOptions,
  { stepSplit, stepLength, stepTokens, stepStrings }: StepOptions,
): string | undefined {
  const pairs = [
    ['stepSplit', wanted.stepSplit, stepSplit],
    ...(stepSplit === 'length' ? [['stepLength', wanted.stepLength, stepLength]] : []),
    ['stepTokens', wanted.stepTokens, stepTokens],
    ['stepStrings', wanted.stepStrings, stepStrings],
  ].map(([name, a, b]) => [name, JSON.stringify(a), JSON.stringify(b)]);
  const found = pairs.find(([, a, b]) => a !== b);
  return found && `${found[0]} ${found[2]} instead of ${found[1]}`;
}

/** Whether the steps are cut in the decoded text. */
export const splitsText = ({ stepSplit }: StepOptions): boolean => !['length', 'tokens', 'offsets'].includes(stepSplit);

/**
 * cuSteps [S + 1]: where the reasoning steps of packed completions begin. 'offsets' needs the `offsets` of each
 * completion.
 */
export function completionSteps(
  completions: readonly Int32Array[],
  tokenizer: Tokenizer,
  { stepSplit: kind, stepLength, stepTokens, stepStrings }: StepOptions,
  offsets?: readonly ArrayLike<number>[],
): Int32Array {
  switch (kind) {
    case 'length':
      return splitSteps(completions, { kind, length: stepLength });
    case 'tokens':
      return splitSteps(completions, { kind, tokens: stepTokens! });
    case 'offsets':
      return splitSteps(completions, { kind, offsets: offsets! });
    default: {
      const texts = completions.map((tokens) => tokenizer.pieces(tokens));
      return splitSteps(texts, kind === 'strings' ? { kind, strings: stepStrings! } : { kind });
    }
  }
}
