import { invalidArgument } from '../base/errors.js';
import { checkChoice, checkInteger, checkOptions, checkString, checkStrings, describe } from '../base/options.js';
import type { Random } from '../base/random.js';
import { checkTokenizer, type Tokenizer } from '../policy/tokenizer.js';

/** What a policy is asked, and what is right. */
export interface Problem {
  /** What is asked: what the policy is given, unless the task encodes it in a frame of its own. */
  prompt: string;
  /** What a right response ends in; only the task's own verifier reads it. */
  answer: string;
}

/** Problems of the two splits never meet: 'test' is what evaluation holds out. */
export type Split = 'train' | 'test';

/** Which sequence of problems. */
export interface ProblemChoice {
  /** Another one gives another sequence. */
  seed: number;
  /** Trained on, or held out. */
  split: Split;
  /** One of the task's difficulty levels, or whatever else it understands. Default: its first level. */
  level?: string;
}

/**
 * What a verifier says of a response: its reward, as a rule 0 or 1, and where there is more to say, numbers whose means over
 * responses join the metrics.
 */
export type Verdict = number | { reward: number; measures: Record<string, number> };

/** What a policy is trained on. Write your own by implementing this; `datasetTask` makes one of a list of problems. */
export interface Task {
  /** What reports call it; a resumed run must have the same. */
  readonly name: string;
  /** The policy's. */
  readonly tokenizer: Tokenizer;
  /** Tokens that end a response. Default: the tokenizer's. */
  readonly stopTokens?: readonly number[];
  /** What a resumed run must find as it was, in words: the contents of a dataset. */
  readonly identity?: { readonly [name: string]: string };
  /** Names of the levels: the first is trained on, all are evaluated. */
  readonly levels: readonly [string, ...string[]];
  /** Problem number `index` of an endless sequence that depends on nothing but these arguments. */
  problem(index: number, choice: ProblemChoice): Problem;
  /** Token ids of what the policy is given, where that is not the prompt as it stands: a template, a chat. */
  encode?(problem: Problem): Int32Array;
  /**
   * The reward of a response (evaluation counts rewards above 0 as right). All responses of a rollout are verified at once.
   * @param finished whether the response ended by itself rather than at the length limit
   */
  verify(problem: Problem, response: string, finished: boolean): Verdict | Promise<Verdict>;
  /** Numbers worth watching besides the reward; their means over responses join the metrics. */
  measure?(problem: Problem, response: string): Record<string, number>;
  /**
   * A response in one of the task's styles, for a warm start.
   * @param random for styles that vary
   */
  demonstrate?(problem: Problem, style?: string, random?: Random): string;
}

/** What a caller passes as a task. */
export function checkTask(task: Task): void {
  const expected = 'task must be a Task: an ArithmeticTask, what datasetTask gives, or one of yours';
  if (typeof task !== 'object' || task === null) throw invalidArgument(`${expected}, not ${describe(task)}`);
  for (const name of ['problem', 'verify'] as const)
    if (typeof task[name] !== 'function') throw invalidArgument(`${expected}; this one has no function ${name}`);
  checkTokenizer(task.tokenizer);
  checkStrings('the levels of the task', task.levels);
}

/** Which problem of a task. */
export function checkProblemChoice(index: number, choice: ProblemChoice): ProblemChoice {
  checkInteger('index', index);
  choice = checkOptions('the choice of a problem', choice, ['seed', 'split', 'level']);
  checkInteger('seed', choice.seed);
  checkChoice('split', choice.split, ['train', 'test']);
  if (choice.level !== undefined) checkString('level', choice.level);
  return choice;
}

/** Token ids of what the policy is given. */
export const encodeProblem = (task: Task, problem: Problem): Int32Array =>
  task.encode ? task.encode(problem) : task.tokenizer.encode(problem.prompt);

/** Tokens that end a response. */
export const stopTokensOf = ({ stopTokens, tokenizer }: Pick<Task, 'stopTokens' | 'tokenizer'>): number[] => [
  ...(stopTokens ?? tokenizer.stopTokenIds),
];
