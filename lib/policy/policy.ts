import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkNumber,
  checkOptions,
  checkSignal,
  checkString,
} from '../base/options.js';
import { HUB_OPTIONS } from '../hub/repo.js';
import { resolveModel } from '../hub/resolve.js';
import { openQuantile, topEntropyThreshold } from '../kernels/entropy-threshold.js';
import type { PolicyLossMetrics } from '../kernels/loss-batch.js';
import { type LossSums, lossMetrics } from '../kernels/loss-batch.js';
import { LOSS_OPTIONS, lossParams } from '../kernels/loss-options.js';
import { native } from '../kernels/native.js';
import { asTensor, Tensor, type TensorLike } from '../kernels/tensor.js';
import { ADAM_OPTIONS, adamOptions } from './adam.js';
import { packBatch, packForScoring, packSequences, tokenList } from './batch.js';
import { type Checkpoint, openModel, type ParameterInfo, saveCheckpoint } from './checkpoint.js';
import { nativeConfig, ownConfig } from './config.js';
import { type FlatCompletion, generateArguments, groupCompletions } from './generate.js';
import { checkStorage, PolicyMemory } from './memory-check.js';
import { ARENA, loadOptimizer, readPieces, readTensor, saveOptimizer } from './optimizer-state.js';
import type {
  Completion,
  CreateOptions,
  GenerateOptions,
  GradientOptions,
  LoadOptions,
  LogProbsOptions,
  MemoryOptions,
  PolicyBatch,
  PolicyConfig,
  PolicyDType,
  PolicyLike,
  SaveOptions,
  UpdateMetrics,
  UpdateOptions,
} from './types.js';

const GRADIENT_OPTIONS = [...LOSS_OPTIONS, 'temperature', 'microBatchTokens', 'gradientCheckpointing', 'signal'];
const UPDATE_OPTIONS = [...GRADIENT_OPTIONS, ...ADAM_OPTIONS];
export const EXTRA_TENSORS = ['refuse', 'ignore'] as const;

/**
 * The policy network: a Llama, Mistral, Qwen2 or Qwen3 decoder in native code, on the CPU. Weights are float32 or
 * bfloat16; arithmetic is float32.
 *
 * Calls that return a promise run off the event loop, one after the other in call order. The others block it, in
 * proportion to the parameters: create, clone, reading and writing parameters, gradients, resetOptimizer, dispose. All
 * of these but create and dispose need an idle policy, and throw ERR_PRL_BUSY otherwise.
 */
export class Policy implements PolicyLike {
  readonly config: Readonly<PolicyConfig>;
  /** Names, as in a Hugging Face checkpoint, and shapes of all parameters. */
  readonly parameters: readonly Readonly<ParameterInfo>[];
  readonly dtype: PolicyDType;
  readonly #handle: object;
  readonly #memory: PolicyMemory;
  #disposed = false;
  #queue: Promise<unknown> = Promise.resolve();
  #pending = 0;

  private constructor(config: PolicyConfig, memory: PolicyMemory, handle: object) {
    this.config = config;
    this.dtype = memory.dtype;
    this.#memory = memory;
    this.#handle = handle;
    this.parameters = native().policyParameters({ policy: handle });
  }

  /**
   * Creates a policy with random weights. Embeddings are N(0, 0.02). Matrices are N(0, 1 / sqrt(inputs)), divided by
   * sqrt(2 layers) if they end a block. Norms are 1, biases 0.
   *
   * It blocks the event loop: 3 s per 100 M parameters on two processors. {@link load} does not.
   */
  static create(config: PolicyConfig, options: CreateOptions): Policy {
    options = checkOptions('Policy.create', options, ['seed', 'dtype', 'memoryCheck']);
    const seed = checkInteger('seed', options.seed);
    config = ownConfig(config);
    const memory = new PolicyMemory(nativeConfig(config), options);
    const handle = Policy.#make(memory);
    native().policyInit({ policy: handle, seed });
    return new Policy(config, memory, handle);
  }

