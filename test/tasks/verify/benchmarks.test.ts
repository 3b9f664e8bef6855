// The gold answers of public benchmarks, where their folder is there (PRL_BENCHMARKS): each is itself, and none is
// another.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judgeMath, sameMath } from '../../../lib/tasks/verify/judge.js';
import { benchmark, goldAnswers } from './benchmarks.js';

const NAMES = [
  ...['aime24', 'amc23', 'math500', 'minerva_math', 'olympiadbench', 'gsm8k_test', 'svamp'],
  ...['mawps_addsub', 'mawps_multiarith', 'mawps_singleeq', 'mawps_singleop'],
];

const golds = suite('gold answers of benchmarks (PRL_BENCHMARKS)');
for (const name of NAMES) {
  const answers = goldAnswers(name);
  // Skipped, and counted as such, where the file is not there.
  if (!answers) {
    golds.skip(name);
    continue;
  }
  golds(`${name}: each is itself`, () => {
    for (const gold of answers) {
      assert.ok(judgeMath(`so \\boxed{${gold}}.`, gold, 'boxed').correct, gold);
      assert.ok(sameMath(gold, `$${gold.replace(/(?<!\\)\$/g, '')}$`), gold);
    }
  });
  golds(`${name}: with another digit it is another`, () => {
    for (const gold of answers) {
      const other = gold.replace(/\d/, (digit) => String((Number(digit) + 1) % 10));
      assert.not(other !== gold && sameMath(gold, other), `${other} is not ${gold}`);
    }
  });
}
const solutions = benchmark('gsm8k_test');
(solutions ? golds : golds.skip)('gsm8k_test: every solution is right, with extraction any', () => {
  for (const { answer } of solutions!) {
    const gold = (answer as string).split('####')[1].trim();
    assert.ok(judgeMath(answer as string, gold, 'any').correct, answer as string);
  }
});
golds.run();
