// A model in training: a policy of its own, its gradients so far, and its requests in their order.
import { invalidArgument, messageOf, PrlError } from '../../../base/errors.js';
import type { Json } from '../../../base/json.js';
import { checkBoolean, checkNumber, checkOptions, checkString } from '../../../base/options.js';
import type { Policy } from '../../../policy/policy.js';
import { outputToJson } from '../../../policy/tinker/wire/json.js';
import type { AdamParams, ForwardBackward, ForwardBackwardOutput } from '../../../policy/tinker/wire/messages.js';
import { outputToProto } from '../../../policy/tinker/wire/protobuf.js';
import { readData } from './data.js';
import type { Answer, Futures } from './futures.js';
import { Gradients } from './gradients.js';
import { readLoss } from './losses.js';
import type { Lora, States } from './states.js';
import { Turns } from './turns.js';

/** The values of AdamParams that a client leaves out: those of the SDK. */
const ADAM: Required<AdamParams> = {
  learning_rate: 1e-4,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-12,
  weight_decay: 0,
  grad_clip_norm: 0,
};

interface ModelSettings {
  states: States;
  microBatchTokens: number;
  /** Longest sequence in tokens. */
  context: number;
}

export class ServedModel {
  readonly turns: Turns;
  #policy: Policy;
  readonly #gradients = new Gradients();
  #saved = 0;

  constructor(
    readonly id: string,
    policy: Policy,
    readonly facts: { base_model: string; lora: Lora },
    readonly settings: ModelSettings,
    futures: Futures,
  ) {
    this.#policy = policy;
    this.turns = new Turns(futures, 1);
  }

  /** Adds the gradient of a batch at the current weights, unless it is a forward. */
  async forwardBackward(request: ForwardBackward): Promise<Answer> {
    const { forwardOnly } = request;
    try {
      const output = await this.#forwardBackward(request);
      return { json: () => outputToJson(output), proto: () => outputToProto(output) };
    } catch (error) {
      // An optim_step that is already on its way must not step with a part of the batch.
      if (!forwardOnly) this.#gradients.breakOff(messageOf(error));
      throw error;
    }
  }

  async #forwardBackward({ data, lossFn, lossConfig, forwardOnly }: ForwardBackward): Promise<ForwardBackwardOutput> {
    const { context, microBatchTokens } = this.settings;
    const loss = readLoss(lossFn, lossConfig);
    const sequences = readData(data, lossFn, loss.loss, { context, forwardOnly });
    const { logProbs, cuSeqlens } = await this.#policy.logProbs(
      sequences.map(({ ids }) => ids),
      { microBatchTokens },
    );
    const gradients = forwardOnly ? new Gradients() : this.#gradients;
    const sum = gradients.add(sequences, logProbs, loss);
    return {
      type: 'ArrayRecord',
      outputs: sequences.map((_, i) => ({ logprobs: { data: logProbs.slice(cuSeqlens[i], cuSeqlens[i + 1]) } })),
      metrics: { 'loss:sum': sum },
    };
  }

  /** One step of AdamW with the gradients since the last one. If the request is wrong, they stay. */
  async optimStep({ adam_params, optim_params, optimizer_params }: Json): Promise<Answer> {
    if (optimizer_params != null) throw invalidArgument('the optimizer is AdamW, which takes adam_params');
    const given = (adam_params ?? optim_params ?? {}) as AdamParams;
    const adam = { ...ADAM, ...checkOptions('adam_params', given, Object.keys(ADAM)) };
    const clip = checkNumber('grad_clip_norm', adam.grad_clip_norm);
    const { applied, gradNorm } = await this.#policy.update(this.#gradients.batch(), {
      lossType: 'nll',
      // The losses are sums, whose divisor is 1.
      normalizer: { tokens: 1, sequences: 1 },
      learningRate: adam.learning_rate,
      adamBeta1: adam.beta1,
      adamBeta2: adam.beta2,
      adamEpsilon: adam.eps,
      weightDecay: adam.weight_decay,
      maxGradNorm: clip > 0 ? clip : Infinity,
      microBatchTokens: this.settings.microBatchTokens,
    });
    this.#gradients.clear();
    if (!applied) throw new PrlError('ERR_PRL_NON_FINITE', 'the gradient is not finite: the weights stay as they were');
    return { json: () => ({ metrics: { grad_norm: gradNorm, 'unclipped_grad_l2:mean': gradNorm } }) };
  }

  async saveWeights({ path, overwrite }: Json): Promise<Answer> {
    const at = await this.#save('weights', path, overwrite == null || checkBoolean('overwrite', overwrite));
    return { json: () => ({ path: at, type: 'save_weights' }) };
  }

  async saveForSampler({ path }: Json): Promise<Answer> {
    const at = await this.#save('sampler_weights', path, true);
    return { json: () => ({ path: at, type: 'save_weights_for_sampler' }) };
  }

  #save(kind: 'weights' | 'sampler_weights', path: unknown, overwrite: boolean): Promise<string> {
    const name = path == null ? String(++this.#saved).padStart(6, '0') : checkString('path', path);
    return this.settings.states.save(this.#policy, { model: this.id, kind, name, overwrite }, this.facts);
  }

  /** Replaces the weights, and the optimizer by the saved one or by a fresh one. Gradients so far are dropped. */
  async loadWeights({ path, optimizer }: Json): Promise<Answer> {
    if (optimizer == null) throw invalidArgument('load_weights needs optimizer, true or false');
    const loaded = await this.settings.states.load(path, { optimizer: checkBoolean('optimizer', optimizer) });
    this.#policy.dispose();
    this.#policy = loaded;
    this.#gradients.clear();
    return { json: () => ({ path, model_id: this.id, type: 'load_weights' }) };
  }

  /** A copy of the current weights. */
  snapshot(): Policy {
    return this.#policy.clone();
  }

  dispose(): void {
    this.#policy.dispose();
  }
}
