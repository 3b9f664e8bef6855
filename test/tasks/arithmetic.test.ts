import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomStream } from '../../lib/base/random.js';
import { ArithmeticTask, splitOf } from '../../lib/tasks/arithmetic.js';
import { datasetTask } from '../../lib/tasks/dataset.js';
import { near, throwsError } from '../reference/numbers.js';

const task = new ArithmeticTask();
const many = (count: number, choice: Parameters<ArithmeticTask['problem']>[1]) =>
  Array.from({ length: count }, (_, index) => task.problem(index, choice));

/** The value of a prompt from left to right, and all values on the way, by nothing but the prompt's text. */
function values(prompt: string): number[] {
  assert.match(prompt, /^\d+([+*-]\d+)+=$/);
  const tokens = prompt.slice(0, -1).match(/\d+|[+*-]/g)!;
  let value = Number(tokens[0]);
  const all = [value];
  for (let i = 1; i < tokens.length; i += 2) {
    const operand = Number(tokens[i + 1]);
    assert.ok(operand >= (tokens[i] === '*' ? 2 : 1) && operand <= 9, prompt);
    value = { '+': value + operand, '-': value - operand, '*': value * operand }[tokens[i]]!;
    all.push(value);
  }
  return all;
}

const problems = suite('ArithmeticTask.problem');
problems('every value on the way lies in 0..19, and the answer is the last one', () => {
  for (const level of ['2-6', '7-8', '2:3,5:1', '4']) {
    for (const { prompt, answer } of many(400, { seed: 1, split: 'train', level })) {
      const all = values(prompt);
      assert.ok(
        all.every((value) => value >= 0 && value <= 19),
        prompt,
      );
      assert.ok(all[0] >= 1);
      assert.is(answer, String(all[all.length - 1]));
    }
  }
});

problems('a level gives the operand counts that it names, as often as it says, and a bad level is refused', () => {
  const counts = (level: string) => {
    const found = new Map<number, number>();
    for (const { prompt } of many(4000, { seed: 2, split: 'train', level })) {
      const k = values(prompt).length;
      found.set(k, (found.get(k) ?? 0) + 1);
    }
    return found;
  };
  const even = counts('2-6');
  assert.equal([...even.keys()].sort(), [2, 3, 4, 5, 6]);
  // Five standard deviations of a binomial.
  for (const count of even.values()) assert.ok(Math.abs(count - 800) < 5 * Math.sqrt(4000 * 0.2 * 0.8), `${count}`);
  const weighted = counts('2:3,5:1');
  assert.equal([...weighted.keys()].sort(), [2, 5]);
  assert.ok(Math.abs(weighted.get(5)! - 1000) < 5 * Math.sqrt(4000 * 0.25 * 0.75));
  assert.equal([...counts('4').keys()], [4]);
  for (const level of ['', '1-3', '2-x', '6-2', '2:0', 'hard', '2.5', '2:-1'])
    throwsError(() => task.problem(0, { seed: 0, split: 'train', level }), RangeError, 'ERR_PRL_OUT_OF_RANGE', /level/);
});

problems('no held-out problem is ever trained on, whatever the seed and the level', () => {
  const trained = new Set<string>();
  for (const seed of [0, 1, 2])
    for (const level of ['2-6', '2', '7-8'])
      for (const { prompt } of many(1500, { seed, split: 'train', level })) trained.add(prompt);
  const held = many(1500, { seed: 0, split: 'test' }).map(({ prompt }) => prompt);
  assert.is(held.filter((prompt) => trained.has(prompt)).length, 0);
  assert.ok(held.every((prompt) => splitOf(prompt) === 'test'));
  assert.ok(new Set(held).size > 1000);
});

problems('a problem depends on index, seed, split and level only', () => {
  const choice = { seed: 5, split: 'train' as const };
  const forward = many(50, choice);
  assert.equal(
    [...Array(50).keys()]
      .reverse()
      .map((i) => task.problem(i, choice))
      .reverse(),
    forward,
  );
  assert.not.equal(many(50, { seed: 6, split: 'train' }), forward);
});
problems.run();

