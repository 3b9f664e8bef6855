// The Tinker server in this process, over loopback: what it trains, samples, saves and refuses.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  characterTokenizer,
  Policy,
  type PolicyBatch,
  PrlError,
  type RunningServer,
  serveTinker,
  type TinkerServeOptions,
} from '../../../lib/index.js';
import { forwardBackwardToJson } from '../../../lib/policy/tinker/wire/json.js';
import type { Datum } from '../../../lib/policy/tinker/wire/messages.js';
import { forwardBackwardToProto, outputFromProto, sampleFromProto } from '../../../lib/policy/tinker/wire/protobuf.js';
import { TINKER_LOSSES } from '../../../lib/rollout/serve/tinker/losses.js';
import { ServedModel } from '../../../lib/rollout/serve/tinker/model.js';
import { Samplers } from '../../../lib/rollout/serve/tinker/samplers.js';
import { TinkerService } from '../../../lib/rollout/serve/tinker/service.js';
import { Sessions } from '../../../lib/rollout/serve/tinker/sessions.js';
import { States } from '../../../lib/rollout/serve/tinker/states.js';
import { startServer } from '../../fakes/served.js';
import { tinyBatch, tinyPolicy } from '../../policy/tiny.js';
import { normals, random, throwsError } from '../../reference/numbers.js';
import { type Json, prompt, TinkerClient } from './tinker-client.js';

const folder = mkdtempSync(join(tmpdir(), 'prl-tinker-'));
// 23 symbols, as the tiny policy has; its end of sequence is 1 here.
const tokenizer = characterTokenizer('abcdefghijklmnopqrstu');
const model = (seed = 1) => tinyPolicy({ eos_token_id: 1 }, seed);
const options = { servedModelName: 'tiny', tokenizer, port: 0, stateFolder: join(folder, 'states') };

async function serving(
  given: Partial<TinkerServeOptions>,
  test: (url: string, server: RunningServer) => Promise<void>,
) {
  const errors: Error[] = [];
  const onError = (error: Error) => errors.push(error);
  const server = await serveTinker({ policy: model(), ...options, onError, ...given });
  try {
    await test(server.url, server);
  } finally {
    await server.close();
  }
  assert.equal(
    errors.map(({ stack }) => stack),
    [],
    'errors of the server',
  );
}

// Completions with a token: the protocol's data have a target each.
const { prompts, completions } = tinyBatch();
const used = completions.map((_, i) => i).filter((i) => completions[i].length > 0);
const sequences = used.map((i) => Int32Array.from([...Array.from(prompts[i]), ...Array.from(completions[i])]));
const counts = used.map((i) => completions[i].length);
const total = counts.reduce((sum, n) => sum + n, 0);

/** Values per completion token as the batch and as the data have them: 0 for what the prompt predicts. */
function perToken(values: Float32Array, i: number): Float32Array {
  const before = counts.slice(0, i).reduce((sum, n) => sum + n, 0);
  const row = new Float32Array(sequences[i].length - 1);
  row.set(values.subarray(before, before + counts[i]), row.length - counts[i]);
  return row;
}
const dataOf = (inputs: Record<string, Float32Array>): Datum[] =>
  sequences.map((ids, i) => ({
    tokens: ids.slice(0, -1),
    lossInputs: {
      target_tokens: { data: ids.slice(1) },
      ...Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, { data: perToken(values, i) }])),
    },
  }));
const batchOf = (rest: Omit<PolicyBatch, 'prompts' | 'completions'>): PolicyBatch => ({
  prompts: used.map((i) => prompts[i]),
  completions: used.map((i) => completions[i]),
  ...rest,
});

const values = (policy: Policy) => policy.parameters.map(({ name }) => policy.readParameter(name).data as Float32Array);
/** The weights of a model of the server, from the state that it saves. */
async function weightsOf(client: TinkerClient): Promise<Float32Array[]> {
  const { path } = await client.train('save_weights', { path: 'now' });
  return savedWeights(path);
}
async function savedWeights(path: string): Promise<Float32Array[]> {
  const [, id, kind, name] = /^tinker:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(path)!;
  const policy = await Policy.load(join(options.stateFolder, id.replaceAll(':', '-'), kind, name));
  const weights = values(policy);
  policy.dispose();
  return weights;
}

