import { existsSync } from 'node:fs';
import { invalidArgument } from '../../base/errors.js';
import type { Shape } from '../../base/json.js';
import { badRow } from '../../base/lines.js';
import { quoted } from '../../base/text.js';
import type { EvaluationResult } from '../../eval/evaluate.js';
import type { Policy } from '../../policy/policy.js';
import type { PolicyLike } from '../../policy/types.js';
import { type ResolvedTrainerOptions, TRAINER_OPTIONS } from '../../train/options.js';
import { RunFolder } from '../../train/run-folder.js';
import type { TrainerSetup } from '../../train/setup.js';
import { Trainer } from '../../train/trainer.js';
import type { Interrupt } from './interrupt.js';
import { PRESETS } from './presets.js';
import { Progress } from './progress.js';
import { type RolloutSettings, rolloutEngineOf } from './rollout.js';

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

const CONFIG: Shape = { 'command?': { 'preset?': 'text', 'model?': 'text', 'prm?': 'text' }, 'trainer?': {} };

/** What config.json says of a run that is gone on with: the settings of the command, and options of the trainer. */
export async function savedConfig(
  folder: RunFolder,
  // biome-ignore lint/suspicious/noExplicitAny: each command has its own settings, and checks them as it checks what is given
): Promise<{ command: any; trainer: object }> {
  const { command = {}, trainer = {} } = (await folder.readJson('config.json', CONFIG)) ?? {};
  if (command.preset !== undefined && !Object.hasOwn(PRESETS, command.preset))
    throw badRow(folder.file('config.json'), `there is no preset ${quoted(command.preset)}`);
  const known = Object.entries(trainer).filter(([name]) => Object.hasOwn(TRAINER_OPTIONS, name));
  // JSON writes Infinity, which says "none" of bounds, as null.
  return { command, trainer: Object.fromEntries(known.map(([name, value]) => [name, value ?? Infinity])) };
}

export interface Training extends Pick<TrainerSetup, 'task' | 'processRewardModel'> {
  folder: RunFolder;
  options: ResolvedTrainerOptions;
  base: Policy;
  rollout: RolloutSettings | undefined;
  interrupt: Interrupt;
}

/** Trains a copy of the base to the end, with a bar; undefined when interrupted. */
export async function runTrainer({
  folder,
  options,
  base,
  rollout,
  interrupt,
  ...setup
}: Training): Promise<PolicyLike | undefined> {
  const onWarning = (message: string) => console.warn(`prl: ${message}`);
  const trainer = new Trainer({
    ...options,
    ...setup,
    // The trainer changes the policy that it is given; the base stays for comparison.
    policy: base.clone(),
    reference: base,
    output: folder,
    resume: true,
    onWarning,
    rolloutEngine: rollout && rolloutEngineOf(rollout, onWarning),
  });
  const { method, maxSteps } = options;
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
  if (interrupt.exitCode !== undefined) return undefined;
  const rewards = (await folder.rows('metrics.jsonl')).map(({ reward }) => reward?.toFixed(3));
  progress.done(
    `${maxSteps} steps${rewards.length > 0 ? `, training reward ${rewards[0]} -> ${rewards[rewards.length - 1]}` : ''}`,
  );
  return trainer.policy;
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
