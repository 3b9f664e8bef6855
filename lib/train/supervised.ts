// Supervised learning: the policy imitates demonstrations. SftTrainer and the warm start of tasks are this one course.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PrlError } from '../base/errors.js';
import { isCount } from '../base/options.js';
import { joined } from '../base/packed.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { PolicyLike, UpdateMetrics, UpdateOptions } from '../policy/types.js';
import type { Demonstration } from '../tasks/data/demonstration.js';
import { checkpointToResume, type LoadPolicy } from './checkpoint.js';
import { type RunFolder, readJsonFile } from './run-folder.js';
import { learningRateAt, type Schedule } from './schedule.js';

/** Steps of one kind, with a fresh optimizer. */
export interface SupervisedPhase {
  steps: number;
  /** The demonstrations of a step, counted from 0 within the phase. They depend on nothing else. */
  batch(step: number): readonly Demonstration[];
  schedule: Omit<Schedule, 'totalSteps'>;
  /** Optimizer, micro-batches. */
  update: Omit<UpdateOptions, 'learningRate' | 'lossType' | 'signal'>;
}

/** Result of a step of supervised learning. */
export interface SupervisedStep {
  /** Number of the step, from 1, over all phases. */
  step: number;
  /** Index of its phase, from 0. */
  phase: number;
  learningRate: number;
  /** Of the step's demonstrations, before its update. The loss is their mean negative log-likelihood per token. */
  metrics: UpdateMetrics;
  /** Tokens that the model read in this step, and in all steps so far. */
  read: number;
  tokens: number;
  /** Seconds of this step. */
  seconds: number;
}

/** Where the course keeps its checkpoints and its log. */
export interface SupervisedFolder {
  folder: RunFolder;
  /** Kind of the checkpoints. */
  kind: string;
  log: string;
  saveSteps: number;
  saveTotalLimit: number;
  tokenizer?: Tokenizer;
  loadPolicy: LoadPolicy;
  onWarning?: (message: string) => void;
}

export const stepsOf = (phases: readonly { steps: number }[]) => phases.reduce((sum, { steps }) => sum + steps, 0);

/**
 * One optimizer step on demonstrations: the loss is the mean of -log p over the learned tokens of the whole batch.
 *
 * @throws PrlError ERR_PRL_NON_FINITE if the loss or a gradient is not finite; the weights are then unchanged
 */
export async function imitate(
  policy: PolicyLike,
  demonstrations: readonly Demonstration[],
  options: Omit<UpdateOptions, 'lossType'>,
): Promise<UpdateMetrics> {
  const metrics = await policy.update(
    { ...packed(demonstrations), advantages: new Float32Array(demonstrations.length).fill(1) },
    { ...options, lossType: 'nll' },
  );
  if (metrics.applied) return metrics;
  throw new PrlError(
    'ERR_PRL_NON_FINITE',
    `an update was not finite (loss ${metrics.loss}, gradient norm ${metrics.gradNorm}) and was not applied: lower learningRate`,
  );
}

/** Mean negative log-likelihood and share of tokens that are the most likely ones, over all learned tokens. */
export async function likelihood(
  policy: PolicyLike,
  demonstrations: readonly Demonstration[],
  options: { microBatchTokens?: number; signal?: AbortSignal } = {},
): Promise<{ loss: number; tokenAccuracy: number; tokens: number }> {
  let [loss, top, tokens] = [0, 0, 0];
  // In pieces, so that a signal or a progress bar does not wait for all of them.
  for (let first = 0; first < demonstrations.length; first += PIECE) {
    const piece = demonstrations.slice(first, first + PIECE);
    const { prompts, completions, mask } = packed(piece);
    const { logProbs, top1 } = await policy.logProbs(
      prompts.map((prompt, i) => joined(prompt, completions[i])),
      { start: prompts.map(({ length }) => length), top1: true, ...options },
    );
    for (let t = 0; t < logProbs.length; t++) {
      if (mask?.[t] === 0) continue;
      loss -= logProbs[t];
      top += top1?.[t] ?? Number.NaN;
      tokens++;
    }
  }
  return { loss: loss / tokens, tokenAccuracy: top / tokens, tokens };
}
const PIECE = 64;

/** Demonstrations as a batch: without a mask where all completion tokens are learned. */
function packed(demonstrations: readonly Demonstration[]) {
  const prompts = demonstrations.map(({ prompt }) => prompt);
  const completions = demonstrations.map(({ completion }) => completion);
  if (demonstrations.every(({ mask }) => mask === undefined)) return { prompts, completions };
  const mask = new Int32Array(completions.reduce((sum, { length }) => sum + length, 0)).fill(1);
  let at = 0;
  for (const demonstration of demonstrations) {
    if (demonstration.mask) mask.set(demonstration.mask, at);
    at += demonstration.completion.length;
  }
  return { prompts, completions, mask };
}

