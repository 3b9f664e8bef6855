import { relative } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import { type OptionTable, resolveOptions } from '../../base/options.js';
import { type EvaluationResult, evaluate, type ProblemRecord, RECORDED_EVALUATION } from '../../eval/evaluate.js';
import { Policy } from '../../policy/policy.js';
import type { PolicyLike } from '../../policy/types.js';
import { loadProcessRewardModel } from '../../prm/load.js';
import type { ProcessRewardModel } from '../../prm/process-reward-model.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import type { Task } from '../../tasks/task.js';
import { checkMethod } from '../../train/advantages.js';
import { saveBase, settleConfig, wholeBase } from '../../train/checkpoint.js';
import { checkMismatch } from '../../train/mismatch.js';
import { RESUMABLE_OPTIONS, type ResolvedTrainerOptions, TRAINER_OPTIONS } from '../../train/options.js';
import type { RunFolder } from '../../train/run-folder.js';
import { type Command, kebab, type Values } from '../kit/args.js';
import { Interrupt } from '../kit/interrupt.js';
import { modelFolder } from '../kit/model-folder.js';
import { PRESET_NAMES, PRESETS, type Preset, type PresetName } from '../kit/presets.js';
import { Progress } from '../kit/progress.js';
import { ROLLOUT_OPTIONS, type RolloutSettings, rolloutSettings } from '../kit/rollout.js';
import { type Evaluations, evaluationTable, explainSamples, plots, samplesText } from '../kit/summary.js';
import { evaluationFigures, openRunFolder, runTrainer, savedConfig } from '../kit/training.js';
import { warmUp } from '../kit/warm-up.js';
import { DATASET_NOTES, DATASET_OPTIONS, isDatasetRun, trainOnDataset } from './train-dataset.js';

const RUN_OPTIONS = {
  task: { type: 'choice', choices: ['arithmetic'], default: 'arithmetic', doc: 'What to train on' },
  preset: { type: 'choice', choices: PRESET_NAMES, default: 'quickstart', doc: 'Model, warm start and other defaults' },
  model: {
    type: 'string',
    doc: 'What to start from, instead of the warm start: folder of a model or a run, or the id of a model of the hub',
  },
  prm: {
    type: 'string',
    doc: 'Process reward model for method progrs: a folder of prl prm train, or the address of a server (http://HOST:PORT/pooling or /classify)',
  },
  output: { type: 'string', doc: 'Run folder (default: a new one in runs/)' },
  resume: { type: 'boolean', doc: 'Go on with the run in --output' },
} as const satisfies OptionTable;

const presetNotes = Object.entries<Preset>(PRESETS).map(([name, { doc, trainer }]) => {
  const set = Object.entries(trainer).map(([option, value]) => `${option} ${value}`);
  return `  ${name}: ${doc}; ${set.join(', ')}`;
});

export const trainCommand: Command = {
  name: 'train',
  summary: 'Trains a policy: warm start, evaluation, reinforcement learning, evaluation.',
  groups: [
    { title: 'Run', options: RUN_OPTIONS },
    { title: 'Rollouts from servers', options: ROLLOUT_OPTIONS },
    { title: 'Dataset, in place of the arithmetic task and its warm start', options: DATASET_OPTIONS },
    { title: 'Trainer', options: TRAINER_OPTIONS },
  ],
  notes: ['Presets set these defaults:', ...presetNotes, '', DATASET_NOTES].join('\n'),
  examples: [
    ['prl train', 'The quickstart: PRL on the arithmetic task'],
    ['prl train --preset smoke --method grpo --seed 3', 'A short run of GRPO'],
    ['prl train --output runs/a --max-steps 50', 'A longer run in a folder of your choice'],
    ['prl train --output runs/a --resume', 'Go on after an interruption, with the options that the run has'],
    ['prl train --model runs/a/base --eta 20 --output runs/b', 'Another experiment from the same warm start'],
    [
      'prl train --model Qwen/Qwen2.5-Math-1.5B --dataset train.jsonl --eval-dataset math500.jsonl',
      'A pretrained model on problems of your own',
    ],
  ],
  run: train,
};

