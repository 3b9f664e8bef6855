import { invalidArgument, outOfRange } from '../base/errors.js';
import { checkSignal, describe } from '../base/options.js';
import { cumulative } from '../base/packed.js';
import { stepsOfResponses } from '../kernels/split-steps.js';
import { copyInts } from '../kernels/tensor.js';
import { tokenLists } from '../policy/batch.js';
import type { Conversation } from '../tasks/task.js';
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
  const conversations = checkConversations(batch.conversations, prompts.length);
  const cuSteps = copyInts('cuSteps', batch.cuSteps);
  const cuSeqlens = cumulative(completions.map(({ length }) => length));
  const cuScores = stepsOfResponses(cuSteps, cuSeqlens);
  return { prompts, completions, cuSteps, conversations, signal: checkSignal(signal), cuSeqlens, cuScores };
}

/** A copy of the conversations, read once: a server gets them as JSON. */
function checkConversations(given: StepBatch['conversations'], prompts: number): StepBatch['conversations'] {
  if (given === undefined) return undefined;
  if (!Array.isArray(given) || given.length !== prompts)
    throw invalidArgument(`conversations must be an array of ${prompts}, one per prompt, not ${describe(given)}`);
  return Array.from(given, (conversation: unknown, i) => {
    const { problem, messages } = asJson(`conversations[${i}]`, conversation) ?? {};
    if (typeof problem !== 'string') throw invalidArgument(`conversations[${i}] must have a problem, a text`);
    if (messages === undefined) return { problem };
    if (!Array.isArray(messages) || messages.length === 0 || !messages.every((each) => typeof each?.role === 'string'))
      throw invalidArgument(`conversations[${i}].messages must be messages, each with a role and a content`);
    return { problem, messages };
  });
}

function asJson(name: string, value: unknown): Partial<Conversation> | null {
  try {
    return JSON.parse(JSON.stringify(value) ?? 'null');
  } catch (error) {
    throw invalidArgument(`${name} must be values that JSON has: ${(error as Error).message}`);
  }
}
