import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { types } from 'node:util';
import { checkEnvironment } from '../base/environment.js';
import { invalidArgument, outOfRange, PrlError, type PrlErrorCode } from '../base/errors.js';
import { arrayKind } from '../base/options.js';
import { checkNotBundled, packageRoot } from '../base/package.js';

export { packageRoot };

/** A GPU of this machine. */
export interface CudaDevice {
  /** The N of PRL_DEVICE=cuda:N. */
  index: number;
  /** Name, such as NVIDIA H100 80GB HBM3; 'unknown' if the GPU does not answer. */
  name: string;
  /** Compute capability, such as 9.0 for an H100; 0.0 if the GPU does not answer. */
  computeCapability: string;
  /** Size of its memory in bytes; 0 if the GPU does not answer. */
  totalBytes: number;
  /**
   * Bytes of its memory that are free now. Only of the GPU in use: to ask another one would take some hundred MB of its
   * memory.
   */
  freeBytes?: number;
  /** Why the GPU cannot be used: it is broken, or another process has it for itself. Absent if it works. */
  error?: string;
}

/** What the addon reports about the machine. */
export interface NativeInfo {
  /** The instruction set that the CPU kernels use. */
  isa: 'generic' | 'avx2' | 'avx512';
  /** The instruction sets that the processor has and the addon was compiled for, the best one last. PRL_ISA chooses. */
  isas: NativeInfo['isa'][];
  /** Number of threads of the CPU kernels: PRL_THREADS, setThreads, or the processors that this process may use. */
  threads: number;
  /** Whether this build has CUDA kernels. */
  cudaCompiled: boolean;
  /** The newest CUDA that the driver runs. Absent without a driver. */
  cudaDriver?: string | undefined;
  /** The CUDA that the addon was compiled with. Absent if it was compiled without CUDA. */
  cudaRuntime?: string | undefined;
  /** The GPUs that the driver reports. */
  cudaDevices: CudaDevice[];
  /** Index of the GPU that this process uses: 0, or the one of PRL_DEVICE. Absent if it uses none. */
  cudaDevice?: number | undefined;
  /** Why this process uses no GPU. Empty if it uses one. */
  cudaReason: string;
  /** The cuBLAS that linearPolicyLoss uses on the GPU. Searched for only if a GPU is used. */
  cublas?: { path: string; version: string } | undefined;
  /** How to get cuBLAS. Empty if it is there, or not needed because no GPU is used. */
  cublasReason: string;
}

/**
 * Every function of the addon takes one object of arguments: tensors (see tensor.ts), numbers, booleans. The caller
 * makes the output tensors. Only the typed functions of lib/kernels call them.
 */
// biome-ignore lint/suspicious/noExplicitAny: the addon checks every argument itself
export type NativeFunction = (args: any) => any;
export type Native = { [name: string]: NativeFunction };

/** The command that compiles the addon: by npm in an installed package, by a script in a checkout. */
export const rebuildCommand = existsSync(join(packageRoot, 'lib', 'index.ts'))
  ? 'npm run build:native'
  : 'npm rebuild prl-node';

const require = createRequire(join(packageRoot || process.cwd(), 'package.json'));
let loaded: Native | undefined;

/** The path of the addon's file, whether or not the addon works. */
export function nativePath(): string {
  // PRL_NATIVE names another build of the addon (a sanitizer build, one for another machine).
  if (process.env.PRL_NATIVE) return resolve(process.env.PRL_NATIVE);
  checkNotBundled('the addon that', 'ERR_PRL_NATIVE_MISSING');
  try {
    return require('node-gyp-build').resolve(packageRoot);
  } catch (cause) {
    throw new PrlError(
      'ERR_PRL_NATIVE_MISSING',
      `no prebuilt addon fits ${process.platform}-${process.arch} and none was compiled. Run '${rebuildCommand}': it compiles one, or says what it lacks to do so.`,
      { cause },
    );
  }
}

/** The error of an addon that does not load, with what to do. */
export function loadError(path: string, reason: string, cause?: unknown): PrlError {
  const remedy = process.env.PRL_NATIVE ? 'PRL_NATIVE names it: unset that' : `Run '${rebuildCommand}'`;
  return new PrlError('ERR_PRL_NATIVE_MISSING', `the addon ${path} does not load here: ${reason}. ${remedy}.`, {
    cause,
  });
}

function load(): Native {
  checkEnvironment();
  const path = nativePath();
  let native: Native;
  try {
    native = require(path);
  } catch (cause) {
    throw loadError(path, (cause as Error).message.split('\n')[0], cause);
  }
  (native.initialize as unknown as (errorClass: typeof PrlError) => void)(PrlError);
  checkIsa(native);
  return Object.fromEntries(Object.entries(native).map(([name, call]) => [name, ofThisRealm(call)]));
}

/**
 * The function with results and errors of this realm. Node loads an addon once per thread, and everything that it makes
 * is of the main realm. Jest and vitest's vmThreads run our code in realms of their own, where none of it is
 * `instanceof Int32Array` or `instanceof Error`.
 */
function ofThisRealm(call: NativeFunction): NativeFunction {
  return (...args) => {
    let result: unknown;
    try {
      result = call(...args);
    } catch (error) {
      throw ownError(error);
    }
    if (!types.isPromise(result)) return ownResult(result);
    return result.then(ownResult, (error) => {
      throw ownError(error);
    });
  };
}

function ownError(thrown: unknown): unknown {
  if (thrown instanceof Error || !types.isNativeError(thrown)) return thrown;
  const { name, message, code } = thrown as NodeJS.ErrnoException;
  if (name === 'TypeError') return invalidArgument(message, { cause: thrown });
  if (name === 'RangeError') return outOfRange(message);
  return new PrlError(code as PrlErrorCode, message, { cause: thrown });
}

function ownResult(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Object) return value;
  const view: unknown = value;
  if (types.isTypedArray(view)) {
    const Own = globalThis[arrayKind(view) as 'Int32Array'];
    return new Own(view.buffer as ArrayBuffer, view.byteOffset, view.length);
  }
  if (Array.isArray(value)) return Array.from(value, ownResult);
  const entries = Object.entries(value);
  // A handle has no properties, and only itself names what it stands for.
  return entries.length === 0 ? value : Object.fromEntries(entries.map(([name, part]) => [name, ownResult(part)]));
}

/** PRL_ISA must name an instruction set that is there. */
function checkIsa(native: Native): void {
  const { PRL_ISA } = process.env;
  if (!PRL_ISA) return;
  const { isas } = (native.info as unknown as () => NativeInfo)();
  if (!isas.includes(PRL_ISA as NativeInfo['isa']))
    throw new PrlError(
      'ERR_PRL_UNSUPPORTED',
      `the environment variable PRL_ISA is '${PRL_ISA}', but this machine and this addon have only ${isas.join(', ')}`,
    );
}

/** The addon, loaded at first use. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

/** Instruction set, threads and CUDA devices in use. */
export const nativeInfo = (): NativeInfo => (native().info as unknown as () => NativeInfo)();

/** The GPUs of this machine, each with its driver and libraries. Empty if there is none, or the addon has no CUDA. */
export function cudaDevices(): (CudaDevice & {
  /** Whether `device: 'cuda'` means this GPU. */
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

/** Sets the number of threads of the CPU kernels, for all callers in the process. Results do not depend on it. */
export function setThreads(threads: number): void {
  native().setThreads({ threads });
}
