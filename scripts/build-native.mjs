// Builds the addon with cmake-js into build/Release/prl.node.
//
//   node scripts/build-native.mjs [--out DIR] [--cuda-arch LIST|all|none | --emulate] [--sanitize | --sanitize-threads] [--keep] [--jobs N]
//
// CUDA is compiled when nvcc is found (in CUDACXX, .cuda/bin, on the PATH, or in /usr/local/cuda/bin): for the GPU that is present,
// for one target (90a) when there is none, or for the list given. A list that is given and cannot be compiled is an error.
// PRL_CUDA_ARCH and PRL_KEEP_BUILD=1 say the same as --cuda-arch and --keep: node-gyp, by which prebuildify comes here, passes no options.
// --sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer (scripts/test-asan.mjs); --sanitize-threads: with ThreadSanitizer
// (scripts/test-tsan.mjs).
// --emulate: the CUDA sources for the emulator in test/emulator, which runs them on the CPU. For tests; give it its own --out.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findNvcc, missingTools } from './toolchain.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

export const ALL_CUDA_TARGETS = '75-real;80-real;86-real;89-real;90a-real;100a-real;120-real;90-virtual';

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

export async function buildNative({
  out,
  cudaArch = process.env.PRL_CUDA_ARCH,
  emulate = false,
  sanitize,
  keep = process.env.PRL_KEEP_BUILD === '1',
  jobs,
  reason,
} = {}) {
  const missing = missingTools();
  if (missing)
    throw new Error(
      `the addon must be compiled${reason ? `, because ${reason}` : ''}, and this machine lacks ${missing.what}. Run:\n\n  ${missing.command}\n\nand then the install again.`,
    );
  let nvcc = emulate || cudaArch === 'none' ? undefined : findNvcc();
  if (cudaArch && cudaArch !== 'none' && !emulate && !nvcc)
    throw new Error(
      `CUDA targets were asked for (${cudaArch}), and nvcc was not found. 'node scripts/cuda-compiler.mjs' fetches it; CUDACXX names one that is elsewhere; PRL_CUDA_ARCH=none compiles for the CPU only.`,
    );
  const work = join(
    root,
    'build',
    `cmake${emulate ? '-emulated' : ''}${sanitize ? (sanitize === 'thread' ? '-tsan' : '-asan') : ''}`,
  );
  const args = ['--directory', root, '--out', work, '--parallel', String(jobs ?? availableParallelism())];
  // The compilers that missingTools looked at; cmake-js would look for others.
  args.push('--cc', process.env.CC || 'cc', '--cxx', process.env.CXX || 'c++');
  if (emulate) args.push('--CDPRL_CUDA_EMULATOR=ON');
  if (sanitize) args.push(`--CDPRL_SANITIZE=${sanitize}`);
  const cmake = (command) => {
    // PRL_CUDA is said either way: a folder that was kept remembers what the build before was asked.
    const cuda = nvcc ? ['--CDPRL_CUDA=ON', `--CDPRL_CUDA_TARGETS=${cudaTargets(cudaArch)}`] : ['--CDPRL_CUDA=OFF'];
    return spawnSync(process.execPath, [require.resolve('cmake-js/bin/cmake-js'), command, ...args, ...cuda], {
      cwd: root,
      // ccache, where it is used, gives up at a precompiled header without this.
      env: { CCACHE_SLOPPINESS: 'pch_defines,time_macros', ...process.env, ...(nvcc && { CUDACXX: nvcc }) },
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
  };
  // `compile` alone would not look at the options again in a folder that was kept.
  let run = cmake('configure');
  if (run.status !== 0 && nvcc && !cudaArch) {
    console.error(run.stderr);
    console.error(`prl-node: ${nvcc} does not work here (its messages are above): compiling for the CPU only`);
    nvcc = undefined;
    run = cmake('configure');
  }
  if (run.status === 0) run = cmake('compile');
  if (run.status !== 0) {
    console.error(run.stdout, run.stderr);
    throw new Error(
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
      : ` (CPU only${findNvcc() ? '' : ': nvcc was not found'})`;
  console.log(`prl-node: built ${target}${cuda}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      'cuda-arch': { type: 'string' },
      emulate: { type: 'boolean' },
      sanitize: { type: 'boolean' },
      'sanitize-threads': { type: 'boolean' },
      keep: { type: 'boolean' },
      jobs: { type: 'string' },
    },
  });
  try {
    await buildNative({
      ...values,
      cudaArch: values['cuda-arch'] ?? process.env.PRL_CUDA_ARCH,
      sanitize: values['sanitize-threads'] ? 'thread' : values.sanitize && 'address,undefined',
    });
  } catch (error) {
    console.error(`\nprl-node: ${error.message}\n`);
    process.exitCode = 1;
  }
}
