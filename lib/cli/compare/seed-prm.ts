import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { sha256 } from '../../base/atomic.js';
import { resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { type CollectOptions, collectPrmData } from '../../prm/collect.js';
import { readPrmData } from '../../prm/data.js';
import { evaluatePrm } from '../../prm/evaluate.js';
import { PRM_TRAIN_OPTIONS, trainQuantilePrm } from '../../prm/train.js';
import type { Task } from '../../tasks/task.js';
import type { RunFolder } from '../../train/run-folder.js';
import type { JobHooks, PrmJob, PrmResult } from './plan.js';

/** Responses per problem, and continuations per step of each response. */
const RESPONSES = 2;
const CONTINUATIONS = 8;

/** Collects data from a seed's warm start, and trains the seed's process reward model on it. */
export async function trainSeedPrm(
  folder: RunFolder,
  base: string,
  task: Task,
  job: PrmJob,
  hooks: JobHooks,
): Promise<PrmResult> {
  const { seed } = job;
  const { signal } = hooks.interrupt;
  const policy = await Policy.load(base);
  const file = folder.file('data.jsonl');
  const weights = await sha256(join(base, 'model.safetensors'));
  const spent = await collect(folder, job, { policy, model: weights, task, output: file }, hooks);
  const start = performance.now();
  const options = resolveOptions('prl prm train', PRM_TRAIN_OPTIONS, { seed });
  const data = await readPrmData(file);
  const { model } = await trainQuantilePrm({
    policy,
    data,
    options,
    signal,
    onEpoch: ({ epoch }) => hooks.onProgress?.(`epoch ${epoch}/${options.epochs}`),
  });
  const { brier, brierConstant, aucLast } = await evaluatePrm(model, data, { signal });
  if (!existsSync(folder.file('prm')))
    await model.save(folder.file('prm'), async (backbone) => task.tokenizer.save(backbone));
  const seconds = spent.seconds + (performance.now() - start) / 1000;
  return { seed, seconds, tokens: spent.tokens, figures: { brier, brierConstant, aucLast } };
}

/** @returns tokens and seconds spent, earlier attempts included */
async function collect(
  folder: RunFolder,
  { seed, problems, options }: PrmJob,
  from: Pick<CollectOptions, 'policy' | 'model' | 'task' | 'output'>,
  { interrupt: { signal }, onProgress }: JobHooks,
): Promise<{ tokens: number; seconds: number }> {
  const before = (await folder.readJson('spent.json', { tokens: 'number', seconds: 'number' })) ?? {
    tokens: 0,
    seconds: 0,
  };
  const { level = from.task.levels[0], maxCompletionLength, temperature } = options;
  const { stepSplit, stepLength, stepTokens, stepStrings } = options;
  let spent = before;
  const start = performance.now();
  for await (const { done, total, tokens } of collectPrmData({
    ...from,
    signal,
    ...{ problems, n: RESPONSES, continuations: CONTINUATIONS, split: 'train', level, seed },
    ...{ maxCompletionLength, temperature, stepSplit, stepLength, stepTokens, stepStrings },
  })) {
    spent = { tokens: before.tokens + tokens, seconds: before.seconds + (performance.now() - start) / 1000 };
    await folder.writeJson('spent.json', spent);
    onProgress?.(`collecting ${done}/${total}`);
  }
  return spent;
}
