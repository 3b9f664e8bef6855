import { invalidArgument } from '../base/errors.js';
import type { ChatMessage } from '../policy/chat-template.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { Conversation } from '../tasks/task.js';
import type { StepScores } from './process-reward-model.js';
import type { CheckedStepBatch } from './step-batch.js';

/** A response as text, for scoring. */
export interface StepTexts {
  /** The bare problem, without a system message or a template. */
  prompt: string;
  /** The conversation before the response. Of a prompt that is no chat: the problem as the only message of the user. */
  messages: readonly ChatMessage[];
  /** The whole response, decoded. */
  response: string;
  /** The steps of the response, with their whitespace. Joined they are the response. */
  steps: readonly string[];
}

export interface TextResponse extends StepTexts {
  /** The problem, with a line break unless the response continues its last line. */
  before: string;
  /** Tokens of prompt and response, in the policy's encoding. */
  tokens: number;
}

/** The responses of a batch as text. */
export function responsesOf(
  { prompts, completions, cuSteps, cuSeqlens, cuScores, conversations }: CheckedStepBatch,
  tokenizer: Tokenizer,
): TextResponse[] {
  return completions.map((completion, i) => {
    const pieces = tokenizer.pieces(completion);
    const steps: string[] = [];
    for (let k = cuScores[i]; k < cuScores[i + 1]; k++)
      steps.push(pieces.slice(cuSteps[k] - cuSeqlens[i], cuSteps[k + 1] - cuSeqlens[i]).join(''));
    const decoded = tokenizer.decode(prompts[i]);
    const { problem, messages }: Conversation = conversations?.[i] ?? {
      problem: plainPrompt(prompts[i], decoded, tokenizer, i),
    };
    return {
      prompt: problem,
      messages: messages ?? [{ role: 'user', content: problem }],
      before: decoded.trim() === problem.trim() || problem.endsWith('\n') ? problem : `${problem}\n`,
      response: steps.join(''),
      steps,
      tokens: prompts[i].length + completion.length,
    };
  });
}

/** A chat without its special tokens reads like "user What is 2 + 2?": no model was trained on that. */
function plainPrompt(prompt: Int32Array, decoded: string, tokenizer: Tokenizer, i: number): string {
  const rest = prompt.subarray(1);
  if (tokenizer.decode(rest) !== tokenizer.decode(rest, { skipSpecialTokens: false }))
    throw invalidArgument(
      `prompts[${i}] is a chat with special tokens: give 'conversations', its messages, to a model that reads texts`,
    );
  return decoded;
}

/** What is known of each response as one answer. */
export function joinScores(answers: readonly { scores: ArrayLike<number>; tokens: number }[]): StepScores {
  return {
    scores: Float32Array.from(answers.flatMap(({ scores }) => Array.from(scores))),
    tokens: answers.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}
