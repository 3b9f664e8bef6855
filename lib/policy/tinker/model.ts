// A model in training on a Tinker server: passes, optimizer steps, saving and loading, each with its number (seq_id).

import { randomUUID } from 'node:crypto';
import { types } from 'node:util';
import { mapConcurrently } from '../../base/concurrency.js';
import { messageOf, PrlError } from '../../base/errors.js';
import type { Json } from '../../base/json.js';
import { type Ask, type Connection, Refusal, type Result, UnsupportedBody } from './connection.js';
import { datumOf, readLogProbs, requestsOf, type Scored } from './datums.js';
import { forwardBackwardToJson, outputFromJson } from './wire/json.js';
import {
  type AdamParams,
  type CreateModel,
  type ForwardBackward,
  type ForwardBackwardOutput,
  WireError,
} from './wire/messages.js';
import { forwardBackwardToProto, outputFromProto } from './wire/protobuf.js';

/** How a server turns the terms of the tokens into one loss; see TinkerOptions.lossReduction. */
export type LossReduction = 'sum' | 'mean';

export interface ModelSetup {
  baseModel: string;
  lora: CreateModel['lora_config'];
  encoding: 'json' | 'protobuf';
  lossReduction?: LossReduction | undefined;
}

/** What the server computes gradients of: its loss, and inputs with one value per scored token. */
export interface ServerLoss {
  lossFn: string;
  config?: { [name: string]: number } | undefined;
  inputs: { [name: string]: Float32Array };
}

/** Whose weights sample. */
export type Source = { base_model: string } | { model_path: string } | { sampling_session_id: string };

/** Names of the gradient's norm in the metrics of optim_step: ours, SkyRL's, Thinking Machines'. */
const GRAD_NORMS = ['grad_norm', 'skyrl.ai/grad_norm', 'unclipped_grad_l2:mean'];

/** Results that are waited for at once. */
const AT_ONCE = 64;

export class Model {
  readonly #connection: Connection;
  readonly #id: string;
  #protobuf: boolean;
  #reduction: LossReduction | undefined;
  #seq = 0;
  #repeats: Promise<boolean> | undefined;
  #broken: PrlError | undefined;

  private constructor(connection: Connection, id: string, { encoding, lossReduction }: ModelSetup) {
    this.#connection = connection;
    this.#id = id;
    this.#protobuf = encoding === 'protobuf';
    this.#reduction = lossReduction;
  }

  static async create(connection: Connection, setup: ModelSetup, signal?: AbortSignal): Promise<Model> {
    const body: CreateModel & { type: string } = {
      session_id: connection.session,
      model_seq_id: connection.nextModel(),
      base_model: setup.baseModel,
      lora_config: setup.lora,
      type: 'create_model',
    };
    // A repeated request might take the place of two models.
    const ask: Ask = { what: 'create_model', signal, mayRepeat: async () => false };
    const answer = await connection.post('create_model', body, ask);
    const created = (await connection.result(connection.requestId(answer, ask.what), ask)) as Json;
    const id = created.model_id ?? answer.model_id;
    if (typeof id !== 'string') throw connection.unusable(ask.what, 'it has no model_id');
    return new Model(connection, id, setup);
  }

