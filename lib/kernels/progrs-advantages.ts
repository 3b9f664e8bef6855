import { invalidArgument, outOfRange, PrlError } from '../base/errors.js';
import { checkChoice, checkNumber, checkOptions } from '../base/options.js';
import { coherence } from './coherence.js';
import { type GroupAdvantagesOptions, groupAdvantages, outcomeConditionedCenter } from './group-advantages.js';
import { stepsOfResponses } from './split-steps.js';
import { asFlags, copyFloats, copyInts, deviceOf, Tensor } from './tensor.js';

/** B responses of S steps and T tokens in all, packed. */
export interface ProgrsAdvantagesArgs {
  /** [B] advantages from the outcome alone (see groupAdvantages), for combine 'advantage'. */
  outcomeAdvantages?: Tensor | ArrayLike<number> | undefined;
  /** [B] rewards, for combine 'reward'. */
  rewards?: Tensor | ArrayLike<number> | undefined;
  /** For combine 'reward': how to turn the sums of rewards and process scores into advantages. */
  normalize?: GroupAdvantagesOptions | undefined;
  /** [S] scores in [0, 1] from a process reward model. */
  stepScores: Tensor | ArrayLike<number>;
  /** [B] booleans or integers: whether each response is right. */
  correct: Tensor | ArrayLike<number> | readonly boolean[];
  /** [B] any integers; equal ids mean the same prompt. */
  groupIds: Tensor | ArrayLike<number>;
  /** int32 [B + 1]: response i owns tokens cuSeqlens[i] .. cuSeqlens[i + 1] - 1. */
  cuSeqlens: Tensor | ArrayLike<number>;
  /** int32 [S + 1]: the first token of each step, then T (see splitSteps). */
  cuSteps: Tensor | ArrayLike<number>;
  /** Weight of the process scores. */
  lambda: number;
  /** Share of the mean step score in the process score of a response. The rest is coherence. Default 0.5. */
  alpha?: number | undefined;
  /** Option of {@link coherence}. */
  windows?: ArrayLike<number> | undefined;
  /** Option of {@link coherence}. */
  lambdaVar?: number | undefined;
  /**
   * 'incorrect' (default, the paper): the scores of a group's incorrect responses lose their mean. 'both': each outcome
   * loses its own mean. 'none': scores stay as they are; this rewards fluent wrong answers and exists for comparison.
   */
  center?: 'incorrect' | 'both' | 'none' | undefined;
  /**
   * 'response' (default): one process score for all tokens of a response. 'step': the tokens of a step get its own
   * score.
   */
  granularity?: 'response' | 'step' | undefined;
  /**
   * 'advantage' (default): added to the outcome's advantage. 'reward': added to the reward, and both are normalised
   * together.
   */
  combine?: 'advantage' | 'reward' | undefined;
}

const KNOWN = [
  ...['outcomeAdvantages', 'rewards', 'normalize', 'stepScores', 'correct', 'groupIds', 'cuSeqlens', 'cuSteps'],
  ...['lambda', 'alpha', 'windows', 'lambdaVar', 'center', 'granularity', 'combine'],
];

/**
 * PROGRS' token advantages (arXiv 2604.02341, "outcome-conditioned centering"): the outcome's advantage plus lambda
 * times a centred process score P = alpha * mean of the step scores + (1 - alpha) * their coherence. With granularity
 * 'step', a token gets the score of its step, centred on the mean over all steps of the group's incorrect responses.
 * The paper leaves lambda, alpha, the windows and lambdaVar open: the defaults are ours.
 *
 * It works on the CPU, because it needs only a few numbers per step. Read tensors on the GPU first.
 *
 * @returns [T] float32
 * @throws PrlError ERR_PRL_NON_FINITE for a number that is not finite, RangeError for a score outside [0, 1], TypeError
 *   for an option
 *   that would be ignored, PrlError ERR_PRL_UNSUPPORTED for tensors on the GPU
 */
