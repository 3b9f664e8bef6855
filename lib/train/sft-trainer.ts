import { invalidArgument, PrlError } from '../base/errors.js';
import { isObject } from '../base/json.js';
import { checkList, describe, resolveOptions } from '../base/options.js';
import { checkPolicy } from '../policy/generate.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { PolicyLike } from '../policy/types.js';
import type { Demonstration } from '../tasks/data/demonstration.js';
import type { Demonstrations } from '../tasks/data/demonstrations.js';
import { type LoadPolicy, loadNativePolicy, settleConfig } from './checkpoint.js';
import { RunFolder } from './run-folder.js';
import { rowsOf, rowsOfStep, stepsPerEpoch } from './sft-batches.js';
import { RESUMABLE_SFT_OPTIONS, type ResolvedSftOptions, SFT_OPTIONS } from './sft-options.js';
import type { SftOptions } from './sft-trainer-options.js';
import { likelihood, type SupervisedPhase, SupervisedRun, type SupervisedStep, supervise } from './supervised.js';

export type { SftOptions };

/** The parts of an SftTrainer. Its options (SftOptions) are in the same object. */
export interface SftSetup {
  /** The policy to train. A resumed run reads it from its folder instead. */
  policy: PolicyLike;
  /** Demonstrations to learn: a result of loadDemonstrations, or an array. */
  dataset: Demonstrations | readonly Demonstration[];
  /** Held-out demonstrations, for evaluate(). */
  evalDataset?: Demonstrations | readonly Demonstration[] | undefined;
  /** The model's tokenizer, which is saved beside the weights. */
  tokenizer?: Tokenizer | undefined;
  /** Folder for config, metrics and checkpoints. Default: nothing is written. */
  output?: string | RunFolder | undefined;
  /** Resumes the run in `output`, if there is one. Default false. */
  resume?: boolean | undefined;
  /** Reads a saved policy. Default: Policy.load. */
  loadPolicy?: LoadPolicy | undefined;
  /** Called with warnings, such as damaged checkpoints. */
  onWarning?: ((message: string) => void) | undefined;
}

/** Mean figures over the learned tokens of demonstrations. */
export interface SftEvaluation {
  /** Mean negative log-likelihood per token, in nats. */
  loss: number;
  /** Share of tokens that are the policy's most likely ones. */
  tokenAccuracy: number;
  /** Number of learned tokens. */
  tokens: number;
}

/** Metrics of a step, a row of metrics.jsonl. Names are TRL's. */
export interface SftMetrics {
  /** Number of the step, from 1. */
  step: number;
  /** Passes over the demonstrations so far. */
  epoch: number;
  /** Mean negative log-likelihood per learned token, before the update. */
  loss: number;
  /** Share of learned tokens that are the policy's most likely ones, before the update. */
  mean_token_accuracy: number;
  /** Mean entropy over the learned tokens, in nats. */
  entropy: number;
  /** Learning rate of the step. */
  learning_rate: number;
  /** Global gradient norm before clipping. */
  grad_norm: number;
  /** Tokens that the model has read so far. */
  num_tokens: number;
  /** Tokens read per second in this step. */
  tokens_per_second: number;
  /** Seconds of the step. */
  'seconds/step': number;
  /** Loss on held-out demonstrations, every evalSteps steps. */
  eval_loss?: number;
  /** Token accuracy on held-out demonstrations, every evalSteps steps. */
  eval_mean_token_accuracy?: number;
}

const SETUP = ['policy', 'dataset', 'evalDataset', 'tokenizer', 'output', 'resume', 'loadPolicy', 'onWarning'];
const LOG = 'metrics.jsonl';
const KIND = 'step';

