import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { completionSteps } from '../../lib/methods/steps.js';
import type { Rollout } from '../../lib/rollout/rollout.js';
import { rolloutSteps } from '../../lib/train/advantages.js';
import type { ResolvedTrainerOptions } from '../../lib/train/options.js';
import { batch, completions, cuSeqlens, tokenizer, total } from './batch.js';

const methods = suite('reasoning steps');
methods('a step ends after its newline, and the last one holds the answer and the end', () => {
  const begins = (i: number) => Array.from(batch.cuSteps).filter((at) => at >= cuSeqlens[i] && at < cuSeqlens[i + 1]);
  assert.equal(begins(0), [0, 6, 12]);
  assert.equal(begins(1), [cuSeqlens[1]]);
  assert.equal(begins(2), [cuSeqlens[2], cuSeqlens[2] + 6]);
  const fixed = completionSteps(completions, tokenizer, { stepSplit: 'length', stepLength: 8 });
  assert.equal(Array.from(fixed), [0, 8, cuSeqlens[1], cuSeqlens[2], cuSeqlens[2] + 8, cuSeqlens[3], total]);
});

methods('a rollout cut one response at a time has the steps of one cut whole, empty responses too', async () => {
  const some = [completions[0], new Int32Array(0), ...completions.slice(1), new Int32Array(0)];
  for (const stepSplit of ['newline', 'length'] as const) {
    const options = { stepSplit, stepLength: 3 } as ResolvedTrainerOptions;
    const cut = await rolloutSteps({ completions: some } as unknown as Rollout, tokenizer, options);
    assert.equal(cut, completionSteps(some, tokenizer, options));
  }
});

methods.run();