interface Session {
  folder: RunFolder;
  task: Task;
  preset: Preset;
  model: string | undefined;
  processRewardModel: ProcessRewardModel | undefined;
  rollout: RolloutSettings | undefined;
  options: ResolvedTrainerOptions;
  interrupt: Interrupt;
  shown: string;
}

async function train(values: Values): Promise<number> {
  if (await isDatasetRun(values)) return trainOnDataset(values);
  const stray = Object.keys(DATASET_OPTIONS).find((name) => values[name] !== undefined);
  if (stray) throw invalidArgument(`--${kebab(stray)} goes with --dataset`);
  const session = await openSession(values);
  try {
    const start = performance.now();
    const code = await trainIn(session);
    if (code === 0)
      console.log(
        `\nAll of it took ${((performance.now() - start) / 1000).toFixed(0)} s. The run is in ${session.shown}`,
      );
    else console.log(`Saved. Go on with: prl train --resume --output ${session.shown}`);
    return code;
  } finally {
    session.processRewardModel?.dispose?.();
    await session.folder.close();
  }
}

async function openSession(values: Values): Promise<Session> {
  const {
    task: _,
    preset: given,
    model,
    prm,
    output,
    resume,
    rolloutUrl,
    rolloutEngine,
    rolloutModel,
    syncFolder,
    ...trainer
  } = values as Values &
    Parameters<typeof rolloutSettings>[0] & {
      preset?: PresetName;
      model?: string;
      prm?: string;
      output?: string;
      resume?: boolean;
    };
  const folder = await openRunFolder(
    { output, resume },
    `arithmetic-${trainer.method ?? TRAINER_OPTIONS.method.default}`,
  );
  try {
    const known = await savedConfig(folder);
    const name: PresetName = given ?? known.command.preset ?? RUN_OPTIONS.preset.default;
    const preset = PRESETS[name];
    const options = resolveOptions('prl train', TRAINER_OPTIONS, {
      ...preset.trainer,
      ...known.trainer,
      ...trainer,
    });
    const start = model ?? known.command.model;
    const task = new ArithmeticTask({ levels: preset.levels });
    const scorer = prm ?? known.command.prm;
    const processRewardModel = scorer && (await loadProcessRewardModel(scorer, task.tokenizer));
    checkMethod(options, { processRewardModel });
    const rollout = rolloutSettings({ rolloutUrl, rolloutEngine, rolloutModel, syncFolder }, known.command.rollout);
    checkMismatch(options, rollout);
    // A server may have moved.
    await settleConfig(folder, 'command', { preset: name, model: start, prm: scorer, rollout }, ['prm', 'rollout']);
    await settleConfig(folder, 'trainer', { task: task.name, ...options }, RESUMABLE_OPTIONS);
    return {
      folder,
      task,
      preset,
      model: start,
      processRewardModel,
      rollout,
      options,
      interrupt: new Interrupt(),
      shown: relative('', folder.path) || '.',
    };
  } catch (error) {
    await folder.close();
    throw error;
  }
}

async function trainIn(session: Session): Promise<number> {
  const { folder, task, options, processRewardModel, rollout, interrupt } = session;
  const base = await basePolicy(session);
  if (!base) return interrupt.exitCode!;
  const before = await evaluations(session, 'before', base);
  if (!before) return interrupt.exitCode!;

  const policy = await runTrainer({ folder, task, base, options, processRewardModel, rollout, interrupt });
  if (!policy) return interrupt.exitCode!;
  const after = await evaluations(session, 'after', policy);
  if (!after) return interrupt.exitCode!;
  await report(session, before, after, base, policy);
  return 0;
}

/** The policy before training: from the run, from --model, or warmed up; undefined when interrupted. */
async function basePolicy({ folder, task, preset, model, options, interrupt }: Session): Promise<Policy | undefined> {
  const saved = await wholeBase(folder);
  if (saved) return Policy.load(saved);
  const policy =
    model === undefined
      ? await warmUp(folder, task, preset, options.seed, interrupt)
      : await Policy.load(await modelFolder(model));
  if (policy) await saveBase(folder, policy, task);
  return policy;
}

