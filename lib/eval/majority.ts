import { invalidArgument } from '../base/errors.js';
import { checkString, describe } from '../base/options.js';

/** Who won a vote: the first response that gives the winning answer, and how many do. */
export interface Majority {
  response: number;
  votes: number;
}

/**
 * The answer that most responses give; of several with the same number of votes the one that was given first. A response without
 * an answer (undefined) has no vote.
 *
 * @param same whether two responses give the same answer, by their indices; it is asked for answers that differ as text only
 */
export async function majorityVote(
  answers: readonly (string | undefined)[],
  same: (a: number, b: number) => boolean | Promise<boolean>,
): Promise<Majority | undefined> {
  if (!Array.isArray(answers)) throw invalidArgument(`answers must be an array, not ${describe(answers)}`);
  if (typeof same !== 'function')
    throw invalidArgument(`same must be a function of two indices, not ${describe(same)}`);
  const byText = new Map<string, Majority>();
  for (const [response, answer] of answers.entries()) {
    // A length alone proves nothing: no answer is undefined, not a hole.
    if (answer === undefined && response in answers) continue;
    const known = byText.get(checkString(`answers[${response}]`, answer));
    if (known) known.votes++;
    else byText.set(answer, { response, votes: 1 });
  }
  const groups: Majority[] = [];
  for (const each of byText.values()) {
    let group: Majority | undefined;
    for (const other of groups) {
      if (!(await same(other.response, each.response))) continue;
      group = other;
      break;
    }
    if (group) group.votes += each.votes;
    else groups.push(each);
  }
  // Groups stand in the order of their first responses.
  return groups.reduce<Majority | undefined>(
    (best, group) => (group.votes > (best?.votes ?? 0) ? group : best),
    undefined,
  );
}
