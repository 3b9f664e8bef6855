// The requests of the Tinker protocol: https://tinker-docs.thinkingmachines.ai. Those that take long are futures.
import { invalidArgument, outOfRange } from '../../../base/errors.js';
import { isObject, type Json } from '../../../base/json.js';
import { checkBoolean, checkInteger, checkString } from '../../../base/options.js';
import type { Policy } from '../../../policy/policy.js';
import { sampleToJson } from '../../../policy/tinker/wire/json.js';
import type { ForwardBackward } from '../../../policy/tinker/wire/messages.js';
import { sampleToProto } from '../../../policy/tinker/wire/protobuf.js';
import type { Tokenizer } from '../../../policy/tokenizer.js';
import { HttpError } from '../http.js';
import { type Answer, Futures, type Progress } from './futures.js';
import { ServedModel } from './model.js';
import { readSample } from './sample-request.js';
import { Samplers } from './samplers.js';
import { Sessions } from './sessions.js';
import { type Lora, States } from './states.js';

export interface TinkerSettings {
  servedModelName: string;
  /** Where clients find the tokenizer. */
  tokenizerId: string;
  stateFolder: string;
  maxRequests: number;
  maxCompletions: number;
  maxModels: number;
  maxSamplers: number;
  sessionTimeout: number;
  microBatchTokens: number;
}

/** What the protocol calls LoRA is the training of all weights here. */
const NO_LORA = 'all weights are trained: this server has no LoRA, whatever rank is asked for';
/** Sampling requests that are remembered, so that a repetition is not a new request. */
const MOST_REPEATABLE = 8192;

const optional = (name: string, value: unknown) => (value == null ? undefined : checkString(name, value));
const seqIdOf = ({ seq_id }: Json) => (seq_id == null ? undefined : checkInteger('seq_id', seq_id, 0, 2 ** 31 - 1));

export class TinkerService {
  readonly futures: Futures;
  readonly #states: States;
  readonly #samplers: Samplers;
  readonly #sessions: Sessions;
  /** request_ids of sampling, by session and seq_id. */
  readonly #sampled = new Map<string, string>();

  constructor(
    readonly policy: Policy,
    readonly tokenizer: Tokenizer | undefined,
    readonly settings: TinkerSettings,
    readonly log: (line: string) => void,
  ) {
    this.futures = new Futures(settings.maxRequests);
    this.#states = new States(settings.stateFolder, policy, tokenizer);
    this.#samplers = new Samplers(this.#states, settings.maxSamplers);
    this.#sessions = new Sessions(this.#samplers, settings.sessionTimeout, log);
  }

  async close(): Promise<void> {
    const ended = this.futures.close();
    this.#sessions.close();
    await ended;
    this.#samplers.dispose();
  }

