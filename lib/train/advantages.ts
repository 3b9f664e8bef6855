import { grpo } from '../methods/grpo.js';
import type { MethodBatch, MethodResult } from '../methods/method.js';
import { prl } from '../methods/prl.js';
import { completionSteps } from '../methods/steps.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { Rollout } from '../rollout/rollout.js';
import type { ResolvedTrainerOptions } from './options.js';

/** The method's advantages of a rollout, and the steps they stand on. */
export function computeAdvantages(
  rollout: Rollout,
  refLogProbs: Float32Array | undefined,
  tokenizer: Tokenizer,
  options: ResolvedTrainerOptions,
): MethodResult & { cuSteps: Int32Array } {
  const { rewards, groupIds, cuSeqlens, logProbs: oldLogProbs } = rollout;
  const cuSteps = completionSteps(rollout.completions, tokenizer, options);
  const batch: MethodBatch = { rewards, groupIds, cuSeqlens, cuSteps, oldLogProbs, refLogProbs };
  return { cuSteps, ...(options.method === 'prl' ? prl(batch, options) : grpo(batch, options)) };
}
