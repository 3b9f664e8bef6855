// A policy that a Tinker server trains: the service of Thinking Machines, SkyRL on a cluster of one's own, prl serve.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { invalidArgument, PrlError } from '../../base/errors.js';
import { readJson } from '../../base/json.js';
import { checkOptions } from '../../base/options.js';
import { resolveTokenizer } from '../../hub/resolve.js';
import type { PolicyLossMetrics } from '../../kernels/loss-batch.js';
import { LOSS_OPTIONS, type PolicyLossOptions } from '../../kernels/loss-options.js';
import { ADAM_OPTIONS, adamOptions } from '../adam.js';
import { packForScoring } from '../batch.js';
import { GENERATE_OPTIONS, generateArguments } from '../generate.js';
import { Tokenizer } from '../tokenizer.js';
import type {
  Completion,
  GenerateOptions,
  GradientOptions,
  LogProbsOptions,
  PolicyBatch,
  PolicyConfig,
  PolicyLike,
  UpdateMetrics,
  UpdateOptions,
} from '../types.js';
import { Connection } from './connection.js';
import { type Sequences, scoredSequences } from './datums.js';
import { checkServerLoss, checkServerTemperature, lossPlan } from './loss.js';
import { Model } from './model.js';
import { readTinkerOptions, type TinkerOptions, type TinkerSetup } from './options.js';
import { Sampler, sampleSeeds } from './sampling.js';
import { measureLoss, readBatch, takeStep } from './update.js';

const GRADIENT_OPTIONS = [...LOSS_OPTIONS, 'temperature', 'microBatchTokens', 'gradientCheckpointing', 'signal'];
const UPDATE_OPTIONS = [...GRADIENT_OPTIONS, ...ADAM_OPTIONS];
/** The file of a saved policy: where the server keeps its weights. */
const REFERENCE = 'tinker.json';

/** What the policies of one connection share. */
interface Shared {
  connection: Connection;
  setup: TinkerSetup;
  config: Readonly<PolicyConfig>;
  tokenizer: Tokenizer;
  models: Set<Model>;
  /** Said once. */
  warned: Set<string>;
}

/**
 * A policy on a server that speaks the Tinker protocol. The server holds the weights and the optimizer and does the
 * work; advantages, losses and checkpoints' references are made here. docs/engines.md has the whole story.
 *
 * Its calls run one after the other. The server decides micro-batches and checkpointing of activations.
 * Log-probabilities are those of temperature 1. It has no entropies: `entropy` of an update is an estimate, the mean of
 * -log p.
 */
