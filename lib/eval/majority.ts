import { invalidArgument } from '../base/errors.js';
import { checkFunction, checkString, describe } from '../base/options.js';

/** The winner of a vote: the first response with the winning answer, and the number of votes. */
export interface Majority {
  /** Index of the response. */
  response: number;
  /** Number of votes. */
  votes: number;
}

/**
 * The most frequent answer. In a tie the answer that came first wins. A response without an answer (undefined) has no
 * vote.
 *
 * @param answers one per response, in their order
 * @param same whether two responses give the same answer, by their indices; called only for answers that differ as text
 * @returns the winner, or undefined if no response has an answer
 * @throws TypeError for an answer that is not a text, or `same` that is not a function
 */
export async function majorityVote(
  answers: readonly (string | undefined)[],
  same: (a: number, b: number) => boolean | Promise<boolean>,
): Promise<Majority | undefined> {
  if (!Array.isArray(answers)) throw invalidArgument(`answers must be an array, not ${describe(answers)}`);
  checkFunction('same', same, 'a function of two indices');
  const byText = new Map<string, Majority>();
  for (const [response, answer] of answers.entries()) {
    // A length alone proves nothing: a missing answer is undefined, not a hole.
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
