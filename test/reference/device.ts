// Where kernel tests put their tensors. PRL_TEST_DEVICE=cuda runs the same tables on the GPU, or on the emulator of
// one.
import * as assert from 'uvu/assert';
import { type DType, synchronize, Tensor } from '../../lib/index.js';
import { throwsError } from './numbers.js';

export const DEVICE = process.env.PRL_TEST_DEVICE === 'cuda' ? 'cuda' : 'cpu';
export const ON_GPU = DEVICE === 'cuda';

/** A tensor on the device of the tests. */
export const place = (data: ArrayLike<number>, shape?: readonly number[], dtype?: DType) =>
  Tensor.from(data, shape, { dtype, device: DEVICE });

/** Zeros on the device of the tests. */
export const blank = (shape: readonly number[], dtype?: DType) => Tensor.zeros(shape, { dtype, device: DEVICE });

/** Like throwsError, for what a kernel finds wrong: on the GPU that shows when the host next waits. */
export async function fails(
  run: () => unknown,
  kind: new (...args: never[]) => Error,
  code: string,
  message: RegExp,
): Promise<void> {
  let failure: unknown;
  try {
    await run();
    await synchronize();
  } catch (error) {
    failure = error;
  }
  if (failure === undefined) assert.unreachable(`expected an error ${code} ${message}`);
  throwsError(
    () => {
      throw failure;
    },
    kind,
    code,
    message,
  );
  await synchronize(); // told once: nothing is left for the next test
}
