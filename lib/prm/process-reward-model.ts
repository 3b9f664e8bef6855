import type { StepOptions } from '../methods/steps.js';
import type { Conversation } from '../tasks/task.js';

/** Responses whose reasoning steps are scored: B responses with S steps in all. */
export interface StepBatch {
  /** [B] token ids of each prompt. */
  prompts: readonly Int32Array[];
  /** [B] token ids of each response, with the end-of-sequence token if it was sampled. */
  completions: readonly Int32Array[];
  /**
   * int32 [S + 1]: where each step begins among the packed tokens of the completions, then their number. See
   * splitSteps.
   */
  cuSteps: Int32Array;
  /**
   * [B] what each prompt says, for models that read texts. Default: the decoded prompts, if they are no chats with
   * special tokens.
   */
  conversations?: readonly Conversation[] | undefined;
  /** Stops the scoring (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
}

/** Scores of a batch. */
export interface StepScores {
  /** [S] scores, each in [0, 1]. */
  scores: Float32Array;
  /** Tokens that the model read: the cost of the scores. */
  tokens: number;
}

/**
 * Scores the reasoning steps of responses. A score is the chance that a response which continues from the end of the
 * step ends right. The model is frozen: the same batch gives the same scores. It runs off the event loop.
 */
export interface ProcessRewardModel {
  /** Name in messages and reports. */
  readonly name: string;
  /** How the steps of its training data were cut, if known. A run that cuts them differently gets a warning. */
  readonly steps?: StepOptions | undefined;
  /** Scores every step of every response of the batch. */
  score(batch: StepBatch): Promise<StepScores>;
  /** Frees memory, if there is any. */
  dispose?(): void;
}
