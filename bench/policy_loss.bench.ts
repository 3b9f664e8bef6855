import { policyLossFromLogits, Tensor, tokenLogProbs } from '../lib/index.js';
import { type Group, makeLogits, normal } from './harness.js';

const SHAPES = [
  { tokens: 2048, vocab: 32_000, dtype: 'float32' },
  { tokens: 512, vocab: 151_936, dtype: 'float32' },
  { tokens: 512, vocab: 151_936, dtype: 'bfloat16' },
] as const;

export const groups: Group[] = SHAPES.map(({ tokens, vocab, dtype }) => ({
  name: `policy_loss ${tokens} x ${vocab} ${dtype}`,
  setup: () => {
    const logits = makeLogits(tokens, vocab, dtype);
    const targets = Int32Array.from({ length: tokens }, (_, t) => (t * 977) % vocab);
    const advantages = Float32Array.from({ length: tokens }, (_, t) => normal(t));
    const current = tokenLogProbs(logits, targets).logProbs.data as Float32Array;
    const oldLogProbs = current.map((x, t) => x + 0.2 * normal(t + tokens));
    const gradient = Tensor.zeros(logits.shape, { dtype });
    const own = Tensor.from(logits.data.slice(), logits.shape, { dtype });
    const args = { logits, targets, advantages, cuSeqlens: [0, tokens] };
    const bytes = 2 * logits.data.byteLength;
    const run = (options: object) => () => void policyLossFromLogits({ ...args, ...options });
    return [
      { name: 'loss + dlogits, clipped, other tensor', run: run({ oldLogProbs, gradient }), bytes },
      { name: 'loss + dlogits, on-policy, other tensor', run: run({ gradient }), bytes },
      { name: 'loss + dlogits, on-policy, in place', run: run({ logits: own, gradient: 'inplace' }), bytes },
      { name: 'with entropy bonus, other tensor', run: run({ gradient, entropyCoef: 0.01 }), bytes },
      { name: 'sequence level, other tensor', run: run({ gradient, importanceSamplingLevel: 'sequence' }), bytes },
      { name: 'loss only', run: run({ gradient: false }), bytes: bytes / 2 },
    ];
  },
}));
