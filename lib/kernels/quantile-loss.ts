import { outOfRange } from '../base/errors.js';
import { checkNumber, checkOptions } from '../base/options.js';
import { native } from './native.js';
import { asFloats, asNumbers, asTensor, deviceOf, Tensor, type TensorLike } from './tensor.js';

/** Options of {@link quantileLoss}. */
export interface QuantileLossOptions {
  /** The quantile of each column of `values`: 1 to 16 numbers, each above 0 and below 1. Default [0.1, 0.5, 0.9]. */
  quantiles?: readonly number[] | undefined;
  /** Rows of the whole optimizer batch, if this call gets only a part of it. Default: the rows of this call. */
  normalizer?: { rows: number } | undefined;
}

/** On the GPU the first access to `loss` waits for the call and throws its errors. */
export interface QuantileLoss {
  /** The mean over rows and quantiles. */
  readonly loss: number;
  /** [rows, quantiles] float32: d loss / d values, on the device of the values. */
  dValues: Tensor;
}

/**
 * The pinball loss of predicted quantiles (Koenker and Bassett 1978), averaged over rows and quantiles, and its
 * gradient: rho_q(e) = max(q e, (q - 1) e) with e = target - value. Its minimum is at the q-quantile of the targets.
 *
 * @param values [rows, quantiles] float32; quantiles may cross
 * @param targets [rows]
 * @throws PrlError ERR_PRL_NON_FINITE for a value or target that is not finite; it names the row
 */
export function quantileLoss(
  values: Tensor,
  targets: TensorLike | ArrayLike<number>,
  options: QuantileLossOptions = {},
): QuantileLoss {
  options = checkOptions('quantileLoss', options, ['quantiles', 'normalizer']);
  const normalizer = options.normalizer && checkOptions('normalizer', options.normalizer, ['rows']);
  const device = deviceOf({ values, targets });
  const { shape } = asTensor('values', values);
  const dValues = Tensor.empty(shape, { device });
  const result: number | object = native().quantileLoss({
    values,
    targets: asFloats('targets', targets, device),
    quantiles: checkQuantiles(options.quantiles ?? [0.1, 0.5, 0.9]),
    normRows: normalizer ? checkNumber('normalizer.rows', normalizer.rows, 0, 2 ** 53, true) : 0,
    dValues,
  });
  if (typeof result === 'number') return { loss: result, dValues };
  let loss: number | undefined;
  return {
    get loss() {
      loss ??= native().quantileLossValue({ ticket: result }) as number;
      return loss;
    },
    dValues,
  };
}

/** 1 to 16 numbers between 0 and 1, as an array. */
export function checkQuantiles(quantiles: readonly number[]): number[] {
  const levels = asNumbers('quantiles', quantiles);
  if (levels.length < 1 || levels.length > 16)
    throw outOfRange(`quantiles must hold 1 to 16 numbers, not ${levels.length}`);
  levels.forEach((q, j) => {
    if (checkNumber(`quantiles[${j}]`, q, 0, 1, true) === 1) throw outOfRange(`quantiles[${j}] must be below 1`);
  });
  return levels;
}
