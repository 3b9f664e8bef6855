import { invalidArgument } from '../base/errors.js';
import type { OptionTable } from '../base/options.js';
import { type StepSplit, splitSteps } from '../kernels/split-steps.js';
import type { Tokenizer } from '../policy/tokenizer.js';

export interface StepOptions {
  stepSplit: StepSplit['kind'];
  /** Tokens of a step, for 'length'. */
  stepLength: number;
  /** Ids of the tokens that end a step, for 'tokens'. */
  stepTokens?: readonly number[];
  /** What ends a step in the decoded text, for 'strings'. */
  stepStrings?: readonly string[];
}

export const STEP_OPTIONS = {
  stepSplit: {
    type: 'choice',
    choices: ['newline', 'blankLine', 'length', 'tokens', 'strings', 'offsets'],
    default: 'newline',
    doc: 'Where reasoning steps end: after lines, blank lines, stepLength tokens, stepTokens, stepStrings; offsets asks a function (setup stepOffsets)',
  },
  stepLength: { type: 'integer', default: 256, min: 1, doc: "Tokens of a step, for stepSplit 'length'" },
  stepTokens: { type: 'integers', min: 0, doc: "Ids of tokens that end a step, for stepSplit 'tokens'" },
  stepStrings: {
    type: 'strings',
    doc: "What ends a step in the decoded text, for stepSplit 'strings' (\\n is a newline)",
  },
} as const satisfies OptionTable;

/** Where the steps after the first begin in a response, as rising token positions: for stepSplit 'offsets'. */
export type StepOffsets = (response: { tokens: Int32Array; text: string; prompt: string }) => ArrayLike<number>;

/** That a way to cut steps has what it needs, and nothing that belongs to another one. */
export function checkSteps({ stepSplit, stepTokens, stepStrings }: StepOptions, stepOffsets?: StepOffsets): void {
  for (const [kind, name, value] of [
    ['tokens', 'stepTokens', stepTokens],
    ['strings', 'stepStrings', stepStrings],
    ['offsets', 'stepOffsets', stepOffsets],
  ] as const) {
    if (stepSplit === kind && value === undefined) throw invalidArgument(`stepSplit '${kind}' needs ${name}`);
    if (stepSplit !== kind && value !== undefined)
      throw invalidArgument(`${name} has no meaning with stepSplit '${stepSplit}': it needs stepSplit '${kind}'`);
  }
}

/** How two ways to cut steps differ, as in "stepSplit 'newline' instead of 'length'"; undefined where they are the same. */
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

/** Whether steps are found in the text. */
export const splitsText = ({ stepSplit }: StepOptions): boolean => !['length', 'tokens', 'offsets'].includes(stepSplit);

/** cuSteps [S + 1]: where the reasoning steps of packed completions begin. `offsets` are those of each completion, for 'offsets'. */
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
