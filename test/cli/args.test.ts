import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { resolveOptions } from '../../lib/base/options.js';
import { benchCommand } from '../../lib/cli/commands/bench.js';
import { compareCommand } from '../../lib/cli/commands/compare.js';
import { doctorCommand } from '../../lib/cli/commands/doctor.js';
import { evalCommand } from '../../lib/cli/commands/eval.js';
import { generateCommand } from '../../lib/cli/commands/generate.js';
import { prmCollectCommand } from '../../lib/cli/commands/prm-collect.js';
import { reportCommand } from '../../lib/cli/commands/report.js';
import { serveCommand } from '../../lib/cli/commands/serve.js';
import { sftCommand } from '../../lib/cli/commands/sft.js';
import { trainCommand } from '../../lib/cli/commands/train.js';
import { type Command, commandOptions, helpOf, kebab, parseOptions } from '../../lib/cli/kit/args.js';
import { PRESETS } from '../../lib/cli/kit/presets.js';
import { verdict } from '../../lib/cli/prm/evaluation.js';
import { nextSteps } from '../../lib/cli/train/next-steps.js';
import type { PrmEvaluation } from '../../lib/prm/evaluate.js';
import { TRAINER_OPTIONS } from '../../lib/train/options.js';
import { throwsError } from '../reference/numbers.js';

const COMMANDS: Command[] = [
  trainCommand,
  sftCommand,
  evalCommand,
  generateCommand,
  compareCommand,
  reportCommand,
  serveCommand,
  prmCollectCommand,
  benchCommand,
  doctorCommand,
];
const parse = (line: string) => parseOptions(trainCommand, line === '' ? [] : line.split(' '));

const args = suite('prl: options');
args('options get the types of their table, and absent ones stay absent', () => {
  assert.equal(parse(''), {});
  assert.equal(parse('--seed 3 --learning-rate 1e-4 --method=grpo --resume --step-split length'), {
    seed: 3,
    learningRate: 1e-4,
    method: 'grpo',
    resume: true,
    stepSplit: 'length',
  });
  assert.equal(parse('--no-mask-truncated-completions --mask-truncated-completions'), {
    maskTruncatedCompletions: true,
  });
  assert.equal(parse('--no-resume'), { resume: false });
  assert.equal(parse('--coherence-windows 1,4 --step-strings \\n\\n,Step'), {
    coherenceWindows: [1, 4],
    stepStrings: ['\n\n', 'Step'],
  });
  assert.equal(parse('--entropy-coef -0.5'), { entropyCoef: -0.5 });
  assert.equal(parse('--seed 1 --seed 2'), { seed: 2 }, 'the last one counts');
});

args('an unknown, wrong or missing option is refused by name', () => {
  const wrong = (line: string, kind: 'type' | 'range', code: string, message: RegExp) =>
    throwsError(() => parse(line), kind === 'type' ? TypeError : RangeError, `ERR_PRL_${code}`, message);
  wrong('--lerning-rate 3', 'type', 'UNKNOWN_OPTION', /no option '--lerning-rate'. Did you mean '--learning-rate'/);
  wrong('--learningRate 3', 'type', 'UNKNOWN_OPTION', /Did you mean '--learning-rate'/);
  wrong('--coherence-windows 2,x', 'type', 'INVALID_ARGUMENT', /--coherence-windows must be a number, not 'x'/);
  wrong('--coherence-windows 0', 'range', 'OUT_OF_RANGE', /--coherence-windows\[0\]/);
  wrong('--step-strings ,a', 'type', 'INVALID_ARGUMENT', /--step-strings\[0\]/);
  wrong('--no-seed', 'type', 'UNKNOWN_OPTION', /--no-seed/);
  wrong('-s 3', 'type', 'UNKNOWN_OPTION', /'-s'/);
  wrong('--seed', 'type', 'INVALID_ARGUMENT', /--seed needs a value/);
  wrong('--seed x', 'type', 'INVALID_ARGUMENT', /--seed must be a number, not 'x'/);
  wrong('--seed=', 'type', 'INVALID_ARGUMENT', /--seed must be a number/);
  wrong('--seed 1.5', 'range', 'OUT_OF_RANGE', /--seed must be an integer/);
  wrong('--temperature 0', 'range', 'OUT_OF_RANGE', /--temperature must be above 0/);
  wrong('--method prl2', 'range', 'OUT_OF_RANGE', /Did you mean 'prl'/);
  wrong('--resume=perhaps', 'type', 'INVALID_ARGUMENT', /takes no value/);
  wrong('seed 3', 'type', 'INVALID_ARGUMENT', /not 'seed'. Did you mean '--seed'/);
  throwsError(
    () => parseOptions(generateCommand, ['--model', 'x']),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /needs --prompt/,
  );
});

args('only commands that take operands accept them', () => {
  const report = (line: string) => parseOptions(reportCommand, line === '' ? [] : line.split(' '));
  assert.equal(report('a --output x.html b'), { folders: ['a', 'b'], output: 'x.html' });
  assert.ok(helpOf(reportCommand).includes('prl report RUN... [options]'));
  throwsError(() => report('--output x'), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /prl report needs RUN\.\.\./);
  throwsError(() => report('a --otput x'), TypeError, 'ERR_PRL_UNKNOWN_OPTION', /Did you mean '--output'/);
});

