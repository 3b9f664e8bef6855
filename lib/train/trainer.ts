import { PrlError } from '../base/errors.js';
import { type EvaluationOptions, type EvaluationResult, evaluate } from '../eval/evaluate.js';
import type { StepData } from '../methods/method.js';
import { stepDifference } from '../methods/steps.js';
import type { PolicyLike } from '../policy/types.js';
import type { Task } from '../tasks/task.js';
import { needsReference, rolloutSteps } from './advantages.js';
import { openTrainerRun, type TrainerRun, type TrainerState } from './checkpoint.js';
import { lossOptions } from './loss.js';
import { stepMetrics } from './metrics.js';
import { whyEmpty } from './minibatch.js';
import type { ResolvedTrainerOptions, TrainerOptions } from './options.js';
import { sampleRow } from './sample-log.js';
import { readSetup, type TrainerSetup } from './setup.js';
import {
  assignCredit,
  compareLogProbs,
  firstTokenEntropy,
  referenceLogProbs,
  rollOut,
  StepClock,
  type StepContext,
  score,
} from './stages.js';
import type { Step } from './step.js';
import type { StepMetrics } from './step-metrics.js';
import { updatePolicy } from './update.js';

/** Result of a step: T tokens of all responses, S reasoning steps. */
export interface TrainingStep extends Step {
  /** The step's row of metrics.jsonl. */
  metrics: StepMetrics;
  /** Measures of the task or verifier, and metrics of the method. They stand in the row as well. */
  measures: Readonly<Record<string, number>>;
}

/**
 * Samples responses, turns their rewards into advantages and updates the policy, one rollout per step:
 *
 *     const trainer = new Trainer({ policy, task: new ArithmeticTask(), method: 'prl' });
 *     for await (const { metrics } of trainer.run()) console.log(metrics.step, metrics.reward);
 *
 * A step depends only on the seed, the step's number and the weights. So a run that was killed and resumed from its
 * folder writes the same rows as an uninterrupted one.
 */
export class Trainer {
  readonly task: Task;
  readonly options: ResolvedTrainerOptions;
  readonly #setup: TrainerSetup;
  #policy: PolicyLike;
  #reference: PolicyLike | undefined;
  #state: TrainerState = { step: 0, tokens: 0, prmTokens: 0, nonFiniteSteps: 0 };
  #stopping = false;
  /** Whether this trainer has opened the folder: a second run() then resumes in it. */
  #opened = false;
  #running = false;

