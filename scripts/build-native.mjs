// Builds the addon with cmake-js into build/Release/prl.node.
//
//   node scripts/build-native.mjs [--out DIR] [--cuda-arch LIST|all|none | --emulate] [--sanitize] [--keep] [--jobs N]
//
// CUDA is compiled when nvcc is found (on the PATH, in CUDACXX, or in /usr/local/cuda/bin): for the GPU that is present,
// for one target (90a) when there is none, or for the list given. PRL_CUDA_ARCH says the same as --cuda-arch.
// --emulate: the CUDA sources for the emulator in test/emulator, which runs them on the CPU. For tests; give it its own --out.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

export const ALL_CUDA_TARGETS = '75-real;80-real;86-real;89-real;90a-real;100a-real;120-real;90-virtual';

function findNvcc() {
  const candidates = [
    process.env.CUDACXX,
    ...(process.env.PATH ?? '').split(':').map((d) => join(d, 'nvcc')),
    '/usr/local/cuda/bin/nvcc',
  ];
  return candidates.find((path) => path && existsSync(path));
}

/** The targets to compile for: what was asked, else the GPU that is present, else one. */
function cudaTargets(asked) {
  if (asked === 'all') return ALL_CUDA_TARGETS;
  if (asked) return asked.replaceAll(',', ';');
  const smi = spawnSync('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader'], { encoding: 'utf8' });
  const found = [...new Set((smi.stdout ?? '').match(/^\d+\.\d+$/gm) ?? [])].map((cap) => {
    const sm = cap.replace('.', '');
    return sm === '90' || sm === '100' ? `${sm}a-real` : `${sm}-real`;
  });
  return found.length ? found.join(';') : '90a-real';
}

function fail(message) {
  console.error(`\nprl-node: ${message}\n`);
  process.exit(1);
}

export async function buildNative({
  out,
  cudaArch = process.env.PRL_CUDA_ARCH,
  emulate = false,
  sanitize = false,
  keep = false,
  jobs,
} = {}) {
  for (const [tool, remedy] of [
    ['cmake', 'cmake 3.22 or newer (Debian, Ubuntu: apt-get install cmake)'],
    ['c++', 'a C++17 compiler (Debian, Ubuntu: apt-get install g++ make)'],
  ]) {
    if (spawnSync(tool, ['--version']).error)
      fail(
        `no prebuilt addon fits this machine and '${tool}' is not installed. Install ${remedy} and run the install again.`,
      );
  }
  const nvcc = emulate || cudaArch === 'none' ? undefined : findNvcc();
  const work = join(root, 'build', `cmake${emulate ? '-emulated' : ''}${sanitize ? '-asan' : ''}`);
  const args = ['--directory', root, '--out', work, '--parallel', String(jobs ?? availableParallelism())];
  // Said either way: a folder that was kept remembers what the build before was asked.
  args.push(`--CDPRL_CUDA=${nvcc ? 'ON' : 'OFF'}`);
  if (nvcc) args.push(`--CDPRL_CUDA_TARGETS=${cudaTargets(cudaArch)}`);
  if (emulate) args.push('--CDPRL_CUDA_EMULATOR=ON');
  if (sanitize) args.push('--CDPRL_SANITIZE=ON');
  // cmake-js and npm each leave variables that change what CMake finds; only the compiler choice is ours to set.
  const env = { ...process.env };
  if (nvcc) env.CUDACXX = nvcc;
  // `compile` alone would not look at the options again in a folder that was kept.
  for (const command of ['configure', 'compile']) {
    const run = spawnSync(process.execPath, [require.resolve('cmake-js/bin/cmake-js'), command, ...args], {
      cwd: root,
      env,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    if (run.status === 0) continue;
    console.error(run.stdout, run.stderr);
    fail(
      `the addon did not compile (cmake-js ended with ${run.status ?? run.signal}); the compiler's messages are above.`,
    );
  }
  const target = resolve(root, out ?? 'build/Release', 'prl.node');
  mkdirSync(dirname(target), { recursive: true });
  // Renamed into place: overwriting the file would pull it out from under a process that has it mapped.
  const built = [[join(work, 'Release', 'prl.node'), target]];
  if (emulate) built.push([join(work, 'Release', 'libcublas_fake.so'), join(dirname(target), 'libcublas_fake.so')]);
  for (const [from, to] of built) {
    copyFileSync(from, `${to}.new`);
    renameSync(`${to}.new`, to);
  }
  if (!keep) rmSync(work, { recursive: true, force: true });
  const cuda = emulate
    ? ' with CUDA emulated'
    : nvcc
      ? ` with CUDA for ${cudaTargets(cudaArch)}`
      : ' (CPU only: nvcc was not found)';
  console.log(`prl-node: built ${target}${cuda}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      'cuda-arch': { type: 'string' },
      emulate: { type: 'boolean' },
      sanitize: { type: 'boolean' },
      keep: { type: 'boolean' },
      jobs: { type: 'string' },
    },
  });
  await buildNative({ ...values, cudaArch: values['cuda-arch'] ?? process.env.PRL_CUDA_ARCH });
}