const bytes = ({ buffer }: Float32Array) => new Uint8Array(buffer);
/** The first parameter with other bits; -1: none. (assert.equal takes minutes to describe thousands of numbers.) */
const differs = (found: Float32Array[], expected: Float32Array[]) =>
  expected.findIndex((tensor, i) => Buffer.compare(bytes(found[i]), bytes(tensor)) !== 0);
const sameWeights = (found: Float32Array[], expected: Float32Array[]) =>
  assert.is(differs(found, expected), -1, 'the index of a parameter with other bits');

const ADAM = { learning_rate: 0.01, beta1: 0.8, beta2: 0.97, eps: 1e-7, weight_decay: 0.1, grad_clip_norm: 0.5 };
const AS_UPDATE = {
  learningRate: 0.01,
  adamBeta1: 0.8,
  adamBeta2: 0.97,
  adamEpsilon: 1e-7,
  weightDecay: 0.1,
  maxGradNorm: 0.5,
};
/** The protocol's losses are sums. */
const SUM = { normalizer: { tokens: 1, sequences: 1 } };
const weights = normals(total, 3);

const training = suite('Tinker server: training');
training('two steps of cross_entropy give the bits of Policy.update, however the data are cut', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    const reference = model();
    for (const cut of [2, 5]) {
      const data = dataOf({ weights });
      const { logProbs, cuSeqlens } = await reference.logProbs(sequences);
      const expected = await reference.update(batchOf({ advantages: weights }), {
        ...AS_UPDATE,
        ...SUM,
        lossType: 'nll',
      });
      const [a, b] = [
        await client.forwardBackward(data.slice(0, cut), 'cross_entropy'),
        await client.forwardBackward(data.slice(cut), 'cross_entropy'),
      ];
      for (const [i, { logprobs }] of [...a.loss_fn_outputs, ...b.loss_fn_outputs].entries())
        assert.equal(Float32Array.from(logprobs.data), logProbs.slice(cuSeqlens[i], cuSeqlens[i + 1]), `datum ${i}`);
      // float32 terms, summed in float64 there: 2^-24 of each.
      const loss = a.metrics['loss:sum'] + b.metrics['loss:sum'];
      const size = weights.reduce((sum, weight) => sum + 10 * Math.abs(weight), 0);
      assert.ok(!(Math.abs(loss - expected.loss) > 2 ** -22 * size), `${loss} ${expected.loss}`);
      const { metrics } = await client.train('optim_step', { adam_params: ADAM });
      assert.is(metrics.grad_norm, expected.gradNorm);
      sameWeights(await weightsOf(client), values(reference));
    }
  }),
);

const old = normals(total, 11, 0.4);
const advantages = normals(total, 12);
const OFF_POLICY = [
  [
    'ppo',
    { clip_low_threshold: 0.8, clip_high_threshold: 1.28 },
    { lossType: 'dapo', epsilon: 0.2, epsilonHigh: 0.28 },
  ],
  ['ppo', undefined, { lossType: 'dapo', epsilon: 0.2 }],
  ['cispo', undefined, { lossType: 'cispo', epsilonHigh: 4 }],
  ['importance_sampling', undefined, { lossType: 'dapo', epsilon: 1, epsilonHigh: 1e6 }],
] as const;
for (const [lossFn, config, asUpdate] of OFF_POLICY)
  training(`${lossFn} of ${config ? 'given' : 'default'} thresholds is the loss and the step of Policy.update`, () =>
    serving({}, async (url) => {
      const client = await new TinkerClient(url).start();
      const reference = model();
      const before = values(reference);
      const start = used.map((i) => prompts[i].length);
      const { logProbs: now } = await reference.logProbs(sequences, { start });
      const logprobs = now.map((value, i) => value + old[i]);
      // A large epsilon makes the step linear in the gradient, so that a wrong gradient shows as it is.
      const expected = await reference.update(batchOf({ advantages, oldLogProbs: logprobs }), {
        ...SUM,
        ...asUpdate,
        learningRate: 0.1,
        adamEpsilon: 1e3,
        maxGradNorm: Infinity,
      });
      const data = dataOf({ logprobs, advantages });
      const { metrics } = await client.forwardBackward(data, lossFn, config);
      await client.train('optim_step', { adam_params: { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e3 } });
      const size = advantages.reduce((sum, each) => sum + 10 * Math.abs(each), 0);
      assert.ok(!(Math.abs(metrics['loss:sum'] - expected.loss) > 2 ** -20 * size));
      // A ratio has a rounding of 2^-22; terms that cancel leave 16 times as much of the step.
      const [found, wanted] = [await weightsOf(client), values(reference)];
      let [difference, step] = [0, 0];
      for (const [t, tensor] of wanted.entries())
        for (let k = 0; k < tensor.length; k++) {
          difference += (found[t][k] - tensor[k]) ** 2;
          step += (before[t][k] - tensor[k]) ** 2;
        }
      assert.ok(step > 0);
      assert.ok(!(Math.sqrt(difference / step) > 2 ** -10), `${Math.sqrt(difference / step)} of the step`);
    }),
  );

