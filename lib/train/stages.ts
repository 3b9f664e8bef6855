// The stages of a training step, in the order that Trainer runs them.
import type { PrlError } from '../base/errors.js';
import { joined } from '../base/packed.js';
import { seedOf } from '../base/random.js';
import { shorten } from '../base/text.js';
import type { MethodResult, StepData } from '../methods/method.js';
import type { PolicyLike } from '../policy/types.js';
import { ResponseFailure } from '../prm/failure.js';
import type { StepScores } from '../prm/process-reward-model.js';
import { scoreSteps } from '../prm/score-steps.js';
import { collectRollout, conversationsOf, type Rollout } from '../rollout/rollout.js';
import type { Task } from '../tasks/task.js';
import { computeAdvantages } from './advantages.js';
import { differenceMetrics, type Phase } from './metrics.js';
import { checkTemperature, correctRollout, NOTABLE_DIFFERENCE } from './mismatch.js';
import type { ResolvedTrainerOptions } from './options.js';
import type { TrainerSetup } from './setup.js';

/** Times the stages of a step, and lets the step continue after numbers that are not finite. */
export class StepClock {
  readonly seconds: Partial<Record<Phase, number>> = {};
  /** False after a stage met such numbers. The step then teaches nothing, but it is recorded and its batch is kept. */
  finite = true;
  readonly #start = performance.now();
  readonly #onNonFinite: (error: PrlError) => void;

  constructor(onNonFinite: (error: PrlError) => void) {
    this.#onNonFinite = onNonFinite;
  }