export class TinkerPolicy implements PolicyLike {
  readonly config: Readonly<PolicyConfig>;
  /** The tokenizer of the base model. */
  readonly tokenizer: Tokenizer;
  /** Not known: NaN. */
  readonly parameterCount = Number.NaN;
  /** logProbs gives no entropies. */
  readonly hasEntropy = false;
  readonly #shared: Shared;
  /** The saved weights that this policy begins with; undefined: the base model's. */
  readonly #origin: Promise<string | null> | undefined;
  #withOptimizer = false;
  /** Made when the policy is first trained: until then the base model, or the saved weights, answer for it. */
  #model: Model | undefined;
  #saved: string | undefined;
  #sampler: Sampler | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(shared: Shared, origin?: Promise<string | null>) {
    this.#shared = shared;
    this.#origin = origin;
    this.config = shared.config;
    this.tokenizer = shared.tokenizer;
  }

  /**
   * Opens a session. The adapter is made with the first update, so a policy that only samples or scores takes no place
   * on the server.
   *
   * @throws PrlError ERR_PRL_HTTP or ERR_PRL_TIMEOUT if the server is away, ERR_PRL_ACCESS for a wrong key,
   *   ERR_PRL_UNSUPPORTED if it does not have the base model; or an error of the hub, as downloadFiles
   */
  static async connect(options: TinkerOptions): Promise<TinkerPolicy> {
    const { connection: how, setup, model, hub } = readTinkerOptions(options);
    const connection = new Connection(how);
    const folder = await resolveTokenizer(model, hub);
    const tokenizer = await Tokenizer.load(folder);
    const config = (await readJson(join(folder, 'config.json'), { shape: { vocab_size: 'number' } })) as PolicyConfig;
    await checkBaseModel(connection, setup.baseModel, hub.signal);
    await connection.open(hub.signal);
    return new TinkerPolicy({ connection, setup, config, tokenizer, models: new Set(), warned: new Set() });
  }

  async generate(prompts: ArrayLike<number>[], options: GenerateOptions): Promise<{ completions: Completion[] }[]> {
    options = checkOptions('generate', options, GENERATE_OPTIONS);
    const { signal, onProgress, seed = 0 } = options;
    const args = generateArguments(this.config, prompts, options);
    const [ids, cuSeqlens] = [args.ids.data as Int32Array, args.cuSeqlens.data as Int32Array];
    const lists = Array.from({ length: cuSeqlens.length - 1 }, (_, i) => ids.subarray(cuSeqlens[i], cuSeqlens[i + 1]));
    const params = {
      max_tokens: args.maxNewTokens,
      temperature: args.temperature,
      top_k: args.topK === 0 ? -1 : args.topK,
      top_p: args.topP,
      stop: Array.from(args.stop.data as Int32Array),
    };
    const seeds = sampleSeeds(seed, lists.length);
    return this.#run(signal, async () => {
      this.#sampler ??= await this.#makeSampler(signal);
      const how = { n: args.n, seeds, params, vocabSize: this.config.vocab_size };
      return this.#sampler.generate(lists, how, signal, onProgress);
    });
  }

  async logProbs(
    given: ArrayLike<number>[],
    options: LogProbsOptions = {},
  ): Promise<{ logProbs: Float32Array; cuSeqlens: Int32Array }> {
    const known = ['temperature', 'entropy', 'top1', 'start', 'microBatchTokens', 'signal'];
    options = checkOptions('logProbs', options, known);
    for (const name of ['entropy', 'top1'] as const)
      if (options[name]) throw unsupported(`logProbs cannot give ${name}, which needs the logits of every token`);
    checkServerTemperature(options.temperature);
    const { packed, cuScored } = packForScoring(given, options.start);
    const sequences = scoredSequences(arrays(packed));
    const logProbs = await this.#run(options.signal, async () => {
      if (sequences.length === 0) return new Float32Array(0);
      if (this.#isBase()) {
        this.#sampler ??= await this.#makeSampler(options.signal);
        return this.#sampler.logProbs(sequences, options.signal);
      }
      return (await this.#trained(options.signal)).forward(sequences, options.signal);
    });
    return { logProbs, cuSeqlens: cuScored };
  }

  async update(batch: PolicyBatch, options: UpdateOptions): Promise<UpdateMetrics> {
    options = checkOptions('update', options, UPDATE_OPTIONS);
    this.checkUpdate(options);
    const read = readBatch(batch, lossOptionsOf(options));
    if (read.tokens === 0)
      throw invalidArgument('an update needs at least one completion token that the mask does not leave out');
    const adam = adamOptions(options);
    return this.#run(options.signal, async () => {
      const model = await this.#trained(options.signal);
      try {
        const metrics = await takeStep(model, read, adam, this.#shared.setup.lossPath, options.signal);
        this.#warnOfClipping(metrics.gradNorm, adam.maxGradNorm, metrics.server);
        const { server: _, ...own } = metrics;
        return own;
      } finally {
        this.#saved = this.#sampler = undefined;
      }
    });
  }

  /**
   * The loss and its metrics; the norm of the gradient is NaN. The server would add the gradients to those of the next
   * update, so none are computed.
   */
  async computeGradients(
    batch: PolicyBatch,
    options: GradientOptions = {},
  ): Promise<PolicyLossMetrics & { gradNorm: number }> {
    options = checkOptions('computeGradients', options, GRADIENT_OPTIONS);
    this.checkUpdate(options);
    const read = readBatch(batch, lossOptionsOf(options));
    return this.#run(options.signal, async () => {
      const model = await this.#trained(options.signal);
      const logProbs =
        read.sequences.length > 0 ? await model.forward(read.sequences, options.signal) : new Float32Array(0);
      return { ...measureLoss(read, logProbs).metrics, gradNorm: Number.NaN };
    });
  }

  /** Throws for options of an update that a server cannot do, whatever the batch. */
  checkUpdate(options: GradientOptions): void {
    checkServerLoss(options);
    checkServerTemperature(options.temperature);
  }

  /** Says which loss the server computes with these options for a batch with oldLogProbs, and why: one line. */
  explainLoss(options: PolicyLossOptions = {}): string {
    options = checkOptions('explainLoss', options, LOSS_OPTIONS);
    const plan = lossPlan(options, { oldLogProbs: true }, this.#shared.setup.lossPath);
    return plan.lossFn === 'linear'
      ? `the loss is computed here, and its gradient is sent, at the price of a forward pass: ${plan.why}`
      : `the server computes the loss: ${plan.why}`;
  }

  /** A frozen copy, for use as the reference. That of an untrained policy is the base model: it takes no memory. */
  clone(): TinkerPolicy {
    this.#alive();
    const saved = this.#model === undefined ? this.#origin : this.#run(undefined, () => this.#save());
    saved?.catch(() => {}); // the copy reports it
    return new TinkerPolicy(this.#shared, saved);
  }

  /** Saves weights and optimizer on the server. `folder` gets their address, tinker.json, and config.json. */
  async save(folder: string, options: object = {}): Promise<void> {
    checkOptions('save', options, []);
    const weights = await this.#run(undefined, () => this.#save());
    await mkdir(folder, { recursive: true });
    const { baseModel, lora } = this.#shared.setup;
    await writeJson(join(folder, REFERENCE), { baseModel, loraRank: lora.rank, weights });
    await writeJson(join(folder, 'config.json'), this.config);
  }

  /** A policy that begins with what save() wrote, on the same connection. Its optimizer is new. */
  async restore(folder: string): Promise<TinkerPolicy> {
    this.#alive();
    const file = join(folder, REFERENCE);
    const shape = { baseModel: 'text', loraRank: 'number' } as const;
    const { baseModel, loraRank, weights } = await readJson(file, { shape });
    const { setup } = this.#shared;
    if (baseModel !== setup.baseModel || loraRank !== setup.lora.rank)
      throw invalidArgument(
        `${file} is of ${baseModel} with rank ${loraRank}, and this connection has ${setup.baseModel} with rank ${setup.lora.rank}`,
      );
    if (weights !== null && typeof weights !== 'string')
      throw new PrlError('ERR_PRL_CORRUPT', `${file} must name the weights on the server`);
    return new TinkerPolicy(this.#shared, weights === null ? undefined : Promise.resolve(weights));
  }

  /** Writes the address of weights and optimizer on the server to a file. */
  async saveOptimizer(file: string): Promise<void> {
    const weights = await this.#run(undefined, () => this.#save());
    await writeJson(file, { weights });
  }

  /** Takes the optimizer with the weights that the policy was restored from. Any other file is ERR_PRL_UNSUPPORTED. */
  async loadOptimizer(file: string): Promise<void> {
    const { weights } = await readJson(file);
    await this.#run(undefined, async () => {
      if (this.#model || weights !== ((await this.#origin) ?? null))
        throw unsupported(
          'the server loads an optimizer with its weights only: call loadOptimizer after restore, with the file saved beside it',
        );
      this.#withOptimizer = true;
    });
  }

  /** Not supported: the server keeps the optimizer. */
  resetOptimizer(): void {
    throw unsupported('a Tinker server cannot clear an optimizer: save the policy, and restore it');
  }

  /** Frees the adapter on the server. The session stays: see close(). */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const model = this.#model;
    if (!model) return;
    this.#shared.models.delete(model);
    model.unload().catch(() => {}); // a server that is away has freed it, or will
  }

  /** Ends the session: frees the adapters of all its policies. What was saved stays on the server. */
  async close(): Promise<void> {
    const { models, connection } = this.#shared;
    this.#disposed = true;
    await Promise.allSettled([...models].map((model) => model.unload()));
    models.clear();
    connection.close();
  }

  /** Whether the base model answers for this policy. */
  #isBase(): boolean {
    return this.#model === undefined && this.#origin === undefined;
  }

  async #makeSampler(signal?: AbortSignal): Promise<Sampler> {
    const { connection, setup } = this.#shared;
    if (this.#isBase()) return new Sampler(connection, { base_model: setup.baseModel });
    return new Sampler(connection, await (await this.#trained(signal)).publish(signal));
  }

  /** The model on the server; made if there is none. */
  async #trained(signal?: AbortSignal): Promise<Model> {
    if (this.#model) return this.#model;
    const { connection, setup, models } = this.#shared;
    const origin = await this.#origin;
    const model = await Model.create(connection, setup, signal);
    models.add(model);
    try {
      if (origin != null) await model.load(origin, this.#withOptimizer, signal);
    } catch (error) {
      models.delete(model);
      model.unload().catch(() => {});
      throw error;
    }
    this.#saved = origin ?? undefined;
    this.#sampler = undefined;
    this.#model = model;
    return model;
  }

  /** The address of the current weights on the server; null: those of the base model. */
  async #save(): Promise<string | null> {
    if (!this.#model) return (await this.#origin) ?? null;
    this.#saved ??= await this.#model.save();
    return this.#saved;
  }

  #warnOfClipping(gradNorm: number, maxGradNorm: number | undefined, server: object): void {
    const { warned, setup } = this.#shared;
    if (maxGradNorm === undefined || !(gradNorm > maxGradNorm) || !('skyrl.ai/grad_norm' in server)) return;
    if (warned.has('clipping')) return;
    warned.add('clipping');
    setup.onWarning?.(
      `the norm of the gradient is ${gradNorm.toPrecision(3)}, above maxGradNorm ${maxGradNorm}, and SkyRL does not clip by request: set it in the server's own configuration, or pass Infinity`,
    );
  }

  #alive(): void {
    if (this.#disposed) throw new PrlError('ERR_PRL_DISPOSED', 'the policy was disposed of');
  }

  /** Runs `work` when all earlier calls have ended. */
  #run<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    this.#alive();
    const turn = this.#queue.then(() => {
      this.#alive();
      if (signal?.aborted) throw new PrlError('ERR_PRL_ABORTED', 'the call was aborted', { cause: signal.reason });
      return work();
    });
    this.#queue = turn.catch(() => {});
    return turn;
  }
}

async function checkBaseModel(connection: Connection, baseModel: string, signal?: AbortSignal): Promise<void> {
  const { supported_models } = await connection.post('get_server_capabilities', undefined, {
    what: 'get_server_capabilities',
    signal,
  });
  if (!Array.isArray(supported_models)) return;
  const names = supported_models.map((model) => model?.model_name).filter((name) => typeof name === 'string');
  if (names.length === 0 || names.includes(baseModel)) return;
  throw unsupported(`the server does not have the model ${baseModel}; it has ${names.slice(0, 20).join(', ')}`);
}

const unsupported = (message: string) => new PrlError('ERR_PRL_UNSUPPORTED', message);

const arrays = ({ ids, cuSeqlens, start }: ReturnType<typeof packForScoring>['packed']): Sequences => ({
  ids: ids.data as Int32Array,
  cuSeqlens: cuSeqlens.data as Int32Array,
  start: start.data as Int32Array,
});

const lossOptionsOf = (options: GradientOptions): PolicyLossOptions =>
  Object.fromEntries(Object.entries(options).filter(([name]) => (LOSS_OPTIONS as readonly string[]).includes(name)));

const writeJson = (file: string, value: object) => writeFile(file, `${JSON.stringify(value, null, 2)}\n`);
