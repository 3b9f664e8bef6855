import { copyFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Machine, whatIsMissing } from '../../lib/cli/doctor/machine.js';
import { nativeInfo, nativePath, packageRoot } from '../../lib/kernels/native.js';
import { prl } from '../fakes/prl.js';

const doctor = (args: string[], env: Record<string, string> = {}) => prl(['doctor', ...args], env);

const seen = suite('prl doctor');
seen('prl doctor describes the machine and the addon, as JSON and as text', () => {
  const { status, stdout, stderr } = doctor(['--json']);
  assert.is(status, 0, stderr);
  const report = JSON.parse(stdout);
  const { isa, isas, threads } = nativeInfo();
  assert.equal([report.addon.isa, report.addon.isas, report.addon.threads], [isa, isas, threads]);
  assert.is(isas[0], 'generic');
  assert.ok(isas.includes(isa));
  assert.ok(['compiled here', 'prebuilt', 'PRL_NATIVE'].includes(report.addon.origin), report.addon.origin);
  assert.is(report.node, process.version);
  assert.match(report.version, /^\d+\.\d+\.\d+$/);
  assert.ok(report.cores >= 1);
  assert.ok(report.memory.available > 0 && report.memory.total >= report.memory.available);
  assert.is(typeof report.tools.cmake, 'string', 'the addon of a checkout was compiled here');
  assert.ok(Array.isArray(report.missing));

  const text = doctor([]).stdout;
  for (const row of ['prl-node', 'node', 'processor', 'memory', 'addon', 'instructions', 'threads', 'CUDA', 'driver'])
    assert.match(text, new RegExp(`^${row} {2,}\\S`, 'm'));
});

seen('prl doctor shows the effect of PRL_ISA and PRL_THREADS', () => {
  const { addon } = JSON.parse(doctor(['--json'], { PRL_ISA: 'generic', PRL_THREADS: '1' }).stdout);
  assert.equal([addon.isa, addon.threads], ['generic', 1]);
  assert.equal(addon.isas, nativeInfo().isas);
});

seen('a variable with a value that it does not take is reported, and any other command refuses it', () => {
  for (const [name, value] of [
    ['PRL_THREADS', 'abc'],
    ['PRL_ISA', 'foo'],
  ]) {
    const { status, stdout } = doctor([], { [name]: value });
    assert.is(status, 1);
    assert.match(
      stdout,
      new RegExp(`^Missing: the environment variable ${name} must be .*'${value}'\\n {2}run: unset ${name}$`, 'm'),
    );
  }
});

