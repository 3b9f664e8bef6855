// Valid arguments of the addon's functions for memory of the GPU and for calls that were queued on it.
import { native } from '../../lib/kernels/native.js';
import type { AddonCall } from './kernel-calls.js';
import { KERNEL_CALLS } from './kernel-calls.js';
import type { Making } from './making.js';

const BYTES = 64;
const memory = (m: Making): object => (m.device === 'cuda' ? native().cudaAllocate({ bytes: BYTES, zero: true }) : {});
const ticket = (m: Making, call: string): object => {
  if (m.device === 'cpu') return {};
  const result = native()[call](KERNEL_CALLS[call].make(m));
  return call === 'quantileLoss' ? result : result.ticket;
};
const mark = (m: Making): object =>
  m.device === 'cuda' ? (native().cudaEventRecord as unknown as () => object)() : {};
const gpuOnly = true;

export const GPU_CALLS: Record<string, AddonCall> = {
  cudaAllocate: { gpuOnly, costly: ['bytes'], make: (m) => ({ bytes: m.int(0, 999), zero: m.chance(0.5) }) },
  cudaUpload: { gpuOnly, make: (m) => ({ memory: memory(m), data: m.words(Float32Array, m.int(0, 16)) }) },
  cudaRead: { gpuOnly, make: (m) => ({ memory: memory(m), bytes: m.int(0, BYTES) }) },
  cudaSynchronize: { gpuOnly, make: () => ({}) },
  cudaStart: { gpuOnly, make: () => ({}) },
  cudaEmptyCache: { varies: true, make: () => ({}) },
  cudaDispose: { gpuOnly, make: (m) => ({ memory: memory(m) }) },
  cudaPointer: { gpuOnly, varies: true, make: (m) => ({ memory: memory(m) }) },
  cudaWrap: {
    gpuOnly,
    make: (m) => ({
      pointer: m.device === 'cuda' ? native().cudaPointer({ memory: memory(m) }) : 64n,
      bytes: 8,
      alignment: 4,
    }),
  },
  cudaExportIpc: { gpuOnly, varies: true, make: (m) => ({ memory: memory(m) }) },
  // Handles come from other processes: test/runtime/cuda-ipc.test.ts has those that are accepted.
  cudaImportIpc: {
    gpuOnly,
    unanswered: true,
    make: (m) => ({ handle: m.words(Uint16Array, 32), offset: 0, bytes: 8 }),
  },
  cudaMemory: { varies: true, make: (m) => ({ resetPeak: m.chance(0.5) }) },
  cudaEventRecord: { gpuOnly, make: () => ({}) },
  cudaEventElapsed: { gpuOnly, varies: true, make: (m) => ({ start: mark(m), end: mark(m) }) },
  lossSums: { gpuOnly, make: (m) => ({ ticket: ticket(m, 'clippedLoss') }) },
  quantileLossValue: { gpuOnly, make: (m) => ({ ticket: ticket(m, 'quantileLoss') }) },
};
