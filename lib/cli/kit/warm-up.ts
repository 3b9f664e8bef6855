import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Policy } from '../../policy/policy.js';
import type { Task } from '../../tasks/task.js';
import { savePolicy } from '../../train/checkpoint.js';
import { type RunFolder, readJsonFile } from '../../train/run-folder.js';
import { warmStart, warmStartSteps } from '../../train/warm-start.js';
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
  { saved, model, seed }: { saved?: string; model?: string; seed: number },
  interrupt: Interrupt,
): Promise<Policy | undefined> {
  if (saved === undefined && model === undefined) return warmUp(folder, task, preset, seed, interrupt);
  return Policy.load(saved ?? (await modelFolder(model!, interrupt.signal)));
}

/** Seconds of a run's warm start; 0 if there was none. */
export async function warmUpSeconds(folder: RunFolder): Promise<number> {
  return (await folder.readJson(SUMMARY, { seconds: 'number' }))?.seconds ?? 0;
}

const told = (loss: number | undefined) => (loss === undefined ? '' : `loss ${loss.toFixed(3)}  `);

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
  const total = warmStartSteps(phases);
  const checkpoint = await folder.latestCheckpoint(KIND);
  let policy: Policy;
  let seconds = 0;
  if (checkpoint) {
    policy = await Policy.load(checkpoint.path);
    await policy.loadOptimizer(join(checkpoint.path, 'optimizer.bin'));
    ({ seconds } = await readJsonFile(join(checkpoint.path, 'state.json'), { seconds: 'number' }));
  } else policy = Policy.create(policyConfig(preset, task), { seed });
  const from = checkpoint?.step ?? 0;
  await folder.truncate(LOG, from);

  const started = performance.now() - 1000 * seconds;
  const elapsed = () => (performance.now() - started) / 1000;
  const save = (step: number) =>
    folder.writeCheckpoint(KIND, step, [LOG], 1, async (path) => {
      await savePolicy(path, policy, task);
      await policy.saveOptimizer(join(path, 'optimizer.bin'));
      await writeFile(join(path, 'state.json'), JSON.stringify({ seconds: elapsed() }));
    });
  const progress = new Progress('warm start', total, from);
  // Measured now and then: absent at first.
  let loss: number | undefined;
  try {
    for await (const { step, ...row } of warmStart({ policy, task, phases, seed, from })) {
      if (row.loss !== undefined) {
        loss = row.loss;
        await folder.append(LOG, {
          step,
          phase: row.phase,
          loss,
          entropy: row.entropy,
          learning_rate: row.learningRate,
        });
      }
      progress.update(step, `${told(loss)}${Object.keys(phases[row.phase].styles).join(', ')}`);
      const stopping = interrupt.exitCode !== undefined;
      if (stopping || step % SAVE_STEPS === 0) await save(step);
      if (stopping) return undefined;
    }
  } finally {
    progress.stop();
  }
  await folder.writeJson(SUMMARY, { steps: total, seconds: elapsed() });
  progress.done(`${told(loss)}${total} steps on demonstrations, ${policy.parameterCount} parameters`);
  await folder.removeCheckpoints(KIND);
  return policy;
}
