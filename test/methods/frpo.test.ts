import { suite } from 'uvu';
import { frpo } from '../../lib/methods/frpo.js';
import { frpoReference } from '../reference/advantages.js';
import { near } from '../reference/numbers.js';
import { batch, cuSeqlens, outcomeOptions, total } from './batch.js';

const methods = suite('frpo');
methods('frpo passes its options to the kernel and reports the divergence without weight and baseline', () => {
  const outcome = [2 / 3, -1 / 3, -1 / 3, 0];
  for (const estimator of ['k1', 'k3'] as const)
    for (const direction of ['reverse', 'forward'] as const)
      for (const frpoBeta of [0, 0.25]) {
        const baseline = estimator === 'k3';
        const names = { frpoEstimator: estimator, frpoDirection: direction, frpoBaseline: baseline };
        const { advantages, metrics } = frpo.run(batch, { ...outcomeOptions('none'), ...names, frpoBeta });
        const args = [batch.oldLogProbs, batch.refLogProbs!, cuSeqlens] as const;
        const options = { estimator, direction, baseline };
        near(advantages, frpoReference(outcome, ...args, frpoBeta, options), 1e-6, JSON.stringify(options), 1e-6);
        const divergence = frpoReference([0, 0, 0, 0], ...args, -1, { estimator, direction });
        const alike = direction === 'forward' && estimator === 'k1' ? -1 : 0;
        near([metrics['future_kl/mean']], [divergence.reduce((a, b) => a + b, 0) / total - alike], 1e-5);
        const same = frpo.run(
          { ...batch, refLogProbs: batch.oldLogProbs },
          { ...outcomeOptions('none'), ...names, frpoBeta },
        );
        near([same.metrics['future_kl/mean']], [0], 0, 'of the reference itself');
      }
});

methods.run();
