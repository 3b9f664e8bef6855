import { checkChoice, checkInteger, checkInterface, checkOptions, checkString, checkStrings } from '../base/options.js';
import type { Random } from '../base/random.js';
import type { ChatMessage } from '../policy/chat-template.js';
import { checkTokenizer, type Tokenizer } from '../policy/tokenizer.js';

/** A problem and its right answer. */
export interface Problem {
  /** The question. The policy sees it as it is, after a begin-of-text token, unless the task has `encode`. */
  prompt: string;
  /** The right answer. Only the task's own verifier reads it. */
  answer: string;
}

/** 'train' or 'test'. Evaluation holds out 'test'. No problem is in both. */
export type Split = 'train' | 'test';

/** Selects a sequence of problems. */
export interface ProblemChoice {
  /** Another seed gives another sequence. */
  seed: number;
  /** Training or held-out problems. */
  split: Split;
  /** One of the task's difficulty levels, or another name that it understands. Default: its first level. */
  level?: string | undefined;
}

/**
 * A verifier's result for a response: the reward, usually 0 or 1. It may add measures; their means over responses join
 * the metrics.
 */
export type Verdict = number | { reward: number; measures: Record<string, number> };

/**
 * What a policy is trained on. Implement it for a task of your own; `datasetTask` makes one from a list of problems.
 */
export interface Task {
  /** Name in reports. A resumed run must have the same one. */
  readonly name: string;
  /** The tokenizer of the policy. */
  readonly tokenizer: Tokenizer;
  /** Tokens that end a response. Default: the tokenizer's. */
  readonly stopTokens?: readonly number[];
  /** Texts that must be the same when a run is resumed, such as the fingerprint of a dataset. */
  readonly identity?: { readonly [name: string]: string };
  /** Names of the levels. The first is trained on; all are evaluated. */
  readonly levels: readonly [string, ...string[]];
  /** Problem number `index` of an endless sequence. It depends on these arguments only. */
  problem(index: number, choice: ProblemChoice): Problem;
  /** Token ids of the prompt, if the policy does not see it as it is: a template, a chat. */
  encode?(problem: Problem): Int32Array;
  /**
   * The conversation in the prompt, if `encode` makes one. Process reward models on servers read it. Default: the
   * problem as the only message of the user.
   */
  messages?(problem: Problem): readonly ChatMessage[];
  /**
   * The reward of a response. Evaluation counts rewards above 0 as right. All responses of a rollout are verified at
   * once.
   *
   * @param finished whether the response ended by itself, not at the length limit
   */
  verify(problem: Problem, response: string, finished: boolean): Verdict | Promise<Verdict>;
  /** The answer that `verify` takes from a response, to show it; undefined if it gives none. */
  extract?(problem: Problem, response: string): string | undefined;
  /** Other numbers to watch. Their means over responses join the metrics. */
  measure?(problem: Problem, response: string): Record<string, number>;
  /**
   * A response in one of the task's styles, for a warm start.
   *
   * @param random for styles that vary
   */
  demonstrate?(problem: Problem, style?: string, random?: Random): string;
}

/**
 * Checks a task that a caller passes.
 *
 * @throws TypeError that says what is missing
 */
export function checkTask(task: Task): void {
  const expected = 'task must be a Task: an ArithmeticTask, the result of datasetTask, or your own';
  checkInterface(expected, task, ['problem', 'verify']);
  checkTokenizer(task.tokenizer);
  checkStrings('the levels of the task', task.levels);
}

/**
 * Checks the index and choice of a problem.
 *
 * @throws TypeError or RangeError that names the option
 */
export function checkProblemChoice(index: number, choice: ProblemChoice): ProblemChoice {
  checkInteger('index', index);
  choice = checkOptions('the choice of a problem', choice, ['seed', 'split', 'level']);
  checkInteger('seed', choice.seed);
  checkChoice('split', choice.split, ['train', 'test']);
  if (choice.level !== undefined) checkString('level', choice.level);
  return choice;
}

/** What a prompt says, before templates and tokens. */
export interface Conversation {
  /** The bare problem. */
  problem: string;
  /** The messages that the prompt renders. Default: the problem as the only message of the user. */
  messages?: readonly ChatMessage[];
}

/** What the prompt of a problem says. */
export const conversationOf = (task: Task, problem: Problem): Conversation => ({
  problem: problem.prompt,
  ...(task.messages && { messages: task.messages(problem) }),
});

/** Token ids of the prompt, as the policy sees it. */
export const encodeProblem = (task: Task, problem: Problem): Int32Array =>
  task.encode ? task.encode(problem) : task.tokenizer.encode(problem.prompt, { addSpecialTokens: true });

/** Ids of the tokens that end a response of the task. */
export const stopTokensOf = ({ stopTokens, tokenizer }: Pick<Task, 'stopTokens' | 'tokenizer'>): number[] => [
  ...(stopTokens ?? tokenizer.stopTokenIds),
];
