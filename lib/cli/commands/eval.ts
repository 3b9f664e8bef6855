import { writeFileAtomic } from '../../base/atomic.js';
import { invalidArgument } from '../../base/errors.js';
import { resolveOptions } from '../../base/options.js';
import { evaluateOnSets } from '../eval/datasets.js';
import { ALL, DATA_OPTIONS, type EvalOptions, OPTIONS, TASK_OPTIONS } from '../eval/options.js';
import { evaluateOnTask } from '../eval/task.js';
import { type Command, firstGiven, part, type Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';

export const evalCommand: Command = {
  name: 'eval',
  summary: 'Samples responses to problems and counts the right ones: average@n, pass@k and, with --data, maj@n.',
  groups: [
    { title: 'Options', options: OPTIONS },
    { title: 'The embedded task, without --data', options: TASK_OPTIONS },
    { title: 'Datasets', options: DATA_OPTIONS },
  ],
  common: [
    ...['model', 'data', 'n', 'temperature', 'maxCompletionLength', 'seed', 'problems', 'level', 'responses'],
    ...['records', 'resume', 'verifier', 'promptTemplate', 'output', 'json'],
  ],
  operands: { name: 'files', usage: '[--data FILE ...]' },
  examples: [
    ['prl eval --model runs/a', 'average@8 and pass@8 of the newest checkpoint on the embedded task'],
    [
      'prl eval --model runs/a/base --level 9 --n 16 --output base.json',
      'Longer problems, with every response in base.json',
    ],
    [
      'prl eval --model M --data MATH500=math.jsonl AIME24=aime.parquet --records m.jsonl',
      'A table of two sets, with every response in m.jsonl. To resume, add --resume',
    ],
    [
      'prl eval --data math500.jsonl --responses made-elsewhere.jsonl',
      'Judge responses made elsewhere, without a model',
    ],
  ],
  notes:
    'A set is a file (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub. NAME=FILE names its column. See docs/eval.md.',
  run: evaluateModel,
};

async function evaluateModel(values: Values): Promise<number> {
  const options = evalOptions(values);
  const evaluated = await (options.data ? evaluateOnSets : evaluateOnTask)(options, new Interrupt());
  if (options.output !== undefined) await writeFileAtomic(options.output, `${evaluated.file}\n`);
  console.log(options.json ? evaluated.json : evaluated.table);
  return 0;
}

/** The options; files without an option name join the sets. */
function evalOptions(values: Values): EvalOptions {
  const { files, ...given } = values as { files: string[]; data?: string[] };
  if (given.data) given.data = [...given.data, ...files];
  else if (files.length > 0)
    throw invalidArgument(`prl eval takes options only, not '${files[0]}'. Did you mean '--data ${files[0]}'?`);
  const options = resolveOptions('prl eval', ALL, given);
  const [other, which] = options.data ? [TASK_OPTIONS, 'cannot be used with'] : [DATA_OPTIONS, 'needs'];
  const stray = firstGiven(part({ ...options }, other));
  if (stray) throw invalidArgument(`${stray} ${which} --data, the sets to evaluate on`);
  if (options.model === undefined && options.responses === undefined) throw invalidArgument('prl eval needs --model');
  return options;
}
