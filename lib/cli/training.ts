import { existsSync } from 'node:fs';
import { invalidArgument } from '../errors.js';
import type { EvaluationResult } from '../eval/evaluate.js';
import { TRAINER_OPTIONS } from '../train/options.js';
import { RunFolder } from '../train/run-folder.js';
import type { Trainer } from '../train/trainer.js';
import type { Interrupt } from './interrupt.js';
import { Progress } from './progress.js';

/** The folder of a run, `output` or a new one in runs/. */
export function openRunFolder(
  { output, resume }: { output?: string; resume?: boolean },
  name: string,
): Promise<RunFolder> {
  if (resume && output === undefined) throw invalidArgument('--resume needs --output, the folder of the run');
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');
  const path = output ?? `runs/${name}-${stamp}`;
  if (resume && !existsSync(path)) throw invalidArgument(`there is no run in ${path} to resume`);
  return RunFolder.open(path, { resume });
}

/** The trainer's options among what config.json says of a run. */
export const knownOptions = (trainer: object = {}): object =>
  Object.fromEntries(Object.entries(trainer).filter(([name]) => Object.hasOwn(TRAINER_OPTIONS, name)));

/** Trains to the end with a bar; false when interrupted. */
export async function runTrainer(trainer: Trainer, folder: RunFolder, interrupt: Interrupt): Promise<boolean> {
  const { method, maxSteps } = trainer.options;
  interrupt.onStop(() => trainer.stop());
  const progress = new Progress(method.toUpperCase(), maxSteps);
  try {
    for await (const { step, metrics } of trainer.run()) {
      progress.update(
        step,
        `reward ${metrics.reward.toFixed(3)}  length ${metrics['completions/mean_length'].toFixed(1)}  steps ${metrics['step_count/mean'].toFixed(2)}  ${Math.round(metrics.tokens_per_second)} tokens/s`,
      );
    }
  } finally {
    progress.stop();
  }
  if (interrupt.exitCode !== undefined) return false;
  const rows = await folder.rows('metrics.jsonl');
  const last = rows[rows.length - 1];
  progress.done(
    `${maxSteps} steps${last ? `, training reward ${rows[0].reward.toFixed(3)} -> ${last.reward.toFixed(3)}` : ''}`,
  );
  return true;
}

/** What summary.json says of an evaluation. */
export const evaluationFigures = ({
  averageAtN,
  averageAtNInterval,
  passAtN,
  passAtNInterval,
  n,
  level,
  problems,
  meanLength,
  measures,
}: EvaluationResult) => ({
  averageAtN,
  averageAtNInterval,
  passAtN,
  passAtNInterval,
  n,
  level,
  problems,
  meanLength,
  ...measures,
});
