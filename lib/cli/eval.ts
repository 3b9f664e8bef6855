import { evaluate } from '../eval/evaluate.js';
import { type OptionTable, resolveOptions } from '../options-table.js';
import { Policy } from '../policy/policy.js';
import { ArithmeticTask } from '../tasks/arithmetic.js';
import { writeFileAtomic } from '../train/atomic.js';
import type { Command } from './args.js';
import { Interrupt } from './interrupt.js';
import { modelFolder } from './model-folder.js';
import { Progress } from './progress.js';
import { table } from './summary.js';

const OPTIONS = {
  model: { type: 'string', doc: 'Folder of a model, or of a run (its newest checkpoint)' },
  task: { type: 'choice', choices: ['arithmetic'], default: 'arithmetic', doc: 'Whose held-out problems' },
  level: { type: 'string', doc: 'Difficulty (default: both of 2-6 and 7-8 operands)' },
  problems: { type: 'integer', default: 200, min: 1, doc: 'Held-out problems per level' },
  n: { type: 'integer', default: 8, min: 1, doc: 'Responses per problem' },
  temperature: { type: 'number', default: 1, min: 0, doc: 'Of sampling; 0 is greedy' },
  maxCompletionLength: { type: 'integer', default: 96, min: 1, doc: 'Longest response in tokens' },
  seed: { type: 'integer', default: 0, min: 0, max: 2 ** 31 - 1, doc: 'Of sampling; the problems are always the same' },
  output: { type: 'string', doc: 'Write all figures and every response to this JSON file' },
  json: { type: 'boolean', doc: 'Print JSON' },
} as const satisfies OptionTable;

export const evalCommand: Command = {
  name: 'eval',
  summary: 'Samples responses to held-out problems and counts the right ones.',
  groups: [{ title: 'Options', options: OPTIONS }],
  required: ['model'],
  examples: [
    ['prl eval --model runs/a', 'average@8 and pass@8 of the newest checkpoint'],
    ['prl eval --model runs/a/base --level 9 --n 16 --output base.json', 'Other problems, with a record of each'],
  ],
  async run(values) {
    const { model, level, problems, n, temperature, maxCompletionLength, seed, output, json } = resolveOptions(
      'prl eval',
      OPTIONS,
      values,
    );
    const folder = await modelFolder(model!);
    const policy = await Policy.load(folder);
    const task = new ArithmeticTask();
    const { signal } = new Interrupt();
    const levels = level === undefined ? task.levels : [level];
    const results = [];
    for (const each of levels) {
      const progress = new Progress(each, problems * n);
      try {
        results.push(
          await evaluate(policy, task, {
            problems,
            n,
            temperature,
            maxCompletionLength,
            seed,
            level: each,
            signal,
            onProgress: ({ finished, tokens }) => progress.update(finished, `${tokens} tokens`),
          }),
        );
      } finally {
        progress.stop();
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
      console.log(table([['level', 'problems', `average@${n} [95%]`, `pass@${n} [95%]`, 'tokens'], ...rows]));
    }
    return 0;
  },
};