args('--data may be repeated, and its values may hold commas', () => {
  const files = (line: string) => parseOptions(evalCommand, line.split(' ')).data;
  assert.equal(files('--data a,b.jsonl --data=X=c.csv'), ['a,b.jsonl', 'X=c.csv']);
  assert.equal(parseOptions(evalCommand, ['--data', 'a', 'b', '--n', '2', 'c']), {
    data: ['a'],
    n: 2,
    files: ['b', 'c'],
  });
  throwsError(() => files('--data'), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /--data needs a value/);
});

args('help lists every option with its meaning and default, and its examples parse', () => {
  for (const command of COMMANDS) {
    const help = helpOf(command, { all: true });
    for (const [name, spec] of Object.entries(commandOptions(command))) {
      // What is on unless it is turned off shows how.
      const at = help.indexOf(`\n  --${spec.default === true ? '[no-]' : ''}${kebab(name)} `);
      const line = at < 0 ? '' : help.slice(at + 1).split(/\n {2}--/)[0];
      assert.ok(line.includes(spec.doc), `${command.name} --${kebab(name)}`);
      if (spec.default !== undefined && spec.default !== false) assert.ok(line.includes(`[${spec.default}]`), line);
    }
    for (const [example] of command.examples) {
      assert.ok(help.includes(example));
      const words = example.match(/'[^']*'|\S+/g)!.map((word) => word.replaceAll("'", ''));
      const line = words.join(' ');
      const named = [command, ...COMMANDS].find(
        ({ name }) => line.startsWith(`prl ${name} `) || line === `prl ${name}`,
      );
      assert.ok(named, example);
      parseOptions(named!, words.slice(1 + named!.name.split(' ').length));
    }
  }
});

args('help begins with the common options and says how to see all of them', () => {
  const long = COMMANDS.filter((command) => helpOf(command, { all: true }).split('\n').length > 40);
  assert.equal(long.map(({ name }) => name).sort(), ['compare', 'eval', 'prm collect', 'sft', 'train']);
  for (const command of long) {
    const help = helpOf(command);
    const listed = [...help.matchAll(/^ {2}--(?:\[no-\])?([a-z-]+)/gm)].map(([, name]) => name);
    assert.equal(listed, command.common?.map(kebab), command.name);
    assert.ok(listed.length <= 15, command.name);
    assert.ok(help.split('\n').length <= 45, `${command.name}: ${help.split('\n').length} lines`);
    assert.ok(help.includes(`prl ${command.name} --help --all`), command.name);
    for (const [example] of command.examples) assert.ok(help.includes(example));
    for (const name of command.required ?? []) assert.ok(listed.includes(kebab(name)), name);
  }
});

args('what to do next with a run are commands that parse', () => {
  const words = (line: string) =>
    line.match(/(?:'(?:[^']|'\\'')*'|\S)+/g)!.map((word) => word.replaceAll("'\\''", '\0'));
  const plain = (word: string) => word.replaceAll("'", '').replaceAll('\0', "'");
  const evaluation = {
    data: ['a b.jsonl', 'm=c.csv'],
    maxCompletionLength: 64,
    promptField: "it's",
    verifier: undefined,
  };
  const text = nextSteps('runs/my run', { steps: 3, next: { evaluation, prompt: 'What is 2 + 2?' } });
  const parsed = [...text.matchAll(/^ {2}npx prl (\w+) (.*?) +# .+$/gm)].map(([, name, rest]) => {
    const command = COMMANDS.find((each) => each.name === name)!;
    return [name, parseOptions(command, words(rest).map(plain))];
  });
  assert.equal(parsed, [
    ['report', { folders: ['runs/my run'] }],
    [
      'eval',
      {
        model: 'runs/my run',
        ...{ data: ['a b.jsonl', 'm=c.csv'], maxCompletionLength: 64, promptField: "it's", files: [] },
      },
    ],
    ['generate', { model: 'runs/my run', prompt: 'What is 2 + 2?' }],
    ['serve', { model: 'runs/my run' }],
  ]);
  const none = nextSteps('runs/a', { steps: 0, next: { prompt: '1+1=' } });
  assert.not.match(none, /prl eval/);
  assert.match(none, /prl serve --model runs\/a\/base /, 'a run without steps has no checkpoint');
});

args('the verdict on a process reward model compares it with the base rate', () => {
  const result = { brier: 0.239, brierConstant: 0.149, baseRate: 0.81, betterThanBaseRate: false, aucAny: 0.7 };
  const said = (change: object) => verdict({ ...result, ...change } as PrmEvaluation).join(' ');
  assert.match(
    said({}),
    /NOT better than the base rate: 0\.810 for every step has Brier score 0\.1490, the model has 0\.2390/,
  );
  assert.match(said({}), /Only the order of its scores tells something \(AUC 0\.700\)/);
  assert.match(said({ aucAny: 0.5 }), /Nor does the order/);
  assert.match(said({ aucAny: null }), /Nor does the order/);
  assert.match(
    said({ betterThanBaseRate: true, brier: 0.1 }),
    /^The model is better than the base rate: [^.]*\.810.*0\.1000\.$/,
  );
});

args('every preset holds valid trainer options', () => {
  for (const [name, { trainer }] of Object.entries(PRESETS)) resolveOptions(name, TRAINER_OPTIONS, trainer);
});
args.run();
