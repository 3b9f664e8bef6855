// A Tinker server in this process, with a native policy behind it: sums, gradients and steps are the policy's own. A
// test may answer a request itself, or break it off.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Policy, PolicyBatch, PolicyLossOptions } from '../../lib/index.js';
import {
  forwardBackwardFromJson,
  outputToJson,
  promptFromJson,
  sampleToJson,
} from '../../lib/policy/tinker/wire/json.js';
import type { ForwardBackward, ForwardBackwardOutput, SampleResult } from '../../lib/policy/tinker/wire/messages.js';
import { forwardBackwardFromProto, outputToProto, sampleToProto } from '../../lib/policy/tinker/wire/protobuf.js';

// biome-ignore lint/suspicious/noExplicitAny: a request's JSON
export type Body = any;

export interface Asked {
  path: string;
  body: Body;
  headers: { [name: string]: unknown };
  /** How many requests of this path came before it. */
  n: number;
}

export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
  /** Breaks the connection off without an answer: before the request is run, or after. */
  hangUp?: 'before' | 'after';
  /** Never answers. */
  silent?: boolean;
}

export interface TinkerFake {
  url: string;
  asked: Asked[];
  /** Requests of one path. */
  of(path: string): Asked[];
  /** The policies in training, by model_id. */
  models: Map<string, Policy>;
  close(): Promise<void>;
}

export interface FakeOptions {
  /** Folder for the optimizers of saved models. */
  scratch?: string;
  /** Answers instead of the server. */
  respond?: ((asked: Asked) => Answer | undefined) | undefined;
  /** As SkyRL's JAX backend: averages over a sequence and over sequences. */
  reduction?: 'sum' | 'mean';
  /** Whether a repeated seq_id is the same request. Default true. */
  knowsRepeats?: boolean;
  /** Reads batches as protobuf only, and answers so. */
  protobuf?: boolean;
  /** Leaves out the first positions of log-probabilities, as SkyRL's FSDP backend may. */
  tailOnly?: boolean;
  /** SkyRL's prompt_logprobs begin with the second token. */
  noFirst?: boolean;
}

interface Datums {
  request: ForwardBackward;
}

/** The loss of the server as one of the native policy, with sums instead of means. */
function nativeLoss({ lossFn, lossConfig }: ForwardBackward): { values: string; options: PolicyLossOptions } {
  const { clip_low_threshold: low = 0.8, clip_high_threshold: high = 1.2 } = (lossConfig ?? {}) as Body;
  if (lossFn === 'cross_entropy') return { values: 'weights', options: { lossType: 'nll' } };
  if (lossFn === 'importance_sampling')
    return { values: 'advantages', options: { lossType: 'dapo', epsilon: 1, epsilonHigh: 1e9 } };
  if (lossFn === 'ppo')
    return { values: 'advantages', options: { lossType: 'dapo', epsilon: 1 - low, epsilonHigh: high - 1 } };
  return { values: 'advantages', options: { lossType: 'cispo', epsilonHigh: high } };
}

const whole = ({ tokens, lossInputs }: ForwardBackward['data'][number]) => [
  ...tokens,
  lossInputs.target_tokens.data[tokens.length - 1],
];

