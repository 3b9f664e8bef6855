import { invalidArgument, outOfRange } from '../base/errors.js';
import { checkSignal, describe } from '../base/options.js';
import { cumulative } from '../base/packed.js';
import { stepsOfResponses } from '../kernels/split-steps.js';
import { copyInts } from '../kernels/tensor.js';
import { tokenLists } from '../policy/batch.js';
import type { StepBatch } from './process-reward-model.js';

/** A caller's batch, read once and checked, with its offsets. */
export interface CheckedStepBatch extends StepBatch {
  /** int32 [B + 1] over the tokens of the completions. */
  cuSeqlens: Int32Array;
  /** int32 [B + 1]: response i owns steps cuScores[i] .. cuScores[i + 1] - 1. */
  cuScores: Int32Array;
}

export function checkStepBatch(batch: StepBatch): CheckedStepBatch {
  if (typeof batch !== 'object' || batch === null)
    throw invalidArgument(`a batch must be an object with prompts, completions and cuSteps, not ${describe(batch)}`);
  const { signal } = batch;
  const prompts = tokenLists('prompts', batch.prompts);
  const completions = tokenLists('completions', batch.completions);
  if (prompts.length !== completions.length)
    throw outOfRange(`there must be as many prompts as completions: got ${prompts.length} and ${completions.length}`);
  const cuSteps = copyInts('cuSteps', batch.cuSteps);
  const cuSeqlens = cumulative(completions.map(({ length }) => length));
  const cuScores = stepsOfResponses(cuSteps, cuSeqlens);
  return { prompts, completions, cuSteps, signal: checkSignal(signal), cuSeqlens, cuScores };
}
