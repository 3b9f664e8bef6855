import type { PolicyLossOptions } from '../kernels/loss-options.js';
import { LOSS_OPTIONS, lossParams } from '../kernels/loss-options.js';
import { LOSS_TABLE } from '../kernels/loss-table.js';
import { METHODS } from '../methods/index.js';
import type { ResolvedTrainerOptions } from './options.js';

/** The options of the loss, from the trainer's options. */
export function lossOptions(options: ResolvedTrainerOptions): PolicyLossOptions {
  const own = Object.entries(options).filter(([name]) => (LOSS_OPTIONS as readonly string[]).includes(name));
  return { lossType: METHODS[options.method].lossType ?? LOSS_TABLE.lossType.absent, ...Object.fromEntries(own) };
}

/** Throws for options of the loss that exclude each other. Called before training begins. */
export function checkLoss(options: ResolvedTrainerOptions): void {
  lossParams(lossOptions(options), { sequences: 1 });
}
