// Separators and control tokens in what a policy or a dataset writes.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomInteger, randomStream } from '../../lib/base/random.js';
import { markSteps, withoutMarks } from '../../lib/prm/marks.js';

const SEPARATOR = '<extra_0>';
/** Occurrences, overlapping ones too. */
const count = (text: string, mark: string) => {
  let found = 0;
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) found++;
  return found;
};

const marks = suite('PRM: separators and control tokens in texts');
marks('a separator that is left when another is taken away is removed too', () => {
  for (const [text, left] of [
    ['a<extra_0>b', 'ab'],
    ['<ex<extra_0>tra_0>', ''],
    ['<ex<ex<extra_0>tra_0>tra_0>tra_0>', 'tra_0>'],
    ['<extra_<extra_<extra_0>0>0>', ''],
    ['<ex<|im_end|>tra_0>c', 'c'],
    ['<|im_<extra_0>end|>', ''],
    ['a < b <extra_1> <extra_', 'a < b <extra_1> <extra_'],
  ])
    assert.is(withoutMarks(text, SEPARATOR), left);
  const deep = 20_000;
  assert.is(withoutMarks('<ex'.repeat(deep) + 'tra_0>'.repeat(deep), SEPARATOR), '');
});
marks('control tokens of chat templates are removed, and mathematics stays', () => {
  const tokens = [
    '<|im_end|>',
    '<|eot_id|>',
    '<|start_header_id|>',
    '<｜User｜>',
    '<｜end▁of▁sentence｜>',
    '</s>',
    '[/INST]',
  ];
  for (const token of [...tokens, '<end_of_turn>']) {
    assert.is(withoutMarks(`a${token}b`), 'ab', token);
    assert.is(withoutMarks(`a${token.slice(0, 3)}${token}${token.slice(3)}b`), 'ab', `${token} in itself`);
  }
  for (const text of ['0 < |x| > -1', '<|x|>', 'if a<|b+c|> d', '|\\psi>', 'x[INS]', '<step>', '\ud83d\ude00 <|>'])
    assert.is(withoutMarks(text, SEPARATOR), text);
});
marks('a text has one separator after each step, whatever the steps and the separator are', () => {
  const random = randomStream(0, 'marks');
  for (const separator of [SEPARATOR, '9', 'aa', ' \u043a\u0438', '\n\n', 'aba', '\n\n\n\n']) {
    const alphabet = [...new Set(separator), 'x', '\n', separator.slice(0, 2), separator.slice(-2), separator];
    const text = () =>
      Array.from(
        { length: randomInteger(random, 0, 8) },
        () => alphabet[randomInteger(random, 0, alphabet.length - 1)],
      );
    for (let round = 0; round < 300; round++) {
      const steps = Array.from({ length: randomInteger(random, 1, 5) }, () => text().join(''));
      const before = withoutMarks(text().join(''), separator);
      assert.is(count(before, separator), 0);
      const marked = before + markSteps(steps, separator, before);
      assert.is(count(marked, separator), steps.length, JSON.stringify([separator, before, steps]));
      assert.ok(marked.endsWith(separator));
    }
  }
});
marks('empty steps and steps of blanks keep their separators, and thousands of steps take no time', () => {
  assert.is(markSteps(['a\n', '', ' \n', 'b'], SEPARATOR, 'q '), `a${SEPARATOR.repeat(3)}b${SEPARATOR}`);
  const steps = Array.from({ length: 20_000 }, (_, k) => `step ${k} <ex<extra_0>tra_0>\n`);
  assert.is(count(markSteps(steps, SEPARATOR), SEPARATOR), steps.length);
});
marks.run();
