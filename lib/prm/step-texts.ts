import type { Tokenizer } from '../policy/tokenizer.js';
import type { StepScores } from './process-reward-model.js';
import type { CheckedStepBatch } from './step-batch.js';

/** A response as text, for scoring. */
export interface StepTexts {
  /** The prompt, decoded. */
  prompt: string;
  /** The whole response, decoded. */
  response: string;
  /** The steps of the response, with their whitespace. Joined they are the response. */
  steps: readonly string[];
}

export interface TextResponse extends StepTexts {
  /** Tokens of prompt and response, in the policy's encoding. */
  tokens: number;
}

/** The responses of a batch as text. */
export function responsesOf(
  { prompts, completions, cuSteps, cuSeqlens, cuScores }: CheckedStepBatch,
  tokenizer: Tokenizer,
): TextResponse[] {
  return completions.map((completion, i) => {
    const pieces = tokenizer.pieces(completion);
    const steps: string[] = [];
    for (let k = cuScores[i]; k < cuScores[i + 1]; k++)
      steps.push(pieces.slice(cuSteps[k] - cuSeqlens[i], cuSteps[k + 1] - cuSeqlens[i]).join(''));
    return {
      prompt: tokenizer.decode(prompts[i]),
      response: steps.join(''),
      steps,
      tokens: prompts[i].length + completion.length,
    };
  });
}

/** What is known of each response as one answer. */
export function joinScores(answers: readonly { scores: ArrayLike<number>; tokens: number }[]): StepScores {
  return {
    scores: Float32Array.from(answers.flatMap(({ scores }) => Array.from(scores))),
    tokens: answers.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}
