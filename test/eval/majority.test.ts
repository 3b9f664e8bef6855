import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { majorityVote } from '../../lib/eval/majority.js';

const vote = suite('majorityVote');
const text = (answers: (string | undefined)[]) => majorityVote(answers, () => false);

vote('the most frequent answer wins, and among equals the earliest', async () => {
  assert.equal(await text(['1', '2', '2', '3']), { response: 1, votes: 2 });
  assert.equal(await text(['1', '2', '3', '2', '3']), { response: 1, votes: 2 }, '2 and 3 have two each');
  assert.equal(await text(['3', '2', '3', '2', '1']), { response: 0, votes: 2 });
  assert.equal(await text(['7']), { response: 0, votes: 1 });
});

vote('a response without an answer has no vote', async () => {
  assert.equal(await text([undefined, undefined, undefined, '4', undefined]), { response: 3, votes: 1 });
  assert.is(await text([undefined, undefined]), undefined);
  assert.is(await text([]), undefined);
  assert.equal(await text([undefined, '', '', 'x']), { response: 1, votes: 2 }, 'an empty text is an answer');
});

vote('answers that say the same vote together, however they are written', async () => {
  const answers = ['3', '1/2', undefined, '3', '0.5', '2/4', '3.0', '0.5'];
  const asked: [number, number][] = [];
  const value = (i: number) => {
    const [a, b = 1] = answers[i]!.split('/').map(Number);
    return a / b;
  };
  const same = async (a: number, b: number) => {
    asked.push([a, b]);
    return value(a) === value(b);
  };
  assert.equal(await majorityVote(answers, same), { response: 1, votes: 4 });
  // Each text is compared with the first of each group until it has found its own: 1/2 with 3; 0.5 and 2/4 with 3 and
  // 1/2; 3.0 with 3.
  const pairs = [
    [0, 1],
    [0, 4],
    [1, 4],
    [0, 5],
    [1, 5],
    [0, 6],
  ];
  assert.equal(asked, pairs);
});
vote.run();
