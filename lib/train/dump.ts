// Saves the batch of a step whose update was not finite, for diagnosis.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { types } from 'node:util';
import { makeFolder } from '../base/atomic.js';
import { cumulative } from '../base/packed.js';
import { type StorableTensor, writeSafetensors } from '../policy/safetensors.js';
import type { Step } from './step.js';

/** Batches that are kept: the last ones. */
const MAX_DUMPS = 8;

/**
 * Writes step-N.safetensors with every bit that the step computed with: packed token ids of prompts and completions,
 * and the arrays of the rollout and the method. Its metadata holds the problems as JSON.
 */
export async function dumpBatch(folder: string, { step, rollout, ...computed }: Step): Promise<string> {
  const { problems, groupIds, prompts, completions, rewards, cuSeqlens, logProbs } = rollout;
  const { rolloutLogProbs, importanceWeights } = rollout;
  const arrays = {
    ...{ groupIds, promptIds: pack(prompts), cuPrompts: cumulative(prompts.map(({ length }) => length)) },
    ...{ completionIds: pack(completions), cuSeqlens, finished: Int32Array.from(rollout.finished, Number), rewards },
    ...{ logProbs, rolloutLogProbs, importanceWeights, ...computed },
  };
  const tensors = Object.entries(arrays).flatMap(([name, values]): StorableTensor[] =>
    values
      ? [{ name, shape: [values.length], dtype: types.isInt32Array(values) ? 'I32' : 'F32', read: () => values }]
      : [],
  );
  await makeFolder(folder);
  const file = join(folder, `step-${String(step).padStart(6, '0')}.safetensors`);
  await writeSafetensors(file, tensors, { step: String(step), problems: JSON.stringify(problems) });
  const dumps = (await readdir(folder)).filter((name) => /^step-\d{6,}\.safetensors$/.test(name)).sort();
  for (const name of dumps.slice(0, -MAX_DUMPS)) await rm(join(folder, name), { force: true });
  return file;
}

function pack(sequences: readonly Int32Array[]): Int32Array {
  const ends = cumulative(sequences.map(({ length }) => length));
  const packed = new Int32Array(ends[sequences.length]);
  sequences.forEach((sequence, i) => {
    packed.set(sequence, ends[i]);
  });
  return packed;
}
