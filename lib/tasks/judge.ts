import { PrlError, type PrlErrorCode } from '../base/errors.js';
import { describe } from '../base/options.js';
import { shorten } from '../base/text.js';
import type { Problem, Task, Verdict } from './task.js';

/** Milliseconds without any verdict after which a verifier is taken for hung. */
const STALL = 600_000;

/** When the last verdict of this process came. */
let lastVerdict = 0;

/** The task's verdict in one form. */
export interface Judgement {
  reward: number;
  measures: Record<string, number>;
}

interface Judged {
  problem: Problem;
  response: string;
  /** Whether the response ended by itself. */
  finished: boolean;
  /** Which response it is, such as "response 3 to problem 0". */
  place: string;
}

/**
 * The task's verdict on a response.
 *
 * @param stall milliseconds without any verdict, of this response or others
 * @throws PrlError that names the response and its problem: ERR_PRL_NON_FINITE for a reward that is no finite number,
 *   ERR_PRL_VERIFIER for a verifier that throws or measures that are no numbers, ERR_PRL_TIMEOUT for one that hangs
 */
export async function judge(
  task: Pick<Task, 'name' | 'verify'>,
  { problem, response, finished, place }: Judged,
  stall = STALL,
): Promise<Judgement> {
  const named = `the problem ${JSON.stringify(shorten(problem.prompt))}`;
  const fail = (code: PrlErrorCode, message: string, cause?: unknown) =>
    new PrlError(code, `${place}: ${message}`, { cause });
  let verdict: Verdict;
  try {
    verdict = await inTime(() => task.verify(problem, response, finished), stall, named);
  } catch (error) {
    const { code, message } = (error ?? {}) as Partial<PrlError>;
    if (code === 'ERR_PRL_ABORTED') throw error;
    // These name the problem.
    if (code === 'ERR_PRL_VERIFIER' || code === 'ERR_PRL_TIMEOUT') throw fail(code, message!, error);
    const what = `the verifier of the task '${task.name}' failed for ${named}: ${message ?? error}`;
    throw fail('ERR_PRL_VERIFIER', what, error);
  }
  const { reward, measures } =
    typeof verdict === 'object' && verdict !== null && !Array.isArray(verdict)
      ? verdict
      : { reward: verdict, measures: undefined };
  if (!Number.isFinite(reward))
    throw fail(
      'ERR_PRL_NON_FINITE',
      `the task '${task.name}' must give a finite reward, not ${describe(reward)}, for ${named}`,
    );
  const wrong = Object.entries(measures ?? {}).find(([, value]) => typeof value !== 'number');
  if (wrong) {
    const what = `the measure '${wrong[0]}' must be a number, not ${describe(wrong[1])}, for ${named}`;
    throw fail('ERR_PRL_VERIFIER', what);
  }
  return { reward: reward as number, measures: measures ?? {} };
}

/** The result of `work`, unless the process gets no verdict at all for so long. */
async function inTime<R>(work: () => R | Promise<R>, stall: number, named: string): Promise<R> {
  let timer: NodeJS.Timeout | undefined;
  const begun = performance.now();
  const hung = new Promise<never>((_, reject) => {
    const wait = (milliseconds: number) => {
      timer = setTimeout(() => {
        const left = Math.max(begun, lastVerdict) + stall - performance.now();
        if (left > 0) return wait(left);
        const what = `the verifier did not judge ${named}, nor anything else in ${stall / 1000} s`;
        reject(new PrlError('ERR_PRL_TIMEOUT', what));
      }, milliseconds);
    };
    wait(stall);
  });
  try {
    return await Promise.race([work(), hung]);
  } finally {
    clearTimeout(timer);
    lastVerdict = performance.now();
  }
}
