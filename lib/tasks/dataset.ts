import { invalidArgument, outOfRange } from '../errors.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import { permutation, randomStream } from '../random.js';
import type { Problem, Split, Task } from './task.js';

export interface DatasetTaskOptions {
  name?: string;
  tokenizer: Tokenizer;
  train: readonly Problem[];
  /** Held-out problems. Without them there is nothing to evaluate on. */
  test?: readonly Problem[];
  verify: Task['verify'];
  measure?: Task['measure'];
}

/** A task of listed problems: every epoch goes through all of them once, in an order that depends on seed and epoch. */
export function datasetTask({
  name = 'dataset',
  tokenizer,
  train,
  test = [],
  verify,
  measure,
}: DatasetTaskOptions): Task {
  if (!Array.isArray(train) || train.length === 0)
    throw invalidArgument('datasetTask needs a non-empty array of train problems');
  const orders = new Map<string, Int32Array>();
  const order = (split: Split, seed: number, epoch: number, size: number) => {
    const key = `${split} ${seed} ${epoch}`;
    let found = orders.get(key);
    if (!found) {
      if (orders.size > 8) orders.clear();
      found = permutation(size, randomStream(seed, 'dataset', split, epoch));
      orders.set(key, found);
    }
    return found;
  };
  return {
    name,
    tokenizer,
    levels: ['all'],
    verify,
    measure,
    problem(index, { seed, split }) {
      const list = split === 'train' ? train : test;
      if (list.length === 0) throw outOfRange(`the dataset '${name}' has no ${split} problems`);
      const epoch = Math.floor(index / list.length);
      return list[order(split, seed, epoch, list.length)[index % list.length]];
    },
  };
}
