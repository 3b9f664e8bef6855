// Examines this installation and this machine for `prl doctor`, and finds what is missing.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadError, nativeInfo, nativePath, packageRoot, rebuildCommand } from '../../kernels/native.js';
import { availableMemory } from '../../policy/memory-check.js';

/** scripts/toolchain.mjs. The install uses it too, before any TypeScript is compiled. */
interface Toolchain {
  versionOf(command: string): string | null;
  missingTools(): { what: string; command: string } | null;
  findNvcc(): string | undefined;
  addonProblem(path: string): string | null;
  nvccVersion(nvcc: string): string | null;
}

export type Machine = Awaited<ReturnType<typeof examine>>;
export type Cuda = Extract<Machine['addon'], { loads: true }>['cuda'];

/** The contents of a file; an empty text if it cannot be read. */
function textOf(...path: string[]): string {
  try {
    return readFileSync(join(...path), 'utf8');
  } catch {
    return '';
  }
}

/** The number of NVIDIA display controllers among the PCI devices. It needs no driver. */
function nvidiaCards(): number {
  const devices = '/sys/bus/pci/devices';
  const all = existsSync(devices) ? readdirSync(devices) : [];
  return all.filter(
    (name) => textOf(devices, name, 'vendor').trim() === '0x10de' && textOf(devices, name, 'class').startsWith('0x03'),
  ).length;
}

function addon({ addonProblem }: Toolchain) {
  try {
    const path = nativePath();
    const problem = addonProblem(path);
    if (problem) throw loadError(path, problem);
    const info = nativeInfo();
    const origin = process.env.PRL_NATIVE ? 'PRL_NATIVE' : path.includes('/prebuilds/') ? 'prebuilt' : 'compiled here';
    return {
      loads: true as const,
      path,
      origin,
      isa: info.isa,
      isas: info.isas,
      threads: info.threads,
      cuda: {
        compiled: info.cudaCompiled,
        runtime: info.cudaRuntime ?? null,
        driver: info.cudaDriver ?? null,
        devices: info.cudaDevices,
        inUse: info.cudaDevice ?? null,
        reason: info.cudaReason,
        cublas: info.cublas ?? null,
        cublasReason: info.cublasReason,
      },
    };
  } catch (error) {
    return { loads: false as const, error: (error as Error).message };
  }
}

export async function examine() {
  const toolchain: Toolchain = await import(pathToFileURL(join(packageRoot, 'scripts', 'toolchain.mjs')).href);
  const nvcc = toolchain.findNvcc();
  const { header } = process.report!.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return {
    version: JSON.parse(textOf(packageRoot, 'package.json')).version as string,
    node: process.version,
    platform: `${platform()}-${arch()}`,
    glibc: header.glibcVersionRuntime ?? null,
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    /** In bytes; `available` is what this process may take, in a container too. */
    memory: { total: totalmem(), available: availableMemory() },
    addon: addon(toolchain),
    gpu: {
      cards: nvidiaCards(),
      nodes: existsSync('/dev/nvidiactl'),
      /** Of the NVIDIA driver in the kernel. */
      driver: textOf('/proc/driver/nvidia/version').match(/\b\d+\.\d+(\.\d+)?\b/)?.[0] ?? null,
    },
    tools: {
      cmake: toolchain.versionOf('cmake'),
      'c++': toolchain.versionOf(process.env.CXX || 'c++'),
      nvcc: nvcc ? (toolchain.nvccVersion(nvcc) ?? 'does not run') : null,
    },
    toCompile: toolchain.missingTools(),
  };
}

const major = (version: string) => Number.parseInt(version, 10);

/** The first NVIDIA driver that runs what a CUDA of this version compiled: it runs all minor versions of its major. */
export const leastDriver = (cuda: string) => ({ 11: 450, 12: 525, 13: 580 })[major(cuda)];

export interface Missing {
  what: string;
  /** The command that fixes it. */
  command: string;
}

/** The first problem, with the command that fixes it. Further problems show once it is fixed. */
export function whatIsMissing({
  addon,
  gpu,
  tools,
  toCompile,
}: Pick<Machine, 'addon' | 'gpu' | 'tools' | 'toCompile'>) {
  const causes = addon.loads ? gpuCauses(addon.cuda, gpu, tools.nvcc) : addonCauses(addon.error, toCompile);
  const found = causes.find(([applies]) => applies);
  return found ? [{ what: found[1], command: found[2] }] : [];
}

