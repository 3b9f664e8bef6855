// Errors on the command line name flags, never the names of code.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type OptionSpec, resolveOptions } from '../../lib/base/options.js';
import { compareCommand } from '../../lib/cli/commands/compare.js';
import { evalCommand } from '../../lib/cli/commands/eval.js';
import { generateCommand } from '../../lib/cli/commands/generate.js';
import { prmCollectCommand } from '../../lib/cli/commands/prm-collect.js';
import { prmEvalCommand } from '../../lib/cli/commands/prm-eval.js';
import { prmTrainCommand } from '../../lib/cli/commands/prm-train.js';
import { reportCommand } from '../../lib/cli/commands/report.js';
import { serveCommand } from '../../lib/cli/commands/serve.js';
import { sftCommand } from '../../lib/cli/commands/sft.js';
import { trainCommand } from '../../lib/cli/commands/train.js';
import { type Command, commandOptions, kebab, parseOptions } from '../../lib/cli/kit/args.js';
import { spelled, spellOptions } from '../../lib/cli/kit/spelling.js';
import { LOSS_TYPES } from '../../lib/kernels/loss-table.js';
import { METHOD_NAMES } from '../../lib/methods/index.js';
import { TRAINER_OPTIONS, type TrainerOptions } from '../../lib/train/options.js';
import { checkTrainer } from '../../lib/train/setup.js';

const COMMANDS = [
  ...[trainCommand, evalCommand, generateCommand, serveCommand, compareCommand, reportCommand],
  ...[prmCollectCommand, prmTrainCommand, prmEvalCommand, sftCommand],
];

/** Names of options in code that differ from their flags, where a message has one. */
function codeNames(command: Command, message: string): string[] {
  const names = Object.keys(commandOptions(command)).filter((name) => /[A-Z]/.test(name));
  return [...names, 'processRewardModel'].filter((name) => new RegExp(`\\b${name}\\b`).test(message));
}

function bad(spec: OptionSpec): string[] {
  switch (spec.type) {
    case 'number':
    case 'integer':
    case 'integers':
    case 'numbers': {
      const low = spec.type === 'number' ? (spec.above ?? spec.min) : spec.min;
      return ['x', '', ...(low === undefined ? [] : [String(low - 1)]), ...(spec.max ? [String(spec.max + 1)] : [])];
    }
    case 'choice':
      return ['x', ''];
    case 'boolean':
      return ['x'];
    default:
      return [];
  }
}

const spelling = suite('command line: spelling of options');
spelling('a wrong value of any option of any command is refused by its flag', () => {
  let refused = 0;
  for (const command of COMMANDS)
    for (const [name, spec] of Object.entries(commandOptions(command)))
      for (const value of bad(spec)) {
        try {
          parseOptions(command, [`--${kebab(name)}=${value}`]);
          assert.unreachable(`prl ${command.name} --${kebab(name)}=${value}`);
        } catch (error) {
          const { message, code } = error as Error & { code: string };
          assert.match(code ?? message, /^ERR_PRL_(INVALID_ARGUMENT|OUT_OF_RANGE)$/);
          assert.ok(message.startsWith(`--${kebab(name)}`), message);
          assert.equal(codeNames(command, message), [], message);
          refused++;
        }
      }
  assert.ok(refused > 300, `${refused}`);
});
spelling('options that exclude each other are named by their flags', () => {
  spellOptions(commandOptions(trainCommand));
  const messages = new Set<string>();
  const check = (options: TrainerOptions, setup: object = {}) => {
    try {
      checkTrainer(resolveOptions('prl train', TRAINER_OPTIONS, options), setup);
    } catch (error) {
      messages.add((error as Error).message);
    }
  };
  const sampleOf = (spec: OptionSpec) =>
    ({
      number: 1,
      integer: 1,
      boolean: true,
      string: 'x',
      strings: ['x'],
      files: ['x'],
      integers: [1],
      numbers: [0.5],
    })[spec.type as 'number'];
  for (const [name, spec] of Object.entries<OptionSpec>(TRAINER_OPTIONS))
    for (const method of METHOD_NAMES)
      for (const setup of [{}, { processRewardModel: 1 }, { rolloutEngine: 1 }]) {
        const values = spec.type === 'choice' ? spec.choices : [sampleOf(spec), 1.5, 0.5];
        for (const value of values) check({ method, [name]: value }, setup);
        if (method === 'grpo')
          for (const lossType of LOSS_TYPES)
            for (const value of values) check({ method, lossType, [name]: value }, setup);
      }
  check({ numMinibatches: 1000 });
  check({ method: 'progrs', combine: 'reward', granularity: 'step' }, { processRewardModel: 1 });
  check({ method: 'frpo', frpoBaseline: true });
  assert.ok(messages.size > 25, `${messages.size}`);
  for (const message of messages) {
    const text = spelled(message);
    assert.equal(codeNames(trainCommand, text), [], text);
    assert.match(text, /--[a-z]/, `${message} names no flag`);
  }
});
spelling('names in messages become flags, and other words stay', () => {
  spellOptions(commandOptions(trainCommand));
  for (const [message, expected] of [
    [
      "train.jsonl:2: 'answer' is empty. onInvalid 'drop' leaves such rows out",
      "train.jsonl:2: 'answer' is empty. --on-invalid drop leaves such rows out",
    ],
    ['stepStrings[0] must be a text', '--step-strings[0] must be a text'],
    [
      "method 'progrs' needs a process reward model (processRewardModel). Train one",
      '--method progrs needs a process reward model (--prm). Train one',
    ],
    ['beta must be at least 0, not -1', '--beta must be at least 0, not -1'],
    ['the method must be one of these, and the seed too', 'the method must be one of these, and the seed too'],
    ['there is no folder data/maxSteps/x', 'there is no folder data/maxSteps/x'],
    ["the dataset 'numMinibatches.jsonl' is empty", "the dataset 'numMinibatches.jsonl' is empty"],
    ["response 0 to problem 3: the verifier 'mine' failed", "response 0 to problem 3: the verifier 'mine' failed"],
  ])
    assert.is(spelled(message), expected);
});
spelling.run();