/**
 * Supervised fine-tuning: the policy learns to write the completions of demonstrations.
 *
 *     const tokenizer = await Tokenizer.load(model);
 *     const dataset = await loadDemonstrations('train.jsonl', { tokenizer });
 *     const trainer = new SftTrainer({ policy: await Policy.load(model), tokenizer, dataset, output: 'runs/sft' });
 *     for await (const { step, loss } of trainer.run()) console.log(step, loss);
 *
 * The loss is the mean of -log p over the learned tokens of a step, by the fused kernel of linear log-probabilities:
 * no logits are stored, and nothing is padded. A step depends on the seed, its number and the weights only, so a run
 * that was killed and resumed ends with the same bits.
 */
export class SftTrainer {
  readonly options: ResolvedSftOptions;
  /** Steps of the whole run. */
  readonly totalSteps: number;
  readonly #setup: SftSetup;
  readonly #demonstrations: readonly Demonstration[];
  readonly #held: readonly Demonstration[];
  readonly #rows: readonly number[][];
  #policy: PolicyLike;
  #step = 0;
  #stopping = false;
  #opened = false;
  #running = false;

  constructor(setup: SftSetup & SftOptions) {
    if (setup === null || typeof setup !== 'object')
      throw invalidArgument(`new SftTrainer takes an object of options, not ${describe(setup)}`);
    const given = { ...setup }; // each property is read once
    const part = (own: boolean) =>
      Object.fromEntries(Object.entries(given).filter(([name]) => SETUP.includes(name) === own));
    this.#setup = part(true) as unknown as SftSetup;
    this.options = resolveOptions('SftTrainer', SFT_OPTIONS, part(false));
    const { policy, dataset, evalDataset } = this.#setup;
    if (!policy) throw invalidArgument("new SftTrainer needs 'policy'");
    checkPolicy('policy', policy, ['logProbs', 'update']);
    this.#policy = policy;
    this.#demonstrations = listOf('dataset', dataset);
    this.#held = evalDataset === undefined ? [] : listOf('evalDataset', evalDataset);
    this.#rows = rowsOf(this.#demonstrations, this.options);
    const { numTrainEpochs, perDeviceTrainBatchSize, maxSteps } = this.options;
    this.totalSteps = maxSteps ?? Math.ceil(numTrainEpochs * stepsPerEpoch(this.#rows.length, perDeviceTrainBatchSize));
  }

  /** The policy in training. After a resume it is another object than the policy of the setup. */
  get policy(): PolicyLike {
    return this.#policy;
  }

  /** Number of finished steps. */
  get step(): number {
    return this.#step;
  }

  /** Ends run() after the current step, which is saved as always. */
  stop(): void {
    this.#stopping = true;
  }

  /** Runs steps until the end. It yields the metrics of each step once it is done. */
  async *run({
    signal,
  }: {
    /** Aborts the call (ERR_PRL_ABORTED). */
    signal?: AbortSignal;
  } = {}): AsyncGenerator<SftMetrics, void, void> {
    if (this.#running) throw new PrlError('ERR_PRL_BUSY', 'this trainer is already running');
    this.#running = true;
    const { output, resume } = this.#setup;
    let folder: RunFolder | undefined;
    try {
      if (typeof output === 'string') folder = await RunFolder.open(output, { resume: resume || this.#opened });
      this.#opened ||= output !== undefined;
      for await (const metrics of this.#steps(folder ?? (output as RunFolder | undefined), signal)) {
        yield metrics;
        if (this.#stopping) break;
      }
    } finally {
      await folder?.close();
      this.#running = this.#stopping = false;
    }
  }

  async *#steps(folder: RunFolder | undefined, signal?: AbortSignal): AsyncGenerator<SftMetrics, void, void> {
    const phases = [this.#phase()];
    let metrics: SftMetrics;
    const measure = async (step: SupervisedStep) => {
      metrics = this.#metrics(step);
      const { evalSteps } = this.options;
      if (evalSteps > 0 && step.step % evalSteps === 0 && this.#held.length > 0) {
        const { loss, tokenAccuracy } = await this.evaluate({ signal });
        Object.assign(metrics, { eval_loss: loss, eval_mean_token_accuracy: tokenAccuracy });
      }
      this.#step = step.step;
      return { ...metrics };
    };
    if (!folder) {
      for await (const step of supervise(this.#policy, phases, { from: this.#step, signal })) {
        await measure(step);
        yield metrics!;
      }
      return;
    }
    const run = await this.#open(folder);
    this.#policy = run.policy;
    this.#step = run.state.step;
    for await (const _ of run.steps(phases, measure, signal)) yield metrics!;
  }

  async #open(folder: RunFolder): Promise<SupervisedRun> {
    const { policy, tokenizer, loadPolicy = (path) => loadNativePolicy(path, policy), onWarning } = this.#setup;
    await settleConfig(folder, 'sft', { ...this.#identity(), ...this.options }, RESUMABLE_SFT_OPTIONS);
    const { saveSteps, saveTotalLimit } = this.options;
    const where = { folder, kind: KIND, log: LOG, saveSteps, saveTotalLimit, tokenizer, loadPolicy, onWarning };
    return SupervisedRun.open(where, () => policy);
  }

  /** What a resumed run must have unchanged besides its options. */
  #identity(): object {
    const { dataset } = this.#setup;
    return {
      demonstrations: this.#demonstrations.length,
      ...('fingerprint' in dataset && { data: dataset.fingerprint }),
    };
  }

  /** Loss and token accuracy of the current policy on the held-out demonstrations. */
  async evaluate({
    signal,
  }: {
    /** Aborts the call (ERR_PRL_ABORTED). */
    signal?: AbortSignal;
  } = {}): Promise<SftEvaluation> {
    if (this.#held.length === 0) throw invalidArgument("evaluate needs 'evalDataset', the held-out demonstrations");
    const { microBatchTokens } = this.options;
    return likelihood(this.#policy, this.#held, { microBatchTokens, signal });
  }

  #phase(): SupervisedPhase {
    const { learningRate, lrSchedulerType: type, warmupSteps, minLearningRateRate: minRate } = this.options;
    const { weightDecay, adamBeta1, adamBeta2, adamEpsilon, maxGradNorm } = this.options;
    const { microBatchTokens, gradientCheckpointing } = this.options;
    return {
      steps: this.totalSteps,
      batch: (step) => rowsOfStep(this.#rows, step, this.options).map((i) => this.#demonstrations[i]),
      schedule: { learningRate, type, warmupSteps, minRate },
      update: {
        ...{ weightDecay, adamBeta1, adamBeta2, adamEpsilon, maxGradNorm },
        ...{ microBatchTokens, gradientCheckpointing },
      },
    };
  }

  #metrics({ step, learningRate, metrics, read, tokens, seconds }: SupervisedStep): SftMetrics {
    return {
      step,
      epoch: step / stepsPerEpoch(this.#rows.length, this.options.perDeviceTrainBatchSize),
      loss: metrics.loss,
      mean_token_accuracy: metrics.tokenAccuracy ?? Number.NaN,
      entropy: metrics.entropy,
      learning_rate: learningRate,
      grad_norm: metrics.gradNorm,
      num_tokens: tokens,
      tokens_per_second: read / seconds,
      'seconds/step': seconds,
    };
  }
}

function listOf(name: string, given: Demonstrations | readonly Demonstration[]): readonly Demonstration[] {
  const list = isObject(given) && 'demonstrations' in given ? given.demonstrations : given;
  const demonstrations = checkList(name, list) as Demonstration[];
  for (const [i, each] of demonstrations.entries()) {
    if (!(each?.prompt?.length >= 1 && each.completion?.length >= 1))
      throw invalidArgument(`${name}[${i}] must have token ids of a prompt and a completion, at least one each`);
    if (each.mask != null && each.mask.length !== each.completion.length)
      throw invalidArgument(
        `the mask of ${name}[${i}] must have one entry per completion token, ${each.completion.length}, not ${each.mask.length}`,
      );
  }
  return demonstrations;
}
