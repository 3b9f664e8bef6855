import { invalidArgument } from '../base/errors.js';
import { joined } from '../base/packed.js';
import { randomStream, weightedChoice } from '../base/random.js';
import type { PolicyLike } from '../policy/types.js';
import { encodeProblem, type Task } from '../tasks/task.js';
import { learningRateAt } from './schedule.js';

/** A phase of supervised training on the task's own demonstrations, with a fresh optimizer. */
export interface WarmStartPhase {
  /** Number of optimizer steps. */
  steps: number;
  /** Demonstrations per step. */
  batchSize: number;
  /** Peak learning rate, after warmupSteps. It then falls as a cosine to a tenth. */
  learningRate: number;
  /** Steps in which the learning rate rises linearly. */
  warmupSteps: number;
  /** Difficulty of the problems. */
  level: string;
  /** Weights of the styles of demonstration. */
  styles: Record<string, number>;
}

/** Options of {@link warmStart}. */
export interface WarmStartOptions {
  /** The policy to train, in place. */
  policy: PolicyLike;
  /** The task. It must have `demonstrate`. */
  task: Task;
  /** The phases, in order. */
  phases: readonly WarmStartPhase[];
  /** Seed of the demonstrations. */
  seed: number;
  /** Steps that are already done; `policy` must have the optimizer state after them. Default 0. */
  from?: number;
  /** Measures the loss every `logSteps` steps, and in the last one. Default 25. */
  logSteps?: number;
  /** Stops the warm start (ERR_PRL_ABORTED). */
  signal?: AbortSignal;
}

/** Result of a step of the warm start. */
export interface WarmStartStep {
  /** Number of the step, from 1, over all phases. */
  step: number;
  /** Number of steps of all phases. */
  total: number;
  /** Index of the phase, from 0. */
  phase: number;
  /** Learning rate of this step. */
  learningRate: number;
  /** Tokens of the step's demonstrations. */
  tokens: number;
  /** Mean entropy over these tokens, in nats. */
  entropy: number;
  /** Mean negative log-likelihood of the step's demonstrations before its update. Only every logSteps steps. */
  loss?: number;
}

export const warmStartSteps = (phases: readonly WarmStartPhase[]) => phases.reduce((sum, { steps }) => sum + steps, 0);

/**
 * Trains a policy on demonstrations. It is a policy update with advantage 1 on every token: on-policy, the gradient of
 * ratio * A is the gradient of the log-probability. Demonstrations depend only on the seed and the step.
 */
export async function* warmStart(options: WarmStartOptions): AsyncGenerator<WarmStartStep, void, void> {
  const { policy, task, phases, from = 0, signal, logSteps = 25 } = options;
  if (!task.demonstrate) throw invalidArgument(`the task '${task.name}' has no demonstrations to warm up on`);
  const total = warmStartSteps(phases);
  let first = 0;
  for (const [index, phase] of phases.entries()) {
    for (let local = Math.max(0, from - first); local < phase.steps; local++) {
      if (local === 0) policy.resetOptimizer();
      const step = first + local + 1;
      const batch = demonstrations(options, phase, step);
      const learningRate = learningRateAt(local, {
        learningRate: phase.learningRate,
        type: 'cosine',
        warmupSteps: phase.warmupSteps,
        totalSteps: phase.steps,
        minRate: 0.1,
      });
      const logged = step % logSteps === 0 || step === total;
      const loss = logged ? await negativeLogLikelihood(policy, batch, signal) : undefined;
      const metrics = await policy.update(
        { ...batch, advantages: new Float32Array(phase.batchSize).fill(1) },
        { lossType: 'dapo', learningRate, weightDecay: 0.05, adamBeta1: 0.9, adamBeta2: 0.95, maxGradNorm: 1, signal },
      );
      yield { step, total, phase: index, learningRate, tokens: metrics.tokens, entropy: metrics.entropy, loss };
    }
    first += phase.steps;
  }
}

function demonstrations({ task, seed }: WarmStartOptions, { batchSize, level, styles }: WarmStartPhase, step: number) {
  const weights = Object.entries(styles);
  const { tokenizer } = task;
  const pairs = Array.from({ length: batchSize }, (_, i) => {
    const index = step * batchSize + i;
    const problem = task.problem(index, { seed, split: 'train', level });
    const random = randomStream(seed, 'demonstration', index);
    const style = weightedChoice(weights, random);
    return {
      prompt: encodeProblem(task, problem),
      completion: Int32Array.from([
        ...tokenizer.encode(task.demonstrate!(problem, style, random)),
        tokenizer.eosTokenId,
      ]),
    };
  });
  return { prompts: pairs.map(({ prompt }) => prompt), completions: pairs.map(({ completion }) => completion) };
}

async function negativeLogLikelihood(
  policy: PolicyLike,
  { prompts, completions }: { prompts: Int32Array[]; completions: Int32Array[] },
  signal?: AbortSignal,
): Promise<number> {
  const { logProbs } = await policy.logProbs(
    prompts.map((prompt, i) => joined(prompt, completions[i])),
    { start: prompts.map(({ length }) => length), signal },
  );
  return -logProbs.reduce((a, b) => a + b, 0) / logProbs.length;
}
