import type { PolicyLike } from '../../policy/types.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import type { RunFolder } from '../../train/run-folder.js';
import type { TrainerSetup } from '../../train/setup.js';
import { Trainer, type TrainingStep } from '../../train/trainer.js';
import type { Interrupt } from './interrupt.js';
import { type RolloutSettings, rolloutEngineOf } from './rollout.js';
import { warn } from './warn.js';

export interface Training extends Pick<TrainerSetup, 'task' | 'processRewardModel'> {
  folder: RunFolder;
  options: ResolvedTrainerOptions;
  base: PolicyLike;
  rollout?: RolloutSettings;
  interrupt: Interrupt;
}

/** Trains a copy of the base to the end, resuming the run in the folder. Returns undefined if interrupted. */
export async function runTrainer(
  { folder, options, base, rollout, interrupt, ...setup }: Training,
  onStep: (step: TrainingStep) => void,
): Promise<PolicyLike | undefined> {
  const trainer = new Trainer({
    ...options,
    ...setup,
    // The trainer changes its policy. The base stays as it is, for comparison.
    policy: base.clone(),
    reference: base,
    output: folder,
    resume: true,
    onWarning: warn,
    rolloutEngine: rollout && rolloutEngineOf(rollout),
  });
  interrupt.onStop(() => trainer.stop());
  for await (const step of trainer.run()) onStep(step);
  return interrupt.exitCode === undefined ? trainer.policy : undefined;
}
