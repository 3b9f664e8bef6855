import type { OptionTable } from '../../base/options.js';
import { type Cuda, examine, leastDriver, type Machine, whatIsMissing } from '../doctor/machine.js';
import type { Command } from '../kit/args.js';

const OPTIONS = { json: { type: 'boolean', doc: 'Print JSON' } } as const satisfies OptionTable;

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'Shows what this installation can use and what is missing.',
  groups: [{ title: 'Options', options: OPTIONS }],
  examples: [
    ['prl doctor', 'A list to read'],
    ['prl doctor --json', 'For bug reports and scripts'],
  ],
  async run({ json }) {
    const { toCompile, ...machine } = await examine();
    const report = { ...machine, missing: whatIsMissing({ ...machine, toCompile }) };
    console.log(json ? JSON.stringify(report, null, 2) : asText(report));
    return report.addon.loads ? 0 : 1;
  },
};

type Report = Omit<Machine, 'toCompile'> & { missing: ReturnType<typeof whatIsMissing> };
type Row = [name: string, value: string];

const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);

function addonRows({ addon }: Report): Row[] {
  if (!addon.loads) return [['addon', `does not load: ${addon.error}`]];
  return [
    ['addon', `${addon.origin}, ${addon.path}`],
    ['instructions', `${addon.isa} of ${addon.isas.join(', ')} (PRL_ISA chooses)`],
    ['threads', `${addon.threads} (PRL_THREADS sets them)`],
    ...cudaRows(addon.cuda),
  ];
}

function cudaRows({ compiled, runtime, devices, inUse, reason, cublas }: Cuda): Row[] {
  const needs = compiled && runtime ? `, needs driver ${leastDriver(runtime) ?? 'of that version'} or newer` : '';
  const rows: Row[] = [['CUDA', compiled ? `${runtime}, compiled in${needs}` : 'not compiled in']];
  for (const { index, name, computeCapability, totalBytes, freeBytes, error } of devices) {
    const size =
      freeBytes === undefined ? `${gib(totalBytes)} GiB` : `${gib(freeBytes)} of ${gib(totalBytes)} GiB free`;
    rows.push([`GPU ${index}`, `${name}, compute ${computeCapability}, ${error ? `cannot be used: ${error}` : size}`]);
  }
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

function driverRow({ addon, gpu }: Report): Row {
  const cuda = addon.loads ? addon.cuda.driver : null;
  if (!gpu.driver && !cuda) return ['driver', 'no NVIDIA driver'];
  return ['driver', `NVIDIA ${gpu.driver ?? 'of unknown version'}, runs CUDA up to ${cuda ?? 'an unknown version'}`];
}

function asText(report: Report): string {
  const { memory } = report;
  const rows: Row[] = [
    ['prl-node', report.version],
    ['node', `${report.node} on ${report.platform}${report.glibc ? `, glibc ${report.glibc}` : ''}`],
    ['processor', `${report.processor}, ${report.cores} core${report.cores === 1 ? '' : 's'} for this process`],
    ['memory', `${gib(memory.available)} of ${gib(memory.total)} GiB available`],
    ...addonRows(report),
    driverRow(report),
    ...Object.entries(report.tools).map(([name, version]): Row => [name, version ?? 'not found']),
  ];
  const lines = rows.map(([name, value]) => `${name.padEnd(14)}${value}`);
  if (report.missing.length === 0) lines.push('', 'Nothing is missing.');
  for (const { what, command } of report.missing) lines.push('', `Missing: ${what}`, `  run: ${command}`);
  return lines.join('\n');
}
