import type { Shape } from '../base/json.js';
import { checkInteger, checkNumber, checkOptions, checkSignal, checkString } from '../base/options.js';
import { joined } from '../base/packed.js';
import { seedOf } from '../base/random.js';
import { checkPolicy } from '../policy/generate.js';
import type { GenerateProgress, PolicyLike } from '../policy/types.js';
import { collectRollout, type Rollout } from '../rollout/rollout.js';
import { checkTask, type Problem, type Task } from '../tasks/task.js';
import { rateInterval } from './interval.js';
import { passAtK } from './metrics.js';

/** Options of {@link evaluate}. */
export interface EvaluationOptions {
  /** Number of held-out problems. Default 200. */
  problems?: number | undefined;
  /** Responses per problem. Default 8. */
  n?: number | undefined;
  /** Difficulty level. Default: the task's first level. */
  level?: string | undefined;
  /** Temperature of sampling; 0 is greedy. Default 1. */
  temperature?: number | undefined;
  /** Longest response in tokens. Default 96. */
  maxCompletionLength?: number | undefined;
  /** Seed of sampling. The problems are always the same. Default 0. */
  seed?: number | undefined;
  /** Reference policy. With it the result has `entropy` and `kl`. */
  reference?: PolicyLike | undefined;
  /** Stops the evaluation (ERR_PRL_ABORTED). */
  signal?: AbortSignal | undefined;
  /** Called with the progress of generation. */
  onProgress?: ((progress: GenerateProgress) => void) | undefined;
}

/** A problem, its responses and their rewards. */
export interface ProblemRecord extends Problem {
  /** Responses in the order of sampling. */
  responses: { text: string; finished: boolean; reward: number }[];
  /** Responses with a reward above 0. */
  correct: number;
}

/** Result of {@link evaluate}. */
export interface EvaluationResult {
  /** Level of the problems. */
  level: string;
  /** Number of problems. */
  problems: number;
  /** Responses per problem. */
  n: number;
  /** Mean over problems of right responses / n. */
  averageAtN: number;
  /**
   * Its 95% interval over problems: of 1,000 bootstrap resamples, or Wilson's score interval with fewer than 10
   * problems and where all problems have the same rate.
   */
  averageAtNInterval: [number, number];
  /** Share of problems with at least one right response among n. */
  passAtN: number;
  /** The same interval of passAtN. */
  passAtNInterval: [number, number];
  /** Mean length of a response in tokens. */
  meanLength: number;
  /** Share of responses cut at the length limit. */
  clippedRatio: number;
  /** Mean entropy over the tokens of the responses, in nats. Only with a reference. */
  entropy?: number;
  /**
   * Mean of log p - log p_reference over the same tokens, in nats. Its expectation is the KL divergence from the
   * reference. Only with a reference.
   */
  kl?: number;
  /** The task's other measures: means over responses. */
  measures: Record<string, number>;
  /** Seconds that the evaluation took. */
  seconds: number;
  /** All problems with their responses. */
  records: ProblemRecord[];
}

/** The shape of a result in a file. */
export const EVALUATION: Shape = {
  ...{ level: 'text', problems: 'number', n: 'number', averageAtN: 'number', averageAtNInterval: ['number', 'number'] },
  ...{ passAtN: 'number', passAtNInterval: ['number', 'number'], meanLength: 'number', clippedRatio: 'number' },
  ...{ 'entropy?': 'number or null', 'kl?': 'number or null', measures: { '*': 'number' }, seconds: 'number' },
};
const RESPONSE: Shape = { text: 'text', finished: 'boolean', reward: 'number' };
/** The same, with its problems. */
export const RECORDED_EVALUATION: Shape = {
  ...EVALUATION,
  records: [{ prompt: 'text', answer: 'text', correct: 'number', responses: [RESPONSE] }],
};

const KNOWN = [
  ...['problems', 'n', 'level', 'temperature', 'maxCompletionLength', 'seed', 'reference', 'signal', 'onProgress'],
];
/** Largest number of problems. Up to fifty times as many are drawn, to find different ones. */
const MOST_PROBLEMS = 1_000_000;