  static #make(memory: PolicyMemory): object {
    memory.checkWeights();
    return native().policyCreate({ ...memory.config, dtype: memory.dtype });
  }

  /**
   * Loads a checkpoint folder, or a model of the hub by its id ('owner/name', 'owner/name@revision'). It reads
   * config.json and model.safetensors or its shards, in float32, bfloat16 or float16.
   *
   * It checks everything before it takes memory. The weights then go from the files straight to their places.
   *
   * @throws PrlError ERR_PRL_CORRUPT, ERR_PRL_UNSUPPORTED or ERR_PRL_IO, naming the tensor or field and the file;
   *   ERR_PRL_OUT_OF_MEMORY; or an error of the hub, as downloadFiles
   */
  static async load(idOrFolder: string, options: LoadOptions = {}): Promise<Policy> {
    options = checkOptions('Policy.load', options, ['dtype', 'memoryCheck', 'extraTensors', ...HUB_OPTIONS]);
    const { dtype, memoryCheck, extraTensors: extra = 'refuse', ...hub } = options;
    const storage = checkStorage({ dtype, memoryCheck });
    const extraTensors = checkChoice('extraTensors', extra, EXTRA_TENSORS);
    const folder = await resolveModel(idOrFolder, hub);
    const { config, sizes, checkpoint } = await openModel(folder, extraTensors);
    try {
      const memory = new PolicyMemory(sizes, storage);
      const policy = new Policy(config, memory, Policy.#make(memory));
      await policy.#load(checkpoint, hub.signal);
      return policy;
    } finally {
      await checkpoint.close();
    }
  }

  async #load(checkpoint: Checkpoint, signal?: AbortSignal): Promise<void> {
    for (const { name } of this.parameters) {
      const { file, dtype, begin: offset } = checkpoint.place(name);
      try {
        checkAborted(signal);
        await native().policyLoad({ policy: this.#handle, arena: ARENA.value, name, fd: file.fd, offset, dtype });
      } catch (cause) {
        this.dispose();
        const { code, message } = cause as PrlError;
        throw new PrlError(code, `cannot read tensor '${name}' of ${file.path}: ${message}`, { cause });
      }
    }
  }

  get parameterCount(): number {
    return this.parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
  }

  /** A copy of a parameter's values. */
  readParameter(name: string): Tensor {
    return this.#read(name, 'value')!;
  }

  /** Overwrites the values of a parameter. */
  writeParameter(name: string, values: TensorLike): void {
    this.#idle();
    native().policyWrite({ policy: this.#handle, arena: ARENA.value, name, data: asTensor('values', values) });
  }

  /**
   * Copies of the gradients of the last update or computeGradients, not clipped, by parameter name.
   *
   * @throws PrlError ERR_PRL_UNSUPPORTED before the first of them
   */
  gradients(): Map<string, Tensor> {
    const all = this.parameters.map(({ name }) => [name, this.#read(name, 'gradient')] as const);
    if (all.some(([, tensor]) => tensor === undefined))
      throw new PrlError('ERR_PRL_UNSUPPORTED', 'the policy has no gradients: call computeGradients or update first');
    return new Map(all as [string, Tensor][]);
  }

  async logProbs(
    sequences: ArrayLike<number>[],
    options: LogProbsOptions = {},
  ): Promise<{ logProbs: Float32Array; entropy?: Float32Array; top1?: Int32Array; cuSeqlens: Int32Array }> {
    const known = ['temperature', 'entropy', 'top1', 'start', 'microBatchTokens', 'signal'];
    options = checkOptions('logProbs', options, known);
    const { packed, cuScored } = packForScoring(sequences, options.start);
    const [entropy, top1] = (['entropy', 'top1'] as const).map((name) => checkBoolean(name, options[name] ?? false));
    const args = { ...packed, ...this.#common(options), entropy, top1 };
    const result = await this.#run(
      options.signal,
      async (): Promise<{ logProbs: Float32Array; entropy?: Float32Array; top1?: Int32Array }> => {
        this.#memory.takeScoring(packed.cuSeqlens.data as Int32Array, args);
        return native().policyLogProbs({ policy: this.#handle, ...args });
      },
    );
    return { ...result, cuSeqlens: cuScored };
  }

  /** The logits [tokens, vocab] that follow each token of one sequence. */
  async logits(sequence: ArrayLike<number>): Promise<Tensor> {
    const ids = tokenList('sequence', sequence);
    const args = packSequences('sequence', [[ids]]);
    const data: Float32Array = await this.#run(undefined, async () => {
      this.#memory.checkLogits(ids.length);
      return native().policyLogits({ policy: this.#handle, ...args });
    });
    return Tensor.from(data, [ids.length, this.config.vocab_size]);
  }

  async computeGradients(
    batch: PolicyBatch,
    options: GradientOptions = {},
  ): Promise<PolicyLossMetrics & { gradNorm: number }> {
    options = checkOptions('computeGradients', options, GRADIENT_OPTIONS);
    const { applied: _, ...metrics } = await this.#train(batch, options, { step: false });
    return metrics;
  }

  async update(batch: PolicyBatch, options: UpdateOptions): Promise<UpdateMetrics> {
    options = checkOptions('update', options, UPDATE_OPTIONS);
    return this.#train(batch, options, { step: true, ...adamOptions(options) });
  }

  async #train(batch: PolicyBatch, options: GradientOptions, extra: { step: boolean }): Promise<UpdateMetrics> {
    const { packed, given } = packBatch(batch);
    // The optimizer's momentum and weight decay would move the weights.
    if (extra.step && given.tokens === 0)
      throw invalidArgument('an update needs at least one completion token that the mask does not leave out');
    const quantile = openQuantile(options);
    const loss = lossParams(options, given);
    if (loss.beta !== 0 && !packed.refLogProbs)
      throw invalidArgument('the batch needs refLogProbs, because beta is not 0');
    const gradientCheckpointing = checkBoolean('gradientCheckpointing', options.gradientCheckpointing ?? false);
    const common = { ...this.#common(options), gradientCheckpointing };
    const args = { policy: this.#handle, ...packed, ...loss, ...common, ...extra };
    const { gradNorm, applied, top1, ...sums } = await this.#run(
      options.signal,
      async (): Promise<LossSums & { top1: number; gradNorm: number; applied: boolean }> => {
        this.#memory.takeTraining(packed.cuSeqlens.data as Int32Array, common);
        if (quantile === undefined) return native().policyUpdate(args);
        // All micro-batches need the threshold of the whole batch.
        const { entropy } = await native().policyLogProbs({ ...args, entropy: true });
        checkAborted(options.signal);
        const entropyThreshold = topEntropyThreshold(entropy, quantile, packed.mask?.data);
        return native().policyUpdate({ ...args, entropyThreshold });
      },
    );
    return { ...lossMetrics(sums), tokenAccuracy: top1 / Math.max(1, sums.tokens), gradNorm, applied };
  }

  /** Samples completions; see {@link GenerateOptions}. Result i holds the n completions of prompt i. */
  async generate(prompts: ArrayLike<number>[], options: GenerateOptions): Promise<{ completions: Completion[] }[]> {
    const { onProgress, ...args } = generateArguments(this.config, prompts, options);
    // An error of onProgress belongs to the call: it must not become an unhandled rejection.
    let failure: { error: unknown } | undefined;
    let running = true;
    const tell = (...progress: [finished: number, total: number, tokens: number]) => {
      if (!running || failure) return;
      try {
        onProgress!(...progress);
      } catch (error) {
        failure = { error };
        this.#cancel();
      }
    };
    const flat: FlatCompletion[] = await this.#run(options.signal, async () => {
      const mostBatch = this.#memory.mostBatch(args.cuSeqlens.data as Int32Array, args);
      const told = { onProgress: onProgress && tell };
      return native().policyGenerate({ policy: this.#handle, ...args, mostBatch, ...told });
    })
      .catch((error) => {
        throw failure ? failure.error : error;
      })
      .finally(() => {
        running = false;
      });
    if (failure) throw (failure as { error: unknown }).error;
    return groupCompletions(flat, prompts.length, args.n);
  }

  /** @internal A native call on this policy, in its turn among the others. */
  call<T>(signal: AbortSignal | undefined, start: (policy: object) => Promise<T>): Promise<T> {
    return this.#run(signal, () => start(this.#handle));
  }

  /** A policy with the same weights and no optimizer state. It blocks the event loop: 0.2 s per 100 M parameters. */
  clone(): Policy {
    this.#idle();
    const memory = this.#memory.another();
    memory.checkWeights();
    return new Policy(structuredClone(this.config), memory, native().policyClone({ policy: this.#handle }));
  }

  /** Throws ERR_PRL_OUT_OF_MEMORY if a run with these settings would not fit in the memory that is available now. */
  checkMemory(options: Omit<MemoryOptions, 'dtype'>): void {
    this.#memory.checkRun(options);
  }

  /**
   * Writes a checkpoint that {@link load} and transformers read: config.json and model.safetensors, or shards with an
   * index.
   */
  async save(folder: string, options: SaveOptions = {}): Promise<void> {
    options = checkOptions('save', options, ['dtype', 'maxShardSize']);
    const dtype = checkChoice('dtype', options.dtype ?? this.dtype, ['float32', 'bfloat16', 'float16']);
    const tensors = this.parameters.map((parameter) => ({
      ...parameter,
      dtype: ({ float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const)[dtype],
      read: () => readPieces(this.#handle, parameter, 'value', dtype),
    }));
    await this.#run(undefined, () => saveCheckpoint(folder, this.config, tensors, dtype, options.maxShardSize));
  }

  async saveOptimizer(file: string): Promise<void> {
    await this.#run(undefined, () => saveOptimizer(file, this.#handle, this.parameters, this.dtype));
  }

  /** Loads a file that {@link saveOptimizer} wrote from a policy of the same shape. */
  async loadOptimizer(file: string): Promise<void> {
    await this.#run(undefined, () =>
      loadOptimizer(file, this.#handle, this.parameters, this.dtype, () => this.#alive()),
    );
  }

  resetOptimizer(): void {
    this.#idle();
    native().policyResetOptimizer({ policy: this.#handle });
  }

  /** Frees the memory. The running call is cancelled. It and all waiting calls fail with ERR_PRL_DISPOSED. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    native().policyDispose({ policy: this.#handle });
  }

  #alive() {
    if (this.#disposed) throw new PrlError('ERR_PRL_DISPOSED', 'the policy was disposed of');
  }

  /** Asks the running call to end. */
  #cancel() {
    if (!this.#disposed) native().policyCancel({ policy: this.#handle });
  }

  #idle() {
    this.#alive();
    if (this.#pending > 0)
      throw new PrlError('ERR_PRL_BUSY', 'the policy is busy with a call that has not ended: await it first');
  }

  #common(options: { temperature?: number; microBatchTokens?: number; signal?: AbortSignal }) {
    checkSignal(options.signal);
    return {
      temperature: checkNumber('temperature', options.temperature ?? 1, 0, Infinity, true),
      microBatchTokens: checkInteger('microBatchTokens', options.microBatchTokens ?? 4096, 1, 2 ** 31 - 1),
    };
  }

  #read(name: string, arena: keyof typeof ARENA): Tensor | undefined {
    this.#idle();
    const parameter = this.parameters.find((p) => p.name === name);
    if (!parameter) throw outOfRange(`the policy has no parameter '${checkString('the name of a parameter', name)}'`);
    return readTensor(this.#handle, parameter, arena);
  }

  /** Runs `start` when all earlier calls have ended. */
  async #run<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    this.#alive();
    this.#pending++;
    const cancel = () => this.#cancel();
    const turn = this.#queue.then(async () => {
      try {
        this.#alive();
        checkAborted(signal);
        signal?.addEventListener('abort', cancel);
        return await start();
      } catch (error) {
        this.#alive();
        throw error;
      } finally {
        signal?.removeEventListener('abort', cancel);
        this.#pending--;
      }
    });
    this.#queue = turn.catch(() => {});
    return turn;
  }
}

/** Checks before each native call, because a native call clears an earlier cancellation when it begins. */
function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new PrlError('ERR_PRL_ABORTED', 'the call was aborted', { cause: signal.reason });
}
