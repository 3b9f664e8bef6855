// What the jobs of a comparison train on and are evaluated on: the arithmetic task of a preset, or a dataset.
import { join } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import type { EvaluationOptions } from '../../eval/evaluate.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import { ArithmeticTask } from '../../tasks/arithmetic.js';
import type { Task } from '../../tasks/task.js';
import { saveBase, wholeBase } from '../../train/checkpoint.js';
import type { RunFolder } from '../../train/run-folder.js';
import { heldOut, loadTask } from '../kit/dataset.js';
import type { Interrupt } from '../kit/interrupt.js';
import { modelFolder } from '../kit/model-folder.js';
import { evaluatedLevels, evaluationOptions, PRESETS, type Preset } from '../kit/presets.js';
import { startingPolicy } from '../kit/warm-up.js';
import type { CellJob, ComparedData, CompareJob, WarmJob } from './plan.js';

export interface Ground {
  task: Task;
  /** The policy before training. */
  base: Policy;
  /** Options of its evaluations, one per level. */
  exams: EvaluationOptions[];
}

const presetOf = ({ preset }: CompareJob): Preset => PRESETS[preset];
export const arithmeticOf = (job: CompareJob) => new ArithmeticTask({ levels: presetOf(job).levels });

/** Makes and saves the policy that all arms of a seed start from. undefined: interrupted */
export async function warmGround(folder: RunFolder, job: WarmJob, interrupt: Interrupt): Promise<Ground | undefined> {
  if (job.data) return datasetGround(job, job.data, interrupt);
  const task = arithmeticOf(job);
  const saved = await wholeBase(folder);
  const base = await startingPolicy(folder, task, presetOf(job), { ...job, saved }, interrupt);
  if (!base) return undefined;
  if (saved === undefined) await saveBase(folder, base, task);
  return { task, base, exams: arithmeticExams(job, base) };
}

export async function groundOf(job: CellJob, interrupt: Interrupt): Promise<Ground> {
  if (job.data) return datasetGround(job, job.data, interrupt);
  const base = await Policy.load(join(job.warm, 'base'));
  return { task: arithmeticOf(job), base, exams: arithmeticExams(job, base) };
}

/** All levels of the preset: the one trained on, a harder one, and any others. */
const arithmeticExams = (job: WarmJob | CellJob, reference: Policy): EvaluationOptions[] =>
  evaluatedLevels(presetOf(job), job.options).map((level) => ({ ...evaluationOptions(job.options), level, reference }));

/** The model is where the user has it: no copy is saved. Drift is not measured, which would take two more passes. */
async function datasetGround(
  { model, options }: WarmJob | CellJob,
  { extraTensors, ...data }: ComparedData,
  { signal }: Interrupt,
): Promise<Ground> {
  const source = await modelFolder(model!, signal);
  const tokenizer = await Tokenizer.load(source);
  const base = await Policy.load(source, { dtype: data.dtype, extraTensors });
  const task = await loadTask(
    data,
    { tokenizer, policy: base, maxCompletionLength: options.maxCompletionLength },
    signal,
  );
  if (task.size.test === 0)
    throw invalidArgument('a comparison needs held-out problems: set --eval-dataset or --eval-share');
  return { task, base, exams: [heldOut(task.size.test, options)] };
}
