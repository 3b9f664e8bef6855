// Builds the addon into build/Release/prl.node: with cmake-js in a checkout. The package calls CMake itself and
// contains the headers of Node-API (scripts/headers.mjs), so users of the prebuilt addon install no build tools.
//
//   node scripts/build-native.mjs [--out DIR] [--cuda-arch LIST|all|none | --emulate] [--sanitize | --sanitize-threads] [--keep] [--jobs N]
//
// CUDA is compiled if nvcc is found (in CUDACXX, .cuda/bin, on the PATH, or in /usr/local/cuda/bin). The targets are
// the given list, else the GPU that is present, else 90a. `all` are those that this nvcc has. A given list that cannot
// be compiled is an error. If none was given, the addon is then compiled for the CPU only, and the build says so.
// PRL_CUDA_ARCH and PRL_KEEP_BUILD=1 mean the same as --cuda-arch and --keep: prebuildify calls this through node-gyp,
// which passes no options.
// --sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer (scripts/test-asan.mjs). --sanitize-threads: with
// ThreadSanitizer (scripts/test-tsan.mjs).
// --emulate: the CUDA sources for the emulator in test/emulator, which runs them on the CPU. For tests; give it an
// --out of its own.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addonProblem, findNvcc, missingTools, nvccArchitectures, nvccVersion, onPath } from './toolchain.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

/** Whether this is a checkout. Otherwise it is the installed package. */
export const isCheckout = existsSync(join(root, 'lib', 'index.ts'));

const ALL_CUDA_TARGETS = [
  '75-real',
  '80-real',
  '86-real',
  '89-real',
  '90a-real',
  '100a-real',
  '120-real',
  '90-virtual',
];

/** The targets of `all` for this nvcc: CUDA 12.4 knows nothing of Blackwell, whose GPUs then run the PTX. */
export function allCudaTargets(nvcc) {
  const known = nvccArchitectures(nvcc);
  return ALL_CUDA_TARGETS.filter((target) => known.includes(Number.parseInt(target, 10)));
}

/** The targets to compile for: the requested ones, else the GPU that is present, else 90a. */
export function cudaTargets(asked, nvcc) {
  if (asked === 'all') return allCudaTargets(nvcc).join(';');
  if (asked) return asked.replaceAll(',', ';');
  const smi = spawnSync('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader'], { encoding: 'utf8' });
  const gpus = ((smi.stdout ?? '').match(/^\d+\.\d+$/gm) ?? []).map((capability) =>
    Number(capability.replace('.', '')),
  );
  const known = nvccArchitectures(nvcc);
  const targets = gpus
    .filter((sm) => sm >= 75)
    .map((sm) => {
      // A GPU that is newer than the compiler runs PTX.
      if (known.length && !known.includes(sm)) return `${Math.max(...known.filter((each) => each < sm), 75)}-virtual`;
      return sm === 90 || sm === 100 ? `${sm}a-real` : `${sm}-real`;
    });
  return targets.length ? [...new Set(targets)].join(';') : '90a-real';
}

// The compilers that missingTools checked; cmake-js and CMake would search for others.
const compilers = () => ({ c: process.env.CC || 'cc', cxx: process.env.CXX || 'c++' });

function cmakeJs(work, jobs) {
  const program = [process.execPath, require.resolve('cmake-js/bin/cmake-js')];
  const { c, cxx } = compilers();
  const args = ['--directory', root, '--out', work, '--parallel', String(jobs), '--cc', c, '--cxx', cxx];
  const command = (name) => (definitions) => [...program, name, ...args, ...definitions.map((each) => `--CD${each}`)];
  return { configure: command('configure'), compile: command('compile') };
}

/** Does what cmake-js does on Linux and macOS for an addon of Node-API. */
function cmake(work, jobs) {
  const { c, cxx } = compilers();
  const headers = ['node-api-headers', 'node-addon-api'].map((name) => join(root, 'dist', 'headers', name));
  const fixed = [
    'CMAKE_BUILD_TYPE=Release',
    `CMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(work, 'Release')}`,
    `CMAKE_JS_INC=${headers.join(';')}`,
    `CMAKE_C_COMPILER=${c}`,
    `CMAKE_CXX_COMPILER=${cxx}`,
    ...(process.platform === 'darwin' ? ['CMAKE_SHARED_LINKER_FLAGS=-undefined dynamic_lookup'] : []),
  ];
  const generator = onPath('make') ? [] : ['-G', 'Ninja'];
  return {
    configure: (definitions) => {
      const options = [...fixed, ...definitions].map((each) => `-D${each}`);
      return ['cmake', '-S', root, '-B', work, ...generator, ...options];
    },
    compile: () => ['cmake', '--build', work, '--config', 'Release', '--parallel', String(jobs)],
  };
}

/** Lies beside an addon and says what it was made from. */
const RECORD = 'made-from.json';

/**
 * Hash of everything that determines the compiled addon, except the options and the machine. Not by time: in a fresh
 * checkout every file is new.
 */
function digestOfSources() {
  const hash = createHash('sha256');
  const native = readdirSync(join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const path of [...native, join(root, 'CMakeLists.txt'), fileURLToPath(import.meta.url)].sort())
    hash
      .update(`${relative(root, path)}\0`)
      .update(readFileSync(path))
      .update('\0');
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const { 'cmake-js': builder, 'node-addon-api': api, 'node-api-headers': headers } = devDependencies;
  return hash.update(JSON.stringify([builder, api, headers])).digest('hex');
}

/**
 * Why the addon of a checkout must be compiled; null if the existing one has these sources and the requested targets.
 */
