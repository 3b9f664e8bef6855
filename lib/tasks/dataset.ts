import { createHash } from 'node:crypto';
import { invalidArgument, outOfRange } from '../base/errors.js';
import { checkFunction, checkNumber, checkOptions, checkString, describe } from '../base/options.js';
import { permutation, randomStream, seedOf } from '../base/random.js';
import { checkTokenizer, type Tokenizer } from '../policy/tokenizer.js';
import type { DatasetProblem } from './data/fields.js';
import type { Dataset } from './data/load.js';
import { type PromptEncoder, promptEncoder } from './data/prompt.js';
import { leakKey } from './data/same-problem.js';
import { checkProblemChoice, type Problem, type Split, type Task } from './task.js';
import { checkVerdict } from './verify/function.js';
import { type Verifier, type VerifierName, verifierByName } from './verify/index.js';

/** Options of {@link datasetTask}. */
export interface DatasetTaskOptions {
  /** Name of the task. Default: the dataset's, or 'dataset'. */
  name?: string | undefined;
  /** The tokenizer of the policy. */
  tokenizer: Tokenizer;
  /**
   * Problems to train on: a dataset of loadDataset, with its prompt template, or a list of problems, used as they are.
   */
  train: Dataset | readonly Problem[];
  /** Held-out problems. They are removed from `train`, also if they differ in spaces, case or Unicode form. */
  test?: Dataset | readonly Problem[] | undefined;
  /**
   * Share of `train` that is held out, by a hash of the problem; only without `test`. From 0 to 0.5. Default 0: no
   * evaluation is possible.
   */
  evalShare?: number | undefined;
  /** Judges responses by the answer of their problem: a verifier or its name. Default 'math'. */
  verifier?: Verifier | VerifierName | undefined;
  /** Judges responses instead of `verifier`, with the whole problem. */
  verify?: Task['verify'] | undefined;
  /** Other numbers of a response. Their means join the metrics. */
  measure?: Task['measure'] | undefined;
}

/** Result of {@link datasetTask}. */
export interface DatasetTask extends Task {
  /** Number of problems in each split. */
  readonly size: { readonly [S in Split]: number };
  /** Number of problems removed from `train` because the same problem is in `test`. */
  readonly leaked: number;
}

const KNOWN = ['name', 'tokenizer', 'train', 'test', 'evalShare', 'verify', 'verifier', 'measure'];
/** A field with more values than this does not hold levels. */
const MAX_LEVELS = 64;

/**
 * Makes a task from a list of problems. Every epoch visits each problem once, in an order that depends on seed and
 * epoch. A step's problems depend on the seed and the step's number only, so a resumed run continues where it was.
 *
 * @throws TypeError or RangeError that names the option
 */
export function datasetTask(options: DatasetTaskOptions): DatasetTask {
  options = checkOptions('datasetTask', options, KNOWN);
  const { tokenizer, measure } = options;
  checkTokenizer(tokenizer);
  const given = { train: problemsOf('train', options.train), test: problemsOf('test', options.test) };
  if (given.train.length === 0)
    throw invalidArgument('datasetTask needs train problems: a dataset of loadDataset, or a non-empty array');
  const split = splitProblems(
    given,
    checkNumber('evalShare', options.evalShare ?? 0, 0, 0.5),
    options.test !== undefined,
  );
  const levels = levelsOf(given.train);
  const frame = framesOf(options);
  const encoder = frame && promptEncoder(tokenizer, frame);
  checkSystems([...given.train, ...given.test], encoder?.description.chat === true);
  const name = checkString('name', options.name ?? (isDataset(options.train) ? options.train.name : 'dataset'));
  const lists = listCache(name, split, levels);
  return {
    name,
    tokenizer,
    levels,
    size: { train: split.train.length, test: split.test.length },
    leaked: options.test === undefined ? 0 : given.train.length - split.train.length,
    identity: identityOf(options, encoder?.description),
    ...verifyWith(options, encoder),
    measure,
    ...(encoder && { encode: (problem: Problem) => encoder.encode(problem) }),
    ...(encoder?.messages && { messages: encoder.messages }),
    problem(index, choice) {
      const { seed, split, level = 'all' } = checkProblemChoice(index, choice);
      const list = lists(split, level);
      return list.problems[list.order(seed, Math.floor(index / list.problems.length))[index % list.problems.length]];
    },
  };
}

const isDataset = (value: unknown): value is Dataset =>
  typeof value === 'object' && value !== null && Array.isArray((value as Dataset).problems);

/** Checks the problems of a caller: each needs a prompt and an answer. */
export function checkProblems(name: string, problems: readonly unknown[]): void {
  for (const [i, each] of problems.entries()) {
    const problem = each as Partial<Problem> | null | undefined;
    if (typeof problem?.prompt !== 'string' || typeof problem.answer !== 'string')
      throw invalidArgument(`${name}[${i}] must have a prompt and an answer, both of them strings`);
  }
}

function problemsOf(name: string, given: Dataset | readonly Problem[] | undefined): readonly DatasetProblem[] {
  if (given === undefined) return [];
  const problems = isDataset(given) ? given.problems : given;
  if (!Array.isArray(problems))
    throw invalidArgument(`${name} must be a dataset of loadDataset or an array of problems, not ${describe(given)}`);
  checkProblems(name, problems);
  return problems;
}

