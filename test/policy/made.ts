// Checkpoints of test/fixtures/checkpoints, whose weights are a formula: make.py there has the same one.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBFloat16 } from '../../lib/kernels/tensor.js';
import { type StorableTensor, writeSafetensors } from '../../lib/policy/safetensors.js';

/** Uniform in [0, 1), multiples of 2^-24. */
function hashed(name: string, count: number): Float64Array {
  let h = 2166136261;
  for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 16777619);
  return Float64Array.from({ length: count }, (_, j) => {
    let x = Math.imul(j + 1, 0x9e3779b1) + h;
    x ^= x >>> 16;
    x = Math.imul(x, 0x21f0aaad);
    x ^= x >>> 15;
    x = Math.imul(x, 0x735a2d97);
    x ^= x >>> 15;
    return (x >>> 8) / 2 ** 24;
  });
}

export function madeWeights(name: string, shape: readonly number[]): Float32Array {
  const scale = name.includes('embed') ? 4 : name.endsWith('.bias') ? 1 : 1.5;
  const count = shape.reduce((a, b) => a * b, 1);
  return Float32Array.from(hashed(name, count), (u) => (name.endsWith('norm.weight') ? 0.5 + u : scale * (u - 0.5)));
}

export const madeTokens = (name: string, count: number, vocab: number) =>
  Array.from(hashed(name, count), (u) => Math.floor(u * vocab));

/** A tensor of a checkpoint, with the weights of `name` or of another. */
export function madeTensor(name: string, shape: readonly number[], as = name, dtype: 'F32' | 'BF16' = 'F32') {
  const values = madeWeights(as, shape);
  const read = () => (dtype === 'F32' ? values : Uint16Array.from(values, toBFloat16));
  return { name, shape, dtype, read } satisfies StorableTensor;
}

export async function writeCheckpoint(folder: string, config: object, tensors: readonly StorableTensor[]) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
}