seen('a missing or broken addon is reported with its reason and the command to run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-doctor-'));
  try {
    const broken = join(folder, 'prl.node');
    writeFileSync(broken, 'no addon');
    const text = doctor([], { PRL_NATIVE: broken });
    assert.is(text.status, 1);
    assert.match(text.stdout, /^addon +does not load: .*(file too short|invalid ELF|slice is not valid)/m);
    assert.match(text.stdout, /^Missing: .*\n {2}run: unset PRL_NATIVE$/m);

    // Cut short: it loads until what is not there is touched, which ends the process. Named from the working directory.
    copyFileSync(nativePath(), broken);
    truncateSync(broken, 300_000);
    const cut = doctor([], { PRL_NATIVE: relative(packageRoot, broken) });
    assert.is(cut.status, 1, `${cut.signal}`);
    assert.match(cut.stdout, /^Missing: the addon \/.*prl\.node does not load here: .*\n {2}run: unset PRL_NATIVE$/m);

    const json = doctor(['--json'], { PRL_NATIVE: join(folder, 'nowhere.node') });
    assert.is(json.status, 1);
    const { addon, missing } = JSON.parse(json.stdout);
    assert.is(addon.loads, false);
    assert.match(addon.error, /nowhere\.node does not load here: Cannot find module/);
    assert.is(missing[0].command, 'unset PRL_NATIVE');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
seen.run();

const diagnosis = suite('prl doctor: whatIsMissing');
const CUDA = {
  compiled: true,
  runtime: '13.0',
  driver: '13.0',
  devices: [{ index: 0, name: 'H100', computeCapability: '9.0', totalBytes: 8e10, freeBytes: 8e10 }],
  inUse: 0,
  reason: '',
  cublas: { path: '/usr/lib/libcublas.so.13', version: '13.1' },
  cublasReason: '',
};
const none = { devices: [], inUse: null, cublas: null };
const WELL: Parameters<typeof whatIsMissing>[0] = {
  addon: {
    loads: true,
    path: '/app/prl.node',
    origin: 'prebuilt',
    isa: 'avx2',
    isas: ['generic', 'avx2'],
    threads: 2,
    cuda: CUDA,
  },
  gpu: { cards: 1, nodes: true, driver: '580.65' },
  tools: { cmake: null, 'c++': null, nvcc: null },
  toCompile: { what: 'make', command: 'apt-get install make' },
};
type Changes = { gpu?: Partial<Machine['gpu']>; cuda?: Partial<typeof CUDA> | object; nvcc?: string };
function diagnose({ gpu, cuda, nvcc }: Changes) {
  assert.ok(WELL.addon.loads);
  return whatIsMissing({
    ...WELL,
    addon: { ...WELL.addon, cuda: { ...CUDA, ...cuda } },
    gpu: { ...WELL.gpu, ...gpu },
    tools: { ...WELL.tools, nvcc: nvcc ?? null },
  });
}

for (const [machine, changes, expected] of [
  ['one with everything', {}, undefined],
  ['no GPU at all', { gpu: { cards: 0, nodes: false, driver: null }, cuda: none }, undefined],
  ['a GPU without driver', { gpu: { nodes: false, driver: null }, cuda: none }, 'apt-get install nvidia-driver'],
  ['a container without devices', { gpu: { nodes: false }, cuda: none }, 'docker run --gpus all'],
  [
    'no nvcc',
    { cuda: { ...none, compiled: false } },
    'apt-get install cuda-toolkit && CUDACXX=/usr/local/cuda/bin/nvcc npm run build:native',
  ],
  [
    'no nvcc, and a driver of CUDA 12',
    { cuda: { ...none, compiled: false }, gpu: { driver: '550.54.15' } },
    'apt-get install cuda-toolkit-12-9 && CUDACXX=/usr/local/cuda-12.9/bin/nvcc npm run build:native',
  ],
  ['compiled without CUDA', { cuda: { ...none, compiled: false }, nvcc: '13.0' }, 'npm run build:native'],
  [
    'compiled without CUDA, a driver of CUDA 12, nvcc 12.4',
    { cuda: { ...none, compiled: false }, gpu: { driver: '525.60' }, nvcc: '12.4' },
    'npm run build:native',
  ],
  [
    'compiled without CUDA, a driver of CUDA 12, nvcc 13.0',
    { cuda: { ...none, compiled: false }, gpu: { driver: '570.10' }, nvcc: '13.0' },
    'apt-get install cuda-toolkit-12-9 && CUDACXX=/usr/local/cuda-12.9/bin/nvcc npm run build:native',
  ],
  [
    'compiled without CUDA, a driver that is too old for any',
    { cuda: { ...none, compiled: false }, gpu: { driver: '470.199' }, nvcc: '11.8' },
    'apt-get install nvidia-driver',
  ],
  [
    'an nvcc that does not compile the addon',
    { cuda: { ...none, compiled: false, reason: 'no CUDA (nvcc 11.8 did not compile it)' }, nvcc: '11.8' },
    'apt-get install cuda-toolkit && CUDACXX=/usr/local/cuda/bin/nvcc npm run build:native',
  ],
  [
    'a driver of CUDA 12 under an addon of CUDA 13',
    { cuda: { ...none, driver: '12.4', reason: 'too old' }, gpu: { driver: '550.54.15' } },
    'apt-get install cuda-toolkit-12-9 && CUDACXX=/usr/local/cuda-12.9/bin/nvcc npm run build:native',
  ],
  [
    'a driver of CUDA 11',
    { cuda: { ...none, runtime: '12.4', driver: '11.4', reason: 'too old' }, gpu: { driver: '470.199.02' } },
    'apt-get install nvidia-driver',
  ],
  ['a driver of an earlier CUDA 12 than the addon', { cuda: { runtime: '12.4', driver: '12.0' } }, undefined],
  ['a newer driver than the addon', { cuda: { runtime: '12.4', driver: '13.0' } }, undefined],
  [
    'no cuBLAS',
    { cuda: { cublas: null, cublasReason: "libcublas.so.13 was not found: 'pip install nvidia-cublas' gets it" } },
    'pip install nvidia-cublas',
  ],
  ['a wrong PRL_CUBLAS', { cuda: { cublas: null, cublasReason: 'PRL_CUBLAS=/x does not open' } }, 'unset PRL_CUBLAS'],
] as const)
  diagnosis(`whatIsMissing says what to run, if anything: ${machine}`, () => {
    const missing = diagnose(changes);
    assert.equal(
      missing.map(({ command }) => command),
      expected ? [expected] : [],
    );
  });

diagnosis('a driver that is too old is named with the one that is needed and the way out', () => {
  const old = { cuda: { ...none, runtime: '12.4', driver: '11.4' }, gpu: { driver: '470.199.02' } };
  assert.match(
    diagnose(old)[0].what,
    /CUDA 12\.4, which needs NVIDIA driver 525 or newer; this machine has 470\.199\.02/,
  );
  assert.match(diagnose(old)[0].what, /update the driver .*, or use the CPU$/);
  const older = { cuda: { ...none, runtime: '13.0', driver: '12.4' }, gpu: { driver: '550.54.15' } };
  assert.match(
    diagnose(older)[0].what,
    /driver 580 or newer; this machine has 550\.54\.15 .*: compile it with CUDA 12/,
  );
});

diagnosis('an addon that does not load is rebuilt, after installing what compiling needs', () => {
  const addon = { loads: false as const, error: 'it needs a newer glibc.' };
  const command = (toCompile: Machine['toCompile']) => whatIsMissing({ ...WELL, addon, toCompile })[0].command;
  assert.is(command(null), 'npm run build:native');
  assert.is(command(WELL.toCompile), 'apt-get install make && npm run build:native');
});
diagnosis.run();
