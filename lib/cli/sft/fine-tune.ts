// The course of `prl sft`: read demonstrations, evaluate, train, evaluate again. A run that was interrupted or killed
// resumes.
import { basename, extname } from 'node:path';
import { invalidArgument } from '../../base/errors.js';
import { badRow } from '../../base/lines.js';
import { resolveOptions } from '../../base/options.js';
import { permutation, randomStream } from '../../base/random.js';
import { clockSetting } from '../../policy/clock.js';
import { Policy } from '../../policy/policy.js';
import { Tokenizer } from '../../policy/tokenizer.js';
import type { Demonstration } from '../../tasks/data/demonstration.js';
import { type Demonstrations, loadDemonstrations } from '../../tasks/data/demonstrations.js';
import { describeReport } from '../../tasks/data/load.js';
import { settleConfig } from '../../train/checkpoint.js';
import type { RunFolder } from '../../train/run-folder.js';
import { lengthOf } from '../../train/sft-batches.js';
import { SFT_OPTIONS } from '../../train/sft-options.js';
import { type SftEvaluation, SftTrainer } from '../../train/sft-trainer.js';
import { part, savedPart, type Values } from '../kit/args.js';
import { setClock } from '../kit/dataset.js';
import type { Interrupt } from '../kit/interrupt.js';
import { LOAD_OPTIONS, modelFolder } from '../kit/model-folder.js';
import { Progress } from '../kit/progress.js';
import { warn } from '../kit/warn.js';
import type { NextSteps } from '../train/next-steps.js';
import { curves } from '../train/plots.js';
import { block, clipped } from '../train/preview.js';
import { SFT_DATA_OPTIONS, type SftDataOptions } from './options.js';

/** Options that a resumed run may change: the place of the same demonstrations. */
const MOVABLE = ['model', 'extraTensors', 'dataset', 'evalDataset', 'split', 'config'];

/** @returns what can follow; undefined if interrupted */
export async function fineTune(
  folder: RunFolder,
  given: Values,
  interrupt: Interrupt,
): Promise<{ steps: number; next: NextSteps } | undefined> {
  const { command = {}, sft = {} } = (await folder.readJson('config.json', { 'command?': {}, 'sft?': {} })) ?? {};
  const known = { ...part(command, SFT_DATA_OPTIONS), ...part(given, SFT_DATA_OPTIONS) };
  const data: SftDataOptions = resolveOptions('prl sft', SFT_DATA_OPTIONS, known);
  const options = resolveOptions('prl sft', SFT_OPTIONS, {
    ...savedPart(sft, SFT_OPTIONS),
    ...part(given, SFT_OPTIONS),
  });
  const loading = resolveOptions('prl sft', LOAD_OPTIONS, part({ ...command, ...given }, LOAD_OPTIONS));
  const model = given.model ?? command.model;
  if (typeof model !== 'string' || !data.dataset)
    throw badRow(folder.file('config.json'), 'it must name the model and the dataset of a run of prl sft');

  const source = await modelFolder(model, interrupt.signal);
  const tokenizer = await Tokenizer.load(source);
  // A resumed run has the clock of its first start among its own options.
  if (data.clock !== undefined) setClock(tokenizer, data.clock);
  const { train, held, fingerprint } = await readData(data, { tokenizer, ...options }, interrupt.signal);
  await settleConfig(
    folder,
    'command',
    { ...data, ...loading, model, fingerprint, ...clockSetting(tokenizer) },
    MOVABLE,
  );
  const policy = await Policy.load(source, { dtype: data.dtype, ...loading });
  const { microBatchTokens, gradientCheckpointing } = options;
  policy.checkMemory({ ...(microBatchTokens !== undefined && { microBatchTokens }), gradientCheckpointing });

  const trainer = new SftTrainer({
    ...options,
    ...{ policy, tokenizer, dataset: train, output: folder, resume: true, onWarning: warn },
    ...(held.length > 0 && { evalDataset: held }),
  });
  interrupt.onStop(() => trainer.stop());
  describe(train, held, tokenizer, trainer.totalSteps);
  const before = await examine(folder, trainer, 'before', held, interrupt);
  if (!(await runSteps(trainer, interrupt))) return undefined;
  const after = await examine(folder, trainer, 'after', held, interrupt);
  await conclude(folder, trainer, { before, after });
  // The prompts of reinforcement learning must be those that it has learned to answer.
  const training = { dataset: 'FILE', promptTemplate: data.promptTemplate };
  return { steps: trainer.totalSteps, next: { training, prompt: 'What is 2 + 2?' } };
}

