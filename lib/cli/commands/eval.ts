import { writeFileAtomic } from '../../base/atomic.js';
import { invalidArgument } from '../../base/errors.js';
import { resolveOptions } from '../../base/options.js';
import { evaluate } from '../../eval/evaluate.js';
import { Policy } from '../../policy/policy.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import { type Command, kebab } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { modelFolder } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { table } from '../kit/summary.js';
import { evalData } from './eval-data.js';
import { ALL, DATA_OPTIONS, type EvalOptions, OPTIONS, TASK_OPTIONS } from './eval-options.js';

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
