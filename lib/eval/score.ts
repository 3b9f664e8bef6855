import type { DatasetProblem } from '../tasks/data/fields.js';
import { judge } from '../tasks/judge.js';
import { checkVerdict } from '../tasks/verify/function.js';
import type { Verifier } from '../tasks/verify/verifier.js';
import { type Majority, majorityVote } from './majority.js';
import type { ResponseRecord } from './record.js';

/** A response before it is judged. */
export type Sample = Pick<ResponseRecord, 'text' | 'finished' | 'tokens'>;

/** Judges the responses to a problem. If the verifier finds answers, the responses also vote. */
export async function scoreResponses(
  problem: DatasetProblem,
  samples: readonly Sample[],
  verifier: Verifier,
  thinking?: boolean,
): Promise<{ responses: ResponseRecord[]; majority?: Majority | null }> {
  const { prompt } = problem;
  const info = thinking === undefined ? {} : { thinking };
  const task = {
    name: 'evaluation',
    verify: ({ answer }: { answer: string }, response: string, finished: boolean) =>
      checkVerdict(verifier.name || 'verifier', verifier, response, answer, { prompt, finished, ...info }),
  };
  const responses = await Promise.all(
    samples.map(async ({ text, finished, tokens }, i): Promise<ResponseRecord> => {
      const place = `response ${i}${problem.id === undefined ? '' : ` to problem ${problem.id}`}`;
      const { reward, measures } = await judge(task, { problem, response: text, finished, place });
      const answer = verifier.extract?.(text, info);
      return {
        ...{ text, finished },
        ...(tokens !== undefined && { tokens }),
        reward,
        ...(answer !== undefined && { answer }),
        ...(Object.keys(measures).length > 0 && { measures }),
      };
    }),
  );
  if (!verifier.extract) return { responses };
  /** Whether response b would be right if a were the gold answer. */
  const says = async (a: number, b: number): Promise<boolean> => {
    try {
      const gold = { prompt, answer: responses[a].answer! };
      const vote = { problem: gold, response: responses[b].text, finished: true, place: `response ${b}` };
      return (await judge(task, vote)).reward > 0;
    } catch {
      return false; // a policy's answer may not be a valid gold answer
    }
  };
  const same = async (a: number, b: number) => (await says(a, b)) || says(b, a);
  const majority = await majorityVote(
    responses.map(({ answer }) => answer),
    same,
  );
  return { responses, majority: majority ?? null };
}
