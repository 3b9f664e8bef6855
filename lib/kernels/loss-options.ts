// Checks the options of the loss and turns them into the addon's parameters. The options themselves: loss-table.ts.
import { invalidArgument } from '../base/errors.js';
import { checkBoolean, checkNumber, checkOption, checkOptions, type OptionSpec } from '../base/options.js';
import {
  AGGREGATIONS,
  LOSS_TABLE,
  LOSSES,
  type LossKind,
  type LossOption,
  type LossType,
  SURROGATES,
} from './loss-table.js';
import type { PolicyLossOptions } from './policy-loss-options.js';

export { LOSS_TYPES } from './loss-table.js';
export type { PolicyLossOptions };

/** Names of the {@link PolicyLossOptions}, for checkOptions. */
export const LOSS_OPTIONS = Object.keys(LOSS_TABLE) as (keyof typeof LOSS_TABLE)[];

// For these options the kernel gets what follows from them: surrogate and aggregation, entropyThreshold, normTokens and
// normSequences.
const { lossType: _, topEntropyQuantile: __, normalizer: ___, ...KERNEL } = LOSS_TABLE;
const KERNEL_OPTIONS: [name: string, LossOption & OptionSpec][] = Object.entries(KERNEL);

/**
 * The loss's parameters as the addon takes them. Spread them into its arguments. Native names: PRL_LOSS_PARAMS in
 * clipped_loss.h.
 */
export type LossParams = Readonly<Record<string, number | boolean>>;

/**
 * Checks the options and fills in their defaults.
 *
 * @param given active tokens (absent: the kernel counts them) and sequences of this call: the normalizer if the options
 *   have none
 * @param entropyThreshold the threshold that topEntropyQuantile gives in this batch
 */
export function lossParams(
  options: PolicyLossOptions,
  given: { tokens?: number; sequences: number },
  entropyThreshold = options.entropyThreshold,
): LossParams {
  const asked: Record<string, unknown> = { ...options, entropyThreshold };
  const lossType = checked('lossType', LOSS_TABLE.lossType, asked.lossType ?? LOSS_TABLE.lossType.absent) as LossType;
  const { surrogate, aggregation, ofCall }: LossKind = LOSSES[lossType];
  const takes = (spec: LossOption) => (spec.with ? surrogate in spec.with : !spec.except?.includes(surrogate));
  const params: Record<string, number | boolean> = {
    surrogate: Object.keys(SURROGATES).indexOf(surrogate),
    aggregation: Object.keys(AGGREGATIONS).indexOf(aggregation),
    ...normalizer(options.normalizer, lossType, ofCall, given),
  };
  for (const [name, spec] of KERNEL_OPTIONS) {
    const own = spec.with?.[surrogate];
    const usual = typeof own === 'object' ? params[own.as] : (own ?? spec.default ?? spec.absent);
    if (!takes(spec) && asked[name] !== undefined && asked[name] !== spec.default)
      throw noMeaning(name, lossType, takes);
    const value = asked[name] ?? usual;
    if (value !== usual) checked(name, spec, value);
    // The kernel reads no option of another loss type: it gets 0.
    params[name] = spec.type === 'choice' ? spec.choices.indexOf(value as string) : ((value ?? 0) as number | boolean);
  }
  if (aggregation === 'sequenceMeanTokenSumNorm' && asked.maxCompletionLength === undefined)
    throw invalidArgument(
      `lossType '${lossType}' needs maxCompletionLength: it divides by that length, not by the actual ones`,
    );
  return params;
}

/** Unlike in the Trainer's options, a number must be finite. */
function checked(name: string, spec: OptionSpec, value: unknown): unknown {
  if (spec.type === 'number')
    return checkNumber(name, value, spec.above ?? spec.min, spec.max, spec.above !== undefined);
  return spec.type === 'boolean' ? checkBoolean(name, value) : checkOption(name, spec, value);
}

function noMeaning(name: string, lossType: LossType, takes: (spec: LossOption) => boolean): TypeError {
  const own = KERNEL_OPTIONS.filter(([, spec]) => (spec.with || spec.except) && takes(spec)).map(([name]) => name);
  return invalidArgument(
    `${name} has no meaning with lossType '${lossType}'${own.length ? `, which takes ${own.join(', ')}` : ''}`,
  );
}

function normalizer(
  asked: PolicyLossOptions['normalizer'],
  lossType: LossType,
  ofCall: unknown,
  given: { tokens?: number; sequences: number },
) {
  // A batch without an active token has loss 0, not 0 / 0.
  if (asked === undefined)
    return {
      normTokens: given.tokens === undefined ? 0 : Math.max(1, given.tokens),
      normSequences: Math.max(1, given.sequences),
    };
  if (ofCall)
    throw invalidArgument(
      `normalizer has no meaning with lossType '${lossType}', which averages over the tokens of each call: use 'dapo'`,
    );
  const { tokens, sequences } = checkOptions('normalizer', asked, Object.keys(LOSS_TABLE.normalizer.fields));
  return {
    normTokens: checkNumber('normalizer.tokens', tokens, 0, Infinity, true),
    normSequences: checkNumber('normalizer.sequences', sequences, 0, Infinity, true),
  };
}
