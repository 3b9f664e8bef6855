import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { invalidArgument, PrlError } from '../base/errors.js';
import { readJson } from '../base/json.js';
import { isCount } from '../base/options.js';
import { shorten } from '../base/text.js';
import { clockSetting, resumeClock } from '../policy/clock.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { PolicyLike } from '../policy/types.js';
import type { Task } from '../tasks/task.js';
import { dumpBatch } from './dump.js';
import { RESUMABLE_OPTIONS, type ResolvedTrainerOptions } from './options.js';
import { RunFolder } from './run-folder.js';
import type { SampleRow } from './sample-log.js';
import type { Step } from './step.js';
import type { StepMetrics } from './step-metrics.js';

export type LoadPolicy = (folder: string) => PolicyLike | Promise<PolicyLike>;

/** What the trainer needs to resume, besides the weights and the optimizer's moments. */
export interface TrainerState {
  /** Finished steps. Their number and the seed decide the next step's problems, samples and shuffles. */
  step: number;
  /** Tokens generated. */
  tokens: number;
  /** Tokens that the process reward model read. Absent in older runs. */
  prmTokens?: number;
  /** Steps in a row without a finite update. */
  nonFiniteSteps: number;
}

/** The run folder, as the trainer uses it. */
export interface TrainerRun {
  /** The state that a resumed run begins with; undefined for a new run. */
  resumed?: { policy: PolicyLike; base: PolicyLike; state: TrainerState };
  append(metrics: StepMetrics, samples: SampleRow): Promise<void>;
  /** Saves the batch of a step that was not applied, and returns the file. */
  dump(step: Step): Promise<string>;
  save(policy: PolicyLike, state: TrainerState): Promise<void>;
  /** Releases the folder, unless the caller opened it. */
  close(): Promise<void>;
}

const METRICS = 'metrics.jsonl';
const SAMPLES = 'samples.jsonl';
const LOGS = [METRICS, SAMPLES];
const KIND = 'step';

export interface OpenRun {
  resume?: boolean;
  policy: PolicyLike;
  task: Task;
  options: ResolvedTrainerOptions;
  loadPolicy?: LoadPolicy;
  onWarning?: (message: string) => void;
}

export async function openTrainerRun(
  output: string | RunFolder,
  {
    resume,
    policy,
    task,
    options,
    loadPolicy = (path) => policy.restore?.(path) ?? loadNativePolicy(path, policy),
    onWarning,
  }: OpenRun,
): Promise<TrainerRun> {
  const owned = typeof output === 'string';
  const folder = owned ? await RunFolder.open(output, { resume }) : output;
  try {
    await resumeRunClock(folder, task.tokenizer, onWarning);
    await settleConfig(folder, 'trainer', trainerConfig(task, options), RESUMABLE_OPTIONS);
    const checkpoint = await checkpointToResume(folder, KIND, onWarning);
    const basePath = await wholeBase(folder);
    if (!basePath) await saveBase(folder, policy, task);
    for (const log of LOGS) {
      const { length } = await folder.truncate(log, checkpoint?.step ?? 0);
      if (checkpoint && length < checkpoint.step)
        onWarning?.(`${folder.file(log)} must have ${checkpoint.step} rows, one per finished step, and has ${length}`);
    }
    let saved = checkpoint?.step ?? -1;
    const run: TrainerRun = {
      async append(metrics, samples) {
        await folder.append(METRICS, metrics);
        await folder.append(SAMPLES, samples);
      },
      dump: (step) => folder.writeBelow('non-finite', (path) => dumpBatch(path, step)),
      async save(current, state) {
        if (saved === state.step) return;
        await folder.writeCheckpoint(KIND, state.step, LOGS, options.saveTotalLimit, async (path) => {
          await savePolicy(path, current, task);
          await current.saveOptimizer(join(path, 'optimizer.bin'));
          await writeFile(join(path, 'trainer.json'), `${JSON.stringify(state)}\n`);
        });
        saved = state.step;
      },
      close: async () => {
        if (owned) await folder.close();
      },
    };
    if (checkpoint) {
      const state = await readState(checkpoint);
      const restored = await loadPolicy(checkpoint.path);
      await restored.loadOptimizer(join(checkpoint.path, 'optimizer.bin'));
      run.resumed = { policy: restored, base: await loadPolicy(basePath!), state };
    }
    return run;
  } catch (error) {
    if (owned) await folder.close();
    throw error;
  }
}

/** What config.json holds of the trainer, and a resumed run must have unchanged. */
export const trainerConfig = (task: Task, options: ResolvedTrainerOptions): { [name: string]: unknown } => ({
  ...{ task: task.name, ...task.identity, ...options },
  ...clockSetting(task.tokenizer),
});