/**
 * Trains a policy in place, phase after phase, and yields its steps. `from`: steps that are done; the policy must have
 * the optimizer state after them.
 */
export async function* supervise(
  policy: PolicyLike,
  phases: readonly SupervisedPhase[],
  { from = 0, tokens = 0, signal }: { from?: number; tokens?: number; signal?: AbortSignal } = {},
): AsyncGenerator<SupervisedStep, void, void> {
  let first = 0;
  for (const [index, phase] of phases.entries()) {
    for (let local = Math.max(0, from - first); local < phase.steps; local++) {
      const start = performance.now();
      if (local === 0) policy.resetOptimizer();
      const demonstrations = phase.batch(local);
      const learningRate = learningRateAt(local, { ...phase.schedule, totalSteps: phase.steps });
      const metrics = await imitate(policy, demonstrations, { ...phase.update, learningRate, signal });
      const read = demonstrations.reduce((sum, { prompt, completion }) => sum + prompt.length + completion.length, 0);
      tokens += read;
      const seconds = (performance.now() - start) / 1000;
      yield { step: first + local + 1, phase: index, learningRate, metrics, read, tokens, seconds };
    }
    first += phase.steps;
  }
}

interface SupervisedState {
  step: number;
  tokens: number;
  /** Seconds of all steps. */
  seconds: number;
}

/** A course in a folder, which a run that was interrupted or killed resumes. */
export class SupervisedRun {
  readonly #where: SupervisedFolder;
  #policy: PolicyLike | undefined;
  #state: SupervisedState = { step: 0, tokens: 0, seconds: 0 };
  #saved = 0;

  private constructor(where: SupervisedFolder) {
    this.#where = where;
  }

  /** @param begin makes the policy before the first step; not called if there is a checkpoint */
  static async open(where: SupervisedFolder, begin: () => PolicyLike | Promise<PolicyLike>): Promise<SupervisedRun> {
    const run = new SupervisedRun(where);
    await run.#resume(begin);
    return run;
  }

  async #resume(begin: () => PolicyLike | Promise<PolicyLike>): Promise<void> {
    const { folder, kind, log, loadPolicy, onWarning } = this.#where;
    const checkpoint = await checkpointToResume(folder, kind, onWarning);
    await folder.truncate(log, checkpoint?.step ?? 0);
    this.#policy = checkpoint ? await loadPolicy(checkpoint.path) : await begin();
    if (!checkpoint) return;
    await this.#policy.loadOptimizer(join(checkpoint.path, 'optimizer.bin'));
    this.#state = await readState(join(checkpoint.path, STATE), checkpoint.step);
    this.#saved = checkpoint.step;
  }

  get policy(): PolicyLike {
    return this.#policy!;
  }

  get state(): Readonly<SupervisedState> {
    return this.#state;
  }

  /**
   * Runs the steps that are left. It yields each one after its row (of `rowOf`; undefined: none) is in the log. A
   * consumer that stops early leaves a checkpoint of the last step.
   */
  async *steps(
    phases: readonly SupervisedPhase[],
    rowOf: (step: SupervisedStep) => { [name: string]: number } | undefined | Promise<{ [name: string]: number }>,
    signal?: AbortSignal,
  ): AsyncGenerator<SupervisedStep, void, void> {
    const { folder, log, saveSteps } = this.#where;
    const { step: from, tokens } = this.#state;
    let torn = false;
    try {
      for await (const step of supervise(this.policy, phases, { from, tokens, signal })) {
        torn = true;
        this.#state = { step: step.step, tokens: step.tokens, seconds: this.#state.seconds + step.seconds };
        const row = await rowOf(step);
        if (row) await folder.append(log, { step: step.step, ...row });
        torn = false;
        if (step.step % saveSteps === 0) await this.#save();
        yield step;
      }
    } finally {
      if (!torn) await this.#save();
    }
  }

  async #save(): Promise<void> {
    const { folder, kind, log, saveTotalLimit, tokenizer } = this.#where;
    const { step } = this.#state;
    if (this.#saved === step) return;
    await folder.writeCheckpoint(kind, step, [log], saveTotalLimit, async (path) => {
      await this.policy.save(path);
      await tokenizer?.save(path);
      await this.policy.saveOptimizer(join(path, 'optimizer.bin'));
      await writeFile(join(path, STATE), `${JSON.stringify(this.#state)}\n`);
    });
    this.#saved = step;
  }
}

const STATE = 'state.json';

async function readState(file: string, step: number): Promise<SupervisedState> {
  const state = await readJsonFile(file, { step: 'number', tokens: 'number', seconds: 'number' });
  if (state?.step === step && isCount(state.tokens)) return state;
  throw new PrlError('ERR_PRL_CORRUPT', `${file} must hold the state of step ${step}`);
}
