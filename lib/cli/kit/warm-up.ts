import { Policy } from '../../policy/policy.js';
import type { LoadOptions } from '../../policy/types.js';
import type { Task } from '../../tasks/task.js';
import type { RunFolder } from '../../train/run-folder.js';
import { SupervisedRun, type SupervisedStep, stepsOf } from '../../train/supervised.js';
import { LOG_STEPS, warmStartPhases } from '../../train/warm-start.js';
import type { Interrupt } from './interrupt.js';
import { modelFolder } from './model-folder.js';
import { type Preset, policyConfig } from './presets.js';
import { Progress } from './progress.js';

const LOG = 'warm-start.jsonl';
const SUMMARY = 'warm-start.json';
const KIND = 'warm-start';
const SAVE_STEPS = 200;

/** The policy to start from: the saved one, the model, or else a warmed-up one. undefined: interrupted. */
export async function startingPolicy(
  folder: RunFolder,
  task: Task,
  preset: Preset,
  { saved, model, extraTensors, seed }: { saved?: string; model?: string; seed: number } & LoadOptions,
  interrupt: Interrupt,
): Promise<Policy | undefined> {
  if (saved === undefined && model === undefined) return warmUp(folder, task, preset, seed, interrupt);
  return Policy.load(saved ?? (await modelFolder(model!, interrupt.signal)), { extraTensors });
}

/** Seconds of a run's warm start; 0 if there was none. */
export async function warmUpSeconds(folder: RunFolder): Promise<number> {
  return (await folder.readJson(SUMMARY, { seconds: 'number' }))?.seconds ?? 0;
}

/**
 * Creates a policy and trains it on demonstrations. Resumes from a checkpoint if there is one. undefined: interrupted.
 */
export async function warmUp(
  folder: RunFolder,
  task: Task,
  preset: Preset,
  seed: number,
  interrupt: Interrupt,
): Promise<Policy | undefined> {
  const phases = preset.warmStart;
  const total = stepsOf(phases);
  const run = await SupervisedRun.open(
    {
      ...{ folder, kind: KIND, log: LOG, saveSteps: SAVE_STEPS, saveTotalLimit: 1, tokenizer: task.tokenizer },
      loadPolicy: (path) => Policy.load(path),
    },
    () => Policy.create(policyConfig(preset, task), { seed }),
  );
  const progress = new Progress('warm start', total, run.state.step);
  let loss = '';
  const rowOf = ({ step, phase, learningRate, metrics }: SupervisedStep) => {
    if (step % LOG_STEPS !== 0 && step !== total) return undefined;
    loss = `loss ${metrics.loss.toFixed(3)}  `;
    return { phase, loss: metrics.loss, entropy: metrics.entropy, learning_rate: learningRate };
  };
  try {
    for await (const { step, phase } of run.steps(warmStartPhases({ task, phases, seed }), rowOf)) {
      progress.update(step, `${loss}${Object.keys(phases[phase].styles).join(', ')}`);
      if (interrupt.exitCode !== undefined) return undefined;
    }
  } finally {
    progress.stop();
  }
  const policy = run.policy as Policy;
  await folder.writeJson(SUMMARY, { steps: total, seconds: run.state.seconds });
  progress.done(`${loss}${total} steps on demonstrations, ${policy.parameterCount} parameters`);
  await folder.removeCheckpoints(KIND);
  return policy;
}