  /** Seconds since the step began. */
  get total(): number {
    return (performance.now() - this.#start) / 1000;
  }

  async timed<R>(phase: Phase, work: () => R | Promise<R>): Promise<R> {
    const start = performance.now();
    const result = await work();
    this.seconds[phase] = (this.seconds[phase] ?? 0) + (performance.now() - start) / 1000;
    return result;
  }

  /** Like timed, but returns `otherwise` if the work throws ERR_PRL_NON_FINITE. */
  async timedOr<R>(otherwise: R, phase: Phase, work: () => R | Promise<R>): Promise<R> {
    try {
      return await this.timed(phase, work);
    } catch (error) {
      if ((error as PrlError).code !== 'ERR_PRL_NON_FINITE') throw error;
      this.#onNonFinite(error as PrlError);
      this.finite = false;
      return otherwise;
    }
  }
}

/** The inputs that the stages of a step share. */
export interface StepContext {
  /** Number of the step, from 1. */
  step: number;
  policy: PolicyLike;
  reference?: PolicyLike;
  task: Task;
  options: ResolvedTrainerOptions;
  setup: TrainerSetup;
  clock: StepClock;
  signal?: AbortSignal;
}

/** Samples numGenerations responses to each of the step's problems, and judges them. */
export async function rollOut({ step, policy, task, options, setup, clock, signal }: StepContext): Promise<Rollout> {
  const { seed, promptsPerStep, level, numGenerations: n, maxCompletionLength, temperature } = options;
  const index = step - 1;
  const problems = Array.from({ length: promptsPerStep }, (_, i) =>
    task.problem(index * promptsPerStep + i, { seed, split: 'train', level }),
  );
  const engine = setup.rolloutEngine;
  if (engine?.sync) await clock.timed('sync', () => engine.sync!(policy, index, { signal }));
  const sampling = { n, maxCompletionLength, temperature, seed: seedOf(seed, 'rollout', index) };
  return clock.timed('rollout', () =>
    collectRollout(engine ?? policy, task, problems, { ...sampling, signal, onProgress: setup.onProgress }),
  );
}

interface Compared {
  rollout: Rollout;
  metrics: Record<string, number>;
}

/**
 * Measures the difference between the log-probabilities of sampling and ours: every logProbCheckSteps steps on some
 * responses of the policy itself, always and on all of an engine. The rollout of an engine is corrected for it.
 */
export function compareLogProbs(context: StepContext, sampled: Rollout): Promise<Compared> {
  return context.clock.timedOr({ rollout: sampled, metrics: {} }, 'check', async () => {
    const { step, policy, options, setup } = context;
    const { logProbCheckSteps: every, logProbCheckResponses, temperature } = options;
    const { rolloutEngine, onWarning } = setup;
    if (!rolloutEngine && (every === 0 || (step - 1) % every !== 0)) return { rollout: sampled, metrics: {} };
    if (!rolloutEngine) {
      const some = someOf(sampled, logProbCheckResponses);
      const metrics = differenceMetrics(some.logProbs, await logProbs(context, policy, some));
      return { rollout: sampled, metrics };
    }
    const own = await logProbs(context, policy, sampled);
    const { rollout, metrics } = correctRollout(sampled, own, options);
    if (temperature !== 1 && metrics['sampling/sampling_logp_difference/mean'] > NOTABLE_DIFFERENCE)
      checkTemperature(rollout, await logProbs(context, policy, rollout, 1), temperature);
    if (rollout.importanceWeights?.every((weight) => weight === 0))
      onWarning?.(
        `step ${step}: every importance weight is 0, so the step teaches nothing. Check that the rollout engine has the policy's weights`,
      );
    return { rollout, metrics };
  });
}

type Scored = Pick<Rollout, 'prompts' | 'completions' | 'logProbs'>;

/** At most `most` responses, spread evenly. */
function someOf({ prompts, completions, logProbs, cuSeqlens }: Rollout, most: number): Scored {
  const count = Math.min(most, prompts.length);
  const chosen = Array.from({ length: count }, (_, i) => Math.floor((i * prompts.length) / count));
  return {
    prompts: chosen.map((i) => prompts[i]),
    completions: chosen.map((i) => completions[i]),
    logProbs: Float32Array.from(chosen.flatMap((i) => [...logProbs.subarray(cuSeqlens[i], cuSeqlens[i + 1])])),
  };
}

/** Mean entropy of the first token over the problems: the policy's uncertainty about how to begin. */
export function firstTokenEntropy({ policy, options, clock, signal }: StepContext, rollout: Rollout): Promise<number> {
  return clock.timedOr(Number.NaN, 'check', async () => {
    if (policy.hasEntropy === false) return firstTokenSurprisal(rollout);
    const { problems, groupIds, prompts, completions } = rollout;
    const { temperature, microBatchTokens } = options;
    const firsts = problems.map((_, group) => groupIds.indexOf(group));
    const { entropy } = await policy.logProbs(
      firsts.map((i) => Int32Array.from([...prompts[i], completions[i][0]])),
      { temperature, microBatchTokens, start: firsts.map((i) => prompts[i].length), entropy: true, signal },
    );
    return entropy!.reduce((a, b) => a + b, 0) / entropy!.length;
  });
}

/** Mean -log p of the first tokens of all responses, whose expectation is their entropy. */
function firstTokenSurprisal({ logProbs, cuSeqlens, completions }: Rollout): number {
  return completions.reduce((sum, _, i) => sum - logProbs[cuSeqlens[i]], 0) / completions.length;
}

/** [T] log-probabilities under the frozen reference; undefined without one. */
export async function referenceLogProbs(context: StepContext, rollout: Rollout): Promise<Float32Array | undefined> {
  const { reference, clock } = context;
  return reference && clock.timedOr(undefined, 'reference', () => logProbs(context, reference, rollout));
}

/** Scores of the process reward model for each reasoning step; undefined without a model. */
export async function score(
  { step, task, setup: { processRewardModel: model }, clock, signal }: StepContext,
  rollout: Rollout,
  cuSteps: Int32Array,
): Promise<StepScores | undefined> {
  if (!model) return undefined;
  const conversations = conversationsOf(task, rollout);
  return clock.timed('prm', () =>
    scoreSteps(model, { ...rollout, cuSteps, conversations, signal }).catch((error) => {
      throw error instanceof ResponseFailure ? named(error, rollout, step) : error;
    }),
  );
}

/** The failure on a response, with its problem. */
function named(error: ResponseFailure, { problems, groupIds }: Rollout, step: number): ResponseFailure {
  const group = groupIds[error.response];
  const k = error.response - groupIds.indexOf(group);
  const prompt = JSON.stringify(shorten(problems[group].prompt));
  return new ResponseFailure(error, error.response, `step ${step}, response ${k} to problem ${group}, ${prompt}`);
}

/**
 * The method's advantages. They are NaN if a stage met numbers that are not finite, and such updates are not applied.
 */
export async function assignCredit(
  { options, clock }: StepContext,
  rollout: Rollout,
  data: StepData,
): Promise<MethodResult> {
  const none = { advantages: new Float32Array(rollout.logProbs.length).fill(Number.NaN), metrics: {} };
  if (!clock.finite) return none;
  return clock.timedOr(none, 'advantages', () => computeAdvantages(rollout, data, options));
}

/** [T] log-probabilities of the completions under a policy. */
async function logProbs(
  { options, signal }: StepContext,
  policy: PolicyLike,
  { prompts, completions }: Omit<Scored, 'logProbs'>,
  temperature = options.temperature,
): Promise<Float32Array> {
  const sequences = prompts.map((prompt, i) => joined(prompt, completions[i]));
  const start = prompts.map(({ length }) => length);
  const { microBatchTokens } = options;
  return (await policy.logProbs(sequences, { temperature, microBatchTokens, start, signal })).logProbs;
}
