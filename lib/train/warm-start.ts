import { invalidArgument } from '../base/errors.js';
import { randomStream, weightedChoice } from '../base/random.js';
import type { PolicyLike } from '../policy/types.js';
import type { Demonstration } from '../tasks/data/demonstration.js';
import { encodeProblem, type Task } from '../tasks/task.js';
import { type SupervisedPhase, stepsOf, supervise } from './supervised.js';

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
  from?: number | undefined;
  /** Measures the loss every `logSteps` steps, and in the last one. Default 25. */
  logSteps?: number | undefined;
  /** Stops the warm start (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
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

/** Steps between two rows of the log. */
export const LOG_STEPS = 25;

/**
 * Trains a policy on demonstrations: supervised fine-tuning, as SftTrainer does it, on responses that the task writes.
 * They depend only on the seed and the step.
 */
export async function* warmStart(options: WarmStartOptions): AsyncGenerator<WarmStartStep, void, void> {
  const { policy, phases, from = 0, signal, logSteps = LOG_STEPS } = options;
  const total = stepsOf(phases);
  for await (const { step, phase, learningRate, metrics } of supervise(policy, warmStartPhases(options), {
    from,
    signal,
  })) {
    const { tokens, entropy, loss } = metrics;
    const logged = step % logSteps === 0 || step === total;
    yield { step, total, phase, learningRate, tokens, entropy, ...(logged && { loss }) };
  }
}

/** The phases of a warm start, as supervised learning takes them. */
export function warmStartPhases({
  task,
  phases,
  seed,
}: Pick<WarmStartOptions, 'task' | 'phases' | 'seed'>): SupervisedPhase[] {
  if (!task.demonstrate) throw invalidArgument(`the task '${task.name}' has no demonstrations to warm up on`);
  let first = 1;
  return phases.map((phase) => {
    const { steps, learningRate, warmupSteps } = phase;
    const before = first;
    first += steps;
    return {
      steps,
      batch: (step) => demonstrations(task, phase, seed, before + step),
      schedule: { learningRate, type: 'cosine', warmupSteps, minRate: 0.1 },
      update: { weightDecay: 0.05, adamBeta1: 0.9, adamBeta2: 0.95, maxGradNorm: 1 },
    };
  });
}

function demonstrations(
  task: Task,
  { batchSize, level, styles }: WarmStartPhase,
  seed: number,
  step: number,
): Demonstration[] {
  const weights = Object.entries(styles);
  const { tokenizer } = task;
  return Array.from({ length: batchSize }, (_, i) => {
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
}
