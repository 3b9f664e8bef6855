// Loss and both gradients from hidden states and output head, compared with its three matrix products alone.
import { linearPolicyLoss, type Tensor } from '../lib/index.js';
import { native } from '../lib/kernels/native.js';
import type { BenchDevice } from './device.js';
import type { Contestant, Group, Prepared } from './harness.js';
import {
  agree,
  evenSequences,
  logProbError,
  logRatio,
  lossError,
  normal,
  pattern,
  ROUNDOFF,
  repeated,
  type Scale,
  SEQUENCES,
  sampleRows,
} from './inputs.js';

interface Shape {
  tokens: number;
  width: number;
  vocab: number;
  dtype: 'float32' | 'bfloat16';
}

/** On the CPU, sizes that take about a second or less. On the GPU, sizes of real training. */
const shapesOf = ({ device, tiny }: Scale): Shape[] =>
  tiny
    ? [{ tokens: 16, width: 32, vocab: 500, dtype: 'float32' }]
    : device === 'cpu'
      ? [
          { tokens: 256, width: 1536, vocab: 32_000, dtype: 'float32' },
          { tokens: 96, width: 4096, vocab: 32_000, dtype: 'float32' },
        ]
      : [
          { tokens: 8192, width: 1536, vocab: 151_936, dtype: 'bfloat16' },
          { tokens: 8192, width: 4096, vocab: 131_072, dtype: 'bfloat16' },
        ];

export const linearLogprobGroups = (scale: Scale): Group[] =>
  shapesOf(scale).map((shape) => ({
    name: `linear_logprob ${shape.tokens} x ${shape.width} x ${shape.vocab} ${shape.dtype}`,
    setup: (device) => prepare(device, shape),
  }));

async function prepare(device: BenchDevice, shape: Shape): Promise<Prepared> {
  const { tokens, width, vocab, dtype } = shape;
  // Logits with deviation 2. Head and hidden states use different numbers, else they would be parallel to some rows.
  const hiddenNumbers = pattern(1);
  const headNumbers = pattern(2 / Math.sqrt(width), 100_003);
  const targets = Int32Array.from({ length: tokens }, (_, t) => (t * 977) % vocab);
  const advantages = Float32Array.from({ length: SEQUENCES }, (_, i) => normal(i + 1));
  const batch = {
    hidden: repeated(device, hiddenNumbers, [tokens, width], dtype),
    head: repeated(device, headNumbers, [vocab, width], dtype),
    targets: device.tensor(targets),
    advantages: device.tensor(advantages),
    cuSeqlens: device.tensor(evenSequences(tokens)),
  };
  const current = (await linearPolicyLoss(batch).logProbs.read()) as Float32Array;
  const oldLogProbs = current.map((x, t) => x - logRatio(t));
  const args = { ...batch, oldLogProbs: device.tensor(oldLogProbs) };
  const { loss, dHidden, dHead } = linearPolicyLoss(args);

  const hiddenRows = sampleRows(tokens);
  // Rows of targets, whose gradients are the largest, and other rows.
  const headRows = [...new Set([...hiddenRows.map((t) => targets[t]), ...sampleRows(vocab)])];
  const logProb = logProbError(vocab) + (dtype === 'float32' ? dotError(width) : 16 * ROUNDOFF[dtype]);
  // A sum of products of a gradient (see gradientError) whose absolute values add up to a few times the largest sum.
  const near = (values: Float32Array) => ({
    values,
    dtype,
    relative: dtype === 'float32' ? 0 : 4 * ROUNDOFF[dtype],
    absolute: 8 * (2 * logProb + 16 * ROUNDOFF.float32) * values.reduce((most, x) => Math.max(most, Math.abs(x)), 0),
  });
  const elementSize = dtype === 'float32' ? 4 : 2;
  const contestants: Contestant[] = [
    {
      name: 'loss + both gradients',
      run: () => void linearPolicyLoss({ ...args, dHidden, dHead }),
      traffic: 2 * elementSize * width * (tokens + vocab),
      operations: 6 * tokens * width * vocab,
      versusPeers: true,
    },
  ];
  if (device.name === 'cpu') contestants.push(productsAlone(device, batch.hidden, batch.head));
  return {
    contestants,
    peers: {
      kind: 'linear_logprob',
      parameters: { ...shape, sequences: SEQUENCES, hiddenRows, headRows },
      arrays: { hiddenPattern: hiddenNumbers, headPattern: headNumbers, targets, advantages, oldLogProbs },
      verify: agree({
        loss: { values: [await loss], absolute: lossError(vocab) + 4 * logProb },
        dHidden: near(await device.rows(dHidden, hiddenRows)),
        dHead: near(await device.rows(dHead, headRows)),
      }),
    },
  };
}

/** A logit is a float32 sum of `width` products of both signs, about 2 in all. */
const dotError = (width: number) => 16 * ROUNDOFF.float32 * Math.sqrt(width);

/** Logits, d hidden and d head with nothing in between: the logits stand in for their gradient. */
function productsAlone(device: BenchDevice, hidden: Tensor, head: Tensor): Contestant {
  const [tokens, width] = hidden.shape;
  const vocab = head.shape[0];
  const logits = device.buffer([tokens, vocab], 'float32');
  const dHidden = device.buffer([tokens, width], 'float32');
  const dHead = device.buffer([vocab, width], 'float32');
  const product = (a: Tensor, b: Tensor, c: Tensor, k: number, transposeA: boolean, transposeB: boolean) =>
    native().gemm({ a, b, c, m: c.shape[0], n: c.shape[1], k, transposeA, transposeB, accumulate: false, pack: false });
  return {
    name: 'its three matrix products alone',
    run: () => {
      product(hidden, head, logits, width, false, true);
      product(logits, head, dHidden, vocab, false, false);
      product(logits, hidden, dHead, tokens, true, false);
    },
    operations: 6 * tokens * width * vocab,
  };
}
