// What a run on a dataset shows at its beginning: a prompt as the model sees it, and a response with its verdict.
import { encodeProblem, type Task } from '../../tasks/task.js';
import type { ResolvedTrainerOptions } from '../../train/options.js';
import type { TrainingStep } from '../../train/trainer.js';

/** Characters that are shown of a text. */
const SHOWN = 600;
const LABEL = 13;

/** The prompt of the first step's first problem, special tokens included. */
export function promptPreview(task: Task, { seed, level }: ResolvedTrainerOptions): string {
  const tokens = encodeProblem(task, task.problem(0, { seed, split: 'train', level }));
  const text = task.tokenizer.decode(tokens, { skipSpecialTokens: false });
  return `the first prompt as the model sees it (${tokens.length} tokens):\n${block('', clipped(text, 2 / 3))}`;
}

/** The first response of a step, what was extracted from it, the gold answer and the verdict. */
export function responsePreview(task: Task, { rollout }: TrainingStep): string {
  const { problems, texts, rewards, finished, completions } = rollout;
  const extracted = task.extract?.(problems[0], texts[0]);
  return [
    `the first response (${completions[0].length} tokens, ${finished[0] ? 'ended by itself' : 'cut off'}):`,
    block('', clipped(texts[0], 1 / 3) || '(nothing)'),
    ...(task.extract ? [block('extracted', extracted === undefined ? '(no answer)' : clipped(extracted, 1 / 2))] : []),
    block('gold answer', clipped(problems[0].answer, 1 / 2)),
    block('reward', `${Number(rewards[0].toPrecision(5))}, mean of the step ${meanOf(rewards).toFixed(3)}`),
  ].join('\n');
}

/** Watches for steps in which all rewards are equal, so that most methods learn nothing. */
export class EqualRewards {
  readonly #places: string;
  #steps = 0;

  /** @param dataset whether the run is one on a dataset */
  constructor(dataset: boolean) {
    const cut = 'whether responses are cut off (--max-completion-length), and --temperature';
    this.#places = dataset ? `where the answer is (--extraction), the prompt (--prompt-template), ${cut}` : cut;
  }

  /** A warning at the second such step in a row; undefined at any other. */
  warning({ step, rollout }: Pick<TrainingStep, 'step' | 'rollout'>): string | undefined {
    const { rewards } = rollout;
    this.#steps = rewards.every((reward) => reward === rewards[0]) ? this.#steps + 1 : 0;
    if (this.#steps !== 2) return undefined;
    const right = rewards[0] > 0;
    const look = right
      ? 'The problems may be too easy, or the verifier may accept anything'
      : `Look at ${this.#places}. The problems may also be too hard`;
    return `all rewards were ${Number(rewards[0].toPrecision(5))} in steps ${step - 1} and ${step}, so there is nothing to compare. ${look}`;
  }
}

const meanOf = (values: Float32Array) => values.reduce((a, b) => a + b, 0) / values.length;

/** The text with its middle left out where it is long. `head` is the share of its beginning. Controls are escaped. */
export function clipped(text: string, head: number): string {
  const begin = Math.round(SHOWN * head);
  const left = text.length - SHOWN;
  const short = left <= 0 ? text : `${text.slice(0, begin)} [... ${left} characters ...] ${text.slice(begin - SHOWN)}`;
  // A response may hold what a terminal takes for commands.
  return short.trimEnd().replace(/[^\P{C}\n]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** The text in lines after a column, which the label begins. */
export const block = (label: string, text: string) =>
  text
    .split('\n')
    .map((line, i) => `${(i === 0 ? label : '').padEnd(LABEL)}${line}`.trimEnd())
    .join('\n');