export function progrsAdvantages(args: ProgrsAdvantagesArgs): Tensor {
  args = checkOptions('progrsAdvantages', args, KNOWN);
  const lambda = checkNumber('lambda', args.lambda, 0, 1e9);
  const combine = checkChoice('combine', args.combine ?? 'advantage', ['advantage', 'reward']);
  const granularity = checkChoice('granularity', args.granularity ?? 'response', ['response', 'step']);
  checkTogether(args, combine, granularity);
  const { outcomeAdvantages, rewards, stepScores, groupIds } = args;
  const base = combine === 'reward' ? rewards : outcomeAdvantages;
  const { correct, cuSeqlens, cuSteps } = args;
  const flags = asFlags('correct', correct);
  if (deviceOf({ base, stepScores, correct: flags, groupIds, cuSeqlens, cuSteps }) === 'cuda')
    throw new PrlError('ERR_PRL_UNSUPPORTED', 'progrsAdvantages works on the CPU: read() its tensors first');
  const sequences = copyInts('cuSeqlens', cuSeqlens);
  const outcome = floats(combine === 'reward' ? 'rewards' : 'outcomeAdvantages', base!, sequences.length - 1);
  const steps = copyInts('cuSteps', cuSteps);
  const cuScores = stepsOfResponses(steps, sequences);
  const responses: Responses = {
    scores: floats('stepScores', stepScores, steps.length - 1),
    cuScores,
    correct: sized('correct', copyInts('correct', flags), sequences.length - 1),
    groupIds: sized('groupIds', copyInts('groupIds', groupIds), sequences.length - 1),
  };
  const advantages = new Float32Array(sequences[outcome.length]);
  if (granularity === 'step') {
    const centered = centeredSteps(responses, args.center);
    for (let i = 0; i < outcome.length; i++)
      for (let k = cuScores[i]; k < cuScores[i + 1]; k++)
        advantages.fill(outcome[i] + lambda * centered[k], steps[k], steps[k + 1]);
  } else {
    const centered = center(processScores(responses, args), responses.correct, responses.groupIds, args.center);
    const sums = Float32Array.from(outcome, (value, i) => value + lambda * centered[i]);
    const values = combine === 'reward' ? data(groupAdvantages(sums, responses.groupIds, args.normalize)) : sums;
    values.forEach((value, i) => {
      advantages.fill(value, sequences[i], sequences[i + 1]);
    });
  }
  return Tensor.from(advantages);
}

interface Responses {
  /** [S] */
  scores: Float32Array;
  /** [B + 1] */
  cuScores: Int32Array;
  /** [B] */
  correct: Int32Array;
  groupIds: Int32Array;
}

/** [B] alpha * mean of the step scores + (1 - alpha) * coherence; 0 for a response without steps. */
function processScores(
  { scores, cuScores }: Responses,
  { alpha: given, windows, lambdaVar }: ProgrsAdvantagesArgs,
): Float32Array {
  const alpha = checkNumber('alpha', given ?? 0.5, 0, 1);
  const coherent = data(coherence(scores, cuScores, { windows, lambdaVar }));
  return coherent.map((value, i) => {
    const own = scores.subarray(cuScores[i], cuScores[i + 1]);
    const fine = own.reduce((sum, score) => sum + score, 0) / Math.max(1, own.length);
    return alpha * fine + (1 - alpha) * value;
  });
}

/** [S]: centres every step as if it were a response with the outcome of its own response. */
function centeredSteps({ scores, cuScores, correct, groupIds }: Responses, how: ProgrsAdvantagesArgs['center']) {
  // This lets the addon check the scores and their place.
  coherence(scores, cuScores, { windows: [1], lambdaVar: 0 });
  const ofSteps = (values: Int32Array) => {
    const spread = new Int32Array(scores.length);
    values.forEach((value, i) => {
      spread.fill(value, cuScores[i], cuScores[i + 1]);
    });
    return spread;
  };
  return center(scores, ofSteps(correct), ofSteps(groupIds), how);
}

function center(
  scores: Float32Array,
  correct: Int32Array,
  groupIds: Int32Array,
  how: ProgrsAdvantagesArgs['center'] = 'incorrect',
): Float32Array {
  if (checkChoice('center', how, ['incorrect', 'both', 'none']) === 'none') return scores;
  return data(outcomeConditionedCenter(scores, correct, groupIds, { center: how as 'incorrect' | 'both' }));
}

/** Refuses arguments that would be ignored. */
function checkTogether(args: ProgrsAdvantagesArgs, combine: string, granularity: string): void {
  if (combine === 'reward' && granularity === 'step')
    throw invalidArgument("combine 'reward' gives one number per response: it needs granularity 'response'");
  const [needed, unused] =
    combine === 'reward'
      ? (['rewards', ['outcomeAdvantages']] as const)
      : (['outcomeAdvantages', ['rewards', 'normalize']] as const);
  if (args[needed] === undefined) throw invalidArgument(`progrsAdvantages with combine '${combine}' needs ${needed}`);
  const idle = granularity === 'step' ? [...unused, 'alpha', 'windows', 'lambdaVar'] : unused;
  for (const name of idle)
    if (args[name as keyof ProgrsAdvantagesArgs] !== undefined)
      throw invalidArgument(`${name} has no meaning with combine '${combine}' and granularity '${granularity}'`);
}

const data = (tensor: Tensor) => tensor.data as Float32Array;

function floats(name: string, values: Tensor | ArrayLike<number>, length: number): Float32Array {
  const list = sized(name, copyFloats(name, values), length);
  const wrong = list.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new PrlError('ERR_PRL_NON_FINITE', `${name}[${wrong}] is ${list[wrong]}: it must be finite`);
  return list;
}

function sized<T extends Float32Array | Int32Array>(name: string, list: T, length: number): T {
  if (list.length !== length) throw outOfRange(`${name} must have ${length} elements, not ${list.length}`);
  return list;
}
