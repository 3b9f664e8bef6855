// Sets of problems in digits, and a verifier that takes the last digit of a response as its answer.
import type { EvaluationSet, Verifier } from '../../lib/index.js';

/** Sets 'even' and 'odd' of so many problems; the answer is the last digit of the problem. */
export const digitSets = (...sizes: [number, number]): EvaluationSet[] =>
  ['even', 'odd'].map((name, set) => ({
    name,
    problems: Array.from({ length: sizes[set] }, (_, i) => {
      const prompt = String(1000 + 2 * i + set);
      return { id: `${name}-${i}`, prompt, answer: prompt[3] };
    }),
  }));

export const lastDigit: Verifier = Object.assign(
  (response: string, gold: string) => (lastDigit.extract!(response) === gold ? 1 : 0),
  { extract: (response: string) => /\d(?=\D*$)/.exec(response)?.[0] },
);