  /** Requests with a JSON body that are answered at once, by path. */
  readonly posts: { readonly [path: string]: (body: Json) => object | Promise<object> } = {
    'client/config': () => ({
      pjwt_auth_enabled: false,
      proto_compress_fwdbwd: false,
      sample_use_retrieve_futures: false,
      custom_loss_server_side: false,
      sample_max_concurrent_requests: this.settings.maxRequests,
    }),
    'client/dynamic_config': () => ({ sample_cancel_enabled: true }),
    telemetry: () => ({ status: 'accepted' }),
    create_session: () => ({ type: 'create_session', session_id: this.#sessions.start(), info_message: NO_LORA }),
    session_heartbeat: ({ session_id }) => {
      this.#sessions.get(session_id);
      return { type: 'session_heartbeat' };
    },
    create_model: (body) => this.#createModel(body),
    get_info: ({ model_id }) => this.#info(model_id),
    unload_model: ({ model_id }) => {
      const done = { type: 'unload_model', model_id };
      this.#sessions.unload(model_id);
      return this.#future(async () => ({ json: () => done }));
    },
    optim_step: (body) => this.#inTurn(body, (model) => model.optimStep(body)),
    save_weights: (body) => this.#inTurn(body, (model) => model.saveWeights(body)),
    save_weights_for_sampler: (body) => this.#inTurn(body, (model) => this.#saveForSampler(model, body)),
    load_weights: (body) =>
      body.model_id == null
        ? this.#createModel(body, body.path)
        : this.#inTurn(body, (model) => model.loadWeights(body)),
    weights_info: async ({ tinker_path }) => {
      const { base_model, lora } = await this.#states.facts(tinker_path);
      // What its client asked for: SDK 0.19 makes no model from a state without a rank.
      return { base_model, is_lora: true, lora_rank: lora.rank, ...lora };
    },
    create_sampling_session: (body) => this.#openSampling(body),
    asample: (body) => this.#sample(body),
    cancel_future: ({ request_id }) => {
      this.futures.cancel(checkString('request_id', request_id));
      return {};
    },
  };

  capabilities(): object {
    const model = { model_name: this.settings.servedModelName, max_context_length: this.#context };
    return { supported_models: [{ ...model, trainable: true, sampleable: true }] };
  }

  sampler(id: string): object {
    const { key } = this.#samplers.source(id);
    const { servedModelName } = this.settings;
    return { sampler_id: id, base_model: servedModelName, ...(key?.startsWith('tinker:') && { model_path: key }) };
  }

  finish(session: string): object {
    this.#sessions.get(session);
    this.#sessions.end(session, 'the client has finished');
    return {};
  }

  /** forward and forward_backward, in either encoding. */
  forwardBackward(request: ForwardBackward): object {
    const { modelId, seqId } = request;
    return this.#inTurn({ model_id: modelId, seq_id: seqId }, (model) => model.forwardBackward(request));
  }

  get #context(): number {
    return this.policy.config.max_position_embeddings ?? 2048;
  }

  #future(run: () => Promise<Answer>): object {
    return { request_id: this.futures.start(run) };
  }

  #inTurn(body: Json, run: (model: ServedModel) => Promise<Answer>): object {
    const model = this.#sessions.model(body.model_id);
    return { request_id: model.turns.submit(seqIdOf(body), () => run(model)), model_id: model.id };
  }

