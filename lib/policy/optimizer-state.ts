// The optimizer's moments and step count in one safetensors file. A policy that loads it continues bit for bit.
import { PrlError } from '../base/errors.js';
import { native } from '../kernels/native.js';
import { Tensor } from '../kernels/tensor.js';
import type { ParameterInfo } from './checkpoint.js';
import { SafetensorsFile, writeSafetensors } from './safetensors.js';
import type { PolicyDType } from './types.js';

// Numbers of native/model/parameters.h, Arena.
export const ARENA = { value: 0, gradient: 1, moment1: 2, moment2: 3, master: 4 } as const;
/** A policy in bfloat16 also has masters: the float32 values that its steps update. */
const STATE = { float32: ['moment1', 'moment2'], bfloat16: ['moment1', 'moment2', 'master'] } as const;

/** A copy of a parameter's value, gradient, moment or master; undefined when the policy has none yet. */
export function readTensor(
  handle: object,
  { name, shape }: ParameterInfo,
  arena: keyof typeof ARENA,
  dtype: 'float32' | 'bfloat16' | 'float16' = 'float32',
): Tensor | undefined {
  const out = Tensor.zeros(shape, { dtype });
  return native().policyRead({ policy: handle, arena: ARENA[arena], name, first: 0, out }) ? out : undefined;
}

/** The same in pieces, for writing. Each takes a millisecond and is valid until the next is requested. */
export function* readPieces(
  handle: object,
  { name, shape }: ParameterInfo,
  arena: keyof typeof ARENA,
  dtype: 'float32' | 'bfloat16' | 'float16',
): Generator<ArrayBufferView> {
  const size = shape.reduce((a, b) => a * b, 1);
  const piece = Tensor.zeros([Math.min(size, 2 ** 20)], { dtype });
  for (let first = 0; first < size; first += piece.size) {
    const out = size - first < piece.size ? Tensor.zeros([size - first], { dtype }) : piece;
    native().policyRead({ policy: handle, arena: ARENA[arena], name, first, out });
    yield out.data as ArrayBufferView;
  }
}

/** The policy must be idle until it ends. */
export async function saveOptimizer(
  file: string,
  handle: object,
  parameters: readonly ParameterInfo[],
  dtype: PolicyDType,
): Promise<void> {
  const steps: number = native().policySteps({ policy: handle });
  const tensors = parameters.flatMap((parameter) =>
    STATE[dtype].map((arena) => ({
      name: `${arena}.${parameter.name}`,
      shape: parameter.shape,
      dtype: 'F32' as const,
      read: () => readPieces(handle, parameter, arena, 'float32'),
    })),
  );
  await writeSafetensors(file, steps === 0 ? [] : tensors, { steps: String(steps) });
}

/**
 * The policy must be idle until it ends. It is touched only if the whole header of the file fits. The state goes
 * straight to its place. If the file turns out unreadable on the way, no state is left.
 */
export async function loadOptimizer(
  file: string,
  handle: object,
  parameters: readonly ParameterInfo[],
  dtype: PolicyDType,
  alive: () => void,
): Promise<void> {
  const source = await SafetensorsFile.open(file);
  let touched = false;
  try {
    const { steps: written = '' } = source.metadata;
    if (!/^\d{1,15}$/.test(written)) throw new PrlError('ERR_PRL_CORRUPT', `${file} is not an optimizer state`);
    const steps = Number(written);
    const tensors = (steps === 0 ? [] : parameters).flatMap(({ name, shape }) =>
      STATE[dtype].map((arena) => {
        const entry = source.tensors.get(`${arena}.${name}`);
        if (entry?.dtype !== 'F32' || String(entry.shape) !== String(shape))
          throw new PrlError(
            'ERR_PRL_CORRUPT',
            `${file} must have a float32 tensor '${arena}.${name}' of the shape [${shape}]`,
          );
        return { what: `tensor '${arena}.${name}'`, arena: ARENA[arena], name, offset: entry.begin };
      }),
    );
    alive();
    touched = true;
    // Existing moments are overwritten: freeing gigabytes and allocating them again takes time.
    if (steps === 0) native().policyResetOptimizer({ policy: handle });
    for (const { what, ...tensor } of tensors) {
      await native()
        .policyLoad({ policy: handle, fd: source.fd, dtype: 'F32', ...tensor })
        .catch((cause: PrlError) => {
          throw new PrlError(cause.code, `cannot read ${what} of ${file}: ${cause.message}`, { cause });
        });
      alive();
    }
    native().policySteps({ policy: handle, steps });
  } catch (error) {
    if (touched) {
      alive();
      native().policyResetOptimizer({ policy: handle });
    }
    throw error;
  } finally {
    await source.close();
  }
}
