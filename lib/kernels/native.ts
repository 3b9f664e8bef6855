import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PrlError } from '../base/errors.js';

/** A GPU of this machine. */
export interface CudaDevice {
  /** The N of PRL_DEVICE=cuda:N. */
  index: number;
  /** Such as NVIDIA H100 80GB HBM3. */
  name: string;
  /** 9.0 for an H100. */
  computeCapability: string;
  /** Of its memory. */
  totalBytes: number;
  /** Of its memory, now. */
  freeBytes: number;
}

/** What the addon says of the machine. */
export interface NativeInfo {
  /** The instruction set that the CPU kernels use. */
  isa: 'generic' | 'avx2' | 'avx512';
  /** What the processor has of the instruction sets that the addon was compiled for, the best one last. PRL_ISA chooses. */
  isas: NativeInfo['isa'][];
  /** Of the CPU kernels: PRL_THREADS, setThreads, or the processors that this process may use. */
  threads: number;
  /** Whether this build has CUDA kernels. */
  cudaCompiled: boolean;
  /** The newest CUDA that the driver runs; absent where there is no driver. */
  cudaDriver?: string;
  /** The CUDA that the addon was compiled with; absent where it was compiled without. */
  cudaRuntime?: string;
  /** The GPUs that the driver shows. */
  cudaDevices: CudaDevice[];
  /** Index of the GPU that this process uses: 0, or what PRL_DEVICE says. Absent when it uses none. */
  cudaDevice?: number;
  /** Why this process uses no GPU; empty when it uses one. */
  cudaReason: string;
  /** The cuBLAS that linearPolicyLoss uses on the GPU; looked for only where a GPU is used. */
  cublas?: { path: string; version: string };
  /** How to get cuBLAS; empty when it is there, or not needed because no GPU is used. */
  cublasReason: string;
}

/**
 * The addon's functions take one object of arguments each: tensors (see tensor.ts), numbers, booleans. Outputs are tensors
 * that the caller made. The typed functions of lib/kernels stand in front of them; nothing else calls them.
 */
// biome-ignore lint/suspicious/noExplicitAny: the addon checks every argument itself
export type NativeFunction = (args: any) => any;
export type Native = { [name: string]: NativeFunction };

/** The folder of package.json, from lib/ and from dist/ alike. */
export const packageRoot = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

/** The command that makes the addon anew: by npm where the package is installed, by a script in a checkout. */
export const rebuildCommand = existsSync(join(packageRoot, 'lib', 'index.ts'))
  ? 'npm run build:native'
  : 'npm rebuild prl-node';

const require = createRequire(import.meta.url);
let loaded: Native | undefined;

/** The file of the addon, whether or not it works. */
export function nativePath(): string {
  // PRL_NATIVE names another build of the addon (a sanitizer build, one for another machine).
  if (process.env.PRL_NATIVE) return resolve(process.env.PRL_NATIVE);
  try {
    return require('node-gyp-build').resolve(packageRoot);
  } catch (cause) {
    throw new PrlError(
      'ERR_PRL_NATIVE_MISSING',
      `no prebuilt addon fits ${process.platform}-${process.arch} and none was compiled. Run '${rebuildCommand}': it compiles one, or says what is missing for that.`,
      { cause },
    );
  }
}

/** That the addon does not load, and what to do. */
export function loadError(path: string, reason: string, cause?: unknown): PrlError {
  const remedy = process.env.PRL_NATIVE ? 'PRL_NATIVE names it: unset that' : `Run '${rebuildCommand}'`;
  return new PrlError('ERR_PRL_NATIVE_MISSING', `the addon ${path} does not load here: ${reason}. ${remedy}.`, {
    cause,
  });
}

function load(): Native {
  const path = nativePath();
  let native: Native;
  try {
    native = require(path);
  } catch (cause) {
    throw loadError(path, (cause as Error).message.split('\n')[0], cause);
  }
  (native.initialize as unknown as (errorClass: typeof PrlError) => void)(PrlError);
  return native;
}

/** The addon, loaded at first use. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

/** Instruction set, threads and CUDA devices in use. */
export const nativeInfo = (): NativeInfo => (native().info as unknown as () => NativeInfo)();

/** The GPUs of this machine, each with what it takes to use it; empty where there is none, or the addon has no CUDA. */
export function cudaDevices(): (CudaDevice & {
  /** Whether `device: 'cuda'` means this one. */
  inUse: boolean;
  driverVersion?: string;
  runtimeVersion?: string;
  cublas?: { path: string; version: string };
})[] {
  const { cudaDevices: devices, cudaDevice, cudaDriver, cudaRuntime, cublas } = nativeInfo();
  return devices.map((device) => ({
    ...device,
    inUse: device.index === cudaDevice,
    driverVersion: cudaDriver,
    runtimeVersion: cudaRuntime,
    ...(cublas && { cublas }),
  }));
}

/** Number of threads of the CPU kernels (all callers of the process share them). Results do not depend on it. */
export function setThreads(threads: number): void {
  native().setThreads({ threads });
}
