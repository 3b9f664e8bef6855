// Runs on the embedded task. The policy is a preset's, warmed up on demonstrations, or any other with the task's
// characters.
import { badRow } from '../../base/lines.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { quoted } from '../../base/text.js';
import type { ProblemRecord } from '../../eval/evaluate.js';
import type { TinkerPolicy } from '../../policy/tinker/policy.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import { part } from '../kit/args.js';
import { connectEngine } from '../kit/engine.js';
import { LOAD_OPTIONS } from '../kit/model-folder.js';
import {
  DEFAULT_PRESET,
  evaluatedLevels,
  evaluationOptions,
  PRESET_NAMES,
  PRESETS,
  type Preset,
  type PresetName,
  presetNotes,
} from '../kit/presets.js';
import { startingPolicy, warmUpSeconds } from '../kit/warm-up.js';
import type { Maker, Recipe, Run, Trained } from './course.js';
import { type Exams, evaluationTable, NOT_EVALUATED, type Results } from './evaluation.js';
import { engineOf, reinforcement, trainerOptions } from './reinforce.js';
import { explainSamples, samplesText } from './samples.js';

export const ARITHMETIC_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], default: 'arithmetic', doc: 'Task to train on' },
} as const satisfies OptionTable;

export const ARITHMETIC_NOTES = [
  'The task is chains of arithmetic, evaluated strictly from left to right: 9-7*4= is 8.',
  'Presets set these defaults:',
  ...presetNotes(PRESETS),
].join('\n');

export const arithmeticRuns: Maker = {
  name: 'arithmetic',
  options: ARITHMETIC_OPTIONS,
  presets: PRESET_NAMES,
  isOf: () => true,
  refusal: (option) => `${option} belongs to the arithmetic task and cannot be used with --dataset`,
  recipe,
};

async function recipe(run: Run): Promise<Recipe> {
  const { folder, given, known, savedBase, interrupt } = run;
  const name = presetOf(run);
  const preset: Preset = PRESETS[name];
  const options = trainerOptions(run, preset.trainer);
  const model: string | undefined = given.model ?? known.command.model;
  const loading = resolveOptions('prl train', LOAD_OPTIONS, part(given, LOAD_OPTIONS));
  const engine = engineOf(run);
  let server: TinkerPolicy | undefined;
  const task = new ArithmeticTask({ levels: preset.levels });
  const learning = await reinforcement(run, { task, options, settings: { preset: name, model } });
  const exams = examsOf(preset, options);
  return {
    ...learning,
    async base() {
      if (!engine)
        return startingPolicy(
          folder,
          task,
          preset,
          { saved: savedBase, model, ...loading, seed: options.seed },
          interrupt,
        );
      server = await connectEngine(engine, { model: savedBase ?? model, seed: options.seed, signal: interrupt.signal });
      return server;
    },
    async dispose() {
      await learning.dispose?.();
      await server?.close();
    },
    secondsBefore: async () => ({ warmStart: await warmUpSeconds(folder) }),
    exams,
    next: engine ? {} : { evaluation: {}, prompt: '9-7*4=' },
    examLine: ({ trained: a, harder: b }) =>
      `average@${a.n} ${a.averageAtN.toFixed(3)} (${a.level} operands), ${b.averageAtN.toFixed(3)} (${b.level})`,
    async report({ base, policy, before, after }: Trained) {
      if (exams.length === 0) return [NOT_EVALUATED];
      const problems = before.trained.records.filter((record) => isMixed(record, before.trained.n)).slice(0, 3);
      const [first, last] = await Promise.all(
        [base, policy].map((each) => explainSamples(each, base, task, problems, options, learning.processRewardModel)),
      );
      const about = `Held-out problems with one response each. Each step shows the advantage that ${options.method} gives it in its group.`;
      return [
        problems.length > 0 ? `${about}\n\n${samplesText(first, last)}` : '',
        evaluationTable(exams, before, after),
        conclusion(before, after),
      ];
    },
  };
}

/** The preset of the command line, or else of the resumed run. */
function presetOf({ folder, given, known }: Run): PresetName {
  const { preset } = known.command;
  if (preset !== undefined && !Object.hasOwn(PRESETS, preset))
    throw badRow(folder.file('config.json'), `preset must be one of ${PRESET_NAMES.join(', ')}, not ${quoted(preset)}`);
  return given.preset ?? preset ?? DEFAULT_PRESET;
}

/** Evaluations on the trained level and on a harder one; none with evalProblems 0. */
function examsOf(preset: Preset, options: ResolvedTrainerOptions): Exams {
  if (options.evalProblems === 0) return [];
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

/** Problems of three operands or more that the base sometimes solves: their groups have something to compare. */
const isMixed = ({ prompt, correct }: ProblemRecord, n: number) =>
  /(.*[+*-]){2}/.test(prompt) && correct > 0 && correct < n;

/** What the figures show, and what they do not show. */
function conclusion({ trained: a, harder: aHard }: Results, { trained: b, harder: bHard }: Results): string {
  const lines = ['Intervals are 95% intervals over problems.'];
  const [from, to] = [a, b].map(({ measures }) => Math.round(100 * measures.share_step_by_step));
  if (b.averageAtNInterval[0] <= a.averageAtNInterval[1])
    lines.push('The intervals before and after training overlap: this run does not show that the policy improved.');
  else if (to > from + 20) {
    lines.push(
      `The policy showed its work in ${from}% of its responses before training and in ${to}% after. Only the reward of the answer taught it to.`,
    );
    if (a.passAtN >= b.averageAtN)
      lines.push(
        `It did not learn to calculate: for ${Math.round(100 * a.passAtN)}% of the problems, the base had a right response among ${a.n}.`,
        'The base has two ways to respond. Reinforcement learning selected the one that ends right.',
      );
  }
  if (bHard.averageAtN < b.averageAtN - 0.2)
    lines.push(`Chains of ${bHard.level} operands are right less often: reinforcement learning saw only ${b.level}.`);
  if (bHard.passAtN < aHard.passAtN - 0.05)
    lines.push(`On ${bHard.level} operands pass@${bHard.n} fell, because the responses became more alike.`);
  return lines.join('\n');
}
