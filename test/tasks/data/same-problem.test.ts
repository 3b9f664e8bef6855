// What counts as the same problem: duplicates within a data set, and evaluation problems in the training data.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { datasetTask } from '../../../lib/index.js';
import { duplicateKey, leakKey } from '../../../lib/tasks/data/same-problem.js';
import { echoTask } from '../../fakes/echo-task.js';

const same = suite('the same problem');
const PROBLEM = 'Let x² + é = 5.\nWhat is 2 + 2 for café?';
const COPIES = {
  'space around it': `  ${PROBLEM}\n`,
  'Windows line ends': PROBLEM.replaceAll('\n', '\r\n'),
  'a line for a space': PROBLEM.replace('What is', 'What\nis'),
  'runs of spaces': PROBLEM.replaceAll(' ', '  '),
  'tabs and no-break spaces': PROBLEM.replace('Let x', 'Let\tx').replace('What is', 'What\u00a0is'),
  'decomposed characters': PROBLEM.normalize('NFD'),
  'zero-width characters': PROBLEM.replace('What', '\ufeffWh\u200bat\u00ad'),
};
const NEAR_COPIES = {
  'compatibility characters': PROBLEM.normalize('NFKC').replace('5', '\uff15'),
  'no space between symbols': PROBLEM.replace('2 + 2', '2+2'),
  'another case': PROBLEM.toUpperCase(),
  'other punctuation at the end': PROBLEM.replace('?', '.'),
  'no punctuation at the end': PROBLEM.replace('?', ''),
  'an instruction after it': `${PROBLEM} Let's think step by step and output the final answer within \\boxed{}.`,
  'an instruction before it': `Please reason step by step, and put your final answer within \\boxed{}.\n\n${PROBLEM}`,
  'the text of a preset around it': `Question: ${PROBLEM}\nAnswer:`,
};
const OTHERS = [
  PROBLEM.replace('5', '6'),
  PROBLEM.replace('2 + 2', '2 - 2'),
  PROBLEM.replace('x²', 'x³'),
  `${PROBLEM} Explain.`,
  PROBLEM.replace('é', 'e'),
];

for (const [what, copy] of Object.entries(COPIES))
  same(`a copy with ${what} is a duplicate, and no training problem`, () => {
    assert.is.not(copy, PROBLEM);
    assert.is(duplicateKey(copy), duplicateKey(PROBLEM));
    assert.is(leakKey(copy), leakKey(PROBLEM));
  });
for (const [what, copy] of Object.entries(NEAR_COPIES))
  same(`a copy with ${what} is no duplicate, and no training problem`, () => {
    assert.is.not(duplicateKey(copy), duplicateKey(PROBLEM));
    assert.is(leakKey(copy), leakKey(PROBLEM));
  });
same('other problems stay', () => {
  for (const other of OTHERS) {
    assert.is.not(duplicateKey(other), duplicateKey(PROBLEM));
    assert.is.not(leakKey(other), leakKey(PROBLEM), other);
  }
  // Punctuation, an instruction and white space are all there is to some prompts.
  for (const prompt of ['?', 'Question:', 'Answer:']) assert.ok(leakKey(prompt).length > 0, prompt);
});
const problem = (prompt: string) => ({ prompt, answer: '4' });
const task = (options: object) =>
  datasetTask({ tokenizer: echoTask.tokenizer, train: [], verifier: 'exact', ...options } as never);
same('datasetTask removes copies of test problems from train, and counts them', () => {
  const copies = [...Object.values(COPIES), ...Object.values(NEAR_COPIES)];
  const { size, leaked } = task({ train: [...copies, ...OTHERS].map(problem), test: [problem(PROBLEM)] });
  assert.equal(size, { train: OTHERS.length, test: 1 });
  assert.is(leaked, copies.length);
});
same('with evalShare, copies of a problem are on the side of the first of them', () => {
  const problems = Array.from({ length: 200 }, (_, i) => problem(`What is ${i} + ${i}?`));
  const alone = task({ train: problems, evalShare: 0.3 });
  const copies = problems.map(({ prompt }) => problem(prompt.toUpperCase().replaceAll(' ', '')));
  const both = task({ train: [...problems, ...copies], evalShare: 0.3 });
  assert.equal(both.size, { train: 2 * alone.size.train, test: 2 * alone.size.test });
});
same.run();
