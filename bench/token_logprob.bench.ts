import { tokenLogProbs } from '../lib/index.js';
import type { Group } from './harness.js';
import { agree, entropyError, logitsOf, logitsShapes, logProbError, type Scale } from './inputs.js';

export const tokenLogprobGroups = (scale: Scale): Group[] =>
  logitsShapes(scale).map((shape) => ({
    name: `token_logprob ${shape.tokens} x ${shape.vocab} ${shape.dtype}`,
    async setup(device) {
      const { tokens, vocab, dtype } = shape;
      const { numbers, targets, logits } = logitsOf(device, shape);
      const own = device.tensor(targets);
      const { logProbs, entropy } = tokenLogProbs(logits, own);
      return {
        contestants: [
          {
            name: 'log-prob + entropy',
            run: () => void tokenLogProbs(logits, own),
            traffic: tokens * vocab * (dtype === 'float32' ? 4 : 2),
            versusPeers: true,
          },
        ],
        peers: {
          kind: 'token_logprob',
          parameters: { ...shape },
          arrays: { pattern: numbers, targets },
          verify: agree({
            logProbs: { values: await logProbs.read(), absolute: logProbError(vocab) },
            entropy: { values: await entropy.read(), absolute: entropyError(vocab) },
          }),
        },
      };
    },
  }));