training('the slope of every loss is the derivative of its value', () => {
  const next = random(5);
  for (const [name, { term, config }] of Object.entries(TINKER_LOSSES))
    for (let round = 0; round < 200; round++) {
      const token = { p: -3 * next(), q: -3 * next(), A: 4 * next() - 2 };
      const ratio = Math.exp(token.p - token.q);
      const bounds = [config.clip_low_threshold, config.clip_high_threshold];
      if (bounds.some((bound) => Math.abs(ratio - bound) < 1e-3)) continue;
      // cispo holds its factor constant.
      const held = name === 'cispo' ? term(token, config).loss / token.p : undefined;
      const value = (p: number) => (held === undefined ? term({ ...token, p }, config).loss : held * p);
      const numeric = (value(token.p + 1e-5) - value(token.p - 1e-5)) / 2e-5;
      const { slope } = term(token, config);
      // The third derivative is below 2 e^3, times 1e-10 / 6; rounding: 50 * 2^-53 / 1e-5.
      assert.ok(!(Math.abs(slope - numeric) > 1e-7), `${name} ${JSON.stringify(token)}: ${slope} ${numeric}`);
    }
});

training('protobuf and JSON, and forward with forward_backward, give the same numbers', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    const data = dataOf({ weights });
    const json = await client.forwardBackward(data, 'cross_entropy', undefined, true);
    const request = { modelId: client.model, data, lossFn: 'cross_entropy' };
    const type = 'application/x-protobuf';
    for (const forwardOnly of [true, false]) {
      const body = forwardBackwardToProto({ ...request, forwardOnly });
      const { body: started } = await client.raw('forward_backward', body, { 'content-type': type });
      await client.result(started.request_id);
      const { bytes } = await client.raw('retrieve_future', { request_id: started.request_id }, { accept: type });
      const { outputs, metrics } = outputFromProto(bytes);
      assert.equal(metrics, json.metrics);
      assert.equal(
        outputs.map(({ logprobs }) => logprobs.data),
        json.loss_fn_outputs.map(({ logprobs }: Json) => Float32Array.from(logprobs.data)),
      );
    }
    // Only the last of the three was a forward_backward.
    await client.train('optim_step', { adam_params: ADAM });
    await assertFails(
      client.train('optim_step', { adam_params: ADAM }),
      /200 user: optim_step needs a forward_backward/,
    );
  }),
);

training('requests run in the order of their seq_id, and a repeated one runs once', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    const { model: model_id } = client;
    const step = await client.post('optim_step', { model_id, seq_id: 2, adam_params: ADAM });
    const request = { modelId: model_id, seqId: 1, data: dataOf({ weights }), lossFn: 'cross_entropy' };
    const body = forwardBackwardToJson({ ...request, forwardOnly: false });
    const first = await client.post('forward_backward', body);
    const again = await client.post('forward_backward', body);
    assert.is(again.request_id, first.request_id);
    assert.is(
      (await client.post('optim_step', { model_id, seq_id: 2, adam_params: ADAM })).request_id,
      step.request_id,
    );
    await client.result(step.request_id);
    const reference = model();
    await reference.update(batchOf({ advantages: weights }), { ...AS_UPDATE, ...SUM, lossType: 'nll' });
    const { path } = await client.call('save_weights', { model_id, seq_id: 3, path: 'ordered' });
    sameWeights(await savedWeights(path), values(reference));
  }),
);

training('a step whose forward_backward failed in part does not happen, and the next one does', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    const before = await weightsOf(client);
    const data = dataOf({ weights });
    const wrong = { tokens: Int32Array.of(3, 4), lossInputs: { target_tokens: { data: Int32Array.of(5, 6) } } };
    await client.forwardBackward(data, 'cross_entropy');
    await assertFails(
      client.forwardBackward([wrong], 'cross_entropy'),
      /200 user: data\[0\]: cross_entropy needs the input weights/,
    );
    await assertFails(client.train('optim_step', { adam_params: ADAM }), /a forward_backward before this .* failed/);
    sameWeights(await weightsOf(client), before);
    await client.forwardBackward(data, 'cross_entropy');
    await client.train('optim_step', { adam_params: ADAM });
    const after = await weightsOf(client);
    assert.is.not(differs(after, before), -1);
  }),
);

