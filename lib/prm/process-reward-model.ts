import type { StepOptions } from '../methods/steps.js';

/** Responses whose reasoning steps are to be scored: B of them in S steps. */
export interface StepBatch {
  /** [B] token ids. */
  prompts: readonly Int32Array[];
  /** [B] token ids, the end-of-sequence token included when it was sampled. */
  completions: readonly Int32Array[];
  /** int32 [S + 1] where each step begins among the packed tokens of the completions, then their number (see splitSteps). */
  cuSteps: Int32Array;
  /** Stops the scoring (ERR_PRL_ABORTED). */
  signal?: AbortSignal;
}

/** What a process reward model says of a batch. */
export interface StepScores {
  /** [S], each in [0, 1]. */
  scores: Float32Array;
  /** Tokens that the model read: what the scores cost. */
  tokens: number;
}

/**
 * Scores the reasoning steps of responses: how likely it is that a response which goes on from the end of this step ends right.
 * It is frozen: the same batch gives the same scores. It runs off the event loop.
 */
export interface ProcessRewardModel {
  /** What messages and reports call it. */
  readonly name: string;
  /** How the steps that it learned from were cut, where that is known: a run that cuts them in another way is warned. */
  readonly steps?: StepOptions;
  /** Scores every step of every response of the batch. */
  score(batch: StepBatch): Promise<StepScores>;
  /** Lets go of memory, where there is any. */
  dispose?(): void;
}
