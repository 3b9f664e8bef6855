// Handles the difference between a rollout engine's log-probabilities and ours.
import { invalidArgument, PrlError } from '../base/errors.js';
import { importanceWeights } from '../kernels/importance-weights.js';
import type { Rollout } from '../rollout/rollout.js';
import { lossOptions } from './loss.js';
import { differenceMetrics } from './metrics.js';
import type { ResolvedTrainerOptions } from './options.js';

const OPTIONS = [
  'vllmImportanceSamplingCorrection',
  'vllmImportanceSamplingMode',
  'vllmImportanceSamplingClipMax',
  'vllmImportanceSamplingClipMin',
] as const;

/** Throws for options that exclude each other, or that need an engine. Called before training begins. */
export function checkMismatch(options: ResolvedTrainerOptions, engine: unknown): void {
  const given = OPTIONS.find((name) => options[name] !== undefined);
  if (!engine && given)
    throw invalidArgument(`${given} needs a rollout engine: the policy's own samples need no correction`);
  const { vllmImportanceSamplingCorrection: correct = true, vllmImportanceSamplingMode: mode } = options;
  if (engine && correct && lossOptions(options).lossType === 'vespo' && !mode?.startsWith('token'))
    throw invalidArgument(
      "lossType 'vespo' weighs sequences itself: with a rollout engine it needs vllmImportanceSamplingMode 'token_truncate' or 'token_mask'",
    );
}

/**
 * Corrects the engine's rollout. Our log-probabilities become the old ones, so that the loss's ratios are between our
 * own numbers. Importance weights make up for the slightly different distribution that the engine sampled from.
 *
 * @param own [T] log-probabilities of the tokens under the policy that the engine was synced with
 */
export function correctRollout(
  sampled: Rollout,
  own: Float32Array,
  options: ResolvedTrainerOptions,
): { rollout: Rollout; metrics: Record<string, number> } {
  const { cuSeqlens, logProbs: rolloutLogProbs } = sampled;
  const { vllmImportanceSamplingCorrection: correct = true, vllmImportanceSamplingMode: mode = 'sequence_mask' } =
    options;
  const weights = correct
    ? (importanceWeights({
        oldLogProbs: own,
        rolloutLogProbs,
        cuSeqlens,
        mode,
        clipMax: options.vllmImportanceSamplingClipMax,
        clipMin: options.vllmImportanceSamplingClipMin,
      }).data as Float32Array)
    : undefined;
  const metrics = {
    ...differenceMetrics(rolloutLogProbs, own),
    ...sequenceRatios(cuSeqlens, rolloutLogProbs, own),
    // As in TRL, these are the weights in use: clipped or masked, one per sequence in the sequence modes.
    ...(weights &&
      spread(
        'sampling/importance_sampling_ratio',
        mode.startsWith('sequence') ? firstOfEach(cuSeqlens, weights) : weights,
      )),
  };
  return { rollout: { ...sampled, logProbs: own, rolloutLogProbs, importanceWeights: weights }, metrics };
}

/**
 * Throws if the engine samples at another temperature than 1 but returns the log-probabilities of temperature 1. They
 * look like a large mismatch, and give wrong weights.
 *
 * @param atOne [T] ours at temperature 1
 */
export function checkTemperature(
  { logProbs: own, rolloutLogProbs: said }: Rollout,
  atOne: Float32Array,
  temperature: number,
): void {
  const mean = (values: Float32Array) => differenceMetrics(said!, values)['sampling/sampling_logp_difference/mean'];
  if (mean(atOne) < mean(own) / 4)
    throw new PrlError(
      'ERR_PRL_ROLLOUT',
      `the rollout engine must return log-probabilities of temperature ${temperature}, at which it samples, and returns those of temperature 1 (mean difference ${mean(atOne).toPrecision(3)} from ours at 1, ${mean(own).toPrecision(3)} at ${temperature}). Serve with vLLM's --logprobs-mode processed_logprobs, or train at temperature 1`,
    );
}

/**
 * Mean difference in nats above which {@link checkTemperature} is worth a forward pass. Numerical noise is far below
 * it.
 */
export const NOTABLE_DIFFERENCE = 0.02;

/** Product and geometric mean of the token ratios of each sequence. On long sequences they differ a lot. */
function sequenceRatios(cuSeqlens: Int32Array, said: Float32Array, own: Float32Array): Record<string, number> {
  const products: number[] = [];
  const means: number[] = [];
  for (let i = 0; i + 1 < cuSeqlens.length; i++) {
    let sum = 0;
    for (let t = cuSeqlens[i]; t < cuSeqlens[i + 1]; t++) sum += own[t] - said[t];
    // JSON has no Infinity, so products are bounded.
    products.push(Math.exp(Math.min(700, sum)));
    means.push(Math.exp(Math.min(700, sum / Math.max(1, cuSeqlens[i + 1] - cuSeqlens[i]))));
  }
  return { ...spread('sampling/sequence_ratio_sum', products), ...spread('sampling/sequence_ratio_mean', means) };
}

function firstOfEach(cuSeqlens: Int32Array, values: Float32Array): number[] {
  const firsts: number[] = [];
  for (let i = 0; i + 1 < cuSeqlens.length; i++) if (cuSeqlens[i + 1] > cuSeqlens[i]) firsts.push(values[cuSeqlens[i]]);
  return firsts;
}

function spread(name: string, values: ArrayLike<number>): Record<string, number> {
  let [min, max, sum] = [Infinity, -Infinity, 0];
  for (let i = 0; i < values.length; i++) {
    min = Math.min(min, values[i]);
    max = Math.max(max, values[i]);
    sum += values[i];
  }
  return { [`${name}/min`]: min, [`${name}/mean`]: sum / values.length, [`${name}/max`]: max };
}