training('a batch whose weights are all 0 is a step of momentum alone', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    const reference = model();
    const zero = new Float32Array(total);
    for (const given of [weights, zero]) {
      await client.forwardBackward(dataOf({ weights: given }), 'cross_entropy');
      await client.train('optim_step', { adam_params: ADAM });
      const batch = batchOf({ advantages: given });
      await reference.update(batch, { ...AS_UPDATE, ...SUM, lossType: 'nll' });
    }
    sameWeights(await weightsOf(client), values(reference));
  }),
);

const states = suite('Tinker server: states');
states('a saved state with its optimizer continues bit for bit, also in a new model and after a restart', async () => {
  const data = dataOf({ weights });
  let path = '';
  let expected: Float32Array[] = [];
  const step = async (client: TinkerClient) => {
    await client.forwardBackward(data, 'cross_entropy');
    await client.train('optim_step', { adam_params: ADAM });
  };
  await serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    await step(client);
    ({ path } = await client.train('save_weights', { path: 'half-way' }));
    await step(client);
    expected = await weightsOf(client);
    await client.train('load_weights', { path, optimizer: true });
    await step(client);
    sameWeights(await weightsOf(client), expected);
    await client.train('load_weights', { path, optimizer: false });
    await step(client);
    const anew = await weightsOf(client);
    assert.is.not(differs(anew, expected), -1, 'the optimizer begins anew');
    await assertFails(client.train('save_weights', { path: 'half-way', overwrite: false }), /there is a state/);
  });
  await serving({}, async (url) => {
    const client = new TinkerClient(url);
    const { session_id } = await client.post('create_session', { tags: [], user_metadata: null, sdk_version: '' });
    const { model_id } = await client.call('load_weights', { session_id, model_seq_id: 0, path, optimizer: true });
    assert.is(model_id, `${session_id}:train:0`);
    client.model = model_id;
    await step(client);
    sameWeights(await weightsOf(client), expected);
    const { base_model, lora_rank } = await client.post('weights_info', { tinker_path: path });
    assert.equal([base_model, lora_rank], ['tiny', 8]);
  });
});
states('an address leads nowhere else', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    for (const path of ['../x', 'a/b', '.hidden', '', 'x'.repeat(129)])
      await assertFails(client.train('save_weights', { path }), /200 user: path must be a name/);
    const { model: id } = client;
    for (const path of [`tinker://${id}/weights/..`, `tinker://${id}/../weights/x`, '/etc', 'tinker://x/weights/y', 7])
      await assertFails(client.train('load_weights', { path, optimizer: false }), /200 user: the path must be/);
    await assertFails(
      client.train('load_weights', { path: `tinker://${id}/weights/none`, optimizer: false }),
      /200 user: there is no state/,
    );
  }),
);

