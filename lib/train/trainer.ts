import { PrlError } from '../base/errors.js';
import { joined } from '../base/packed.js';
import { seedOf } from '../base/random.js';
import { type EvaluationOptions, type EvaluationResult, evaluate } from '../eval/evaluate.js';
import { stepDifference } from '../methods/steps.js';
import type { PolicyLike } from '../policy/types.js';
import { scoreSteps } from '../prm/score-steps.js';
import { collectRollout, type Rollout } from '../rollout/rollout.js';
import type { Task } from '../tasks/task.js';
import { computeAdvantages, needsReference, rolloutSteps } from './advantages.js';
import { openTrainerRun, type TrainerRun, type TrainerState } from './checkpoint.js';
import { creditMetrics, differenceMetrics, type Phase, rolloutMetrics, updateMetrics } from './metrics.js';
import { checkTemperature, correctRollout, NOTABLE_DIFFERENCE } from './mismatch.js';
import type { ResolvedTrainerOptions, TrainerOptions } from './options.js';
import type { Row } from './run-folder.js';
import { sampleRow } from './sample-log.js';
import { readSetup, type TrainerSetup } from './setup.js';
import { updatePolicy } from './update.js';

/** What a step did. T tokens of all responses, S reasoning steps. */
export interface TrainingStep {
  /** From 1. */
  step: number;
  /** What metrics.jsonl has of the step; see docs/training.md. */
  metrics: Row;
  /** Problems, responses, rewards and log-probabilities. */
  rollout: Rollout;
  /** [T] what the method made of the rewards. */
  advantages: Float32Array;
  /** [S + 1] where the reasoning steps begin among the T tokens. */
  cuSteps: Int32Array;
  /** [S] what the process reward model gave each step, for the methods that ask one. */
  stepScores?: Float32Array;
}

/**
 * Samples responses, turns their rewards into advantages and updates the policy, one rollout per step:
 *
 *     const trainer = new Trainer({ policy, task: new ArithmeticTask(), method: 'prl' });
 *     for await (const { metrics } of trainer.run()) console.log(metrics.step, metrics.reward);
 *
 * What a step does depends on the seed, the step's number and the weights only. So a run that was killed and resumed from
 * its folder gives the rows of a run that never was.
 */
export class Trainer {
  readonly task: Task;
  readonly options: ResolvedTrainerOptions;
  readonly #setup: TrainerSetup;
  #policy: PolicyLike;
  #reference: PolicyLike | undefined;
  #state: TrainerState = { step: 0, tokens: 0, prmTokens: 0, nonFiniteSteps: 0 };
  #stopping = false;
  /** Whether the folder is this trainer's own by now: another run() goes on in it. */
  #opened = false;
  #running = false;