/** No problem is in both splits. */
function splitProblems(
  { train, test }: { train: readonly DatasetProblem[]; test: readonly DatasetProblem[] },
  share: number,
  separate: boolean,
): { [S in Split]: readonly DatasetProblem[] } {
  if (separate && share > 0)
    throw invalidArgument('evalShare holds out a part of train: leave it out if there is a test');
  const isHeldOut = separate ? sameAs(test) : ofShare(train, share);
  const split = {
    train: train.filter((problem) => !isHeldOut(problem)),
    test: separate ? test : train.filter(isHeldOut),
  };
  if (split.train.length === 0)
    throw invalidArgument(`all ${train.length} train problems are held out: there is nothing to train on`);
  return split;
}

function sameAs(test: readonly Problem[]): (problem: Problem) => boolean {
  const held = new Set(test.map(({ prompt }) => leakKey(prompt)));
  return ({ prompt }) => held.has(leakKey(prompt));
}

/** Problems that count as the same go where the first of them goes, by its hash. */
function ofShare(train: readonly Problem[], share: number): (problem: Problem) => boolean {
  if (share === 0) return () => false;
  const first = new Map<string, string>();
  for (const { prompt } of train) if (!first.has(leakKey(prompt))) first.set(leakKey(prompt), prompt);
  return ({ prompt }) => seedOf('dataset split', first.get(leakKey(prompt))!) < share * 2 ** 32;
}

function levelsOf(problems: readonly DatasetProblem[]): [string, ...string[]] {
  const found = new Set(problems.flatMap(({ level }) => level ?? []));
  if (found.size > MAX_LEVELS)
    throw outOfRange(
      `the problems have ${found.size} different levels, more than ${MAX_LEVELS}: choose another levelField`,
    );
  return [
    'all',
    ...[...found].filter((level) => level !== 'all').sort(new Intl.Collator('en', { numeric: true }).compare),
  ];
}

/** The problems of a split and level, with their order in an epoch. */
function listCache(name: string, split: { [S in Split]: readonly DatasetProblem[] }, levels: readonly string[]) {
  const lists = new Map<string, { problems: readonly Problem[]; order: (seed: number, epoch: number) => Int32Array }>();
  return (of: Split, level: string) => {
    const key = `${of} ${level}`;
    const known = lists.get(key);
    if (known) return known;
    if (!levels.includes(level))
      throw outOfRange(`level must be one of ${levels.join(', ')} in the dataset '${name}', not '${level}'`);
    const problems = level === 'all' ? split[of] : split[of].filter((problem) => problem.level === level);
    if (problems.length === 0)
      throw outOfRange(`the dataset '${name}' has no ${of} problems${level === 'all' ? '' : ` of level '${level}'`}`);
    const orders = new Map<string, Int32Array>();
    const order = (seed: number, epoch: number) => {
      const key = `${seed} ${epoch}`;
      let found = orders.get(key);
      if (!found) {
        if (orders.size > 4) orders.clear();
        found = permutation(problems.length, randomStream(seed, 'dataset', of, level, epoch));
        orders.set(key, found);
      }
      return found;
    };
    const list = { problems, order };
    lists.set(key, list);
    return list;
  };
}

/**
 * The prompt options of the datasets. They must agree: a policy is evaluated with the prompts that it was trained with.
 */
function framesOf({ train, test }: DatasetTaskOptions): Dataset['prompt'] | undefined {
  const [own, other] = [train, test].map((each) => (isDataset(each) ? each.prompt : undefined));
  for (const name of own && other ? (['promptTemplate', 'systemPrompt', 'chat'] as const) : []) {
    const [a, b] = [own![name], other![name]];
    if (a !== b)
      throw invalidArgument(
        `train and test must be loaded with the same ${name}, not with ${a ?? 'unset'} and ${b ?? 'unset'}`,
      );
  }
  return own ?? other;
}

/** A row's own system message must not be lost. */
function checkSystems(problems: readonly DatasetProblem[], chat: boolean): void {
  const found = chat ? undefined : problems.find(({ system }) => system !== undefined);
  if (found)
    throw invalidArgument(
      `the problem ${JSON.stringify(found.prompt.slice(0, 80))} has a system message, but the prompt is not a chat: choose a promptTemplate with a chat, such as 'chat'`,
    );
}

function verifyWith(
  { verify, verifier, measure }: DatasetTaskOptions,
  encoder?: PromptEncoder,
): Pick<Task, 'verify' | 'extract'> {
  if (verify !== undefined && verifier !== undefined)
    throw invalidArgument("datasetTask takes either 'verify' or 'verifier', not both");
  for (const [name, value] of Object.entries({ verify, measure })) if (value !== undefined) checkFunction(name, value);
  if (verify) return { verify };
  const judge = typeof verifier === 'function' ? verifier : verifierByName(verifier ?? 'math');
  const name = typeof verifier === 'function' ? verifier.name || 'verifier' : (verifier ?? 'math');
  const info = () => encoder && { thinking: encoder.thinking };
  return {
    verify: ({ prompt, answer }, response, finished) =>
      checkVerdict(name, judge, response, answer, { prompt, finished, ...info() }),
    ...(judge.extract && { extract: (_, response) => judge.extract!(response, info()) }),
  };
}

/** Texts that must be the same when a run is resumed. */
function identityOf({ train, test, evalShare }: DatasetTaskOptions, prompt: object | undefined): Task['identity'] {
  const mark = (given: Dataset | readonly Problem[]) => {
    const problems = isDataset(given) ? given.problems : given;
    const hash = isDataset(given)
      ? given.fingerprint
      : createHash('sha256').update(JSON.stringify(problems)).digest('hex');
    return `${problems.length} problems, SHA-256 ${hash.slice(0, 32)}`;
  };
  return {
    dataset: mark(train),
    ...(test !== undefined && { evalDataset: mark(test) }),
    ...(evalShare && { evalShare: String(evalShare) }),
    ...(prompt && { prompt: JSON.stringify(prompt) }),
  };
}