const sampling = suite('Tinker server: sampling');
sampling('samples are those of policy.generate, of the weights at the time of the sampling client', () =>
  serving({ maxSamplers: 1 }, async (url) => {
    const client = await new TinkerClient(url).start();
    const reference = model();
    const asked = { prompt: prompt([3, 4, 5]), num_samples: 3 };
    const sampling_params = { max_tokens: 9, temperature: 0.8, seed: 42, stop: [7] };
    const expect = async (found: Json, policy: Policy) => {
      const [{ completions }] = await policy.generate([[3, 4, 5]], {
        n: 3,
        maxNewTokens: 9,
        temperature: 0.8,
        seed: 42,
        stop: [7],
      });
      assert.equal(
        found.sequences.map(({ tokens, logprobs, stop_reason }: Json) => [tokens, logprobs, stop_reason]),
        completions.map(({ tokens, logProbs, finishReason }) => [
          Array.from(tokens),
          Array.from(logProbs),
          finishReason,
        ]),
      );
    };
    await expect(await client.sample({ ...asked, sampling_params, base_model: 'tiny' }), reference);
    await client.forwardBackward(dataOf({ weights }), 'cross_entropy');
    await client.train('optim_step', { adam_params: ADAM });
    await reference.update(batchOf({ advantages: weights }), { ...AS_UPDATE, ...SUM, lossType: 'nll' });
    const { path } = await client.train('save_weights_for_sampler', { path: 'first' });
    const { sampling_session_id } = await client.train('save_weights_for_sampler', { sampling_session_seq_id: 0 });
    await client.forwardBackward(dataOf({ weights }), 'cross_entropy');
    await client.train('optim_step', { adam_params: ADAM });
    const found = { ...asked, sampling_params };
    await expect(await client.sample({ ...found, sampling_session_id, seq_id: 0 }), reference);
    const session_id = client.session;
    const named = await client.post('create_sampling_session', {
      session_id,
      sampling_session_seq_id: 1,
      model_path: path,
    });
    await expect(
      await client.sample({ ...found, sampling_session_id: named.sampling_session_id, seq_id: 0 }),
      reference,
    );
    // One copy is in memory: that of the saved state. The other one was nowhere else.
    await assertFails(client.sample({ ...found, sampling_session_id, seq_id: 1 }), /the weights .* are gone/);
    const { body } = await client.raw(`samplers/${encodeURIComponent(named.sampling_session_id)}`);
    assert.equal([body.base_model, body.model_path], ['tiny', path]);
  }),
);
sampling('prompt_logprobs and the most likely tokens are those of policy.logProbs and policy.logits', () =>
  serving({}, async (url) => {
    const client = new TinkerClient(url);
    const ids = [3, 4, 5, 9, 2];
    const asked = { prompt: prompt(ids), base_model: 'tiny', prompt_logprobs: true, topk_prompt_logprobs: 2 };
    const sampling_params = { max_tokens: 3, seed: 1, stop: [] };
    const body = { ...asked, topk_sample_logprobs: 1, sampling_params };
    const { request_id } = await client.post('asample', body);
    const found = await client.result(request_id);
    const policy = model();
    const { logProbs } = await policy.logProbs([ids]);
    assert.equal(found.prompt_logprobs, [null, ...logProbs]);
    const logits = await policy.logits(ids);
    assert.is(found.topk_prompt_logprobs.length, 5);
    assert.is(found.topk_prompt_logprobs[0], null);
    for (let i = 1; i < 5; i++) {
      const row = Array.from((logits.data as Float32Array).subarray(23 * (i - 1), 23 * i));
      const order = row.map((_, id) => id).sort((a, b) => row[b] - row[a]);
      assert.equal(
        found.topk_prompt_logprobs[i].map(([id]: number[]) => id),
        order.slice(0, 2),
      );
      const norm = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      // float32 results of logits below 32.
      for (const [id, value] of found.topk_prompt_logprobs[i])
        assert.ok(!(Math.abs(value - (row[id] - norm)) > 2 ** -18));
    }
    const { tokens, topk_logprobs } = found.sequences[0];
    assert.is(tokens.length, 3);
    const after = (await policy.logits([...ids, ...tokens])).data as Float32Array;
    assert.equal(
      topk_logprobs.map(([[id]]: number[][]) => id),
      [4, 5, 6].map((i) => after.subarray(23 * i, 23 * (i + 1)).reduce((b, x, id, row) => (x > row[b] ? id : b), 0)),
    );
    const { bytes } = await client.raw('retrieve_future', { request_id }, { accept: 'application/x-protobuf' });
    const proto = sampleFromProto(bytes);
    assert.equal(Array.from(proto.sequences[0].tokens), tokens);
    assert.ok(Number.isNaN(proto.promptLogProbs![0]));
    const last = await client.sample({ ...asked, topk_prompt_logprobs: 0, prompt_logprobs_last_n: 2, sampling_params });
    assert.equal(last.prompt_logprobs, [null, null, null, ...logProbs.slice(2)]);
  }),
);
sampling('a stop text ends a completion at the token that completes it', () =>
  serving({}, async (url) => {
    const client = new TinkerClient(url);
    const asked = { prompt: prompt([3]), base_model: 'tiny', num_samples: 4 };
    const params = { max_tokens: 40, seed: 3, temperature: 1.5 };
    const whole = await client.sample({ ...asked, sampling_params: { ...params, stop: [] } });
    const texts: string[] = whole.sequences.map(({ tokens }: Json) =>
      tokenizer.decode(tokens, { skipSpecialTokens: false }),
    );
    const stop = texts[0].slice(7, 9);
    const { sequences: cut } = await client.sample({ ...asked, sampling_params: { ...params, stop } });
    for (const [i, { tokens, logprobs, stop_reason }] of cut.entries()) {
      const at = texts[i].indexOf(stop);
      assert.is(stop_reason, at < 0 ? 'length' : 'stop');
      // A symbol is a token; the end of sequence has five.
      const end =
        at < 0
          ? 40
          : whole.sequences[i].tokens.findIndex((_: number, k: number, all: number[]) =>
              tokenizer.decode(all.slice(0, k + 1), { skipSpecialTokens: false }).includes(stop),
            ) + 1;
      assert.equal(tokens, whole.sequences[i].tokens.slice(0, end));
      assert.is(logprobs.length, end);
    }
    assert.is(cut[0].stop_reason, 'stop');
  }),
);

