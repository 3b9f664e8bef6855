import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { folderDamage, writeFileAtomic, writeFolderAtomic } from '../base/atomic.js';
import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { readJson } from '../base/json.js';
import { checkBoolean, checkInteger, checkNumber, checkOptions, checkSignal, describe } from '../base/options.js';
import { type Random, randomStream } from '../base/random.js';
import { native } from '../kernels/native.js';
import { checkQuantiles } from '../kernels/quantile-loss.js';
import { asFloats, Tensor } from '../kernels/tensor.js';
import type { StepOptions } from '../methods/steps.js';
import { ADAM_OPTIONS, adamOptions } from '../policy/adam.js';
import { packSequences } from '../policy/batch.js';
import { loadWeights, type ParameterInfo } from '../policy/checkpoint.js';
import { Policy } from '../policy/policy.js';
import { writeSafetensors } from '../policy/safetensors.js';
import type { OptimizerOptions } from '../policy/types.js';
import { columnMoments, FEATURES, stepFeatures } from './features.js';
import type { ProcessRewardModel, StepBatch, StepScores } from './process-reward-model.js';
import { type CheckedStepBatch, checkStepBatch } from './step-batch.js';

/** Options of QuantilePrm.create. */
export interface QuantilePrmOptions {
  /** Quantiles that the head predicts, rising, each above 0 and below 1. Default [0.1, 0.5, 0.9]. */
  quantiles?: readonly number[] | undefined;
  /** The quantile that is the score. A low one is cautious. Default: 0.5 if the head has it, else the middle one. */
  quantile?: number | undefined;
  /** Width of the head's hidden layer. Default 64. */
  width?: number | undefined;
  /**
   * Reads six log-probability features of the frozen model beside the hidden state. Without them the head learns
   * little. Default true.
   */
  features?: boolean | undefined;
  /** Allows `finetune`. The features then come from a second, frozen copy of the model. Default false. */
  finetune?: boolean | undefined;
  /** Seed of the head's initial weights. Default 0. */
  seed?: number | undefined;
}

/** The inputs of the head for S steps. */
export interface EncodedSteps {
  /** Number of steps, S. */
  steps: number;
  /** [S, hidden] hidden states. */
  hidden: Float32Array;
  /** [S, 6] features; empty for a model without features. */
  features: Float32Array;
  /** Tokens that the model read. */
  tokens: number;
}

/** Result of an optimizer step. */
export interface PrmUpdate {
  /** The pinball loss before the step. */
  loss: number;
  /** Global norm of the gradient before clipping. */
  gradNorm: number;
  /** False if a number was not finite. The weights are then unchanged. */
  applied: boolean;
}

const MODEL_TYPE = 'prl_quantile_prm';
const OPTIMIZER = [...ADAM_OPTIONS, 'signal'];
const TRAINED = ['hidden.weight', 'hidden.bias', 'output.weight', 'output.bias'];

interface Shape {
  quantiles: number[];
  quantile: number;
  width: number;
  features: boolean;
}

/**
 * A process reward model on the native policy's network. At the last token of each step a small head predicts quantiles
 * of the chance that a response which continues from there ends right (PROGRS, arXiv 2604.02341). It is a frozen copy:
 * the policy can keep learning, and equal batches get equal scores.
 *
 * Quantiles are sorted, so that they never cross. Sorting moves no estimate away from the true quantile function
 * (Chernozhukov, Fernandez-Val and Galichon, Econometrica 78, 2010). So the head can be one plain sigmoid per quantile.
 */
export class QuantilePrm implements ProcessRewardModel {
  readonly name = 'quantile PRM';
  /** The quantiles that the head predicts, rising. */
  readonly quantiles: readonly number[];
  /** The quantile that is the score. */
  readonly quantile: number;
  /** Notes of the training. save and load keep them. */
  info: Record<string, unknown> = {};
  readonly #shape: Shape;
  readonly #backbone: Policy;
  /** Source of the features when the backbone is trained. */
  readonly #reference: Policy | undefined;
  readonly #head: object;
  readonly #parameters: readonly ParameterInfo[];

