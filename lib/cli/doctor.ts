import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { arch, availableParallelism, freemem, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { nativeInfo, nativePath, packageRoot } from '../native.js';
import type { OptionTable } from '../options-table.js';
import type { Command } from './args.js';

const OPTIONS = { json: { type: 'boolean', doc: 'Print JSON' } } as const satisfies OptionTable;

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'Says what this installation can use, and what is missing.',
  groups: [{ title: 'Options', options: OPTIONS }],
  examples: [
    ['prl doctor', 'For people'],
    ['prl doctor --json', 'For bug reports and scripts'],
  ],
  async run({ json }) {
    const report = examine();
    console.log(json ? JSON.stringify(report, null, 2) : asText(report));
    return report.addon.loads ? 0 : 1;
  },
};

const gib = (bytes: number) => Math.round((bytes / 2 ** 30) * 10) / 10;

/** The first line of what a tool says of its version; null when it is not there. */
function tool(command: string): string | null {
  const run = spawnSync(command, ['--version'], { encoding: 'utf8' });
  if (run.error || run.status !== 0) return null;
  return run.stdout.trim().split('\n')[command.endsWith('nvcc') ? 3 : 0] ?? '';
}

/** Of the NVIDIA driver; null where there is none. */
function driverVersion(): string | null {
  try {
    return readFileSync('/proc/driver/nvidia/version', 'utf8').match(/\b\d+\.\d+(\.\d+)?\b/)?.[0] ?? null;
  } catch {
    return null;
  }
}

function addon() {
  try {
    const path = nativePath();
    const info = nativeInfo();
    const origin = process.env.PRL_NATIVE ? 'PRL_NATIVE' : path.includes('/prebuilds/') ? 'prebuilt' : 'compiled here';
    return {
      loads: true as const,
      path,
      origin,
      isa: info.isa,
      threads: info.threads,
      cuda: {
        compiled: info.cudaCompiled,
        runtime: info.cudaRuntime ?? null,
        driver: { version: driverVersion(), cuda: info.cudaDriver ?? null },
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

function examine() {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  const found = addon();
  const nvcc = [process.env.CUDACXX, 'nvcc', '/usr/local/cuda/bin/nvcc'].find((path) => path && tool(path) !== null);
  const tools = { cmake: tool('cmake'), 'c++': tool('c++'), nvcc: nvcc ? tool(nvcc) : null };
  const gpu = existsSync('/dev/nvidia0') || spawnSync('nvidia-smi', ['-L']).status === 0;
  return {
    version,
    node: process.version,
    platform: `${platform()}-${arch()}`,
    cores: availableParallelism(),
    memoryGiB: { total: gib(totalmem()), free: gib(freemem()) },
    addon: found,
    tools,
    missing: missing(found, tools, gpu),
  };
}

/** What is wrong, each with the one command that mends it. */
function missing(found: ReturnType<typeof addon>, tools: Record<string, string | null>, gpu: boolean) {
  const list: { what: string; command: string }[] = [];
  // In a checkout the addon is built by a script, in an installation by npm.
  const rebuild = existsSync(join(packageRoot, 'lib')) ? 'npm run build:native' : 'npm rebuild prl-node';
  if (!found.loads) {
    const absent = [tools.cmake === null && 'cmake', tools['c++'] === null && 'g++ make'].filter(Boolean).join(' ');
    if (absent)
      list.push({ what: `compiling the addon needs ${absent}`, command: `apt-get install ${absent} && ${rebuild}` });
    else list.push({ what: 'the addon is not there or does not load', command: rebuild });
  } else if (gpu && !found.cuda.compiled) {
    if (tools.nvcc === null)
      list.push({
        what: 'there is a GPU, but the addon has no CUDA and nvcc is not installed',
        command: 'apt-get install nvidia-cuda-toolkit',
      });
    else list.push({ what: 'there is a GPU, but the addon was compiled without CUDA', command: rebuild });
  } else if (gpu && found.cuda.reason.includes('cudaErrorInsufficientDriver')) {
    const { driver, runtime } = found.cuda;
    list.push({
      what: `the driver runs CUDA ${driver.cuda} at most, but the addon was compiled with ${runtime}: compile it with the CUDA of the driver, or install a newer driver`,
      command: `CUDACXX=/usr/local/cuda-${driver.cuda}/bin/nvcc ${rebuild}`,
    });
  } else if (found.cuda.cublasReason) {
    // The message names the package that fits the driver; or PRL_CUBLAS is wrong.
    const command = found.cuda.cublasReason.match(/'(pip [^']+)'/)?.[1] ?? 'unset PRL_CUBLAS';
    list.push({ what: `linearPolicyLoss on the GPU needs cuBLAS. ${found.cuda.cublasReason}`, command });
  }
  return list;
}

type Cuda = Extract<ReturnType<typeof addon>, { loads: true }>['cuda'];

function cudaRows({ compiled, runtime, driver, devices, inUse, reason, cublas }: Cuda) {
  const rows: [string, string][] = [['CUDA', compiled ? `${runtime}, compiled in` : 'not compiled in']];
  if (driver.version || driver.cuda)
    rows.push(['driver', `${driver.version ?? 'of unknown version'}, runs CUDA up to ${driver.cuda ?? '(not asked)'}`]);
  for (const { index, name, computeCapability, totalBytes, freeBytes } of devices)
    rows.push([
      `GPU ${index}`,
      `${name}, compute ${computeCapability}, ${gib(freeBytes)} of ${gib(totalBytes)} GiB free`,
    ]);
  if (devices.length === 0) rows.push(['GPU', `none: ${reason || 'no reason given'}`]);
  const wish = process.env.PRL_DEVICE;
  if (devices.length > 0 || wish)
    rows.push([
      'PRL_DEVICE',
      `${wish || 'not set'}: ${inUse === null ? `no GPU is used (${reason})` : `device 'cuda' is GPU ${inUse}`}`,
    ]);
  if (inUse !== null) rows.push(['cuBLAS', cublas ? `${cublas.version}, ${cublas.path}` : 'not found']);
  return rows;
}

function asText(report: ReturnType<typeof examine>): string {
  const { addon: found, tools } = report;
  const rows: [string, string][] = [
    ['prl-node', report.version],
    ['node', `${report.node} on ${report.platform}`],
    ['cores', String(report.cores)],
    ['memory', `${report.memoryGiB.free} of ${report.memoryGiB.total} GiB free`],
  ];
  if (found.loads) {
    rows.push(
      ['addon', `${found.path} (${found.origin})`],
      [
        'instructions',
        `${found.isa}, ${found.threads} thread${found.threads === 1 ? '' : 's'} (PRL_THREADS sets them)`,
      ],
      ...cudaRows(found.cuda),
    );
  } else rows.push(['addon', `does not load: ${found.error}`]);
  for (const [name, version] of Object.entries(tools)) rows.push([name, version ?? 'not found']);
  const lines = rows.map(([name, value]) => `${name.padEnd(14)}${value}`);
  if (report.missing.length === 0) lines.push('', 'Nothing is missing.');
  for (const { what, command } of report.missing) lines.push('', `Missing: ${what}. Run:`, `  ${command}`);
  return lines.join('\n');
}