export async function tinkerServer(base: Policy, options: FakeOptions = {}): Promise<TinkerFake> {
  const { reduction = 'sum', knowsRepeats = true } = options;
  const asked: Asked[] = [];
  const models = new Map<string, Policy>();
  const saved = new Map<string, { policy: Policy; optimizer: string }>();
  const pending = new Map<string, Datums[]>();
  const futures = new Map<string, () => Promise<unknown>>();
  const known = new Map<string, string>();
  let count = 0;
  let created = 0;

  const later = (key: string | undefined, work: () => Promise<unknown>): { request_id: string } => {
    const before = knowsRepeats && key !== undefined ? known.get(key) : undefined;
    if (before !== undefined) return { request_id: before };
    const id = `r${++count}`;
    if (key !== undefined) known.set(key, id);
    const running = work();
    running.catch(() => {});
    futures.set(id, () => running);
    return { request_id: id };
  };

  async function pass(policy: Policy, request: ForwardBackward): Promise<ForwardBackwardOutput> {
    const { logProbs, cuSeqlens } = await policy.logProbs(request.data.map(whole));
    const outputs = request.data.map((_, i) => {
      const own = logProbs.slice(cuSeqlens[i], cuSeqlens[i + 1]);
      const data = options.tailOnly ? own.slice(Math.max(0, own.length - 2)) : own;
      return { logprobs: { data }, ...(reduction === 'mean' && request.forwardOnly && { elementwise_loss: { data } }) };
    });
    return { type: 'scalar', outputs, metrics: {} };
  }

  async function step(id: string, { learning_rate, beta1, beta2, eps, weight_decay, grad_clip_norm = 0 }: Body) {
    const requests = pending.get(id) ?? [];
    pending.delete(id);
    const data = requests.flatMap(({ request }) => request.data);
    const { values, options: loss } = nativeLoss(requests[0].request);
    const flat = (name: string) =>
      Float32Array.from(data.flatMap(({ lossInputs }) => Array.from(lossInputs[name].data)));
    const advantages = flat(values);
    if (reduction === 'mean') {
      let at = 0;
      for (const { tokens } of data)
        for (const end = at + tokens.length; at < end; at++) advantages[at] /= tokens.length * data.length;
    }
    const batch: PolicyBatch = {
      prompts: data.map(({ tokens }) => tokens.subarray(0, 1)),
      completions: data.map((datum) => whole(datum).slice(1)),
      advantages,
      ...(values === 'advantages' && { oldLogProbs: flat('logprobs') }),
    };
    const { gradNorm } = await models.get(id)!.update(batch, {
      ...loss,
      normalizer: { tokens: 1, sequences: 1 },
      ...{
        learningRate: learning_rate,
        adamBeta1: beta1,
        adamBeta2: beta2,
        adamEpsilon: eps,
        weightDecay: weight_decay,
      },
      maxGradNorm: grad_clip_norm > 0 ? grad_clip_norm : Infinity,
    });
    return { metrics: { grad_norm: gradNorm } };
  }

  async function sample(policy: Policy, body: Body): Promise<SampleResult> {
    const prompt = promptFromJson(body.prompt, 'prompt');
    const { max_tokens, temperature, top_k, top_p, seed, stop } = body.sampling_params;
    const [{ completions }] = await policy.generate([prompt], {
      n: body.num_samples,
      maxNewTokens: max_tokens,
      temperature,
      topK: Math.max(0, top_k ?? 0),
      topP: top_p,
      seed: [seed ?? 0],
      stop: stop ?? [0],
    });
    const sequences = completions.map(({ tokens, logProbs, finishReason }) => ({
      tokens,
      logProbs,
      stopReason: finishReason,
    }));
    if (!body.prompt_logprobs) return { sequences };
    const { logProbs } = await policy.logProbs([prompt]);
    return { sequences, promptLogProbs: options.noFirst ? logProbs : Float32Array.of(Number.NaN, ...logProbs) };
  }

  /** Runs a request. */
  function run(path: string, body: Body): unknown {
    const id = body.model_id ?? body.modelId;
    const key = `${id} ${body.seq_id ?? body.seqId}`;
    if (id !== undefined && !models.has(id)) return { status: 404, body: { detail: 'Model not found' } };
    const sampler = () => saved.get(body.model_path ?? body.sampling_session_id)?.policy ?? base;
    const keep = (name: string) => {
      const policy = models.get(id)!;
      return later(key, async () => {
        const optimizer = join(options.scratch ?? tmpdir(), `${randomUUID()}.bin`);
        await policy.saveOptimizer(optimizer);
        saved.set(name, { policy: policy.clone(), optimizer });
        return path === 'save_weights' ? { path: name } : { sampling_session_id: name };
      });
    };
    switch (path) {
      case 'get_server_capabilities':
        return { supported_models: [{ model_name: 'base' }] };
      case 'create_session':
        return { session_id: 's1' };
      case 'session_heartbeat':
        return {};
      case 'create_model': {
        const name = `m${++created}`;
        models.set(name, base.clone());
        return later(undefined, async () => ({ model_id: name }));
      }
      case 'forward':
      case 'forward_backward': {
        const policy = models.get(id)!;
        return later(key, async () => {
          if (!body.forwardOnly) pending.set(id, [...(pending.get(id) ?? []), { request: body }]);
          return { pass: await pass(policy, body) };
        });
      }
      case 'optim_step':
        return later(key, () => step(id, body.adam_params));
      case 'save_weights':
        return keep(`tinker://${id}/weights/${body.path}`);
      case 'save_weights_for_sampler':
        return keep(`sampler-${body.sampling_session_seq_id}`);
      case 'load_weights':
        return later(key, async () => {
          const { policy, optimizer } = saved.get(body.path)!;
          const loaded = policy.clone();
          if (body.optimizer) await loaded.loadOptimizer(optimizer);
          models.set(id, loaded);
          return {};
        });
      case 'unload_model':
        models.delete(id);
        return later(undefined, async () => ({}));
      case 'asample':
        return later(undefined, async () => ({ sample: await sample(sampler(), body) }));
      case 'retrieve_future': {
        const future = futures.get(body.request_id);
        return future ? future() : { status: 410, body: { detail: 'unknown request' } };
      }
      default:
        return { status: 404, body: { detail: `no ${path}` } };
    }
  }

  const server = createServer(async (request, response) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const bytes = new Uint8Array(Buffer.concat(chunks));
    const path = request.url!.replace('/api/v1/', '');
    const binary = request.headers['content-type'] === 'application/x-protobuf';
    const passes = path === 'forward' || path === 'forward_backward';
    const json = binary || bytes.length === 0 ? {} : JSON.parse(new TextDecoder().decode(bytes));
    const body = passes
      ? binary
        ? forwardBackwardFromProto(bytes)
        : forwardBackwardFromJson(json, path === 'forward')
      : json;
    const entry = { path, body, headers: request.headers, n: asked.filter((each) => each.path === path).length };
    asked.push(entry);
    const scripted =
      options.respond?.(entry) ??
      (options.protobuf && passes && !binary ? { status: 415, body: { detail: 'protobuf' } } : undefined);
    if (scripted?.silent) return;
    if (scripted?.hangUp === 'before') return void request.socket.destroy();
    let answer: Body = scripted;
    let type = 'application/json';
    if (!scripted || scripted.hangUp) {
      try {
        const result = (await run(path, body)) as Body;
        answer = result?.status ? result : { body: result };
      } catch (error) {
        answer = { body: { error: String((error as Error).message), category: 'server' } };
      }
    }
    if (scripted?.hangUp) return void request.socket.destroy();
    let sent: Uint8Array | string = JSON.stringify(answer.body ?? {});
    const { pass: output, sample: samples } = answer.body ?? {};
    if ((output || samples) && options.protobuf) {
      type = 'application/x-protobuf';
      sent = output ? outputToProto(output) : sampleToProto(samples);
    } else if (output || samples) sent = JSON.stringify(output ? outputToJson(output) : sampleToJson(samples));
    response.writeHead(answer.status ?? 200, { 'content-type': type, ...answer.headers });
    response.end(sent);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    of: (path) => asked.filter((each) => each.path === path),
    models,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
