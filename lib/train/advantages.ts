import { mapInTurns } from '../base/concurrency.js';
import { invalidArgument } from '../base/errors.js';
import { METHOD_NAMES, METHODS, methodNeeds } from '../methods/index.js';
import type { MethodResult, StepData } from '../methods/method.js';
import { checkSteps, completionSteps, type StepOffsets, splitsText } from '../methods/steps.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { Rollout } from '../rollout/rollout.js';
import type { ResolvedTrainerOptions } from './options.js';

/** Whether the method or the loss needs the frozen reference. */
export const needsReference = ({ method, beta }: ResolvedTrainerOptions): boolean =>
  methodNeeds(method, 'reference') || beta > 0;

/** What a method needs of the setup, besides its options. */
export interface MethodSetup {
  /** Whether there is one. */
  processRewardModel?: unknown;
  stepOffsets?: StepOffsets;
}

/**
 * Throws for options that exclude each other, or that need something else in the setup. Called before training begins.
 */
export function checkMethod(options: ResolvedTrainerOptions, { processRewardModel, stepOffsets }: MethodSetup): void {
  const { method } = options;
  const asksModel = methodNeeds(method, 'processRewardModel');
  if (asksModel && !processRewardModel)
    throw invalidArgument(
      `method '${method}' needs a process reward model (processRewardModel). Train one with \`prl prm collect\` and \`prl prm train\`, use one from a server (HttpPrm, or its address on the command line), or write a function (FunctionPrm)`,
    );
  if (processRewardModel && !asksModel) {
    const askers = METHOD_NAMES.filter((name) => methodNeeds(name, 'processRewardModel')).map((name) => `'${name}'`);
    throw invalidArgument(
      `method must be ${askers.join(' or ')} with a process reward model, not '${method}', which does not use one`,
    );
  }
  METHODS[method].check?.(options);
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
  // One response at a time: cutting all texts at once would block the event loop.
  const cuts = await mapInTurns(completions, (tokens) => completionSteps([tokens], tokenizer, options));
  const cuSteps = [0];
  for (const cut of cuts) {
    const begin = cuSteps[cuSteps.length - 1];
    for (const offset of cut.subarray(1)) cuSteps.push(begin + offset);
  }
  return Int32Array.from(cuSteps);
}

/** Computes the method's advantages of a rollout, and its metrics. */
export function computeAdvantages(
  { rewards, groupIds, cuSeqlens, logProbs: oldLogProbs }: Rollout,
  data: StepData,
  options: ResolvedTrainerOptions,
): MethodResult {
  return METHODS[options.method].run({ rewards, groupIds, cuSeqlens, oldLogProbs, ...data }, options);
}