  constructor(setup: TrainerSetup & TrainerOptions) {
    ({ setup: this.#setup, options: this.options, task: this.task } = readSetup(setup));
    this.#policy = this.#setup.policy;
  }

  /** The policy in training. After a resume it is another object than the policy of the setup. */
  get policy(): PolicyLike {
    return this.#policy;
  }

  /** The frozen reference policy; undefined before run(), or if nothing needs one. */
  get reference(): PolicyLike | undefined {
    return this.#reference;
  }

  /** Number of finished steps. */
  get step(): number {
    return this.#state.step;
  }

  /**
   * Ends run() after the current step, which is saved as always. Called before run(), it ends that run before its first
   * step.
   */
  stop(): void {
    this.#stopping = true;
  }

  /** Runs steps until maxSteps or maxTokens. It yields each once it is done, and on the disk if there is a folder. */
  async *run({
    signal,
  }: {
    /** Ends the run at once (ERR_PRL_ABORTED). */
    signal?: AbortSignal;
  } = {}): AsyncGenerator<TrainingStep, void, void> {
    if (this.#running) throw new PrlError('ERR_PRL_BUSY', 'this trainer is already running');
    this.#running = true;
    let folder: TrainerRun | undefined;
    // True while weights, state and rows may not match, and after a failed save. Such a state is never saved.
    let torn = true;
    try {
      folder = await this.#prepare();
      torn = false;
      const { maxSteps, maxTokens = Infinity } = this.options;
      while (this.#state.step < maxSteps && this.#state.tokens < maxTokens && !this.#stopping) {
        torn = true;
        const step = await this.#advance(folder, signal);
        await folder?.append(step.metrics, sampleRow(this.task, step));
        if (this.#state.step % this.options.saveSteps === 0) await folder?.save(this.#policy, this.#state);
        torn = false;
        if (this.#state.nonFiniteSteps >= this.options.maxNonFiniteSteps) {
          throw new PrlError(
            'ERR_PRL_NON_FINITE',
            `${this.#state.nonFiniteSteps} steps in a row, up to step ${this.#state.step}, gave no finite update. The weights are those of the last finite update. Lower learningRate, or look at metrics.jsonl`,
          );
        }
        yield step;
      }
    } finally {
      try {
        if (!torn) await folder?.save(this.#policy, this.#state);
      } finally {
        await folder?.close();
        this.#running = this.#stopping = false;
      }
    }
  }

  /** Evaluates the current policy on held-out problems. */
  async evaluate(options: EvaluationOptions = {}): Promise<EvaluationResult> {
    const { evalProblems, evalSamples, maxCompletionLength, temperature, seed } = this.options;
    const { onProgress } = this.#setup;
    return evaluate(this.#policy, this.task, {
      problems: evalProblems,
      n: evalSamples,
      maxCompletionLength,
      temperature,
      seed,
      onProgress,
      ...options,
    });
  }

  async #prepare(): Promise<TrainerRun | undefined> {
    const { output, resume, policy, reference, loadPolicy, onWarning } = this.#setup;
    policy.checkUpdate?.({ ...lossOptions(this.options), temperature: this.options.temperature });
    let base = reference;
    let folder: TrainerRun | undefined;
    if (output !== undefined) {
      folder = await openTrainerRun(output, {
        resume: resume || this.#opened,
        policy,
        task: this.task,
        options: this.options,
        loadPolicy,
        onWarning,
      });
      this.#opened = true;
      if (folder.resumed) {
        this.#policy = folder.resumed.policy;
        this.#state = folder.resumed.state;
        base ??= folder.resumed.base;
      }
    }
    const { processRewardModel: model } = this.#setup;
    const difference = model?.steps && stepDifference(model.steps, this.options);
    if (difference)
      onWarning?.(`the ${model.name} was trained on steps that were cut differently: this run has ${difference}`);
    const wantsReference = needsReference(this.options);
    const { microBatchTokens, gradientCheckpointing, maxCompletionLength } = this.options;
    this.#policy.checkMemory?.({
      reference: wantsReference && !(this.#reference ?? base),
      ...(microBatchTokens !== undefined && { microBatchTokens }),
      gradientCheckpointing,
      maxNewTokens: this.#setup.rolloutEngine ? 0 : maxCompletionLength,
    });
    if (wantsReference) this.#reference ??= base ?? this.#policy.clone();
    return folder;
  }

  /** One step of the algorithm. Its stages are in stages.ts and update.ts. */
  async #advance(folder: TrainerRun | undefined, signal?: AbortSignal): Promise<TrainingStep> {
    const context = this.#context(signal);
    const { policy, task, options, setup, clock } = context;
    const sampled = await rollOut(context);
    const { rollout, metrics: sampling } = await compareLogProbs(context, sampled);
    const entropy = await firstTokenEntropy(context, rollout);
    const refLogProbs = await referenceLogProbs(context, rollout);
    const cuSteps = await rolloutSteps(rollout, task.tokenizer, options, setup.stepOffsets);
    const scored = await score(context, rollout, cuSteps);
    const data: StepData = { cuSteps, refLogProbs, stepScores: scored?.scores };
    const { advantages, metrics: credit } = await assignCredit(context, rollout, data);
    const step: Step = { step: context.step, rollout, ...data, advantages };
    const updates = await clock.timed('update', () => updatePolicy(policy, step, options, signal));

    const why = updates.every(({ empty }) => empty) && whyEmpty(step, options);
    if (why) setup.onWarning?.(`step ${step.step}: no response takes part in the loss, so no update was made: ${why}`);
    const finite = updates.every(({ metrics }) => metrics.applied);
    this.#count(step, scored?.tokens ?? 0, finite);
    if (!finite) await this.#keepBatch(step, folder);
    const evaluated = options.evalSteps > 0 && step.step % options.evalSteps === 0;
    const evaluation = evaluated
      ? await clock.timedOr(undefined, 'evaluation', () => this.evaluate({ signal }))
      : undefined;

    const metrics = stepMetrics(step, {
      ...{ sampling, credit, entropy, updates, evaluation, state: this.#state, prmTokens: scored?.tokens },
      ...{ reference: context.reference !== undefined, seconds: clock.seconds, total: clock.total },
    });
    return { ...step, metrics, measures: { ...rollout.measures, ...credit } };
  }

  #context(signal?: AbortSignal): StepContext {
    const step = this.#state.step + 1;
    const { onWarning } = this.#setup;
    return {
      ...{ step, policy: this.#policy, reference: this.#reference, task: this.task, options: this.options },
      ...{ setup: this.#setup, signal, clock: new StepClock((error) => onWarning?.(`step ${step}: ${error.message}`)) },
    };
  }

  #count({ step, rollout }: Step, prmTokens: number, finite: boolean): void {
    this.#state = {
      step,
      tokens: this.#state.tokens + rollout.logProbs.length,
      prmTokens: (this.#state.prmTokens ?? 0) + prmTokens,
      nonFiniteSteps: finite ? 0 : this.#state.nonFiniteSteps + 1,
    };
  }

  async #keepBatch(step: Step, folder: TrainerRun | undefined): Promise<void> {
    const file = await folder?.dump(step);
    this.#setup.onWarning?.(
      `step ${step.step}: an update was not finite and was not applied${file ? `; its batch is in ${file}` : ''}`,
    );
  }
}