/** Evaluations on both levels, kept in the run folder; undefined when interrupted. */
async function evaluations(
  { folder, task, options, preset, interrupt }: Session,
  when: 'before' | 'after',
  policy: PolicyLike,
): Promise<Evaluations | undefined> {
  const file = `evaluation-${when}.json`;
  const shape = { step: 'number', trained: RECORDED_EVALUATION, harder: RECORDED_EVALUATION } as const;
  const known = await folder.readJson(file, shape);
  // A resumed run may have gone further than the one that was evaluated.
  if (known?.step === (when === 'before' ? 0 : options.maxSteps)) return known;
  const { evalProblems, evalSamples, temperature } = options;
  const result: Partial<Evaluations> = {};
  const label = `evaluation`;
  const progress = new Progress(label, 2 * evalProblems * evalSamples);
  let done = 0;
  try {
    for (const [key, level] of [
      ['trained', options.level ?? preset.levels[0]],
      ['harder', preset.levels[1]],
    ] as const) {
      const evaluation: EvaluationResult = await evaluate(policy, task, {
        problems: evalProblems,
        n: evalSamples,
        level,
        temperature,
        maxCompletionLength: Math.max(96, options.maxCompletionLength),
        signal: interrupt.signal,
        onProgress: ({ finished }) => progress.update(done + finished, `${level} operands`),
      });
      done += evalProblems * evalSamples;
      result[key] = evaluation;
    }
  } catch (error) {
    if (interrupt.isCause(error)) return undefined;
    throw error;
  } finally {
    progress.stop();
  }
  const { trained, harder } = result as Evaluations;
  await folder.writeJson(file, { step: when === 'before' ? 0 : options.maxSteps, trained, harder });
  progress.done(
    `${when} training: average@${trained.n} ${trained.averageAtN.toFixed(3)} (${trained.level} operands), ${harder.averageAtN.toFixed(3)} (${harder.level})`,
  );
  return { trained, harder };
}

async function report(
  { folder, task, options, processRewardModel }: Session,
  before: Evaluations,
  after: Evaluations,
  base: Policy,
  policy: PolicyLike,
): Promise<void> {
  const rows = await folder.rows('metrics.jsonl');
  const warm = await folder.readJson('warm-start.json', { seconds: 'number' });
  await folder.writeJson('summary.json', {
    method: options.method,
    seed: options.seed,
    steps: rows.length,
    before: evaluationFigures(before.trained),
    after: evaluationFigures(after.trained),
    harder: { before: evaluationFigures(before.harder), after: evaluationFigures(after.harder) },
    seconds: {
      warmStart: warm?.seconds ?? 0,
      evaluation: [before, after].reduce((sum, { trained, harder }) => sum + trained.seconds + harder.seconds, 0),
      training: rows.reduce((sum, row) => sum + row['seconds/step'], 0),
    },
  });
  // Problems of three operands or more that the base solves now and then: where a group has something to compare.
  const mixed = ({ prompt, correct }: ProblemRecord) =>
    /(.*[+*-]){2}/.test(prompt) && correct > 0 && correct < before.trained.n;
  const problems = before.trained.records.filter(mixed).slice(0, 3);
  const samples = await Promise.all(
    [base, policy].map((each) => explainSamples(each, base, task, problems, options, processRewardModel)),
  );
  const charts = plots(rows);
  if (charts) console.log(`\n${charts}`);
  if (problems.length > 0) {
    console.log(
      `\nHeld-out problems, one response each, with the advantage that ${options.method} gives each step in its group\n`,
    );
    console.log(samplesText(samples[0], samples[1]));
  }
  console.log(
    `\n${evaluationTable([
      { where: 'in distribution', before: before.trained, after: after.trained },
      { where: 'harder', before: before.harder, after: after.harder },
    ])}`,
  );
  console.log(`\n${conclusion(before, after)}`);
}

/** What the figures show, and what they do not. */
function conclusion({ trained: a, harder: aHard }: Evaluations, { trained: b, harder: bHard }: Evaluations): string {
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
