// The smallest task that a TablePolicy can learn: repeat the digit of the prompt, then end.

import { randomInteger, randomStream } from '../../lib/base/random.js';
import { characterTokenizer } from '../../lib/policy/tokenizer.js';
import type { Task } from '../../lib/tasks/task.js';

export const echoTask: Task = {
  name: 'echo',
  tokenizer: characterTokenizer('0123456789\n'),
  levels: ['all'],
  problem(index, { seed, split }) {
    // Odd digits are held out.
    const digit = 2 * randomInteger(randomStream(seed, split, index), 0, 4) + (split === 'test' ? 1 : 0);
    return { prompt: String(digit), answer: String(digit) };
  },
  verify: ({ answer }, response, finished) => (finished && response === answer ? 1 : 0),
  demonstrate: ({ answer }) => answer,
};