  /** A model with the base's weights, or with those of a saved state. */
  #createModel(body: Json, path?: unknown): object {
    const session = this.#sessions.get(body.session_id);
    const fromState = path !== undefined;
    const make = async (modelId: string): Promise<Answer> => {
      const facts = fromState ? await this.#states.facts(path) : { base_model: '', lora: readLora(body.lora_config) };
      this.#checkBase(fromState ? (body.base_model ?? facts.base_model) : body.base_model);
      const optimizer = body.optimizer_config;
      if (isObject(optimizer) && optimizer.type !== undefined && optimizer.type !== 'adamw')
        throw outOfRange(`the optimizer must be 'adamw', not '${String(optimizer.type).slice(0, 100)}'`);
      const policy = fromState
        ? await this.#states.load(path, { optimizer: checkBoolean('optimizer', body.optimizer ?? false) })
        : await this.#samplers.base.clone();
      const settings = {
        states: this.#states,
        microBatchTokens: this.settings.microBatchTokens,
        context: this.#context,
      };
      const kept = { base_model: this.settings.servedModelName, lora: facts.lora };
      this.#sessions.add(new ServedModel(modelId, policy, kept, settings, this.futures));
      this.log(`model ${modelId}: LoRA of rank ${facts.lora.rank} was asked for; ${NO_LORA}`);
      return fromState
        ? { json: () => ({ type: 'load_weights', path, model_id: modelId }) }
        : { json: () => ({ type: 'create_model', model_id: modelId }) };
    };
    const request = this.#sessions.makeOnce(session, body.model_seq_id, (modelId) =>
      this.futures.start((progress) =>
        this.#sessions.withRoom(session, this.settings.maxModels, progress, () => make(modelId)),
      ),
    );
    return { request_id: request };
  }

  #checkBase(name: unknown): void {
    const { servedModelName } = this.settings;
    if (checkString('base_model', name) !== servedModelName)
      throw outOfRange(
        `base_model must be '${servedModelName}', the served model, not '${String(name).slice(0, 200)}'`,
      );
  }

  #info(modelId: unknown): object {
    const { id } = this.#sessions.model(modelId);
    const { servedModelName: model_name, tokenizerId: tokenizer_id } = this.settings;
    const model_data = { arch: this.policy.config.model_type, model_name, tokenizer_id };
    return { type: 'get_info', model_id: id, model_name, model_data, is_lora: false, lora_rank: null };
  }

  async #saveForSampler(model: ServedModel, body: Json): Promise<Answer> {
    if (body.path != null || body.sampling_session_seq_id == null) return model.saveForSampler(body);
    const id = this.#samplers.keep(model.id.split(':')[0], model.snapshot());
    return { json: () => ({ type: 'save_weights_for_sampler', sampling_session_id: id }) };
  }

  async #openSampling(body: Json): Promise<object> {
    const session = this.#sessions.get(body.session_id);
    const address = optional('model_path', body.model_path);
    if (address !== undefined) await this.#states.facts(address);
    else this.#checkBase(body.base_model);
    const sampling_session_id = this.#samplers.open(session.id, address);
    return { type: 'create_sampling_session', sampling_session_id };
  }

  #sample(body: Json): object {
    const session = optional('sampling_session_id', body.sampling_session_id);
    const address = optional('model_path', body.model_path);
    if (session !== undefined) this.#sessions.get(this.#samplers.source(session).session);
    else if (address === undefined) this.#checkBase(body.base_model);
    const repeat = session !== undefined && body.seq_id != null ? `${session}/${body.seq_id}` : undefined;
    const n = checkInteger('num_samples', body.num_samples ?? 1, 1, this.settings.maxCompletions);
    const run = async ({ signal }: Progress): Promise<Answer> => {
      const asked = readSample(body, this.#sampleLimits());
      const sampler = await (session !== undefined
        ? this.#samplers.ofSession(session)
        : address !== undefined
          ? this.#samplers.get(address)
          : this.#samplers.base);
      const result = await sampler.sample(asked, signal);
      return { json: () => sampleToJson(result), proto: () => sampleToProto(result) };
    };
    const request_id = (repeat !== undefined && this.#sampled.get(repeat)) || this.futures.start(run);
    if (repeat !== undefined) {
      this.#sampled.set(repeat, request_id);
      if (this.#sampled.size > MOST_REPEATABLE) this.#sampled.delete(this.#sampled.keys().next().value!);
    }
    return { request_id, sample_sequence_ids: Array.from({ length: n }, (_, i) => `${request_id}:${i}`) };
  }

  #sampleLimits() {
    const { config } = this.policy;
    const eos = config.eos_token_id ?? [];
    return {
      vocab: config.vocab_size,
      context: this.#context,
      eos: [...new Set([...(Array.isArray(eos) ? eos : [eos]), ...(this.tokenizer?.stopTokenIds ?? [])])],
      maxCompletions: this.settings.maxCompletions,
      tokenizer: this.tokenizer,
    };
  }
}

function readLora(given: unknown): Lora {
  const config = given ?? {};
  if (!isObject(config)) throw invalidArgument('lora_config must be an object');
  const flag = (name: string) => checkBoolean(name, config[name] ?? true);
  return {
    rank: checkInteger('lora_config.rank', config.rank ?? 32, 0, 2 ** 31 - 1),
    train_unembed: flag('train_unembed'),
    train_mlp: flag('train_mlp'),
    train_attn: flag('train_attn'),
  };
}

export const notFound = (route: string) => new HttpError(404, `there is no route ${route.slice(0, 200)}`);
