import { invalidArgument } from '../errors.js';
import { evaluate } from '../eval/evaluate.js';
import { type OptionTable, type ResolvedOptions, resolveOptions } from '../options-table.js';
import { Policy } from '../policy/policy.js';
import { ArithmeticTask } from '../tasks/arithmetic.js';
import { writeFileAtomic } from '../train/atomic.js';
import { type Command, kebab } from './args.js';
import { DATA_OPTIONS, evalData } from './eval-data.js';
import { Interrupt } from './interrupt.js';
import { modelFolder } from './model-folder.js';
import { Progress } from './progress.js';
import { table } from './summary.js';

// Defaults belong to the library: they differ between the task and datasets.
const OPTIONS = {
  model: {
    type: 'string',
    doc: 'Folder of a model or of a run (its newest checkpoint), or the id of a model of the hub',
  },
  n: { type: 'integer', min: 1, doc: 'Responses per problem (default: 8)' },
  temperature: { type: 'number', min: 0, doc: 'Of sampling; 0 is greedy (default: 1)' },
  maxCompletionLength: { type: 'integer', min: 1, doc: 'Longest response in tokens (default: 96; with --data 2048)' },
  seed: {
    type: 'integer',
    min: 0,
    max: 2 ** 31 - 1,
    doc: 'Of sampling; the problems are always the same (default: 0)',
  },
  problems: {
    type: 'integer',
    min: 1,
    doc: 'Held-out problems per level (default: 200); with --data the first of each set (default: all)',
  },
  output: { type: 'string', doc: 'Write all figures to this JSON file; without --data every response too' },
  json: { type: 'boolean', doc: 'Print JSON' },
} as const satisfies OptionTable;

const TASK_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], doc: 'Whose held-out problems (default: arithmetic)' },
  level: { type: 'string', doc: 'Difficulty (default: both of 2-6 and 7-8 operands)' },
} as const satisfies OptionTable;

const ALL = { ...OPTIONS, ...TASK_OPTIONS, ...DATA_OPTIONS };
export type EvalOptions = ResolvedOptions<typeof ALL>;

export const evalCommand: Command = {
  name: 'eval',
  summary: 'Samples responses to problems and counts the right ones: average@n, pass@k, and with --data maj@n.',
  groups: [
    { title: 'Options', options: OPTIONS },
    { title: 'The embedded task, without --data', options: TASK_OPTIONS },
    { title: 'Datasets', options: DATA_OPTIONS },
  ],
  operands: { name: 'files', usage: '[--data FILE ...]' },
  examples: [
    ['prl eval --model runs/a', 'average@8 and pass@8 of the newest checkpoint on the embedded task'],
    ['prl eval --model runs/a/base --level 9 --n 16 --output base.json', 'Other problems, with a record of each'],
    [
      'prl eval --model M --data MATH500=math.jsonl AIME24=aime.parquet --records m.jsonl',
      'A table of two sets; every response in m.jsonl. Killed? The same with --resume goes on',
    ],
    ['prl eval --data math500.jsonl --responses made-elsewhere.jsonl', 'Judges responses without any model'],
  ],
  notes:
    'A set is a file (.jsonl, .json, .csv, .tsv, .parquet), a folder, or a dataset of the hub; NAME=FILE names its column. docs/eval.md has the rest.',
  async run(values) {
    const { files, ...given } = values as { files: string[]; data?: string[] };
    if (given.data) given.data = [...given.data, ...files];
    else if (files.length > 0)
      throw invalidArgument(`prl eval takes options only, not '${files[0]}'. Did you mean '--data ${files[0]}'?`);
    const options = resolveOptions('prl eval', ALL, given);
    const [own, other, which] = options.data
      ? [DATA_OPTIONS, TASK_OPTIONS, 'does not go with']
      : [TASK_OPTIONS, DATA_OPTIONS, 'needs'];
    const stray = Object.keys(other).find((name) => options[name as keyof EvalOptions] !== undefined && !(name in own));
    if (stray) throw invalidArgument(`--${kebab(stray)} ${which} --data, the sets to evaluate on`);
    if (options.model === undefined && options.responses === undefined) throw invalidArgument('prl eval needs --model');
    return options.data ? evalData(options) : evalTask(options);
  },
};

async function evalTask(options: EvalOptions): Promise<number> {
  const { model, task: _, level, output, json, ...sampling } = options;
  const folder = await modelFolder(model!);
  const policy = await Policy.load(folder);
  const task = new ArithmeticTask();
  const { signal } = new Interrupt();
  const results = [];
  for (const each of level === undefined ? task.levels : [level]) {
    let progress: Progress | undefined;
    try {
      results.push(
        await evaluate(policy, task, {
          ...sampling,
          level: each,
          signal,
          onProgress: ({ finished, total, tokens }) => {
            progress ??= new Progress(each, total, 0, json ? console.error : console.log);
            progress.update(finished, `${tokens} tokens`);
          },
        }),
      );
    } finally {
      progress?.stop();
    }
  }
  if (output !== undefined) await writeFileAtomic(output, `${JSON.stringify({ model: folder, results }, null, 1)}\n`);
  if (json)
    console.log(
      JSON.stringify(
        results.map(({ records: _, ...figures }) => figures),
        null,
        2,
      ),
    );
  else {
    const interval = ([low, high]: [number, number]) => `[${low.toFixed(3)}, ${high.toFixed(3)}]`;
    const rows = results.map((result) => [
      result.level,
      String(result.problems),
      `${result.averageAtN.toFixed(3)} ${interval(result.averageAtNInterval)}`,
      `${result.passAtN.toFixed(3)} ${interval(result.passAtNInterval)}`,
      result.meanLength.toFixed(1),
    ]);
    const [{ n }] = results;
    console.log(table([['level', 'problems', `average@${n} [95%]`, `pass@${n} [95%]`, 'tokens'], ...rows]));
  }
  return 0;
}
