import { invalidArgument, PrlError } from '../base/errors.js';
import { type OptionTable, resolveOptions } from '../base/options.js';
import { permutation, randomStream } from '../base/random.js';
import { quantileLoss } from '../kernels/quantile-loss.js';
import { Tensor } from '../kernels/tensor.js';
import type { Policy } from '../policy/policy.js';
import type { PrmData } from './data.js';
import { batchOf, type ExampleBatch, type PrmExample, pickSteps, splitExamples } from './examples.js';
import { type EncodedSteps, QuantilePrm } from './quantile-prm.js';
import type { PrmTrainOptions } from './train-options.js';

export type { PrmTrainOptions };

/** Every option for training a quantile PRM. */
export const PRM_TRAIN_OPTIONS = {
  backbone: {
    type: 'choice',
    choices: ['frozen', 'finetune'],
    default: 'frozen',
    doc: 'Train the head alone (frozen), or the network too (finetune), which then keeps a frozen copy for the features',
  },
  features: {
    type: 'boolean',
    default: true,
    doc: 'Read log-probabilities of the frozen model beside the hidden state; without them the head learns little',
  },
  quantiles: {
    type: 'numbers',
    default: [0.1, 0.5, 0.9],
    doc: 'Quantiles that the head predicts, rising, each above 0 and below 1',
  },
  quantile: {
    type: 'number',
    doc: 'Quantile that is the score (default: 0.5, else the middle one); a low one is cautious',
  },
  width: { type: 'integer', default: 64, min: 1, max: 2 ** 14, doc: "Width of the head's hidden layer" },
  epochs: { type: 'integer', default: 60, min: 1, doc: 'Largest number of epochs' },
  patience: {
    type: 'integer',
    default: 10,
    min: 1,
    doc: 'Epochs without a lower loss on held-out problems before training stops',
  },
  batchSize: { type: 'integer', default: 256, min: 1, doc: 'Reasoning steps per optimizer step' },
  learningRate: { type: 'number', default: 3e-3, min: 0, doc: 'Learning rate of AdamW for the head' },
  backboneLearningRate: {
    type: 'number',
    default: 1e-4,
    min: 0,
    doc: 'Learning rate of AdamW for the network, with --backbone finetune',
  },
  weightDecay: { type: 'number', default: 0.01, min: 0, doc: 'Decoupled weight decay of matrices' },
  heldOut: {
    type: 'number',
    default: 0.2,
    above: 0,
    max: 0.9,
    doc: 'Share of the problems held out for early stopping',
  },
  seed: {
    type: 'integer',
    default: 0,
    min: 0,
    max: 2 ** 31 - 1,
    doc: 'Seed of the weights, the split and the shuffles',
  },
} as const satisfies OptionTable;

/** Result of an epoch. */
export interface PrmEpoch {
  /** Number of the epoch, from 1. */
  epoch: number;
  /** Mean pinball loss of the optimizer steps. */
  loss: number;
  /** Loss on the held-out problems after the epoch. */
  heldOutLoss: number;
  /** The epoch with the lowest held-out loss so far. 0 is before training. */
  best: { epoch: number; heldOutLoss: number };
}

