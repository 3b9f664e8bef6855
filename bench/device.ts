// What a benchmark needs from its device: a clock, cold caches, a copy to compare with, the memory in use.
import { readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Device, Tensor, type TensorData } from '../lib/index.js';
import { native } from '../lib/kernels/native.js';
import type { DType } from '../lib/kernels/tensor.js';

export type Run = () => unknown;

export interface BenchDevice {
  readonly name: Device;
  /** Milliseconds that a run takes. If it returns a promise, until that settles. */
  time(run: Run): Promise<number>;
  /** Fills the caches with other data, so that every run finds its inputs in memory. */
  flush(): void;
  /** Bytes in use at the peak of a run beyond those in use before; null if the system does not say. */
  extraBytes(run: Run): Promise<number | null>;
  /** A copy of `bytes` from one place to another: the speed of memory. */
  copy(bytes: number): { run: Run; traffic: number };
  /** Memory for outputs, fully allocated: pages that the system adds at the first touch are not memory of a run. */
  buffer(shape: readonly number[], dtype: DType): Tensor;
  tensor(data: ArrayLike<number>, shape?: readonly number[], dtype?: DType): Tensor;
  /** Some rows of a matrix, as numbers. */
  rows(matrix: Tensor, rows: readonly number[]): Promise<Float32Array>;
}

/** Frees everything unreferenced: the tensors of one group are gigabytes, of which V8 sees a few bytes. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  await new Promise((resolve) => setImmediate(resolve));
}

/** Larger than the caches of a core and its share of a processor; on the GPU, than the second-level cache. */
const FLUSH_BYTES = 64 << 20;
const GPU_FLUSH_BYTES = 256 << 20;

export function openDevice(name: Device, tiny: boolean): BenchDevice {
  const scale = (bytes: number) => (tiny ? 1 << 16 : bytes);
  const place = { device: name };
  const buffer = (shape: readonly number[], dtype: DType) => {
    const to = Tensor.empty(shape, { dtype, ...place });
    fill(to);
    return to;
  };
  const memory = (bytes: number) => buffer([bytes / 4], 'float32');
  const common = {
    name,
    buffer,
    copy(bytes: number) {
      const from = memory(scale(bytes));
      const to = memory(scale(bytes));
      return { run: () => native().copy({ from, to }), traffic: 2 * scale(bytes) };
    },
    tensor: (data: ArrayLike<number>, shape: readonly number[] = [data.length], dtype?: DType) =>
      Tensor.from(data, shape, { dtype, ...place }),
  };
  if (name === 'cuda') {
    const sweep = memory(scale(GPU_FLUSH_BYTES));
    return { ...common, time: timeOnGpu, extraBytes: extraGpuBytes, rows: gpuRows, flush: () => fill(sweep) };
  }
  const from = memory(scale(FLUSH_BYTES));
  const to = memory(scale(FLUSH_BYTES));
  return {
    ...common,
    time: timeOnCpu,
    extraBytes: extraCpuBytes,
    rows: cpuRows,
    flush: () => native().copy({ from, to }), // with all threads: the caches of every core
  };
}

// --- CPU ------------------------------------------------------------------------------------------------------------

async function timeOnCpu(run: Run): Promise<number> {
  const begin = performance.now();
  const result = run();
  if (result instanceof Promise) await result;
  return performance.now() - begin;
}

/** Linux keeps the peak memory of a process. Writing '5' here resets it to the present use. */
async function extraCpuBytes(run: Run): Promise<number | null> {
  await collectGarbage();
  native().trimMemory({});
  const kilobytes = (what: string) =>
    Number(new RegExp(`^${what}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))![1]);
  let before: number;
  try {
    writeFileSync('/proc/self/clear_refs', '5');
    before = kilobytes('VmRSS');
  } catch {
    return null;
  }
  await run();
  return 1024 * Math.max(0, kilobytes('VmHWM') - before);
}

function stack(parts: TensorData[], dtype: DType): Promise<Float32Array> {
  const Storage = parts[0].constructor as new (n: number) => TensorData;
  const all = new Storage(parts.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return Tensor.from(all, [all.length], { dtype }).read() as Promise<Float32Array>;
}

const cpuRows: BenchDevice['rows'] = ({ data, shape, dtype }, rows) =>
  stack(
    rows.map((row) => data.subarray(row * shape[1], (row + 1) * shape[1])),
    dtype,
  );

// --- GPU ------------------------------------------------------------------------------------------------------------

const fill = (to: Tensor) => native().fill({ to, byte: 0 });

/** Events on the stream: the time excludes the launch and JavaScript, unless the GPU waits for them. */
async function timeOnGpu(run: Run): Promise<number> {
  const start = native().cudaEventRecord({});
  await run();
  const end = native().cudaEventRecord({});
  return native().cudaEventElapsed({ start, end });
}

/** Bytes that the addon's allocator handed out. Memory that it keeps for later does not count. */
async function extraGpuBytes(run: Run): Promise<number> {
  await collectGarbage();
  const { inUse } = native().cudaMemory({ resetPeak: true });
  await run();
  return native().cudaMemory({ resetPeak: false }).peak - inUse;
}

const gpuRows: BenchDevice['rows'] = async ({ devicePointer, shape, dtype }, rows) => {
  const bytes = BigInt(shape[1] * (dtype === 'float32' ? 4 : 2));
  const values = await Promise.all(
    rows.map((row) => Tensor.fromDevicePointer(devicePointer + BigInt(row) * bytes, [shape[1]], dtype).read()),
  );
  return stack(values as Float32Array[], 'float32');
};
