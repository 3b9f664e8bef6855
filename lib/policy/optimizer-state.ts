// The optimizer's moments and step count in one safetensors file: loaded they continue bit for bit.
import { PrlError } from '../errors.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';
import type { ParameterInfo } from './checkpoint.js';
import { SafetensorsFile, writeSafetensors } from './safetensors.js';

// Numbers of native/model/policy.h, Arena.
export const ARENA = { value: 0, gradient: 1, moment1: 2, moment2: 3 } as const;
const MOMENTS = ['moment1', 'moment2'] as const;

/** A copy of a parameter's value, gradient or moment; undefined when the policy has none yet. */
export function readTensor(
  handle: object,
  { name, shape }: ParameterInfo,
  arena: keyof typeof ARENA,
): Tensor | undefined {
  const out = Tensor.zeros(shape);
  return native().policyRead({ policy: handle, arena: ARENA[arena], name, out }) ? out : undefined;
}

/** The policy must be idle until it ends. */
export async function saveOptimizer(file: string, handle: object, parameters: readonly ParameterInfo[]): Promise<void> {
  const steps: number = native().policySteps({ policy: handle });
  const tensors = parameters.flatMap((parameter) =>
    MOMENTS.map((moment) => ({
      name: `${moment}.${parameter.name}`,
      shape: parameter.shape,
      read: () => readTensor(handle, parameter, moment)!.data as Float32Array,
    })),
  );
  await writeSafetensors(file, steps === 0 ? [] : tensors, { steps: String(steps) });
}

/** The policy must be idle until it ends; it is touched only when the whole file has been read and fits. */
export async function loadOptimizer(
  file: string,
  handle: object,
  parameters: readonly ParameterInfo[],
  beforeWriting: () => void,
): Promise<void> {
  const source = await SafetensorsFile.open(file);
  const loaded: { name: string; arena: number; data: Tensor }[] = [];
  const steps = Number(source.metadata.steps);
  try {
    if (!Number.isSafeInteger(steps) || steps < 0)
      throw new PrlError('ERR_PRL_CORRUPT', `${file} is no optimizer state`);
    for (const { name, shape } of steps === 0 ? [] : parameters) {
      for (const moment of MOMENTS) {
        const key = `${moment}.${name}`;
        const entry = source.tensors.get(key);
        if (entry?.dtype !== 'F32' || String(entry.shape) !== String(shape))
          throw new PrlError('ERR_PRL_CORRUPT', `${file} has no float32 tensor '${key}' of the shape [${shape}]`);
        loaded.push({ name, arena: ARENA[moment], data: Tensor.from(await source.read(key)) });
      }
    }
  } finally {
    await source.close();
  }
  beforeWriting();
  native().policyResetOptimizer({ policy: handle });
  for (const tensor of loaded) native().policyWrite({ policy: handle, ...tensor });
  native().policySteps({ policy: handle, steps });
}
