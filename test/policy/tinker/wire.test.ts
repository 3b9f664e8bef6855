// uvu's equal() takes NaN for another number than NaN.
import { deepStrictEqual } from 'node:assert';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as json from '../../../lib/policy/tinker/wire/json.js';
import type { ForwardBackward } from '../../../lib/policy/tinker/wire/messages.js';
import { WireError } from '../../../lib/policy/tinker/wire/messages.js';
import * as proto from '../../../lib/policy/tinker/wire/protobuf.js';

const made: { [name: string]: string } = JSON.parse(
  readFileSync(new URL('../../fixtures/tinker/wire.json', import.meta.url), 'utf8'),
);
const bytes = (name: string) => new Uint8Array(Buffer.from(made[name], 'hex'));

const request: ForwardBackward = {
  modelId: 'm-1',
  seqId: 300,
  forwardOnly: false,
  data: [
    {
      tokens: Int32Array.of(5, 70000, 1),
      lossInputs: {
        target_tokens: { data: Int32Array.of(70000, 1, 2), shape: [3] },
        advantages: { data: Float32Array.of(0, 0.5, -1.25), shape: [3] },
      },
    },
  ],
  lossFn: 'ppo',
  lossConfig: { clip_low_threshold: 0.8, mode: 'soft' },
};
const output = {
  type: 'ArrayRecord',
  outputs: [
    { logprobs: { data: Float32Array.of(-1, -2), shape: [2] } },
    { logprobs: { data: Float32Array.of(-0.5), shape: [1] } },
  ],
  metrics: { 'loss:sum': -2.5 },
};
const sample = {
  sequences: [
    { tokens: Int32Array.of(7, 8), logProbs: Float32Array.of(-0.25, -3), stopReason: 'length' as const },
    { tokens: Int32Array.of(2), stopReason: 'stop' as const },
  ],
  promptLogProbs: Float32Array.of(Number.NaN, -1.5),
};

const top = { k: 2, ids: Int32Array.of(0, 0, 7, 5), logProbs: Float32Array.of(-99999, -99999, -0.25, -2) };

test('the most likely tokens come back as they went, and a position without them is null in JSON', () => {
  const result = { sequences: [{ ...sample.sequences[0], topK: top }], promptLogProbs: sample.promptLogProbs };
  const both = { ...result, promptTopK: top };
  deepStrictEqual(proto.sampleFromProto(proto.sampleToProto(both)), both);
  const text = JSON.stringify(json.sampleToJson(both));
  assert.match(text, '"topk_prompt_logprobs":[null,[[7,-0.25],[5,-2]]]');
  deepStrictEqual(json.sampleFromJson(JSON.parse(text)), both);
});

test('a small message that would take gigabytes is refused', () => {
  const many = new Uint8Array(2 * 65_537).map((_, i) => (i % 2 ? 0 : 0x1a));
  assert.throws(() => proto.forwardBackwardFromProto(many), /at most 65536 datums/);
  const data = Array.from({ length: 65_537 }, () => 0);
  const body = { model_id: 'm', forward_input: { data, loss_fn: 'x' } };
  assert.throws(() => json.forwardBackwardFromJson(body, true), /at most 65536 datums/);
  const shape = Array.from({ length: 9 }, () => 1);
  const deep = {
    ...request,
    data: [{ tokens: Int32Array.of(1), lossInputs: { x: { data: Int32Array.of(1), shape } } }],
  };
  assert.throws(() => proto.forwardBackwardFromProto(proto.forwardBackwardToProto(deep)), /at most 8 axes/);
});

test("protobuf: what Thinking Machines' package wrote is read as it was meant", () => {
  assert.equal(proto.forwardBackwardFromProto(bytes('request')), request);
  assert.equal(proto.outputFromProto(bytes('output')), output);
  assert.equal(
    proto.outputFromProto(bytes('halves')).outputs.map(({ logprobs }) => [...logprobs.data]),
    [[-1.5], [2]],
  );
  deepStrictEqual(proto.sampleFromProto(bytes('sample')), sample);
});

test('protobuf: the same bytes as that package, where the order of fields is free, the same message', () => {
  assert.equal(Buffer.from(proto.outputToProto(output)).toString('hex'), made.output);
  assert.equal(Buffer.from(proto.sampleToProto(sample)).toString('hex'), made.sample);
  const written = proto.forwardBackwardToProto(request);
  assert.is(written.length, bytes('request').length);
  assert.equal(proto.forwardBackwardFromProto(written), request);
  const forward = { ...request, forwardOnly: true };
  assert.equal(proto.forwardBackwardFromProto(proto.forwardBackwardToProto(forward)), forward);
});

test('JSON: each message comes back as it went', () => {
  const trip = (value: unknown) => JSON.parse(JSON.stringify(value));
  for (const forwardOnly of [false, true]) {
    const body = trip(json.forwardBackwardToJson({ ...request, forwardOnly }));
    assert.is('forward_input' in body, forwardOnly);
    assert.equal(json.forwardBackwardFromJson(body, forwardOnly), { ...request, forwardOnly });
  }
  assert.equal(json.outputFromJson(trip(json.outputToJson(output))), output);
  const read = json.sampleFromJson(trip(json.sampleToJson(sample)));
  deepStrictEqual(read.promptLogProbs, sample.promptLogProbs);
  assert.equal(read.sequences[0], sample.sequences[0]);
  assert.is(read.sequences[1].logProbs, undefined);
});

test('JSON: a tensor without a dtype holds integers if all its values are whole', () => {
  const datum = (data: unknown) => ({
    model_id: 'm',
    forward_input: {
      data: [{ model_input: { chunks: [{ tokens: [1] }] }, loss_fn_inputs: { weights: { data } } }],
      loss_fn: 'cross_entropy',
    },
  });
  const read = (data: unknown) => json.forwardBackwardFromJson(datum(data), true).data[0].lossInputs.weights.data;
  assert.equal(read([1, 0]), Int32Array.of(1, 0));
  assert.equal(read([0.5, 0]), Float32Array.of(0.5, 0));
  assert.throws(() => read(['1']), /weights.data must be numbers, not "1"/);
  assert.throws(() => read(7), /weights.data must be a list, not 7/);
});

test('what is no message is a WireError, whatever the bytes', () => {
  const refused = (read: () => unknown) => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
  };
  for (const name of Object.keys(made)) {
    const whole = bytes(name);
    for (let i = 0; i < whole.length; i++) {
      const cut = whole.subarray(0, i);
      const flipped = Uint8Array.from(whole);
      flipped[i] ^= 1 << (i % 8);
      for (const read of [proto.forwardBackwardFromProto, proto.outputFromProto, proto.sampleFromProto]) {
        refused(() => read(cut));
        refused(() => read(flipped));
      }
    }
  }
  for (const body of [null, [], {}, { model_id: 1 }, { model_id: 'm', forward_input: { data: [3], loss_fn: 'x' } }])
    assert.throws(
      () => json.forwardBackwardFromJson(body, true),
      (error: unknown) => error instanceof WireError,
    );
  const image = { chunks: [{ type: 'image', data: '' }] };
  assert.throws(() => json.promptFromJson(image, 'prompt'), /prompt.chunks\[0\].type must be 'encoded_text'/);
});

test.run();