/**
 * Samples `n` responses to each of a fixed set of held-out problems and counts the right ones.
 *
 * @throws TypeError or RangeError that names the option; PrlError ERR_PRL_ABORTED
 */
export async function evaluate(
  policy: PolicyLike,
  task: Task,
  options: EvaluationOptions = {},
): Promise<EvaluationResult> {
  options = checkOptions('evaluate', options, KNOWN);
  checkPolicy('policy', policy, options.reference ? ['generate', 'logProbs'] : ['generate']);
  if (options.reference !== undefined) checkPolicy('reference', options.reference, ['logProbs']);
  checkTask(task);
  const size = checkInteger('problems', options.problems ?? 200, 1, MOST_PROBLEMS);
  const n = checkInteger('n', options.n ?? 8, 1);
  const temperature = checkNumber('temperature', options.temperature ?? 1, 0);
  const maxCompletionLength = checkInteger('maxCompletionLength', options.maxCompletionLength ?? 96, 1);
  const seed = checkInteger('seed', options.seed ?? 0);
  const level = checkString('level', options.level ?? task.levels[0]);
  const start = performance.now();
  const rollout = await collectRollout(policy, task, heldOut(task, size, level), {
    n,
    maxCompletionLength,
    temperature,
    seed: seedOf(seed, 'evaluation', level),
    signal: checkSignal(options.signal),
    onProgress: options.onProgress,
  });
  const records: ProblemRecord[] = rollout.problems.map((problem) => ({ ...problem, responses: [], correct: 0 }));
  rollout.groupIds.forEach((group, i) => {
    const reward = rollout.rewards[i];
    records[group].responses.push({ text: rollout.texts[i], finished: rollout.finished[i], reward });
    if (reward > 0) records[group].correct++;
  });
  const averages = records.map(({ correct }) => correct / n);
  const passes = records.map(({ correct }) => passAtK(n, correct, n));
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  return {
    level,
    problems: records.length,
    n,
    averageAtN: mean(averages),
    averageAtNInterval: rateInterval(averages),
    passAtN: mean(passes),
    passAtNInterval: rateInterval(passes),
    meanLength: rollout.logProbs.length / rollout.texts.length,
    clippedRatio: rollout.finished.filter((ended) => !ended).length / rollout.finished.length,
    ...(options.reference &&
      (await drift(policy, options.reference, rollout, { temperature, signal: options.signal }))),
    measures: rollout.measures,
    seconds: (performance.now() - start) / 1000,
    records,
  };
}

async function drift(
  policy: PolicyLike,
  reference: PolicyLike,
  { prompts, completions }: Rollout,
  { temperature, signal }: { temperature: number; signal?: AbortSignal },
): Promise<{ entropy: number; kl: number }> {
  const sequences = prompts.map((prompt, i) => joined(prompt, completions[i]));
  // Greedy responses are measured at temperature 1: they are the likeliest tokens of that distribution.
  const options = { temperature: temperature || 1, start: prompts.map(({ length }) => length), signal };
  const own = await policy.logProbs(sequences, { ...options, entropy: true });
  const other = await reference.logProbs(sequences, options);
  const tokens = own.logProbs.length;
  return {
    entropy: own.entropy!.reduce((a, b) => a + b, 0) / tokens,
    kl: own.logProbs.reduce((sum, logProb, t) => sum + logProb - other.logProbs[t], 0) / tokens,
  };
}

/**
 * The first `size` different problems of the test split. They are the same for every policy and seed, so that
 * evaluations can be compared. There are fewer if the level has fewer.
 */
function heldOut(task: Task, size: number, level: string): Problem[] {
  const found = new Map<string, Problem>();
  for (let index = 0; found.size < size && index < 50 * size; index++) {
    const problem = task.problem(index, { seed: 0, split: 'test', level });
    if (!found.has(problem.prompt)) found.set(problem.prompt, problem);
  }
  return [...found.values()];
}