/** Reads the demonstrations and holds some of them out. */
async function readData(
  { dataset, evalDataset, evalShare = 0, split, dtype: _, clock: __, ...options }: SftDataOptions,
  { tokenizer, maxLength, seed }: { tokenizer: Tokenizer; maxLength: number; seed: number },
  signal: AbortSignal,
): Promise<{ train: Demonstration[]; held: readonly Demonstration[]; fingerprint: string }> {
  const load = async (label: string, source: readonly string[], ofSplit: string | undefined) => {
    const start = performance.now();
    const name = basename(source[0], extname(source[0]));
    const found = await loadDemonstrations(source, { ...options, name, split: ofSplit, tokenizer, maxLength, signal });
    console.log(
      `${label.padEnd(12)} ${source.join(', ')}: ${reportOf(found)} (${((performance.now() - start) / 1000).toFixed(1)} s)`,
    );
    return found;
  };
  const all = await load('dataset', dataset!, split);
  if (evalDataset) {
    const held = await load('evaluation', evalDataset, evalDataset.every((name) => extname(name)) ? undefined : 'test');
    const seen = new Set(held.demonstrations.map(keyOf));
    const train = all.demonstrations.filter((each) => !seen.has(keyOf(each)));
    const left = all.demonstrations.length - train.length;
    if (left > 0) console.log(`${''.padEnd(12)} left out ${left} demonstrations that are in the evaluation too`);
    if (train.length === 0) throw invalidArgument('all demonstrations of --dataset are in --eval-dataset too');
    return { train, held: held.demonstrations, fingerprint: `${all.fingerprint} ${held.fingerprint}` };
  }
  // Held out by chance, in their order.
  const count = Math.round(evalShare * all.demonstrations.length);
  const chosen = new Set(permutation(all.demonstrations.length, randomStream(seed, 'held out')).subarray(0, count));
  const part = (inside: boolean) => all.demonstrations.filter((_, i) => chosen.has(i) === inside);
  return { train: part(false), held: part(true), fingerprint: all.fingerprint };
}

const keyOf = ({ prompt, completion }: Demonstration) => `${prompt}|${completion}`;
const reportOf = ({ report }: Demonstrations) =>
  `${describeReport(report)}${report.truncated > 0 ? `, ${report.truncated} lost their end to --max-length` : ''}`;

/** Says what will be learned, with the first demonstration as the model sees it. */
function describe(
  train: readonly Demonstration[],
  held: readonly Demonstration[],
  tokenizer: Tokenizer,
  steps: number,
): void {
  const lengths = train.map(lengthOf);
  const learned = train.reduce(
    (sum, { completion, mask }) => sum + (mask ?? completion.map(() => 1)).reduce(add, 0),
    0,
  );
  const total = lengths.reduce(add, 0);
  const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
  console.log(
    `${''.padEnd(12)} ${train.length} demonstrations to learn, ${held.length} held out: ${total} tokens, ${learned} of them learned, longest ${longest}; ${steps} steps`,
  );
  const { prompt, completion } = train[0];
  const [read, answer] = [prompt, completion].map((ids) => tokenizer.decode(ids, { skipSpecialTokens: false }));
  console.log('\nThe first one, as the model sees it. What it learns comes after >>>');
  console.log(`${block('', clipped(`${read}>>>${answer}`, 1 / 2))}\n`);
}
const add = (a: number, b: number) => a + b;

/** Loss and token accuracy on what is held out. Results in the run folder are reused. */
async function examine(
  folder: RunFolder,
  trainer: SftTrainer,
  when: 'before' | 'after',
  held: readonly Demonstration[],
  { signal }: Interrupt,
): Promise<SftEvaluation | undefined> {
  if (held.length === 0) return undefined;
  const file = `evaluation-${when}.json`;
  const step = when === 'before' ? 0 : trainer.totalSteps;
  const known = await folder.readJson(file, {
    step: 'number',
    loss: 'number',
    tokenAccuracy: 'number',
    tokens: 'number',
  });
  if (known?.step === step) return known;
  const progress = new Progress('evaluation', held.length);
  const result = await trainer.evaluate({ signal }).finally(() => progress.stop());
  await folder.writeJson(file, { step, ...result });
  progress.done(`${when} training: ${figures(result)}`);
  return result;
}
const figures = ({ loss, tokenAccuracy }: SftEvaluation) =>
  `loss ${loss.toFixed(3)}, token accuracy ${tokenAccuracy.toFixed(3)}`;

/** @returns false if interrupted */
async function runSteps(trainer: SftTrainer, interrupt: Interrupt): Promise<boolean> {
  const progress = new Progress('SFT', trainer.totalSteps);
  let begun = false;
  let last = '';
  try {
    for await (const { step, loss, mean_token_accuracy, tokens_per_second } of trainer.run()) {
      if (!begun) progress.resumedAt(step - 1);
      begun = true;
      last = `loss ${loss.toFixed(3)}  token accuracy ${mean_token_accuracy.toFixed(3)}`;
      progress.update(step, `${last}  ${Math.round(tokens_per_second)} tokens/s`);
    }
  } finally {
    progress.stop();
  }
  if (interrupt.exitCode !== undefined) return false;
  if (begun) progress.done(`${trainer.totalSteps} steps, ${last}`);
  return true;
}

async function conclude(
  folder: RunFolder,
  trainer: SftTrainer,
  { before, after }: { before?: SftEvaluation; after?: SftEvaluation },
): Promise<void> {
  const rows = await folder.rows('metrics.jsonl');
  const seconds = rows.reduce((sum, row) => sum + row['seconds/step'], 0);
  await folder.writeJson('summary.json', {
    method: 'sft',
    seed: trainer.options.seed,
    steps: rows.length,
    ...(before && after && { before, after }),
    loss: { first: rows[0]?.loss, last: rows.at(-1)?.loss },
    tokens: rows.at(-1)?.num_tokens,
    seconds: { training: seconds },
  });
  const texts = [
    curves(rows, [
      ['loss', 'mean negative log-likelihood per token of the step, nats', 3, false],
      ['mean_token_accuracy', 'share of tokens that are the most likely ones', 3, true],
    ]),
    before && after ? `Held out: ${figures(before)} before, ${figures(after)} after.` : '',
  ];
  for (const text of texts) if (text !== '') console.log(`\n${text}`);
}
