// prl eval without --data: the held-out problems of the embedded task.
import { evaluate } from '../../eval/evaluate.js';
import { Policy } from '../../policy/policy.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import type { Interrupt } from '../kit/interrupt.js';
import { modelFolder } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { table, withInterval } from '../kit/table.js';
import type { EvalOptions, Evaluated } from './options.js';

export async function evaluateOnTask(options: EvalOptions, { signal }: Interrupt): Promise<Evaluated> {
  const { model, extraTensors, task: _, level, output: __, json, ...sampling } = options;
  const folder = await modelFolder(model!, signal);
  const policy = await Policy.load(folder, { extraTensors });
  const task = new ArithmeticTask();
  const results = [];
  for (const each of level === undefined ? task.levels : [level]) {
    let progress: Progress | undefined;
    const onProgress = ({ finished, total, tokens }: { finished: number; total: number; tokens: number }) => {
      progress ??= new Progress(each, total, 0, json ? console.error : console.log);
      progress.update(finished, `${tokens} tokens`);
    };
    results.push(
      await evaluate(policy, task, { ...sampling, level: each, signal, onProgress }).finally(() => progress?.stop()),
    );
  }
  const figures = results.map(({ records: _, ...figures }) => figures);
  const three = (value: number) => value.toFixed(3);
  const rows = figures.map(
    ({ level, problems, averageAtN, averageAtNInterval, passAtN, passAtNInterval, meanLength }) => [
      level,
      String(problems),
      withInterval(averageAtN, averageAtNInterval, three),
      withInterval(passAtN, passAtNInterval, three),
      meanLength.toFixed(1),
    ],
  );
  const [{ n }] = figures;
  return {
    file: JSON.stringify({ model: folder, results }, null, 1),
    json: JSON.stringify(figures, null, 2),
    table: table([['level', 'problems', `average@${n} [95%]`, `pass@${n} [95%]`, 'tokens'], ...rows]),
  };
}