/** Sets the clock of a tokenizer to that of the run in the folder. Without one, it is when the base was written. */
export async function resumeRunClock(
  folder: RunFolder,
  tokenizer: Tokenizer,
  onWarning?: (message: string) => void,
): Promise<void> {
  if (!tokenizer.readsClock) return;
  const saved: unknown = (await folder.readJson('config.json'))?.trainer?.clock;
  const base = saved === undefined ? await folder.wholeFolder('base') : undefined;
  resumeClock(tokenizer, saved, base === undefined ? undefined : (await stat(join(base, 'tokenizer.json'))).mtime);
  if (base !== undefined)
    onWarning?.(
      `the run in ${folder.path} kept no clock for its chat template: its prompts tell ${tokenizer.clock}, when its base was written`,
    );
}

/**
 * The newest whole checkpoint of a kind; undefined if there is none of that kind.
 *
 * @throws PrlError ERR_PRL_CORRUPT if all of them are damaged: a new beginning would empty the logs
 */
export async function checkpointToResume(
  folder: RunFolder,
  kind: string,
  onWarning?: (message: string) => void,
): Promise<{ step: number; path: string } | undefined> {
  const checkpoint = await folder.latestCheckpoint(kind, onWarning);
  if (checkpoint || !(await folder.hasCheckpoints(kind))) return checkpoint;
  throw new PrlError(
    'ERR_PRL_CORRUPT',
    `a resume needs a whole checkpoint, and all in ${folder.file('checkpoints')} are damaged. Delete them to begin again from the base`,
  );
}

/**
 * The folder of the policy that a run began with; undefined if it was not saved yet.
 *
 * @throws PrlError ERR_PRL_CORRUPT if it is gone and there are checkpoints
 */
export async function wholeBase(folder: RunFolder): Promise<string | undefined> {
  const base = await folder.wholeFolder('base');
  if (base === undefined && (await folder.hasCheckpoints(KIND)))
    throw new PrlError(
      'ERR_PRL_CORRUPT',
      `${folder.file('base')} is missing or damaged: the frozen reference of this run cannot be restored`,
    );
  return base;
}

async function readState({ path, step }: { path: string; step: number }): Promise<TrainerState> {
  const file = join(path, 'trainer.json');
  const { step: own, tokens, prmTokens = 0, nonFiniteSteps } = await readJson(file);
  if (own !== step || ![tokens, prmTokens, nonFiniteSteps].every((count) => isCount(count)))
    throw new PrlError(
      'ERR_PRL_CORRUPT',
      `${file} must hold the state of step ${step}. Delete the folder ${path} to resume from the checkpoint before it`,
    );
  return { step, tokens, prmTokens, nonFiniteSteps } as TrainerState;
}

/** Saves weights and tokenizer in the layout of transformers. */
export async function savePolicy(path: string, policy: PolicyLike, task: Task): Promise<void> {
  await policy.save(path);
  await task.tokenizer.save(path);
}

export const saveBase = (folder: RunFolder, policy: PolicyLike, task: Task): Promise<void> =>
  folder.writeFolder('base', (path) => savePolicy(path, policy, task));

/**
 * Records a section of config.json. If the run already has the section, only `changeable` names may differ.
 *
 * @throws TypeError that names the first difference
 * @throws PrlError ERR_PRL_CORRUPT if config.json is gone and there are checkpoints
 */
export async function settleConfig(
  folder: RunFolder,
  section: string,
  wanted: { [name: string]: unknown },
  changeable: readonly string[] = [],
): Promise<void> {
  const found = await folder.readJson('config.json');
  if (found === undefined && (await folder.hasCheckpoints(KIND)))
    throw new PrlError(
      'ERR_PRL_CORRUPT',
      `${folder.file('config.json')} is missing: without it the settings of the checkpoints beside it are unknown`,
    );
  const config = found ?? {};
  const known = config[section] as typeof wanted | undefined;
  for (const name of known ? new Set([...Object.keys(known), ...Object.keys(wanted)]) : []) {
    const [before, now] = [JSON.stringify(known![name]), JSON.stringify(wanted[name])];
    // Older runs lack the clock.
    const isAdded = before === undefined && name === 'clock';
    if (before !== now && !isAdded && !changeable.includes(name)) {
      throw invalidArgument(
        `the run in ${folder.path} has ${name} ${shorten(before ?? 'unset')}, not ${shorten(now ?? 'unset')}: a resumed run cannot change what decides its steps`,
      );
    }
  }
  await folder.writeJson('config.json', { ...config, [section]: wanted });
}

/** Loads a policy in the dtype of the one that the run began with. */
export async function loadNativePolicy(path: string, { dtype }: PolicyLike): Promise<PolicyLike> {
  const { Policy } = await import('../policy/policy.js');
  return Policy.load(path, { dtype });
}
