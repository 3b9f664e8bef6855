import { mapInTurns } from '../base/concurrency.js';
import { cumulative } from '../base/packed.js';
import type { GenerateOptions } from '../policy/types.js';
import { judge } from '../tasks/judge.js';
import { encodeProblem, type Problem, stopTokensOf, type Task } from '../tasks/task.js';
import type { RolloutEngine } from './engine.js';

/** Responses to a list of problems, `n` each, with their rewards. Arrays over tokens are packed over all responses. */
export interface Rollout {
  problems: readonly Problem[];
  /** [B] index of each response's problem. */
  groupIds: Int32Array;
  /** [B] token ids. */
  prompts: Int32Array[];
  /** [B] token ids, the end-of-sequence token included when it was sampled. */
  completions: Int32Array[];
  /** [B] the responses as text. */
  texts: string[];
  /** [B] whether the response ended by itself. */
  finished: boolean[];
  /** [B] */
  rewards: Float32Array;
  /** The task's other measures: means over responses. */
  measures: Record<string, number>;
  /** [B + 1] where each completion begins among the T packed tokens. */
  cuSeqlens: Int32Array;
  /** [T] log-probabilities of the tokens at sampling time. With a rollout engine the policy itself computes them. */
  logProbs: Float32Array;
  /** [T] with a rollout engine: its own log-probabilities. */
  rolloutLogProbs?: Float32Array;
  /** [T] with a rollout engine: weights that correct the difference. */
  importanceWeights?: Float32Array;
}

export interface RolloutOptions extends Pick<GenerateOptions, 'signal' | 'onProgress'> {
  /** Responses per problem. */
  n: number;
  maxCompletionLength: number;
  temperature: number;
  seed: number;
}

export async function collectRollout(
  engine: Pick<RolloutEngine, 'generate'>,
  task: Task,
  problems: readonly Problem[],
  { n, maxCompletionLength, temperature, seed, signal, onProgress }: RolloutOptions,
): Promise<Rollout> {
  const encoded = await mapInTurns(problems, (problem) => encodeProblem(task, problem));
  const groups = await engine.generate(encoded, {
    n,
    maxNewTokens: maxCompletionLength,
    temperature,
    seed,
    stop: stopTokensOf(task),
    signal,
    onProgress,
  });
  const samples = groups.flatMap(({ completions }, group) => completions.map((sample, k) => ({ ...sample, group, k })));
  const cuSeqlens = cumulative(samples.map(({ tokens }) => tokens.length));
  const logProbs = new Float32Array(cuSeqlens[samples.length]);
  samples.forEach((sample, i) => {
    logProbs.set(sample.logProbs, cuSeqlens[i]);
  });
  const texts = await mapInTurns(samples, ({ tokens }) => task.tokenizer.decode(tokens));
  const finished = samples.map(({ finishReason }) => finishReason === 'stop');
  const judging = await mapInTurns(samples, ({ group, k }, i) => {
    const place = `response ${k} to problem ${group}`;
    const verdict = judge(task, { problem: problems[group], response: texts[i], finished: finished[i], place });
    // Failures are handled below. This keeps an earlier one from being an unhandled rejection.
    verdict.catch(() => {});
    return verdict;
  });
  const verdicts = await Promise.all(judging);
  return {
    problems,
    groupIds: Int32Array.from(samples, ({ group }) => group),
    prompts: samples.map(({ group }) => encoded[group]),
    completions: samples.map(({ tokens }) => tokens),
    texts,
    finished,
    rewards: Float32Array.from(verdicts, ({ reward }) => reward),
    measures: meanMeasures(
      await mapInTurns(verdicts, ({ measures }, i) => ({
        ...measures,
        ...task.measure?.(problems[samples[i].group], texts[i]),
      })),
    ),
    cuSeqlens,
    logProbs,
  };
}

/** A measure that some responses lack counts as 0 for them. */
function meanMeasures(measures: readonly Record<string, number>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const values of measures)
    for (const [name, value] of Object.entries(values)) sums[name] = (sums[name] ?? 0) + value;
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / measures.length]));
}