const verifier = suite('ArithmeticTask.verify and demonstrate');
verifier('a demonstration with slips computes on from its wrong lines', () => {
  let [lines, wrong, right] = [0, 0, 0];
  for (let i = 0; i < 200; i++) {
    const problem = task.problem(i, { seed: 3, split: 'train', level: '4-6' });
    const text = task.demonstrate(problem, 'slips', randomStream('slips', i));
    const steps = text.split('\n').slice(0, -1);
    let value = Number(/^\d+/.exec(problem.prompt)![0]);
    for (const [, a, operator, b, result] of steps.map((line) => /^(-?\d+)([+*-])(\d+)=(-?\d+)$/.exec(line)!)) {
      assert.is(Number(a), value, text);
      const expected = operator === '*' ? value * Number(b) : operator === '+' ? value + Number(b) : value - Number(b);
      value = Number(result);
      lines++;
      if (value === expected) continue;
      wrong++;
      assert.ok([1, 2, 10].includes(Math.abs(value - expected)), text);
      assert.ok(value >= 0 && value <= 19, text);
    }
    assert.ok(text.endsWith(`#${value}`));
    right += task.verify(problem, text, true);
  }
  // 0.3 of about 800; a chain of 4 is right with probability about 0.7 ^ 4.
  near([wrong / lines], [0.3], 0.07);
  assert.ok(right > 20 && right < 90, `${right}`);
  throwsError(
    () => task.demonstrate({ prompt: '1+1=', answer: '2' }, 'slips'),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /random/,
  );
});

verifier('demonstrations are right in both styles and show every step', () => {
  for (const problem of many(300, { seed: 3, split: 'train', level: '2-8' })) {
    const steps = task.demonstrate(problem);
    assert.is(task.verify(problem, steps, true), 1);
    assert.is(task.verify(problem, task.demonstrate(problem, 'direct'), true), 1);
    const lines = steps.split('\n');
    const all = values(problem.prompt);
    assert.is(lines.length, all.length);
    lines.slice(0, -1).forEach((line, i) => {
      assert.equal(values(`${line.split('=')[0]}=`), [all[i], all[i + 1]], line);
      assert.is(line.split('=')[1], String(all[i + 1]));
    });
    // Prompt, demonstration and end fit the lengths that training allows.
    assert.ok(task.tokenizer.encode(steps).length < 72);
  }
  assert.is(task.demonstrate({ prompt: '12+7-3=', answer: '16' }), '12+7=19\n19-3=16\n#16');
});

verifier('verify accepts only the exact answer after the last mark of a finished response', () => {
  const problem = { prompt: '12+7-3=', answer: '16' };
  for (const right of ['#16', '12+7=19\n19-3=16\n#16', '99\n#16', '#3#16', '##16'])
    assert.is(task.verify(problem, right, true), 1, right);
  for (const wrong of [
    '',
    '16',
    '#',
    '#1',
    '#160',
    '#016',
    '# 16',
    '#16\n',
    '#16 ',
    '#-16',
    '#+16',
    '#16#',
    '#16#17',
    '12+7=19\n16',
    '#16.0',
    '=16',
  ])
    assert.is(task.verify(problem, wrong, true), 0, wrong);
  assert.is(task.verify(problem, '#16', false), 0, 'cut at the length limit');
});
verifier.run();

const tokenizer = suite('ArithmeticTask.tokenizer');
tokenizer('the tokenizer has 18 symbols and gives every text back', () => {
  assert.is(task.tokenizer.vocabSize, 18);
  for (const problem of many(200, { seed: 4, split: 'train', level: '2-8' })) {
    for (const text of [problem.prompt, task.demonstrate(problem)]) {
      const tokens = task.tokenizer.encode(text);
      assert.is(tokens.length, text.length, 'one token per character');
      assert.is(task.tokenizer.decode(tokens), text);
      assert.is(task.tokenizer.decode([...tokens, task.tokenizer.eosTokenId]), text, 'the end is not text');
    }
  }
});
tokenizer('the tokenizer refuses an unknown symbol by name', () => {
  throwsError(() => task.tokenizer.encode('1 + 1='), RangeError, 'ERR_PRL_OUT_OF_RANGE', /holds " "/);
  throwsError(() => task.tokenizer.encode('7/2='), RangeError, 'ERR_PRL_OUT_OF_RANGE', /holds "\/"/);
});
tokenizer.run();

const dataset = suite('datasetTask from arrays');
const list = Array.from({ length: 7 }, (_, i) => ({ prompt: `${i}=`, answer: String(i) }));
const listed = datasetTask({ tokenizer: task.tokenizer, train: list, verify: () => 1 });
dataset('each epoch has all problems once, in an order of its own', () => {
  const epoch = (e: number) =>
    Array.from({ length: 7 }, (_, i) => listed.problem(7 * e + i, { seed: 1, split: 'train' }).prompt);
  const all = list.map(({ prompt }) => prompt).sort();
  assert.equal([...epoch(0)].sort(), all);
  assert.equal([...epoch(3)].sort(), all);
  assert.not.equal(epoch(0), epoch(1));
  assert.equal(epoch(0), epoch(0));
});
dataset('a task without test problems refuses to give one, and an empty train set is refused', () => {
  throwsError(
    () => listed.problem(0, { seed: 0, split: 'test' }),
    RangeError,
    'ERR_PRL_OUT_OF_RANGE',
    /no test problems/,
  );
  throwsError(
    () => datasetTask({ tokenizer: task.tokenizer, train: [], verify: () => 1 }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /non-empty/,
  );
});
dataset.run();