  private constructor(shape: Shape, backbone: Policy, reference: Policy | undefined) {
    this.#shape = shape;
    this.quantiles = shape.quantiles;
    this.quantile = shape.quantile;
    this.#backbone = backbone;
    this.#reference = reference;
    this.#head = native().quantileHeadCreate({
      hidden: backbone.config.hidden_size,
      features: shape.features ? FEATURES : 0,
      width: shape.width,
      quantiles: shape.quantiles,
    });
    this.#parameters = native().quantileHeadParameters({ head: this.#head });
  }

  get steps(): StepOptions | undefined {
    return this.info.steps as StepOptions | undefined;
  }

  /**
   * Creates an untrained model on a copy of `policy`.
   *
   * @throws TypeError or RangeError that names the option
   */
  static create(policy: Policy, options: QuantilePrmOptions = {}): QuantilePrm {
    if (!(policy instanceof Policy)) throw invalidArgument('QuantilePrm.create needs a native Policy');
    options = checkOptions('QuantilePrm.create', options, [
      'quantiles',
      'quantile',
      'width',
      'features',
      'finetune',
      'seed',
    ]);
    const seed = checkInteger('seed', options.seed ?? 0);
    const shape = checkShape(options);
    const finetune = checkBoolean('finetune', options.finetune ?? false);
    const model = new QuantilePrm(shape, policy.clone(), finetune ? policy.clone() : undefined);
    for (const name of ['hidden.weight', 'output.weight']) {
      const { shape } = model.#parameters.find((p) => p.name === name)!;
      model.#write(
        name,
        normals(shape[0] * shape[1], 1 / Math.sqrt(shape[1]), randomStream(seed, 'quantile head', name)),
      );
    }
    return model;
  }

  /**
   * Loads a folder that {@link save} wrote, and checks everything in it. `quantile` overrides which quantile is the
   * score.
   *
   * @throws PrlError ERR_PRL_CORRUPT or ERR_PRL_IO that names the file
   */
  static async load(
    folder: string,
    options: {
      /** The quantile that is the score, one of the model's. Default: the saved one. */
      quantile?: number;
    } = {},
  ): Promise<QuantilePrm> {
    options = checkOptions('QuantilePrm.load', options, ['quantile']);
    const config = await readJson(join(folder, 'config.json'));
    if (config.model_type !== MODEL_TYPE)
      throw new PrlError('ERR_PRL_CORRUPT', `${folder} holds no process reward model (model_type '${MODEL_TYPE}')`);
    const damage = await folderDamage(folder);
    if (damage !== undefined)
      throw new PrlError('ERR_PRL_CORRUPT', `the process reward model ${folder} is damaged: ${damage}`);
    let shape: Shape;
    try {
      shape = checkShape(config as QuantilePrmOptions);
    } catch (cause) {
      throw new PrlError('ERR_PRL_CORRUPT', `${join(folder, 'config.json')}: ${(cause as Error).message}`, { cause });
    }
    if (options.quantile !== undefined) shape.quantile = checkQuantile(options.quantile, shape.quantiles);
    const backbone = await Policy.load(join(folder, 'backbone'));
    const reference = config.finetuned === true ? await Policy.load(join(folder, 'reference')) : undefined;
    const model = new QuantilePrm(shape, backbone, reference);
    try {
      await loadWeights(folder, model.#parameters, (name, values) => {
        if (!values.every((x) => Number.isFinite(x) && (name !== 'features.deviation' || x > 0)))
          throw new PrlError(
            'ERR_PRL_CORRUPT',
            `tensor '${name}' of ${folder} must hold finite numbers, and features.deviation numbers above 0`,
          );
        model.#write(name, values);
      });
      if (reference && reference.config.vocab_size !== backbone.config.vocab_size)
        throw new PrlError('ERR_PRL_CORRUPT', `the two models in ${folder} must have vocabularies of the same size`);
    } catch (error) {
      model.dispose();
      throw error;
    }
    model.info = (config.info ?? {}) as Record<string, unknown>;
    return model;
  }

  /** Throws if {@link save} would not write to this folder, because it holds something else. */
  static async checkOutput(folder: string): Promise<void> {
    if (existsSync(folder) && (await readdir(folder)).length > 0) {
      const { model_type } = await readJson(join(folder, 'config.json')).catch(() => ({ model_type: undefined }));
      if (model_type !== MODEL_TYPE)
        throw new PrlError('ERR_PRL_IO', `${folder} holds something else: a process reward model does not replace it`);
    }
  }

  /**
   * Writes config.json, the head in model.safetensors and the network's checkpoint in backbone/, with the frozen copy
   * in reference/ if there is one. The folder appears complete or not at all.
   *
   * @param extra may add files to backbone/, such as a tokenizer
   */
  async save(folder: string, extra?: (backbone: string) => Promise<void>): Promise<void> {
    await QuantilePrm.checkOutput(folder);
    const config = {
      model_type: MODEL_TYPE,
      ...this.#shape,
      finetuned: this.#reference !== undefined,
      info: this.info,
    };
    await writeFolderAtomic(resolve(folder), async (path) => {
      await this.#backbone.save(join(path, 'backbone'));
      await extra?.(join(path, 'backbone'));
      await this.#reference?.save(join(path, 'reference'));
      await writeSafetensors(
        join(path, 'model.safetensors'),
        this.#parameters.map((parameter) => ({ ...parameter, dtype: 'F32', read: () => this.#read(parameter) })),
      );
      await writeFileAtomic(join(path, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
    });
  }

  /** Scores the steps of responses. See {@link QuantilePrmOptions.quantile}. */
  async score(
    batch: StepBatch & {
      /** The quantile that is the score, one of the model's. Default: the model's. */
      quantile?: number;
    },
  ): Promise<StepScores> {
    const checked = checkStepBatch(batch);
    const column = this.quantiles.indexOf(checkQuantile(batch.quantile ?? this.quantile, this.quantiles));
    const encoded = await this.#encode(checked);
    const all = await this.predict(encoded, checked.signal);
    const scores = Float32Array.from({ length: encoded.steps }, (_, k) => all[k * this.quantiles.length + column]);
    return { scores, tokens: encoded.tokens };
  }

  /** Computes the inputs of the head for the steps of a batch. They stay the same until {@link finetune}. */
  async encode(batch: StepBatch): Promise<EncodedSteps> {
    return this.#encode(checkStepBatch(batch));
  }

  async #encode(batch: CheckedStepBatch): Promise<EncodedSteps> {
    const { cuSteps, cuScores, signal } = batch;
    const args = packSteps(batch);
    const { features } = this.#shape;
    const read = (model: Policy, hidden: boolean, logProbs: boolean) =>
      model.call(
        signal,
        (policy): Promise<{ hidden: Float32Array; logProbs: Float32Array; tokens: number }> =>
          native().policyStepStates({ policy, ...args, hidden, logProbs }),
      );
    const own = await read(this.#backbone, true, features && !this.#reference);
    const other = features && this.#reference ? await read(this.#reference, false, true) : undefined;
    return {
      steps: cuSteps.length - 1,
      hidden: own.hidden,
      features: features ? stepFeatures((other ?? own).logProbs, cuSteps, cuScores) : new Float32Array(0),
      tokens: own.tokens + (other?.tokens ?? 0),
    };
  }

  /** Predicts quantiles of encoded steps: [S, quantiles], rising in each row. */
  async predict(encoded: EncodedSteps, signal?: AbortSignal): Promise<Float32Array> {
    const args = { head: this.#head, ...encodedTensors(encoded) };
    const all: Float32Array = await this.#backbone.call(checkSignal(signal), (policy) =>
      native().quantileHeadScore({ policy, ...args }),
    );
    for (let i = 0; i < all.length; i += this.quantiles.length) all.subarray(i, i + this.quantiles.length).sort();
    return all;
  }

  /** Scales the features to mean 0 and deviation 1 over these steps, permanently. Call it before training. */
  standardize({ features }: EncodedSteps): void {
    if (!this.#shape.features) return;
    const { mean, deviation } = columnMoments(features, FEATURES);
    this.#write('features.mean', mean);
    this.#write('features.deviation', deviation);
  }

  /**
   * One AdamW step of the head on the pinball loss of encoded steps. Defaults: learning rate 3e-3, decay 0.01, clipping
   * at 1.
   */
  async update(
    encoded: EncodedSteps,
    targets: Float32Array,
    options: Partial<OptimizerOptions> & {
      /** Aborts the call (ERR_PRL_ABORTED). */
      signal?: AbortSignal;
    } = {},
  ): Promise<PrmUpdate> {
    options = checkOptions('update', options, OPTIMIZER);
    const args = {
      ...optimizer(options),
      ...encodedTensors(encoded),
      targets: asFloats('targets', targets),
      head: this.#head,
    };
    return this.#backbone.call(checkSignal(options.signal), (policy) =>
      native().quantileHeadUpdate({ policy, ...args, step: true }),
    );
  }

  /**
   * One AdamW step of head and backbone. The features must be those that {@link encode} returned for these steps.
   * Gradients are clipped together.
   *
   * @param options learningRate is that of the head
   */
  async finetune(
    batch: StepBatch,
    features: Float32Array,
    targets: Float32Array,
    options: Partial<OptimizerOptions> & {
      /** Learning rate of the network. Default 1e-4. */
      backboneLearningRate?: number;
    } = {},
  ): Promise<PrmUpdate> {
    options = checkOptions('finetune', options, [...OPTIMIZER, 'backboneLearningRate']);
    const checked = checkStepBatch(batch);
    if (!this.#reference)
      throw invalidArgument('finetune needs a model that was made with finetune: true, and this one is frozen');
    const args = {
      ...packSteps(checked),
      ...optimizer(options),
      backboneLearningRate: checkNumber('backboneLearningRate', options.backboneLearningRate ?? 1e-4, 0),
      features: asFloats('features', features),
      targets: asFloats('targets', targets),
      head: this.#head,
    };
    return this.#backbone.call(checked.signal, (policy) =>
      native().quantileHeadFinetune({ policy, ...args, step: true }),
    );
  }

  /** Copies of everything that training changes, for {@link restore}. */
  weights(): Map<string, Tensor> {
    const backbone = this.#reference ? this.#backbone.parameters : [];
    return new Map([
      ...TRAINED.map((name) => {
        const parameter = this.#parameters.find((p) => p.name === name)!;
        return [name, Tensor.from(this.#read(parameter), parameter.shape)] as const;
      }),
      ...backbone.map(({ name }) => [`backbone.${name}`, this.#backbone.readParameter(name)] as const),
    ]);
  }

  /** Restores copies that {@link QuantilePrm.weights} made. */
  restore(weights: ReadonlyMap<string, Tensor>): void {
    for (const [name, tensor] of weights) {
      if (name.startsWith('backbone.')) this.#backbone.writeParameter(name.slice('backbone.'.length), tensor);
      else this.#write(name, tensor.data as Float32Array);
    }
  }

  /** Frees the memory of network and head. */
  dispose(): void {
    this.#backbone.dispose();
    this.#reference?.dispose();
  }

  #read({ name, shape }: ParameterInfo): Float32Array {
    const out = Tensor.zeros(shape);
    native().quantileHeadRead({ head: this.#head, arena: 0, name, out });
    return out.data as Float32Array;
  }

  #write(name: string, values: Float32Array): void {
    native().quantileHeadWrite({ head: this.#head, arena: 0, name, data: Tensor.from(values) });
  }
}

/** Checks the options and adds the defaults. */
function checkShape({ quantiles = [0.1, 0.5, 0.9], quantile, width = 64, features = true }: QuantilePrmOptions): Shape {
  const levels = checkQuantiles(quantiles);
  if (levels.some((q, j) => j > 0 && q <= levels[j - 1])) throw outOfRange(`quantiles must rise: [${levels}]`);
  const middle = levels.includes(0.5) ? 0.5 : levels[(levels.length - 1) >> 1];
  return {
    quantiles: levels,
    quantile: checkQuantile(quantile ?? middle, levels),
    width: checkInteger('width', width, 1, 2 ** 14),
    features: checkBoolean('features', features),
  };
}

export function checkQuantile(quantile: number, known: readonly number[]): number {
  if (!known.includes(checkNumber('quantile', quantile)))
    throw outOfRange(`the model predicts the quantiles ${known.join(', ')}, not ${quantile}`);
  return quantile;
}

/** The addon's arguments for responses and their steps. */
function packSteps({ prompts, completions, cuSteps }: CheckedStepBatch) {
  return {
    ...packSequences('sequences', [[...prompts], [...completions]]),
    start: Tensor.from(Int32Array.from(prompts, ({ length }) => length)),
    stepEnds: Tensor.from(cuSteps.subarray(1).map((end) => end - 1)),
    temperature: 1,
    microBatchTokens: 4096,
  };
}

function encodedTensors(encoded: EncodedSteps) {
  if (typeof encoded !== 'object' || encoded === null)
    throw invalidArgument(`encoded steps must be a result of encode, not ${describe(encoded)}`);
  return { hidden: asFloats('hidden', encoded.hidden), features: asFloats('features', encoded.features) };
}

const optimizer = (options: Partial<OptimizerOptions>) =>
  adamOptions({ learningRate: 3e-3, weightDecay: 0.01, ...options });

/** Normally distributed numbers, by the method of Box and Muller. */
const normals = (n: number, deviation: number, random: Random) =>
  Float32Array.from(
    { length: n },
    () => deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  );
