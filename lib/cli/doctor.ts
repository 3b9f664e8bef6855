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

function addon() {
  try {
    const path = nativePath();
    const { isa, threads, cudaCompiled, cudaDevices, cudaReason } = nativeInfo();
    const origin = process.env.PRL_NATIVE ? 'PRL_NATIVE' : path.includes('/prebuilds/') ? 'prebuilt' : 'compiled here';
    return {
      loads: true as const,
      path,
      origin,
      isa,
      threads,
      cuda: { compiled: cudaCompiled, devices: cudaDevices, reason: cudaReason },
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
  }
  return list;
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
      ['CUDA', found.cuda.compiled ? 'compiled in' : 'not compiled in'],
    );
    for (const { name, computeCapability, totalBytes, freeBytes } of found.cuda.devices)
      rows.push(['GPU', `${name}, compute ${computeCapability}, ${gib(freeBytes)} of ${gib(totalBytes)} GiB free`]);
    if (found.cuda.devices.length === 0) rows.push(['GPU', `none: ${found.cuda.reason || 'no reason given'}`]);
  } else rows.push(['addon', `does not load: ${found.error}`]);
  for (const [name, version] of Object.entries(tools)) rows.push([name, version ?? 'not found']);
  const lines = rows.map(([name, value]) => `${name.padEnd(14)}${value}`);
  if (report.missing.length === 0) lines.push('', 'Nothing is missing.');
  for (const { what, command } of report.missing) lines.push('', `Missing: ${what}. Run:`, `  ${command}`);
  return lines.join('\n');
}