type Cause = [applies: boolean, what: string, command: string];

function addonCauses(error: string, toCompile: Machine['toCompile']): Cause[] {
  const variable = /^the environment variable (\w+)/.exec(error)?.[1];
  return [
    [variable !== undefined, error, `unset ${variable}`],
    [process.env.PRL_NATIVE !== undefined, error, 'unset PRL_NATIVE'],
    [
      toCompile !== null,
      `${error} To compile it, this machine lacks ${toCompile?.what}`,
      `${toCompile?.command} && ${rebuildCommand}`,
    ],
    [true, error, rebuildCommand],
  ];
}

const UPDATE_DRIVER = 'apt-get install nvidia-driver';

/** Installs an nvcc whose programs this driver runs, and compiles the addon with it. */
function compileWithFittingCuda(driver: string | null): string {
  const newest = driver === null || major(driver) >= leastDriver('13')!;
  const [toolkit, folder] = newest ? ['cuda-toolkit', 'cuda'] : ['cuda-toolkit-12-9', 'cuda-12.9'];
  return `apt-get install ${toolkit} && CUDACXX=/usr/local/${folder}/bin/nvcc ${rebuildCommand}`;
}

/** The addon has no CUDA, though there is a GPU. */
function compileCauses(cuda: Cuda, driver: string | null, nvcc: string | null): Cause[] {
  const what = `this machine has a GPU, but ${cuda.reason || 'the addon was compiled without CUDA'}`;
  const tooOld = driver !== null && major(driver) < leastDriver('12')!;
  const tooNew = nvcc !== null && driver !== null && major(driver) < (leastDriver(nvcc) ?? 0);
  const failed = cuda.reason.includes('did not compile');
  return [
    [tooOld, `${what}. Its driver ${driver} is too old: ${leastDriver('12')} is the least`, UPDATE_DRIVER],
    [
      nvcc === null,
      `${what}. nvcc is missing (12.4 or newer, from NVIDIA's package repository)`,
      compileWithFittingCuda(driver),
    ],
    [tooNew, `${what}. What nvcc ${nvcc} compiles does not run on driver ${driver}`, compileWithFittingCuda(driver)],
    [failed, `${what}. Another nvcc may`, compileWithFittingCuda(driver)],
    [true, what, rebuildCommand],
  ];
}

/** The addon has CUDA that is newer than the driver's. */
function driverCauses(cuda: Cuda, driver: string | null): Cause[] {
  if (cuda.driver === null || cuda.runtime === null || major(cuda.driver) >= major(cuda.runtime)) return [];
  const needs = `the addon was compiled with CUDA ${cuda.runtime}, which needs NVIDIA driver ${leastDriver(cuda.runtime)} or newer; this machine has ${driver ?? 'one'} that runs CUDA up to ${cuda.driver}`;
  return [
    // A driver of CUDA 12 runs the published addon and what any CUDA 12 compiles.
    [
      major(cuda.driver) >= 12,
      `${needs}: compile it with CUDA 12, or update the driver`,
      compileWithFittingCuda('525'),
    ],
    [true, `${needs}: update the driver (of the host, if this is a container), or use the CPU`, UPDATE_DRIVER],
  ];
}

function gpuCauses(cuda: Cuda, { cards, driver, nodes }: Machine['gpu'], nvcc: string | null): Cause[] {
  const { PRL_DEVICE } = process.env;
  const there = driver !== null || cuda.devices.length > 0;
  return [
    ...driverCauses(cuda, driver),
    [cards > 0 && !there, 'this machine has an NVIDIA GPU, but no driver for it', UPDATE_DRIVER],
    [
      driver !== null && !nodes,
      'this machine has an NVIDIA driver, but the container was started without its devices',
      'docker run --gpus all',
    ],
    ...(there && !cuda.compiled ? compileCauses(cuda, driver, nvcc) : []),
    [
      cuda.inUse === null && cuda.devices.length > 0 && PRL_DEVICE !== undefined && PRL_DEVICE !== 'cpu',
      `no GPU is used: ${cuda.reason}`,
      'unset PRL_DEVICE',
    ],
    [
      cuda.cublasReason !== '',
      `linearPolicyLoss on the GPU needs cuBLAS. ${cuda.cublasReason}`,
      // The reason names the package that fits the driver. If it names none, PRL_CUBLAS is wrong.
      cuda.cublasReason.match(/'(pip [^']+)'/)?.[1] ?? 'unset PRL_CUBLAS',
    ],
  ];
}