const limits = suite('Tinker server: limits and refusals');
limits('wrong requests are refused with the status and the reason', () =>
  serving({ apiKey: 'tml-secret', maxBodyBytes: 100_000, maxModels: 1 }, async (url) => {
    const stranger = new TinkerClient(url, { 'x-api-key': 'tml-secreT' });
    assert.is((await stranger.raw('create_session', {})).status, 401);
    assert.is((await new TinkerClient(url).raw('get_server_capabilities')).status, 401);
    assert.is((await new TinkerClient(url).raw('healthz')).status, 200);
    const client = await new TinkerClient(url, { 'x-api-key': 'tml-secret' }).start();
    const { body } = await client.raw('get_server_capabilities');
    const known = { model_name: 'tiny', max_context_length: 300, trainable: true, sampleable: true };
    assert.equal(body.supported_models, [known]);
    const info = await client.post('get_info', { model_id: client.model });
    assert.equal([info.is_lora, info.lora_rank, info.model_data.tokenizer_id], [false, null, 'tiny']);

    const status = async (path: string, given: unknown, type = 'application/json') =>
      (await client.raw(path, given, { 'content-type': type })).status;
    assert.is(await status('get_info', { model_id: 'x:train:0' }), 404);
    assert.is(await status('session_heartbeat', { session_id: 'x' }), 404);
    assert.is(await status('session_heartbeat', { session_id: client.session }), 200);
    assert.is(await status('retrieve_future', { request_id: 'x' }), 410);
    assert.is(await status('nothing', {}), 404);
    assert.is(await status('__proto__', {}), 404);
    assert.is(await status('asample', '{'), 400);
    assert.is(await status('asample', '{}', 'text/plain'), 415);
    assert.is(await status('asample', ' '.repeat(100_001)), 413);
    assert.is(await status('forward_backward', new Uint8Array([26, 200]), 'application/x-protobuf'), 400);
    const request = { session_id: client.session, model_seq_id: 1, lora_config: { rank: 1 } };
    // The server is full: the model is made when there is room.
    const second = await client.post('create_model', { ...request, base_model: 'tiny' });
    await client.call('unload_model', { model_id: client.model });
    const { model_id } = await client.result(second.request_id);
    assert.is(model_id, `${client.session}:train:1`);
    await client.call('unload_model', { model_id });
    await assertFails(client.call('create_model', { ...request, model_seq_id: 2, base_model: 'x' }), /must be 'tiny'/);
    const optimizer_config = { type: 'dimuon' };
    await assertFails(
      client.call('create_model', { ...request, model_seq_id: 3, base_model: 'tiny', optimizer_config }),
      /must be 'adamw'/,
    );
    await client.call('create_model', { ...request, model_seq_id: 4, base_model: 'tiny' });
  }),
);
limits('wrong data are refused with the place of the error', () =>
  serving({}, async (url) => {
    const client = await new TinkerClient(url).start();
    const datum = (
      tokens: number[],
      targets: number[],
      inputs: Record<string, number[]> = { weights: targets.map(() => 1) },
    ) => [
      {
        tokens: Int32Array.from(tokens),
        lossInputs: {
          target_tokens: { data: Int32Array.from(targets) },
          ...Object.fromEntries(
            Object.entries(inputs).map(([name, data]) => [name, { data: Float32Array.from(data) }]),
          ),
        },
      },
    ];
    const off = { logprobs: [-1, -1], advantages: [1, 1] };
    const cases: [Datum[], string, RegExp, Record<string, number>?][] = [
      [datum([3, 4], [5, 6]), 'cross_entropy', /target_tokens\[0\] must be the input's next token, 4, not 5/],
      [datum([3, 4], [4]), 'cross_entropy', /one target per token, 2, not 1/],
      [datum([3, 4], [4, 99]), 'cross_entropy', /99/],
      [datum([], []), 'cross_entropy', /at least one token/],
      [datum(Array(300).fill(3), Array(300).fill(3)), 'cross_entropy', /at most 299 tokens/],
      [datum([3, 4], [4, 5], { weights: [1] }), 'cross_entropy', /weights must have one entry per target, 2, not 1/],
      [datum([3, 4], [4, 5], { weights: [1, NaN] }), 'cross_entropy', /weights\[1\] must be finite/],
      [datum([3, 4], [4, 5], { ...off, mask: [1, 1] }), 'ppo', /input 'mask'/],
      [datum([3, 4], [4, 5], { advantages: [1, 1] }), 'ppo', /ppo needs the input logprobs/],
      [
        datum([3, 4], [4, 5], { ...off, logprobs: [-1e9, -1] }),
        'importance_sampling',
        /token 0 of data\[0\] is not finite/,
      ],
      [datum([3, 4], [4, 5], off), 'ppo', /clip_low_threshold must be at most/, { clip_low_threshold: 2 }],
      [datum([3, 4], [4, 5], off), 'ppo', /Did you mean 'clip_low_threshold'/, { clip_low_treshold: 2 }],
      [datum([3, 4], [4, 5], off), 'gspo', /loss_fn must be one of/],
      [[], 'cross_entropy', /at least one datum/],
    ];
    for (const [data, lossFn, message, config] of cases)
      await assertFails(client.forwardBackward(data, lossFn, config), message);
    await assertFails(client.train('optim_step', { adam_params: { ...ADAM, beta1: 2 } }), /failed/);
    await client.forwardBackward(datum([3, 4], [4, 5]), 'cross_entropy');
    await assertFails(client.train('optim_step', { adam_params: { ...ADAM, beta1: 2 } }), /adamBeta1 must be/);
    await assertFails(client.train('optim_step', { optimizer_params: { type: 'dimuon' } }), /the optimizer is AdamW/);
    await client.train('optim_step', { adam_params: ADAM });
    const asked = { base_model: 'tiny', prompt: prompt([3]) };
    for (const [given, message] of [
      [{ sampling_params: { max_tokens: 0 } }, /max_tokens/],
      [{ prompt: prompt(Array(300).fill(1)) }, /prompt must have 1 to 299 tokens/],
      [{ prompt: prompt([99]) }, /99/],
      [{ num_samples: 1e9 }, /num_samples/],
      [{ prompt_alt_tokens_k: 3 }, /prompt_alt_tokens_k is not supported/],
      [{ sampling_params: { stop: [[]] } }, /stop must be/],
    ] as const)
      await assertFails(client.sample({ ...asked, ...given }), message);
  }),
);
limits('nothing that a client sends is an error of the server', () =>
  serving({ maxModels: 2 }, async (url) => {
    const client = await new TinkerClient(url).start();
    const next = random(9);
    const of = (list: readonly unknown[]) => list[Math.floor(next() * list.length)];
    const odd = [null, true, -1, 1e300, 0.5, '', 'x', '__proto__', [], {}, [[]], [{}], { chunks: 3 }, client.model];
    const fields = [
      ...['model_id', 'session_id', 'seq_id', 'path', 'optimizer', 'adam_params', 'prompt', 'sampling_params'],
      ...['num_samples', 'base_model', 'model_path', 'forward_backward_input', 'lora_config', 'request_id', 'stop'],
    ];
    const paths = [
      ...Object.keys(parts().posts),
      'forward',
      'forward_backward',
      'retrieve_future',
      'sessions/x/finish',
    ];
    for (let round = 0; round < 100; round++) {
      const body = Object.fromEntries(Array.from({ length: 4 }, () => [of(fields), of(odd)]));
      const { status, body: answer } = await client.raw(of(paths) as string, { model_id: client.model, ...body });
      assert.ok(status < 500, `${status} ${JSON.stringify(answer)} for ${JSON.stringify(body)}`);
      const bytes = Uint8Array.from({ length: 30 }, () => next() * 256);
      const type = { 'content-type': 'application/x-protobuf' };
      assert.ok((await client.raw('forward_backward', bytes, type)).status < 500);
    }
    assert.is((await client.raw('healthz')).status, 200);
  }),
);

/** The parts of a server that does not listen. */
function parts() {
  const settings = { servedModelName: 'tiny', tokenizerId: 'tiny', stateFolder: folder, sessionTimeout: 1e6 };
  const most = { maxRequests: 9, maxCompletions: 9, maxModels: 9, maxSamplers: 9, microBatchTokens: 4096 };
  const service = new TinkerService(model(), tokenizer, { ...settings, ...most }, () => {});
  const states = new States(folder, service.policy, tokenizer);
  return { posts: service.posts, samplers: new Samplers(states, 9), futures: service.futures };
}
limits('too many requests get status 429, and a cancelled one makes room', () =>
  serving({ maxRequests: 1 }, async (url) => {
    const client = await new TinkerClient(url).start();
    const early = { model_id: client.model, seq_id: 2, adam_params: ADAM };
    const { request_id } = await client.post('optim_step', early);
    assert.is((await client.raw('asample', { base_model: 'tiny', prompt: prompt([3]) })).status, 429);
    await client.post('cancel_future', { request_id });
    await assertFails(client.result(request_id), /200 user: the request was ended early/);
    await client.sample({ base_model: 'tiny', prompt: prompt([3]), sampling_params: { max_tokens: 2 } });
  }),
);
limits('a session without a sign of life ends, and its models are freed', () =>
  serving({ maxModels: 1 }, async (url) => {
    const said: string[] = [];
    const { samplers, futures } = parts();
    const sessions = new Sessions(samplers, 1e6, (line) => said.push(line));
    const id = sessions.start();
    const policy = model();
    const lora = { rank: 8, train_unembed: true, train_mlp: true, train_attn: true };
    const settings = { states: samplers.states, microBatchTokens: 4096, context: 300 };
    sessions.add(new ServedModel(`${id}:train:0`, policy, { base_model: 'tiny', lora }, settings, futures));
    sessions.sweep(Date.now() + 1e6 - 1e4);
    assert.is(sessions.models, 1);
    sessions.sweep(Date.now() + 1e6 + 1e4);
    assert.is(sessions.models, 0);
    assert.match(said[0], /no sign of life for 1000 s\); its 1 models are freed/);
    throwsError(() => policy.readParameter(policy.parameters[0].name), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
    sessions.close();

    const client = await new TinkerClient(url).start();
    await client.post(`sessions/${client.session}/finish`, { reason: { type: 'success' } });
    assert.is((await client.raw('session_heartbeat', { session_id: client.session })).status, 404);
    await new TinkerClient(url).start();
  }),
);
limits('close ends what is in progress', async () => {
  const server = await serveTinker({ policy: model(), ...options });
  const client = await new TinkerClient(server.url).start();
  const sampling_params = { max_tokens: 290, stop: [] };
  const asked = { base_model: 'tiny', prompt: prompt([3]), num_samples: 1000, sampling_params };
  const { request_id } = await client.post('asample', asked);
  const waiting = client.result(request_id).catch((error) => error);
  await client.post('optim_step', { model_id: client.model, seq_id: 9, adam_params: ADAM });
  await server.close();
  assert.instance(await waiting, Error);
});
limits('prl serve --tinker serves a folder, says what it trains, and ends at SIGTERM', async () => {
  const at = join(folder, 'tiny');
  const policy = model();
  await policy.save(at);
  const args = ['--tinker', '--port', '0', '--served-model-name', 'tiny', '--state-folder', options.stateFolder];
  const server = await startServer(at, args);
  const client = await new TinkerClient(server.url).start();
  await client.forwardBackward(dataOf({ weights }), 'cross_entropy');
  const { metrics } = await client.train('optim_step', { adam_params: ADAM });
  const expected = await policy.update(batchOf({ advantages: weights }), { ...AS_UPDATE, ...SUM, lossType: 'nll' });
  assert.is(metrics.grad_norm, expected.gradNorm);
  assert.is(await server.end('SIGTERM'), 0);
  assert.match(server.said(), /LoRA of rank 8 was asked for; all weights are trained/);
  for (const wrong of [
    ['--tinker', '--sync-folder', folder],
    ['--max-models', '2'],
  ])
    await assertFails(startServer(at, wrong), /has no meaning with/);
});
limits.after(() => rmSync(folder, { recursive: true }));

async function assertFails(promise: Promise<unknown>, message: RegExp): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  assert.ok(error, 'it must fail');
  assert.match(error.message, message);
}

for (const each of [training, states, sampling, limits]) each.run();