  /** Log-probabilities of the scored tokens, packed. Changes nothing. */
  async forward(sequences: readonly Scored[], signal?: AbortSignal): Promise<Float32Array> {
    this.#whole();
    const ones = new Float32Array(sequences.reduce((sum, { count }) => sum + count, 0)).fill(1);
    const loss = { lossFn: 'cross_entropy', inputs: { weights: ones } };
    const ask: Ask = { what: 'forward', signal };
    const sent: string[] = [];
    for (const part of requestsOf(sequences)) sent.push(await this.#pass(part, loss, true, ask));
    return this.#logProbs(sequences, sent, ask, (output) => {
      // SkyRL's JAX backend alone gives the losses of a forward pass; it averages over a sequence and over sequences.
      this.#reduction ??= output.type === 'scalar' && output.outputs[0]?.elementwise_loss ? 'mean' : 'sum';
    });
  }

  /** Whether the server sums the terms of the tokens, or averages them. It asks if nothing was measured before. */
  async reduction(sequences: readonly Scored[], signal?: AbortSignal): Promise<LossReduction> {
    if (this.#reduction === undefined) await this.forward([{ ...sequences[0], offset: 0 }], signal);
    return this.#reduction!;
  }

  /**
   * One optimizer step: gradients, which the server adds up, and the step, sent without waiting in between. Once
   * something was sent, a failure leaves the weights uncertain, and the model takes no more calls.
   *
   * @returns the log-probabilities before the step, and the norm of the gradient: NaN if the server does not give it
   */
  async step(
    sequences: readonly Scored[],
    loss: ServerLoss,
    adam: AdamParams,
    signal?: AbortSignal,
  ): Promise<{ logProbs: Float32Array; metrics: Json; gradNorm: number }> {
    this.#whole();
    const mayRepeat = () => this.#repeatsSafely(sequences[0]);
    const ask: Ask = { what: 'forward_backward', signal, mayRepeat };
    const sent: string[] = [];
    try {
      for (const part of requestsOf(sequences)) sent.push(await this.#pass(part, loss, false, ask));
      const step = { what: 'optim_step', signal, mayRepeat };
      const body = { adam_params: adam, type: 'optim_step' };
      const stepId = await this.#send('optim_step', body, step);
      const logProbs = await this.#logProbs(sequences, sent, ask);
      const answer = (await this.#connection.result(stepId, step)) as Json;
      const metrics = (answer.metrics ?? {}) as Json;
      const norm = GRAD_NORMS.map((name) => metrics[name]).find((value) => typeof value === 'number');
      return { logProbs, metrics, gradNorm: (norm as number | undefined) ?? Number.NaN };
    } catch (error) {
      if (sent.length > 0 || !(error instanceof Refusal)) this.#broken = halfDone(error);
      throw error;
    }
  }

  /** Saves weights and optimizer on the server and returns their address. */
  async save(signal?: AbortSignal): Promise<string> {
    this.#whole();
    const body = { path: `prl-${randomUUID()}`, type: 'save_weights' };
    const { path } = await this.#run('save_weights', body, signal);
    if (typeof path !== 'string') throw this.#connection.unusable('save_weights', 'it has no path');
    return path;
  }

  /** Loads what save() saved, also of another model with the same base and rank. */
  async load(path: string, optimizer: boolean, signal?: AbortSignal): Promise<void> {
    await this.#run('load_weights', { path, optimizer, type: 'load_weights' }, signal);
  }

  /** Hands the current weights to the samplers. */
  async publish(signal?: AbortSignal): Promise<Source> {
    this.#whole();
    const body = { sampling_session_seq_id: this.#connection.nextSampler(), type: 'save_weights_for_sampler' };
    const { sampling_session_id, path } = await this.#run('save_weights_for_sampler', body, signal);
    if (typeof sampling_session_id === 'string') return { sampling_session_id };
    if (typeof path === 'string') return { model_path: path };
    throw this.#connection.unusable('save_weights_for_sampler', 'it has neither a sampling_session_id nor a path');
  }

  /** Frees the model's place on the server. */
  async unload(): Promise<void> {
    this.#broken ??= new PrlError('ERR_PRL_DISPOSED', 'the model was unloaded');
    const ask: Ask = { what: 'unload_model' };
    const body = { model_id: this.#id, type: 'unload_model' };
    await this.#connection.result(await this.#connection.submit('unload_model', body, ask), ask);
  }

  #whole(): void {
    if (this.#broken) throw new PrlError(this.#broken.code, this.#broken.message, { cause: this.#broken.cause });
  }

  /** A request that is JSON in both dialects, and its result. */
  async #run(path: string, body: object, signal?: AbortSignal): Promise<Json> {
    const ask: Ask = { what: path, signal, mayRepeat: () => this.#repeatsSafely() };
    return (await this.#connection.result(await this.#send(path, body, ask), ask)) as Json;
  }

  #send(path: string, body: object, ask: Ask): Promise<string> {
    return this.#connection.submit(path, { model_id: this.#id, seq_id: ++this.#seq, ...body }, ask);
  }

  #pass(part: readonly Scored[], { lossFn, config, inputs }: ServerLoss, forwardOnly: boolean, ask: Ask) {
    const data = part.map((sequence) => datumOf(sequence, inputs));
    return this.#sendPass(
      { modelId: this.#id, seqId: ++this.#seq, forwardOnly, data, lossFn, lossConfig: config },
      ask,
    );
  }

  /** JSON, or protobuf once the server said that it does not read JSON. */
  async #sendPass(request: ForwardBackward, ask: Ask): Promise<string> {
    const path = request.forwardOnly ? 'forward' : 'forward_backward';
    if (!this.#protobuf) {
      try {
        return await this.#connection.submit(path, forwardBackwardToJson(request), ask);
      } catch (error) {
        if (!(error instanceof UnsupportedBody)) throw error;
        this.#protobuf = true;
      }
    }
    return this.#connection.submit('forward_backward', forwardBackwardToProto(request), ask);
  }

  async #logProbs(
    sequences: readonly Scored[],
    sent: readonly string[],
    ask: Ask,
    look?: (output: ForwardBackwardOutput) => void,
  ): Promise<Float32Array> {
    const outputs = await mapConcurrently(
      sent,
      AT_ONCE,
      async (id, signal) => this.#output(await this.#connection.result(id, { ...ask, signal }), ask.what),
      ask.signal,
    );
    if (look) for (const output of outputs) look(output);
    const all = { type: '', metrics: {}, outputs: outputs.flatMap((output) => output.outputs) };
    return this.#readable(ask.what, () => readLogProbs(sequences, all));
  }

  #output(result: Result, what: string): ForwardBackwardOutput {
    return this.#readable(what, () => (types.isUint8Array(result) ? outputFromProto : outputFromJson)(result as never));
  }

  #readable<T>(what: string, read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof WireError) throw this.#connection.unusable(what, error.message);
      throw error;
    }
  }

  /**
   * Whether the server knows a repeated request by its number. It is asked only when a connection broke: two forward
   * passes with the same number, which change nothing, are one request or two.
   */
  #repeatsSafely(sequence?: Scored): Promise<boolean> {
    this.#repeats ??= (async () => {
      const { ids } = sequence ?? { ids: Int32Array.of(0, 0) };
      const data = [
        datumOf({ ids: ids.subarray(0, 2), start: 1, offset: 0, count: 1 }, { weights: Float32Array.of(1) }),
      ];
      const request = { modelId: this.#id, seqId: ++this.#seq, forwardOnly: true, data, lossFn: 'cross_entropy' };
      const ask: Ask = { what: 'forward' };
      const first = await this.#sendPass(request, ask);
      return first === (await this.#sendPass(request, ask));
    })().catch(() => false);
    return this.#repeats;
  }
}

const halfDone = (error: unknown): PrlError =>
  new PrlError(
    (error as PrlError).code === 'ERR_PRL_SESSION_LOST' ? 'ERR_PRL_SESSION_LOST' : 'ERR_PRL_ENGINE',
    `an update of this policy broke off (${messageOf(error)}), so its weights on the server are uncertain: resume from the last checkpoint`,
    { cause: error },
  );
