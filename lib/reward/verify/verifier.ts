import type { Verdict } from '../../tasks/task.js';

/** What is known of a response besides its text. */
export interface ResponseInfo {
  /** What the policy was given. */
  prompt: string;
  /** Whether the response ended by itself rather than at the length limit. */
  finished: boolean;
}

/** Judges a response by the gold answer of its problem: a reward from 0 to 1, and what else is to be seen in the metrics. */
export type Verifier = (response: string, gold: string, info: ResponseInfo) => Verdict | Promise<Verdict>;
