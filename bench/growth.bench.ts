// How the cost of a logit changes with the number of tokens and with the vocabulary.
import { policyLossFromLogits, tokenLogProbs } from '../lib/index.js';
import type { BenchDevice } from './device.js';
import type { Contestant, Group } from './harness.js';
import { normal, pattern, repeated, type Scale } from './inputs.js';

const TOKENS = 256;
const VOCAB = 32_000;

export const growthGroups = ({ device: where, tiny }: Scale): Group[] => {
  const tokens = tiny ? [4, 16] : where === 'cpu' ? [16, 64, 256, 1024, 4096] : [64, 256, 1024, 4096, 16_384];
  const vocabs = tiny ? [100, 1000] : [2000, 8000, 32_000, 128_000, 512_000];
  return [
    { name: 'growth with tokens', shapes: tokens.map((n) => [n, tiny ? 500 : VOCAB]) },
    { name: 'growth with vocabulary', shapes: vocabs.map((v) => [tiny ? 4 : TOKENS, v]) },
  ].flatMap(({ name, shapes }) => [
    { name: `${name}: token_logprob`, setup: (device: BenchDevice) => ({ contestants: grow(device, shapes, false) }) },
    { name: `${name}: policy_loss`, setup: (device: BenchDevice) => ({ contestants: grow(device, shapes, true) }) },
  ]);
};

function grow(device: BenchDevice, shapes: number[][], withGradient: boolean): Contestant[] {
  const numbers = pattern(2);
  return shapes.map(([tokens, vocab]) => {
    const logits = repeated(device, numbers, [tokens, vocab], 'float32');
    const gradient = withGradient ? device.buffer([tokens, vocab], 'float32') : undefined;
    const targets = device.tensor(Int32Array.from({ length: tokens }, (_, t) => (t * 977) % vocab));
    const loss = {
      logits,
      targets,
      advantages: device.tensor(Float32Array.from({ length: tokens }, (_, t) => normal(t))),
      cuSeqlens: device.tensor(Int32Array.of(0, tokens)),
      gradient,
    };
    return {
      name: `${tokens} x ${vocab}`,
      run: () => void (gradient ? policyLossFromLogits(loss) : tokenLogProbs(logits, targets)),
      traffic: 4 * tokens * vocab * (gradient ? 2 : 1),
    };
  });
}
