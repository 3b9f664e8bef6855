import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { sha256 } from '../../base/atomic.js';
import { resolveOptions } from '../../base/options.js';
import { Policy } from '../../policy/policy.js';
import { collectPrmData } from '../../prm/collect.js';
import { readPrmData } from '../../prm/data.js';
import { evaluatePrm } from '../../prm/evaluate.js';
import { PRM_TRAIN_OPTIONS, trainQuantilePrm } from '../../prm/train.js';
import type { Task } from '../../tasks/task.js';
import type { RunFolder } from '../../train/run-folder.js';
import type { JobHooks, PrmJob, PrmResult } from './plan.js';

/** Per problem, and per step of each response. */
const RESPONSES = 2;
const CONTINUATIONS = 8;

/** Collects responses of a seed's warm start with what became of their steps, and trains the seed's process reward model on them. */
export async function trainSeedPrm(
  folder: RunFolder,
  base: string,
  task: Task,
  { seed, problems, options }: PrmJob,
  { interrupt, onProgress }: JobHooks,
): Promise<PrmResult> {
  const { signal } = interrupt;
  const policy = await Policy.load(base);
  const data = folder.file('data.jsonl');
  // What an earlier try has spent counts as well.
  const before: { tokens: number; seconds: number } = (await folder.readJson('spent.json', {
    tokens: 'number',
    seconds: 'number',
  })) ?? {
    tokens: 0,
    seconds: 0,
  };
  let spent = before;
  const start = performance.now();
  for await (const { done, total, tokens } of collectPrmData({
    policy,
    model: await sha256(join(base, 'model.safetensors')),
    task,
    output: data,
    problems,
    n: RESPONSES,
    continuations: CONTINUATIONS,
    split: 'train',
    level: options.level ?? task.levels[0],
    maxCompletionLength: options.maxCompletionLength,
    temperature: options.temperature,
    stepSplit: options.stepSplit,
    stepLength: options.stepLength,
    stepTokens: options.stepTokens,
    stepStrings: options.stepStrings,
    seed,
    signal,
  })) {
    spent = { tokens: before.tokens + tokens, seconds: before.seconds + (performance.now() - start) / 1000 };
    await folder.writeJson('spent.json', spent);
    onProgress?.(`collecting ${done}/${total}`);
  }
  const training = performance.now();
  const prmOptions = resolveOptions('prl prm train', PRM_TRAIN_OPTIONS, { seed });
  const collected = await readPrmData(data);
  const { model } = await trainQuantilePrm({
    policy,
    data: collected,
    options: prmOptions,
    signal,
    onEpoch: ({ epoch }) => onProgress?.(`epoch ${epoch}/${prmOptions.epochs}`),
  });
  const { brier, brierConstant, aucLast } = await evaluatePrm(model, collected, { signal });
  if (!existsSync(folder.file('prm')))
    await model.save(folder.file('prm'), async (backbone) => task.tokenizer.save(backbone));
  return {
    seed,
    seconds: spent.seconds + (performance.now() - training) / 1000,
    tokens: spent.tokens,
    figures: { brier, brierConstant, aucLast },
  };
}
