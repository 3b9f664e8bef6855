import { joined } from '../../base/packed.js';
import { seedOf } from '../../base/random.js';
import type { PolicyLike } from '../../policy/types.js';
import type { ProcessRewardModel } from '../../prm/process-reward-model.js';
import { scoreSteps } from '../../prm/score-steps.js';
import { collectRollout, conversationsOf } from '../../rollout/rollout.js';
import type { Problem, Task } from '../../tasks/task.js';
import { computeAdvantages, rolloutSteps } from '../../train/advantages.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import { rounded } from '../kit/table.js';

export interface ExplainedSample {
  problem: Problem;
  group: { right: number; n: number };
  right: boolean;
  steps: { text: string; advantage: number }[];
}

/** Samples one response per problem, with the advantage that the method gives each step in a group of n. */
export async function explainSamples(
  policy: PolicyLike,
  base: PolicyLike,
  task: Task,
  problems: readonly Problem[],
  options: ResolvedTrainerOptions,
  model?: ProcessRewardModel,
): Promise<ExplainedSample[]> {
  const { numGenerations: n, maxCompletionLength, temperature, seed } = options;
  const rollout = await collectRollout(policy, task, problems, {
    n,
    maxCompletionLength,
    temperature,
    seed: seedOf(seed, 'samples'),
  });
  const { logProbs: refLogProbs } = await base.logProbs(
    rollout.prompts.map((prompt, i) => joined(prompt, rollout.completions[i])),
    { temperature, start: rollout.prompts.map(({ length }) => length) },
  );
  const cuSteps = await rolloutSteps(rollout, task.tokenizer, options);
  const conversations = conversationsOf(task, rollout);
  const stepScores = model && (await scoreSteps(model, { ...rollout, cuSteps, conversations })).scores;
  const { advantages } = computeAdvantages(rollout, { cuSteps, refLogProbs, stepScores }, options);
  return problems.map((problem, group) => {
    const members = [...rollout.groupIds.keys()].filter((i) => rollout.groupIds[i] === group);
    const shown = members[0];
    const [from, to] = [rollout.cuSeqlens[shown], rollout.cuSeqlens[shown + 1]];
    const begins = Array.from(cuSteps).filter((at) => at >= from && at < to);
    return {
      problem,
      group: { right: members.filter((i) => rollout.rewards[i] > 0).length, n },
      right: rollout.rewards[shown] > 0,
      steps: begins.map((begin, k) => ({
        text: task.tokenizer.decode(rollout.completions[shown].subarray(begin - from, (begins[k + 1] ?? to) - from)),
        advantage: advantages[begin],
      })),
    };
  });
}

export function samplesText(before: ExplainedSample[], after: ExplainedSample[]): string {
  const one = (when: string, { group, right, steps }: ExplainedSample) => {
    const head = `  ${when.padEnd(6)}  ${right ? 'right' : 'wrong'} (${group.right} of ${group.n} are right)`;
    const lines = steps.map(({ text, advantage }) => {
      const visible = text.replace(/\n$/, '') || '(nothing)';
      return `      ${visible.padEnd(24)} ${rounded(advantage, 3, true)}`;
    });
    return [head, ...lines].join('\n');
  };
  return before
    .map(
      (sample, i) =>
        `${sample.problem.prompt}${sample.problem.answer}\n${one('before', sample)}\n${one('after', after[i])}`,
    )
    .join('\n\n');
}
