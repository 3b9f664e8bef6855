import { policyLossFromLogits, tokenLogProbs } from '../lib/index.js';
import { native } from '../lib/kernels/native.js';
import type { BenchDevice } from './device.js';
import type { Group, Prepared } from './harness.js';
import {
  agree,
  evenSequences,
  gradientError,
  type LogitsShape,
  logitsOf,
  logitsShapes,
  logRatio,
  lossError,
  normal,
  type Scale,
  SEQUENCES,
  sampleRows,
} from './inputs.js';

export const policyLossGroups = (scale: Scale): Group[] =>
  logitsShapes(scale).map((shape) => ({
    name: `policy_loss ${shape.tokens} x ${shape.vocab} ${shape.dtype}`,
    setup: (device) => prepare(device, shape),
  }));

async function prepare(device: BenchDevice, shape: LogitsShape): Promise<Prepared> {
  const { tokens, vocab, dtype } = shape;
  const { numbers, targets, logits } = logitsOf(device, shape);
  const ownTargets = device.tensor(targets);
  const current = (await tokenLogProbs(logits, ownTargets).logProbs.read()) as Float32Array;
  const oldLogProbs = current.map((x, t) => x - logRatio(t));
  const advantages = Float32Array.from({ length: SEQUENCES }, (_, i) => normal(i + 1));
  const gradient = device.buffer([tokens, vocab], dtype);
  const batch = {
    logits,
    targets: ownTargets,
    advantages: device.tensor(advantages),
    cuSeqlens: device.tensor(evenSequences(tokens)),
    oldLogProbs: device.tensor(oldLogProbs),
  };
  const run = (options: object) => () => void policyLossFromLogits({ ...batch, ...options });
  const traffic = 2 * tokens * vocab * (dtype === 'float32' ? 4 : 2);

  const rows = sampleRows(tokens);
  const { loss } = await policyLossFromLogits({ ...batch, gradient });
  const dLogits = await device.rows(gradient, rows);
  const largest = dLogits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return {
    contestants: [
      {
        name: 'loss + gradient in place',
        prepare: () => native().copy({ from: logits, to: gradient }),
        run: run({ logits: gradient, gradient: 'inplace' }),
        traffic,
        versusPeers: true,
      },
      { name: 'loss + gradient, other tensor', run: run({ gradient }), traffic, versusPeers: true },
      { name: 'on-policy, other tensor', run: run({ gradient, oldLogProbs: undefined }), traffic },
      { name: 'entropy bonus, other tensor', run: run({ gradient, entropyCoef: 0.01 }), traffic },
      {
        name: 'sequence level, other tensor',
        run: run({ gradient, importanceSamplingLevel: 'sequence' }),
        traffic,
      },
      { name: 'loss only', run: run({ gradient: false }), traffic: traffic / 2 },
    ],
    peers: {
      kind: 'policy_loss',
      parameters: { ...shape, sequences: SEQUENCES, rows },
      arrays: { pattern: numbers, targets, advantages, oldLogProbs },
      verify: agree({
        loss: { values: [loss], absolute: lossError(vocab) },
        dLogits: { values: dLogits, ...gradientError(vocab, dtype, largest) },
      }),
    },
  };
}
