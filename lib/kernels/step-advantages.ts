import { invalidArgument } from '../base/errors.js';
import { checkBoolean, checkChoice, checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asFloats, asInts, asTensor, deviceOf, Tensor } from './tensor.js';

/** T tokens in B responses, packed. */
interface AdvantageInputs {
  /** [B] advantages from the outcome alone: see groupAdvantages. */
  outcomeAdvantages: Tensor | ArrayLike<number>;
  /** [T] log-probabilities at sampling time. */
  oldLogProbs: Tensor | ArrayLike<number>;
  /** [T] log-probabilities under the reference policy. */
  refLogProbs: Tensor | ArrayLike<number>;
  /** int32 [B + 1]: response i owns tokens cuSeqlens[i] .. cuSeqlens[i + 1] - 1. */
  cuSeqlens: Tensor | ArrayLike<number>;
  /**
   * [T] float32: receives the advantages. Default: a new tensor; the first touch of its memory takes longer than the
   * rest.
   */
  out?: Tensor | undefined;
}

/** Arguments of {@link prlAdvantages}: T tokens of B responses, cut into S steps. */
export interface PrlAdvantagesArgs extends AdvantageInputs {
  /** int32 [S + 1]: the first token of each step, then T (see splitSteps). Every response begins a step. */
  cuSteps: Tensor | ArrayLike<number>;
  /** Divides the process reward: a larger eta makes it weaker. The published scripts use 200, 100 and 1. */
  eta: number;
  /**
   * 'inclusive' (default, the published code): the sum starts at the last token of the step. 'exclusive' (the theorem):
   * after it.
   */
  suffix?: 'inclusive' | 'exclusive' | undefined;
}

const INPUTS = ['outcomeAdvantages', 'oldLogProbs', 'refLogProbs', 'cuSeqlens', 'out'];

/**
 * PRL's token advantages (arXiv 2601.10201v1): each token of a step gets the outcome advantage minus 1 / eta times the
 * sum of the log-ratios old - ref from the step's last token to the end of the response.
 *
 * @returns [T] float32: `out`, or a new tensor
 * @throws PrlError ERR_PRL_NON_FINITE for an input that is not finite or an advantage that overflows, RangeError for
 *   offsets that do not increase from 0 to T or a response that does not begin a step; all name the place
 */
export function prlAdvantages(args: PrlAdvantagesArgs): Tensor {
  args = checkOptions('prlAdvantages', args, [...INPUTS, 'cuSteps', 'eta', 'suffix']);
  if (args.cuSteps === undefined)
    throw invalidArgument('prlAdvantages needs cuSteps, the first token of each step (see splitSteps)');
  return stepReward(args, {
    scale: 1 / checkNumber('eta', args.eta, 0, Infinity, true),
    generator: 0,
    inclusive: checkChoice('suffix', args.suffix ?? 'inclusive', ['inclusive', 'exclusive']) === 'inclusive',
    baseline: false,
  });
}

/** Arguments of {@link frpoAdvantages}: T tokens of B responses. */
export interface FrpoAdvantagesArgs extends AdvantageInputs {
  /** Weight of the future divergence. The paper uses 0.01. */
  beta: number;
  /** Estimator of the divergence: 'k1' (default) or the nonnegative 'k3'. */
  estimator?: 'k1' | 'k3' | undefined;
  /** 'reverse' (default): KL(policy | reference); 'forward': KL(reference | policy). */
  direction?: 'reverse' | 'forward' | undefined;
  /**
   * Subtracts the batch's mean token divergence from that of each future token. Requires estimator 'k3'. Default false.
   */
  baseline?: boolean | undefined;
}

/**
 * FRPO's token advantages (arXiv 2601.10201v2, "Future-KL Regularized GRPO"): the outcome advantage minus beta times
 * the divergence of the token and its future from the reference. PRL with steps of one token is FRPO with beta 1 / eta
 * and k1.
 *
 * @returns [T] float32: `out`, or a new tensor
 * @throws as prlAdvantages
 */
export function frpoAdvantages(args: FrpoAdvantagesArgs): Tensor {
  args = checkOptions('frpoAdvantages', args, [...INPUTS, 'beta', 'estimator', 'direction', 'baseline']);
  const estimator = checkChoice('estimator', args.estimator ?? 'k1', ['k1', 'k3']);
  const direction = checkChoice('direction', args.direction ?? 'reverse', ['reverse', 'forward']);
  const baseline = checkBoolean('baseline', args.baseline ?? false);
  if (baseline && estimator === 'k1')
    throw invalidArgument("baseline needs estimator 'k3': the terms of k1 have both signs and need none");
  return stepReward(args, {
    scale: checkNumber('beta', args.beta, 0),
    // Numbers of native/kernels/step_reward/step_reward.h.
    generator: (direction === 'reverse' ? 0 : 2) + (estimator === 'k1' ? 0 : 1),
    inclusive: true,
    baseline,
  });
}

function stepReward(args: AdvantageInputs & Partial<Pick<PrlAdvantagesArgs, 'cuSteps'>>, kernel: object): Tensor {
  const { outcomeAdvantages, refLogProbs, cuSeqlens, cuSteps, out } = args;
  const device = deviceOf({ outcomeAdvantages, oldLogProbs: args.oldLogProbs, refLogProbs, cuSeqlens, cuSteps, out });
  const oldLogProbs = asFloats('oldLogProbs', args.oldLogProbs, device);
  const advantages = out === undefined ? Tensor.empty([oldLogProbs.size], { device }) : asTensor('out', out);
  native().stepReward({
    outcomeAdvantages: asFloats('outcomeAdvantages', outcomeAdvantages, device),
    oldLogProbs,
    refLogProbs: asFloats('refLogProbs', refLogProbs, device),
    cuSeqlens: asInts('cuSeqlens', cuSeqlens, device),
    cuSteps: cuSteps === undefined ? undefined : asInts('cuSteps', cuSteps, device),
    ...kernel,
    out: advantages,
  });
  return advantages;
}