  constructor(setup: TrainerSetup & TrainerOptions) {
    ({ setup: this.#setup, options: this.options, task: this.task } = readSetup(setup));
    this.#policy = this.#setup.policy;
  }

  /** The policy being trained. After a resume it is another object than the one that was passed. */
  get policy(): PolicyLike {
    return this.#policy;
  }

  /** The frozen policy that log-ratios are taken to; undefined where nothing needs one, and before run(). */
  get reference(): PolicyLike | undefined {
    return this.#reference;
  }

  /** Steps done. */
  get step(): number {
    return this.#state.step;
  }

  /** Ends run() after the step that is under way (or, before a run, that run before its first step); it is saved as always. */
  stop(): void {
    this.#stopping = true;
  }

  /** Steps until maxSteps, each after it is done (and on disk where there is a folder). */
  async *run({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<TrainingStep, void, void> {
    if (this.#running) throw new PrlError('ERR_PRL_BUSY', 'this trainer is running already');
    this.#running = true;
    let folder: TrainerRun | undefined;
    // True while weights, state and rows may not belong together (such a state is never saved), and where saving failed.
    let torn = true;
    try {
      folder = await this.#prepare();
      torn = false;
      while (this.#state.step < this.options.maxSteps && !this.#stopping) {
        torn = true;
        const step = await this.#advance(folder, signal);
        await folder?.append(step.metrics, sampleRow(step.step, this.task, step));
        if (this.#state.step % this.options.saveSteps === 0) await folder?.save(this.#policy, this.#state);
        torn = false;
        if (this.#state.nonFiniteSteps >= this.options.maxNonFiniteSteps) {
          throw new PrlError(
            'ERR_PRL_NON_FINITE',
            `${this.#state.nonFiniteSteps} steps in a row gave no finite update, the last of them step ${this.#state.step}. The weights are those of the last finite one; lower learningRate or look at metrics.jsonl`,
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

  /** Samples responses to held-out problems with the policy as it is now. */
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
      onWarning?.(`the ${model.name} learned from steps that were cut in another way: this run has ${difference}`);
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

  /** One step: problems, responses, advantages, updates. */
  async #advance(folder: TrainerRun | undefined, signal?: AbortSignal): Promise<TrainingStep> {
    const { options, task } = this;
    const { onWarning } = this.#setup;
    const { seed, promptsPerStep } = options;
    const index = this.#state.step;
    const seconds: Partial<Record<Phase, number>> = {};
    const timed = async <R>(phase: Phase, work: () => R | Promise<R>): Promise<R> => {
      const start = performance.now();
      const result = await work();
      seconds[phase] = (seconds[phase] ?? 0) + (performance.now() - start) / 1000;
      return result;
    };
    const start = performance.now();
    // Of a step with numbers that are not finite nothing is learnt; it goes on, so that it is recorded and its batch kept.
    let usable = true;
    const orElse = <R>(otherwise: R, work: Promise<R>): Promise<R> =>
      work.catch((error: PrlError) => {
        if (error.code !== 'ERR_PRL_NON_FINITE') throw error;
        onWarning?.(`step ${index + 1}: ${error.message}`);
        usable = false;
        return otherwise;
      });

    const problems = Array.from({ length: promptsPerStep }, (_, i) =>
      task.problem(index * promptsPerStep + i, { seed, split: 'train', level: options.level }),
    );
    const engine = this.#setup.rolloutEngine;
    if (engine?.sync) await timed('sync', () => engine.sync!(this.#policy, index, { signal }));
    const sampled = await timed('rollout', () =>
      collectRollout(engine ?? this.#policy, task, problems, {
        n: options.numGenerations,
        maxCompletionLength: options.maxCompletionLength,
        temperature: options.temperature,
        seed: seedOf(seed, 'rollout', index),
        signal,
        onProgress: this.#setup.onProgress,
      }),
    );
    const { rollout, metrics: comparison } = await orElse(
      { rollout: sampled, metrics: {} },
      timed('check', () => this.#compare(sampled, signal)),
    );
    const firstEntropy = await orElse(
      Number.NaN,
      timed('check', () => this.#firstTokenEntropy(rollout, signal)),
    );
    const reference = this.#reference;
    const refLogProbs =
      reference &&
      (await orElse(
        undefined,
        timed('reference', () => this.#logProbs(reference, rollout, signal)),
      ));
    const cuSteps = await rolloutSteps(rollout, task.tokenizer, options, this.#setup.stepOffsets);
    const { processRewardModel: model } = this.#setup;
    const scored = model && (await timed('prm', () => scoreSteps(model, { ...rollout, cuSteps, signal })));
    const stepScores = scored?.scores;
    // With these the updates are not finite either, and not applied.
    const none = { advantages: new Float32Array(rollout.logProbs.length).fill(Number.NaN), metrics: {} };
    const { advantages, metrics } = usable
      ? await orElse(
          none,
          timed('advantages', async () => computeAdvantages(rollout, { cuSteps, refLogProbs, stepScores }, options)),
        )
      : none;
    const updates = await timed('update', () =>
      updatePolicy(this.#policy, { step: index, rollout, advantages, refLogProbs, signal }, options),
    );

    this.#state.step = index + 1;
    this.#state.tokens += rollout.logProbs.length;
    this.#state.prmTokens = (this.#state.prmTokens ?? 0) + (scored?.tokens ?? 0);
    const finite = updates.every(({ metrics: { applied } }) => applied);
    this.#state.nonFiniteSteps = finite ? 0 : this.#state.nonFiniteSteps + 1;
    if (!finite) {
      const file = await folder?.dump({ step: index + 1, rollout, advantages, cuSteps, refLogProbs, stepScores });
      onWarning?.(
        `step ${index + 1}: an update was not finite and was not applied${file ? `; its batch is in ${file}` : ''}`,
      );
    }

    const evaluation =
      options.evalSteps > 0 && this.#state.step % options.evalSteps === 0
        ? await orElse(
            undefined,
            timed('evaluation', () => this.evaluate({ signal })),
          )
        : undefined;
    const total = (performance.now() - start) / 1000;
    const row: Row = {
      step: this.#state.step,
      ...rolloutMetrics(rollout),
      ...comparison,
      ...metrics,
      ...creditMetrics(rollout, advantages),
      'step_count/mean': (cuSteps.length - 1) / rollout.rewards.length,
      first_token_entropy: firstEntropy,
      ...updateMetrics(updates, { reference: reference !== undefined }),
      ...(evaluation && { 'eval/average_at_n': evaluation.averageAtN, 'eval/pass_at_n': evaluation.passAtN }),
      num_tokens: this.#state.tokens,
      ...(scored && { 'prm/tokens': scored.tokens, num_prm_tokens: this.#state.prmTokens }),
      tokens_per_second: rollout.logProbs.length / total,
      ...Object.fromEntries(Object.entries(seconds).map(([phase, value]) => [`seconds/${phase}`, value])),
      'seconds/step': total,
    };
    return { step: this.#state.step, metrics: row, rollout, advantages, cuSteps, stepScores };
  }

  /** How far the log-probabilities of sampling are from ours: now and then for the policy itself, always for an engine. */
  async #compare(
    sampled: Rollout,
    signal?: AbortSignal,
  ): Promise<{ rollout: Rollout; metrics: Record<string, number> }> {
    const { logProbCheckSteps, temperature } = this.options;
    const { rolloutEngine, onWarning } = this.#setup;
    if (!rolloutEngine && (logProbCheckSteps === 0 || this.#state.step % logProbCheckSteps !== 0))
      return { rollout: sampled, metrics: {} };
    const own = await this.#logProbs(this.#policy, sampled, signal);
    if (!rolloutEngine) return { rollout: sampled, metrics: differenceMetrics(sampled.logProbs, own) };
    const { rollout, metrics } = correctRollout(sampled, own, this.options);
    if (temperature !== 1 && metrics['sampling/sampling_logp_difference/mean'] > NOTABLE_DIFFERENCE)
      checkTemperature(rollout, await this.#logProbs(this.#policy, rollout, signal, 1), temperature);
    if (rollout.importanceWeights?.every((weight) => weight === 0))
      onWarning?.(
        `step ${this.#state.step + 1}: every importance weight is 0, so that nothing is learnt. Does the rollout engine have the policy's weights?`,
      );
    return { rollout, metrics };
  }

  /** [T] log-probabilities of the completions under a policy. */
  async #logProbs(
    policy: PolicyLike,
    { prompts, completions }: Rollout,
    signal?: AbortSignal,
    temperature = this.options.temperature,
  ): Promise<Float32Array> {
    const { microBatchTokens } = this.options;
    const sequences = prompts.map((prompt, i) => joined(prompt, completions[i]));
    const start = prompts.map(({ length }) => length);
    return (await policy.logProbs(sequences, { temperature, microBatchTokens, start, signal })).logProbs;
  }

  /** Mean entropy of the first token over the problems: how undecided the policy is between ways to respond. */
  async #firstTokenEntropy(
    { problems, groupIds, prompts, completions }: Rollout,
    signal?: AbortSignal,
  ): Promise<number> {
    const { temperature, microBatchTokens } = this.options;
    const firsts = problems.map((_, group) => groupIds.indexOf(group));
    const { entropy } = await this.#policy.logProbs(
      firsts.map((i) => Int32Array.from([...prompts[i], completions[i][0]])),
      { temperature, microBatchTokens, start: firsts.map((i) => prompts[i].length), entropy: true, signal },
    );
    return entropy!.reduce((a, b) => a + b, 0) / entropy!.length;
  }
}
