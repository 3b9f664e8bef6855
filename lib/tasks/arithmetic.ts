import { invalidArgument, outOfRange } from '../base/errors.js';
import { checkOptions, checkString, checkStrings, describe } from '../base/options.js';
import { type Random, randomInteger, randomStream, seedOf, weightedChoice } from '../base/random.js';
import { shorten } from '../base/text.js';
import { characterTokenizer } from '../policy/tokenizer.js';
import { checkProblemChoice, type Problem, type ProblemChoice, type Split, type Task } from './task.js';

/** All values stay in 0 .. MAX_VALUE. */
const MAX_VALUE = 19;
const MOST_OPERANDS = 99;
const PROMPT = /^\d+([+*-]\d+)*=$/;
/** One problem in HELD_OUT belongs to the test split. */
const HELD_OUT = 8;

/** Style of a demonstration: one line per operation, the answer alone, or lines of which some are wrong. */
export type ArithmeticStyle = 'steps' | 'direct' | 'slips';

/** How often a line of 'slips' is wrong, and by how much. The lines after it continue from the wrong value. */
const SLIP = { probability: 0.3, by: [-10, -2, -1, 1, 2, 10] };

/**
 * Chains of small integer operations, evaluated from left to right without precedence: `12+7-3=`. Every intermediate
 * value lies in 0 .. 19.
 *
 * A response is right if it ends and the text after its last '#' is exactly the answer. The text before it is free:
 * `#16` is a complete response, and `12+7=19\n19-3=16\n#16` shows its work.
 *
 * Levels are numbers of operands. '2-6' draws each number from 2 to 6 with equal weight; '2:3,5:1' draws 2 three times
 * as often as 5. A hash of the problem's text decides whether it is held out. So no seed and no level can leak it into
 * training.
 */
export class ArithmeticTask implements Task {
  readonly name = 'arithmetic';
  readonly tokenizer = characterTokenizer('0123456789+-*=\n#');
  readonly levels: readonly [string, ...string[]];

  constructor(
    options: {
      /** The levels of the task, the first one for training. */
      levels?: readonly [string, ...string[]];
    } = {},
  ) {
    options = checkOptions('ArithmeticTask', options, ['levels']);
    this.levels = checkStrings('levels', options.levels ?? ['2-6', '7-8']) as [string, ...string[]];
    for (const level of this.levels) parseLevel(level);
  }

  problem(index: number, choice: ProblemChoice): Problem {
    const { seed, split, level = this.levels[0] } = checkProblemChoice(index, choice);
    const random = randomStream(seed, 'arithmetic', split, level, index);
    const operands = weightedChoice(parseLevel(level), random);
    for (;;) {
      const problem = drawProblem(operands, random);
      if (splitOf(problem.prompt) === split) return problem;
    }
  }

  verify(problem: Problem, response: string, finished: boolean): number {
    const answer: unknown = problem?.answer;
    if (typeof answer !== 'string') throw invalidArgument('problem must have an answer that is a string');
    const mark = checkString('response', response).lastIndexOf('#');
    return finished && mark >= 0 && response.slice(mark + 1) === answer ? 1 : 0;
  }

  measure(_problem: Problem, response: string): Record<string, number> {
    return { share_step_by_step: checkString('response', response).includes('\n') ? 1 : 0 };
  }

  demonstrate(problem: Problem, style: string = 'steps', random?: Random): string {
    const { prompt, answer } = problem ?? {};
    if (typeof answer !== 'string' || typeof prompt !== 'string' || !PROMPT.test(prompt))
      throw invalidArgument("problem must come from this task, such as { prompt: '1+2=', answer: '3' }");
    if (style === 'direct') return `#${answer}`;
    if (style !== 'steps' && style !== 'slips')
      throw outOfRange(`style must be 'steps', 'direct' or 'slips', not ${describe(style)}`);
    if (style === 'slips' && typeof random !== 'function')
      throw invalidArgument(`the style 'slips' needs a function that returns random numbers, not ${describe(random)}`);
    const [start, ...operations] = parse(prompt);
    let value = start.operand;
    const lines = operations.map(({ operator, operand }) => {
      const right = apply(value, operator, operand);
      const next = style === 'slips' && random!() < SLIP.probability ? slip(right, random!) : right;
      const line = `${value}${operator}${operand}=${next}\n`;
      value = next;
      return line;
    });
    return `${lines.join('')}#${value}`;
  }
}

/** Which split a problem belongs to. */
export const splitOf = (prompt: string): Split =>
  seedOf('arithmetic split', prompt) % HELD_OUT === 0 ? 'test' : 'train';

function drawProblem(operands: number, random: Random): Problem {
  let value = randomInteger(random, 1, MAX_VALUE);
  let prompt = String(value);
  for (let i = 1; i < operands; i++) {
    for (;;) {
      const operator = random() < 0.3 ? '*' : random() < 0.5 ? '+' : '-';
      const operand = randomInteger(random, operator === '*' ? 2 : 1, 9);
      const next = apply(value, operator, operand);
      if (next < 0 || next > MAX_VALUE) continue;
      value = next;
      prompt += `${operator}${operand}`;
      break;
    }
  }
  return { prompt: `${prompt}=`, answer: String(value) };
}

/** A wrong result. It stays in the range of results if the right one does. */
function slip(right: number, random: Random): number {
  const wrong = SLIP.by.map((by) => right + by).filter((value) => value >= 0 && value <= MAX_VALUE);
  return wrong.length > 0 ? wrong[randomInteger(random, 0, wrong.length - 1)] : right;
}

function apply(value: number, operator: string, operand: number): number {
  return operator === '*' ? value * operand : operator === '+' ? value + operand : value - operand;
}

const parse = (prompt: string) =>
  [...prompt.matchAll(/([+*-]?)(\d+)/g)].map(([, operator, operand]) => ({ operator, operand: Number(operand) }));

const levels = new Map<string, (readonly [number, number])[]>();

/** Numbers of operands and their weights. */
function parseLevel(level: string): (readonly [number, number])[] {
  const known = levels.get(level);
  if (known) return known;
  const range = /^(\d+)(?:-(\d+))?$/.exec(level);
  const weights: [number, number][] = range
    ? Number(range[2] ?? 0) > MOST_OPERANDS
      ? []
      : Array.from({ length: Number(range[2] ?? range[1]) - Number(range[1]) + 1 }, (_, i) => [Number(range[1]) + i, 1])
    : level.split(',').map((part) => part.split(':').map(Number) as [number, number]);
  if (
    weights.length === 0 ||
    !weights.every(([k, w]) => Number.isInteger(k) && k >= 2 && k <= MOST_OPERANDS && w > 0)
  ) {
    throw outOfRange(
      `an arithmetic level must be a range of operand counts such as '2-6', or weights such as '2:3,5:1', not '${shorten(level)}'`,
    );
  }
  levels.set(level, weights);
  return weights;
}
