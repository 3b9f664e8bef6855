// Runs on the embedded task: a policy of a preset, warmed up on demonstrations, or any other that speaks the task's characters.
import { badRow } from '../../base/lines.js';
import type { OptionTable } from '../../base/options.js';
import { quoted } from '../../base/text.js';
import type { ProblemRecord } from '../../eval/evaluate.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import {
  evaluatedLevels,
  evaluationOptions,
  PRESET_NAMES,
  PRESETS,
  type Preset,
  type PresetName,
} from '../kit/presets.js';
import { startingPolicy, warmUpSeconds } from '../kit/warm-up.js';
import type { Maker, Recipe, Run, Trained } from './course.js';
import { type Exams, evaluationTable, type Results } from './evaluation.js';
import { reinforcement, trainerOptions } from './reinforce.js';
import { explainSamples, samplesText } from './samples.js';

export const ARITHMETIC_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], default: 'arithmetic', doc: 'What to train on' },
  preset: { type: 'choice', choices: PRESET_NAMES, default: 'quickstart', doc: 'Model, warm start and other defaults' },
} as const satisfies OptionTable;

export const ARITHMETIC_NOTES = [
  'Presets set these defaults:',
  ...Object.entries<Preset>(PRESETS).map(([name, { doc, trainer }]) => {
    const set = Object.entries(trainer).map(([option, value]) => `${option} ${value}`);
    return `  ${name}: ${doc}; ${set.join(', ')}`;
  }),
].join('\n');

export const arithmeticRuns: Maker = {
  name: 'arithmetic',
  options: ARITHMETIC_OPTIONS,
  isOf: () => true,
  refusal: (option) => `${option} is of the arithmetic task: it does not go with --dataset`,
  recipe,
};

async function recipe(run: Run): Promise<Recipe> {
  const { folder, given, known, savedBase, interrupt } = run;
  const name = presetOf(run);
  const preset: Preset = PRESETS[name];
  const options = trainerOptions(run, preset.trainer);
  const model: string | undefined = given.model ?? known.command.model;
  const task = new ArithmeticTask({ levels: preset.levels });
  const learning = await reinforcement(run, { task, options, settings: { preset: name, model } });
  const exams = examsOf(preset, options);
  return {
    ...learning,
    base: () => startingPolicy(folder, task, preset, { saved: savedBase, model, seed: options.seed }, interrupt),
    secondsBefore: async () => ({ warmStart: await warmUpSeconds(folder) }),
    exams,
    examLine: ({ trained: a, harder: b }) =>
      `average@${a.n} ${a.averageAtN.toFixed(3)} (${a.level} operands), ${b.averageAtN.toFixed(3)} (${b.level})`,
    async report({ base, policy, before, after }: Trained) {
      const problems = before.trained.records.filter((record) => isMixed(record, before.trained.n)).slice(0, 3);
      const [first, last] = await Promise.all(
        [base, policy].map((each) => explainSamples(each, base, task, problems, options, learning.processRewardModel)),
      );
      const about = `Held-out problems, one response each, with the advantage that ${options.method} gives each step in its group`;
      return [
        problems.length > 0 ? `${about}\n\n${samplesText(first, last)}` : '',
        evaluationTable(exams, before, after),
        conclusion(before, after),
      ];
    },
  };
}

/** The preset that was given, or that the run has. */
function presetOf({ folder, given, known }: Run): PresetName {
  const { preset } = known.command;
  if (preset !== undefined && !Object.hasOwn(PRESETS, preset))
    throw badRow(folder.file('config.json'), `there is no preset ${quoted(preset)}`);
  return given.preset ?? preset ?? ARITHMETIC_OPTIONS.preset.default;
}

/** The level that is trained on, and a harder one. */
function examsOf(preset: Preset, options: ResolvedTrainerOptions): Exams {
  const [trained, harder] = evaluatedLevels(preset, options);
  return [
    { key: 'trained', where: 'in distribution', level: trained },
    { key: 'harder', where: 'harder', level: harder },
  ].map(({ key, where, level }) => ({
    key,
    where,
    options: { ...evaluationOptions(options), level },
    live: () => `${level} operands`,
  }));
}

/** Problems of three operands or more that the base solves now and then: where a group has something to compare. */
const isMixed = ({ prompt, correct }: ProblemRecord, n: number) =>
  /(.*[+*-]){2}/.test(prompt) && correct > 0 && correct < n;

/** What the figures show, and what they do not. */
function conclusion({ trained: a, harder: aHard }: Results, { trained: b, harder: bHard }: Results): string {
  const lines = ['Intervals are 95% bootstrap intervals over problems.'];
  const [from, to] = [a, b].map(({ measures }) => Math.round(100 * measures.share_step_by_step));
  if (b.averageAtNInterval[0] <= a.averageAtNInterval[1])
    lines.push('The intervals of before and after overlap: this run does not show that the policy got better.');
  else if (to > from + 20) {
    lines.push(
      `The policy went from showing its work in ${from}% of its responses to ${to}%; nothing but the reward of the answer told it to.`,
    );
    if (a.passAtN >= b.averageAtN)
      lines.push(
        `It did not learn to calculate: among ${a.n} responses of the base one was right for ${Math.round(100 * a.passAtN)}% of the problems.`,
        'Reinforcement learning selected, of the two ways to respond that the base has, the one that ends right.',
      );
  }
  if (bHard.averageAtN < b.averageAtN - 0.2)
    lines.push(`Chains of ${bHard.level} operands are right less often: reinforcement learning saw ${b.level} only.`);
  if (bHard.passAtN < aHard.passAtN - 0.05)
    lines.push(`There pass@${bHard.n} fell, as responses have become more alike.`);
  return lines.join('\n');
}
