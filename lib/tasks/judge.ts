import { PrlError } from '../base/errors.js';
import type { Problem, Task } from './task.js';

/** The task's verdict on a response, in one form. */
export async function judge(
  task: Pick<Task, 'name' | 'verify'>,
  problem: Problem,
  response: string,
  finished: boolean,
): Promise<{ reward: number; measures: Record<string, number> }> {
  const verdict = await task.verify(problem, response, finished);
  const { reward, measures } = typeof verdict === 'object' && verdict ? verdict : { reward: verdict, measures: {} };
  if (!Number.isFinite(reward))
    throw new PrlError(
      'ERR_PRL_NON_FINITE',
      `the task '${task.name}' must give a finite reward, not ${reward}, for the problem ${JSON.stringify(problem.prompt)}`,
    );
  return { reward, measures };
}