/** Arguments of {@link trainQuantilePrm}. */
export interface PrmTraining {
  /** The policy on which the model stands. It is copied. */
  policy: Policy;
  /** Data of readPrmData. */
  data: PrmData;
  /** See the table of options. */
  options?: PrmTrainOptions | undefined;
  /** Called after every epoch. */
  onEpoch?: ((epoch: PrmEpoch) => void) | undefined;
  /** Stops the training (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
}

/** Result of {@link trainQuantilePrm}. */
export interface TrainedPrm {
  /** The model, ready to score. Its save writes it. */
  model: QuantilePrm;
  /** The epoch of the model. */
  epoch: number;
  /** Its pinball loss on the held-out problems. */
  heldOutLoss: number;
  /** Number of reasoning steps on each side. */
  steps: { train: number; heldOut: number };
}

/**
 * Trains a quantile PRM on collected data. The result is the epoch with the lowest loss on the held-out problems.
 *
 * @throws TypeError or RangeError that names the option; PrlError ERR_PRL_ABORTED
 */
export async function trainQuantilePrm(training: PrmTraining): Promise<TrainedPrm> {
  const { policy, data, signal, onEpoch = () => {} } = training;
  const options = resolveOptions('trainQuantilePrm', PRM_TRAIN_OPTIONS, training.options ?? {});
  const { features, quantiles, quantile, width, seed, epochs, patience } = options;
  const finetune = options.backbone === 'finetune';
  const sides = splitExamples(data, options.heldOut, seed);
  for (const [side, examples] of Object.entries(sides))
    if (examples.length === 0)
      throw invalidArgument(
        `the split needs problems on both sides, and none of the data's ${data.problems.length} is on the side '${side}': collect more`,
      );
  const model = QuantilePrm.create(policy, { quantiles, quantile, width, features, seed, finetune });
  try {
    const [train, heldOut] = [batchOf(sides.train), batchOf(sides.heldOut)];
    const encoded = await model.encode({ ...train, signal });
    model.standardize(encoded);
    let heldOutEncoded = await model.encode({ ...heldOut, signal });
    const heldOutLoss = async () =>
      lossOf(await model.predict(heldOutEncoded, signal), heldOut.targets, model.quantiles);
    let best = { epoch: 0, heldOutLoss: await heldOutLoss() };
    let weights = model.weights();
    for (let epoch = 1; epoch <= epochs && epoch <= best.epoch + patience; epoch++) {
      const random = randomStream(seed, 'prm epoch', epoch);
      const loss = finetune
        ? await finetuneEpoch(model, sides.train, encoded, random, options, signal)
        : await headEpoch(model, encoded, train.targets, random, options, signal);
      if (finetune) heldOutEncoded = await model.encode({ ...heldOut, signal });
      const now = { epoch, heldOutLoss: await heldOutLoss() };
      if (now.heldOutLoss < best.heldOutLoss) {
        best = now;
        weights = model.weights();
      }
      onEpoch({ ...now, loss, best });
    }
    model.restore(weights);
    const { task, split, stepSplit, stepLength, stepTokens, stepStrings } = data.settings;
    const steps = { stepSplit, stepLength, stepTokens, stepStrings };
    model.info = { task, split, steps, heldOut: options.heldOut, seed, ...best };
    return { model, ...best, steps: { train: train.targets.length, heldOut: heldOut.targets.length } };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

type Resolved = ReturnType<typeof resolveOptions<typeof PRM_TRAIN_OPTIONS>>;

async function headEpoch(
  model: QuantilePrm,
  encoded: EncodedSteps,
  targets: Float32Array,
  random: () => number,
  { batchSize, learningRate, weightDecay }: Resolved,
  signal?: AbortSignal,
): Promise<number> {
  const order = permutation(encoded.steps, random);
  let sum = 0;
  for (let from = 0; from < order.length; from += batchSize) {
    const which = order.subarray(from, from + batchSize);
    const update = await model.update(
      pickSteps(encoded, which),
      Float32Array.from(which, (k) => targets[k]),
      {
        learningRate,
        weightDecay,
        signal,
      },
    );
    sum += check(update) * which.length;
  }
  return sum / order.length;
}

/** An epoch of the whole network. Responses stay whole. A batch has about batchSize steps. */
async function finetuneEpoch(
  model: QuantilePrm,
  examples: readonly PrmExample[],
  { features }: EncodedSteps,
  random: () => number,
  { batchSize, learningRate, backboneLearningRate, weightDecay }: Resolved,
  signal?: AbortSignal,
): Promise<number> {
  const firsts = new Int32Array(examples.length);
  for (let i = 1; i < firsts.length; i++) firsts[i] = firsts[i - 1] + examples[i - 1].steps.length;
  const total = firsts[firsts.length - 1] + examples[firsts.length - 1].steps.length;
  const width = features.length / total;
  let [sum, which, steps] = [0, [] as number[], 0];
  const run = async () => {
    const batch: ExampleBatch = batchOf(which.map((i) => examples[i]));
    const own = which.map((i) => features.subarray(firsts[i] * width, (firsts[i] + examples[i].steps.length) * width));
    const rows = Float32Array.from(own.flatMap((part) => [...part]));
    const { targets, ...sequences } = batch;
    const update = await model.finetune({ ...sequences, signal }, rows, targets, {
      learningRate,
      backboneLearningRate,
      weightDecay,
    });
    sum += check(update) * steps;
    which = [];
    steps = 0;
  };
  for (const i of permutation(examples.length, random)) {
    which.push(i);
    steps += examples[i].steps.length;
    if (steps >= batchSize) await run();
  }
  if (steps > 0) await run();
  return sum / total;
}

function check({ loss, applied }: { loss: number; applied: boolean }): number {
  if (!applied)
    throw new PrlError(
      'ERR_PRL_NON_FINITE',
      'the loss of the process reward model is not finite: lower the learning rate',
    );
  return loss;
}

/** Mean pinball loss of predicted quantiles. */
function lossOf(predicted: Float32Array, targets: Float32Array, quantiles: readonly number[]): number {
  return quantileLoss(Tensor.from(predicted, [targets.length, quantiles.length]), targets, { quantiles }).loss;
}
