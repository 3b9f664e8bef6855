import { policyLoss } from '../lib/index.js';
import type { Group } from './harness.js';
import { agree, logRatio, normal, ROUNDOFF, type Scale } from './inputs.js';

export const clippedLossGroups = ({ tiny }: Scale): Group[] => {
  const [sequences, length] = tiny ? [8, 16] : [1024, 3072];
  const tokens = sequences * length;
  return [
    {
      name: `clipped_loss ${(tokens / 1e6).toFixed(tiny ? 4 : 1)}M tokens`,
      async setup(device) {
        const logProbs = Float32Array.from({ length: tokens }, (_, t) => -Math.abs(normal(t)));
        const oldLogProbs = logProbs.map((x, t) => x - logRatio(t + tokens));
        const advantages = Float32Array.from({ length: tokens }, (_, t) => normal(t + 2 * tokens));
        const batch = {
          logProbs: device.tensor(logProbs),
          oldLogProbs: device.tensor(oldLogProbs),
          advantages: device.tensor(advantages),
          cuSeqlens: device.tensor(Int32Array.from({ length: sequences + 1 }, (_, i) => i * length)),
          gradient: device.buffer([tokens], 'float32'),
        };
        const refLogProbs = device.tensor(logProbs.map((x, t) => x - logRatio(t + 3 * tokens)));
        const mask = device.tensor(Int32Array.from({ length: tokens }, (_, t) => (t % 7 === 3 ? 0 : 1)));
        const { loss, dLogProbs } = policyLoss(batch);
        const values = (await dLogProbs.read()) as Float32Array;
        const u = ROUNDOFF.float32;
        return {
          contestants: [
            // Three inputs and the gradient.
            { name: 'loss + gradient', run: () => void policyLoss(batch), traffic: 16 * tokens, versusPeers: true },
            {
              name: 'sequence level',
              run: () => void policyLoss({ ...batch, importanceSamplingLevel: 'sequence' }),
              traffic: 16 * tokens,
            },
            { name: 'cispo', run: () => void policyLoss({ ...batch, lossType: 'cispo' }), traffic: 16 * tokens },
            { name: 'sapo', run: () => void policyLoss({ ...batch, lossType: 'sapo' }), traffic: 16 * tokens },
            {
              name: 'KL to a reference',
              run: () => void policyLoss({ ...batch, refLogProbs, beta: 0.1 }),
              traffic: 20 * tokens,
            },
            { name: 'one in 7 masked', run: () => void policyLoss({ ...batch, mask }), traffic: 20 * tokens },
            {
              name: 'to a new tensor',
              run: () => void policyLoss({ ...batch, gradient: undefined }),
              traffic: 16 * tokens,
            },
          ],
          peers: {
            kind: 'clipped_loss',
            parameters: { tokens },
            arrays: { logProbs, oldLogProbs, advantages },
            // The difference of log-probabilities of up to 6 is rounded, and so is each of the few operations after it.
            verify: agree({
              loss: { values: [await loss], absolute: 64 * u },
              dLogProbs: { values, absolute: 0, relative: 16 * u },
            }),
          },
        };
      },
    },
  ];
};
