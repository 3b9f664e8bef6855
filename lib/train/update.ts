import type { PrlError } from '../base/errors.js';
import { permutation, randomStream } from '../base/random.js';
import type { PolicyLike, UpdateMetrics } from '../policy/types.js';
import { lossOptions } from './loss.js';
import type { Update } from './metrics.js';
import { cutBatch } from './minibatch.js';
import type { ResolvedTrainerOptions } from './options.js';
import { learningRateAt } from './schedule.js';
import type { Step } from './step.js';

/**
 * Runs the optimizer steps of a rollout: numIterations passes over it, with numMinibatches steps each. A minibatch
 * without a response that takes part in the loss takes no step: the optimizer's momentum and its weight decay would
 * move the weights. It keeps its place in the learning rate schedule, which depends on the step's number only.
 */
export async function updatePolicy(
  policy: PolicyLike,
  step: Step,
  options: ResolvedTrainerOptions,
  signal?: AbortSignal,
): Promise<Update[]> {
  const { adamBeta1, adamBeta2, adamEpsilon, weightDecay, maxGradNorm } = options;
  const { temperature, microBatchTokens, gradientCheckpointing } = options;
  const updates: Update[] = [];
  const usable = step.advantages.every(Number.isFinite);
  const perStep = options.numIterations * options.numMinibatches;
  for (let i = 0; i < perStep; i++) {
    const number = (step.step - 1) * perStep + i;
    const iteration = Math.floor(number / options.numMinibatches);
    const order = permutation(step.rollout.rewards.length, randomStream(options.seed, 'minibatches', iteration));
    const part = i % options.numMinibatches;
    const { batch, normalizer, leftOut } = cutBatch(step, order, part, options);
    const empty = batch === undefined;
    const learningRate = learningRateAt(number, {
      learningRate: options.learningRate,
      type: options.lrSchedulerType,
      warmupSteps: options.warmupSteps,
      totalSteps: options.maxSteps * perStep,
      minRate: options.minLearningRateRate,
    });
    const update = {
      ...{ learningRate, adamBeta1, adamBeta2, adamEpsilon, weightDecay, maxGradNorm },
      ...{ temperature, microBatchTokens, gradientCheckpointing, normalizer, signal },
      ...lossOptions(options),
    };
    const taken = () => (empty ? NOTHING : policy.update(batch, update).catch(giveUp));
    updates.push({ metrics: usable ? await taken() : NOT_APPLIED, learningRate, leftOut, empty });
  }
  return updates;
}

/** An update that nothing takes part in, as the kernel reports it: nothing changes, and nothing failed. */
const NOTHING: UpdateMetrics = {
  ...{ loss: 0, gradNorm: 0, applied: true, tokens: 0, entropy: 0, kl: 0, approxKl: 0, approxKlK3: 0 },
  ...{ ratioMean: 1, ratioMax: 1, ratioMin: 1, clipRatioLow: 0, clipRatioHigh: 0, clipRatioRegion: 0 },
  ...{ phiMean: 0, effectiveSampleSize: 1 },
};

const NOT_APPLIED: UpdateMetrics = {
  ...{ loss: Number.NaN, gradNorm: Number.NaN, applied: false, tokens: 0, entropy: Number.NaN, kl: Number.NaN },
  ...{
    approxKl: Number.NaN,
    approxKlK3: Number.NaN,
    ratioMean: Number.NaN,
    ratioMax: Number.NaN,
    ratioMin: Number.NaN,
  },
  ...{ clipRatioLow: Number.NaN, clipRatioHigh: Number.NaN, clipRatioRegion: Number.NaN, phiMean: Number.NaN },
  effectiveSampleSize: Number.NaN,
};

/** An update that throws ERR_PRL_NON_FINITE counts like one that reports that it was not applied. */
function giveUp(error: unknown): UpdateMetrics {
  if ((error as PrlError).code !== 'ERR_PRL_NON_FINITE') throw error;
  return NOT_APPLIED;
}