export function whyCompileAgain(asked = process.env.PRL_CUDA_ARCH) {
  const folder = join(root, 'build', 'Release');
  if (!existsSync(join(folder, 'prl.node'))) return 'this checkout has none yet';
  if (!existsSync(join(folder, RECORD))) return 'no record says from which sources the existing one was made';
  const { sources, cudaArch } = JSON.parse(readFileSync(join(folder, RECORD), 'utf8'));
  if (sources !== digestOfSources()) return 'its sources have changed';
  if (asked && asked !== cudaArch) return `PRL_CUDA_ARCH is ${asked}, but was ${cudaArch ?? 'not set'}`;
  const problem = addonProblem(join(folder, 'prl.node'));
  return problem && `the existing one does not work here (${problem})`;
}

/** The first line of a failed build that says what is wrong. */
function firstError({ error, stdout, stderr }) {
  const lines = `${stderr}\n${stdout}`.split('\n').map((line) => line.trim());
  const says = (line) => /\b(error|fatal)\b|not supported|unsupported/i.test(line) && !line.startsWith('CMake Error');
  return error?.message ?? lines.find(says) ?? lines.find((line) => line) ?? 'it printed nothing';
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
      `the addon must be compiled${reason ? `, because ${reason}` : ''}, and this machine lacks ${missing.what}. Run:\n\n  ${missing.command}\n\nand then install again.`,
    );
  let nvcc = emulate || cudaArch === 'none' ? undefined : findNvcc();
  if (cudaArch && cudaArch !== 'none' && !emulate && !nvcc)
    throw new Error(
      `CUDA targets were requested (${cudaArch}), but nvcc was not found. 'node scripts/cuda-compiler.mjs' fetches it; CUDACXX names one in another place; PRL_CUDA_ARCH=none compiles for the CPU only.`,
    );
  const work = join(
    root,
    'build',
    `cmake${emulate ? '-emulated' : ''}${sanitize ? (sanitize === 'thread' ? '-tsan' : '-asan') : ''}`,
  );
  const targets = nvcc && cudaTargets(cudaArch, nvcc);
  // CMake would go on with the compiler that a kept folder remembers.
  const cache = join(work, 'CMakeCache.txt');
  const before = existsSync(cache) && readFileSync(cache, 'utf8').match(/^CMAKE_CUDA_COMPILER:\w+=(.+)$/m)?.[1];
  if (nvcc && before && before !== nvcc) rmSync(work, { recursive: true });
  const builder = (isCheckout ? cmakeJs : cmake)(work, jobs ?? availableParallelism());
  const definitions = [...(emulate ? ['PRL_CUDA_EMULATOR=ON'] : []), ...(sanitize ? [`PRL_SANITIZE=${sanitize}`] : [])];
  // Why the addon has no CUDA. The addon says it too: npm hides what an install script prints.
  let noCuda = cudaArch === 'none' ? 'PRL_CUDA_ARCH was none' : 'nvcc was not found';
  let failure;
  const call = (command) => {
    // PRL_CUDA is set either way: a kept folder remembers the choice of the build before.
    const cuda = nvcc ? ['PRL_CUDA=ON', `PRL_CUDA_TARGETS=${targets}`] : ['PRL_CUDA=OFF', `PRL_NO_CUDA=${noCuda}`];
    const [program, ...args] = builder[command]([...definitions, ...cuda]);
    return spawnSync(program, args, {
      cwd: root,
      // Without this, ccache, where it is used, gives up at a precompiled header.
      env: { CCACHE_SLOPPINESS: 'pch_defines,time_macros', ...process.env, ...(nvcc && { CUDACXX: nvcc }) },
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
  };
  // `compile` alone would not read the options again in a kept folder.
  const build = () => {
    const configured = call('configure');
    return configured.status === 0 ? call('compile') : configured;
  };
  let run = build();
  if (run.status !== 0 && nvcc && !cudaArch) {
    console.error(run.stdout, run.stderr);
    noCuda = `nvcc ${nvccVersion(nvcc) ?? ''} did not compile it`;
    failure = `NO CUDA. ${nvcc} does not compile the addon for ${targets} (all its messages are above):\n\n  ${firstError(run)}\n\nThe addon was compiled for the CPU only. For CUDA, name an nvcc of CUDA 12.4 or newer:\n\n  CUDACXX=/path/to/nvcc ${isCheckout ? 'npm run build:native' : 'npm rebuild prl-node'}`;
    nvcc = undefined;
    run = build();
  }
  if (run.status !== 0) {
    console.error(run.stdout, run.stderr);
    throw new Error(
      `the addon did not compile (the build ended with ${run.status ?? run.signal}); the compiler's messages are above.`,
    );
  }
  const target = resolve(root, out ?? 'build/Release', 'prl.node');
  mkdirSync(dirname(target), { recursive: true });
  // Renamed into place: overwriting the file would pull it away from a process that has it mapped.
  const built = [[join(work, 'Release', 'prl.node'), target]];
  if (emulate) built.push([join(work, 'Release', 'libcublas_fake.so'), join(dirname(target), 'libcublas_fake.so')]);
  for (const [from, to] of built) {
    copyFileSync(from, `${to}.new`);
    renameSync(`${to}.new`, to);
  }
  if (isCheckout)
    writeFileSync(join(dirname(target), RECORD), JSON.stringify({ sources: digestOfSources(), cudaArch }));
  if (!keep) rmSync(work, { recursive: true, force: true });
  const cuda = emulate ? ' with CUDA emulated' : nvcc ? ` with CUDA for ${targets}` : ` (CPU only: ${noCuda})`;
  console.log(`prl-node: built ${target}${cuda}`);
  if (failure) console.error(`\nprl-node: ${failure}\n`);
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
