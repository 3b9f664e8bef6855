import { invalidArgument } from '../base/errors.js';
import { mapInTurns } from '../base/turns.js';
import { frpo } from '../methods/frpo.js';
import { grpo } from '../methods/grpo.js';
import type { MethodBatch, MethodResult } from '../methods/method.js';
import { prl } from '../methods/prl.js';
import { progrs } from '../methods/progrs.js';
import { raft } from '../methods/raft.js';
import { checkSteps, completionSteps, type StepOffsets, splitsText } from '../methods/steps.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { ProcessRewardModel } from '../prm/process-reward-model.js';
import type { Rollout } from '../rollout/rollout.js';
import type { ResolvedTrainerOptions } from './options.js';

const METHODS: {
  [name in ResolvedTrainerOptions['method']]: (b: MethodBatch, o: ResolvedTrainerOptions) => MethodResult;
} = { prl, frpo, progrs, grpo, raft };

/** Methods that compare with the frozen reference. */
export const needsReference = ({ method, beta }: ResolvedTrainerOptions): boolean =>
  method === 'prl' || method === 'frpo' || beta > 0;

/** What a method stands on, besides its options. */
export interface MethodSetup {
  processRewardModel?: ProcessRewardModel;
  stepOffsets?: StepOffsets;
}

/** Options that cannot go together, or without something in the setup; before anything is spent. */
export function checkMethod(options: ResolvedTrainerOptions, { processRewardModel, stepOffsets }: MethodSetup): void {
  const { method } = options;
  if (method === 'progrs' && !processRewardModel)
    throw invalidArgument(
      "method 'progrs' needs a process reward model (Trainer: processRewardModel, command line: --prm). Train one with `prl prm collect` and `prl prm train`, name a server that serves one (HttpPrm, --prm URL), or write a function (FunctionPrm)",
    );
  if (processRewardModel && method !== 'progrs')
    throw invalidArgument(`a process reward model is given, but method '${method}' would not ask it: use 'progrs'`);
  const { granularity, combine, frpoEstimator, frpoBaseline } = options;
  if (method === 'progrs' && granularity === 'step' && combine === 'reward')
    throw invalidArgument("combine 'reward' gives one number per response: it needs granularity 'response'");
  if (method === 'frpo' && frpoBaseline && frpoEstimator === 'k1')
    throw invalidArgument("frpoBaseline needs frpoEstimator 'k3': the terms of k1 have both signs and need none");
  checkSteps(options, stepOffsets);
}

/** Where the reasoning steps of a rollout begin. */
export async function rolloutSteps(
  { completions, texts, problems, groupIds }: Rollout,
  tokenizer: Tokenizer,
  options: ResolvedTrainerOptions,
  stepOffsets?: StepOffsets,
): Promise<Int32Array> {
  const offsets =
    stepOffsets &&
    completions.map((tokens, i) => stepOffsets({ tokens, text: texts[i], prompt: problems[groupIds[i]].prompt }));
  if (!splitsText(options)) return completionSteps(completions, tokenizer, options, offsets);
  // One by one: text is long, and all of it at once would hold the event loop.
  const cuts = await mapInTurns(completions, (tokens) => completionSteps([tokens], tokenizer, options));
  const cuSteps = [0];
  for (const cut of cuts) {
    const begin = cuSteps[cuSteps.length - 1];
    for (const offset of cut.subarray(1)) cuSteps.push(begin + offset);
  }
  return Int32Array.from(cuSteps);
}

/** The method's advantages of a rollout in steps. */
export function computeAdvantages(
  { rewards, groupIds, cuSeqlens, logProbs: oldLogProbs }: Rollout,
  steps: Pick<MethodBatch, 'cuSteps' | 'refLogProbs' | 'stepScores'>,
  options: ResolvedTrainerOptions,
): MethodResult {
  return METHODS[options.method]({ rewards, groupIds, cuSeqlens, oldLogProbs, ...steps }, options);
}
