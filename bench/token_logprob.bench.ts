import { tokenLogProbs } from '../lib/index.js';
import { type Group, makeLogits } from './harness.js';

const SHAPES = [
  { tokens: 2048, vocab: 32_000, dtype: 'float32' },
  { tokens: 512, vocab: 151_936, dtype: 'float32' },
  { tokens: 512, vocab: 151_936, dtype: 'bfloat16' },
] as const;

export const groups: Group[] = SHAPES.map(({ tokens, vocab, dtype }) => ({
  name: `token_logprob ${tokens} x ${vocab} ${dtype}`,
  setup: () => {
    const logits = makeLogits(tokens, vocab, dtype);
    const targets = Int32Array.from({ length: tokens }, (_, t) => (t * 977) % vocab);
    return [
      {
        name: 'log-prob + entropy',
        run: () => void tokenLogProbs(logits, targets),
        bytes: logits.data.byteLength,
      },
    ];
  },
}));
