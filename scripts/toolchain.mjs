// What compiling the addon needs, what of it is missing, and whether an addon works here. For install, build and `prl
// doctor`.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where scripts/cuda-compiler.mjs puts the compilers. The build looks in the first; CUDACXX names the second. */
export const FETCHED_CUDA = join(dirname(fileURLToPath(import.meta.url)), '..', '.cuda');
export const FETCHED_CUDA_12 = `${FETCHED_CUDA}12`;

const PATH = () => (process.env.PATH ?? '').split(':');
export const onPath = (tool) => PATH().some((folder) => existsSync(join(folder, tool)));

/** The first version number that a tool prints; null if it does not exist or does not run. */
export function versionOf(command) {
  const { error, status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return error || status !== 0 ? null : (stdout.match(/\d+\.\d+(\.\d+)?/)?.[0] ?? 'unknown');
}

/** The version of an nvcc, such as 12.4; null if it does not run. Its first number is a year. */
export function nvccVersion(nvcc) {
  const { error, status, stdout } = spawnSync(nvcc, ['--version'], { encoding: 'utf8' });
  return error || status !== 0 ? null : (stdout.match(/release ([\d.]+)/)?.[1] ?? 'unknown');
}

/** The GPU architectures that an nvcc compiles for, as 75 or 120; none if it does not say. */
export function nvccArchitectures(nvcc) {
  const { stdout } = spawnSync(nvcc, ['--list-gpu-arch'], { encoding: 'utf8' });
  return [...(stdout ?? '').matchAll(/\bcompute_(\d+)$/gm)].map(([, architecture]) => Number(architecture));
}

function newEnoughCmake() {
  const [major, minor] = (versionOf('cmake') ?? '0.0').split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 22);
}

/** Checks headers, language and types. It takes a moment. */
function workingCompiler() {
  const probe = '#include <atomic>\nstatic_assert(__cplusplus >= 201703L); _Float16 half; std::atomic<int> n;';
  const compiler = process.env.CXX || 'c++';
  const { status } = spawnSync(compiler, ['-std=c++17', '-fsyntax-only', '-x', 'c++', '-'], { input: probe });
  return status === 0;
}

const TOOLS = [
  { name: 'cmake', needs: 'cmake 3.22 or newer', there: newEnoughCmake },
  { name: 'make', needs: 'make', there: () => onPath('make') || onPath('ninja') },
  { name: 'c++', needs: 'a C++17 compiler that knows _Float16 (g++ 12, clang 15 or newer)', there: workingCompiler },
];

// Package names per package manager. The last entry is for systems with none of them.
const MANAGERS = [
  ['apt-get', { install: 'apt-get install', 'c++': 'g++' }],
  ['dnf', { install: 'dnf install', 'c++': 'gcc-c++' }],
  ['apk', { install: 'apk add', 'c++': 'g++' }],
  ['pacman', { install: 'pacman -S', 'c++': 'gcc' }],
  ['zypper', { install: 'zypper install', 'c++': 'gcc-c++' }],
  ['brew', { install: 'brew install', 'c++': 'llvm' }],
  ['', { install: 'apt-get install', 'c++': 'g++' }],
];

/**
 * What this machine lacks to compile the addon, and the one command that installs it all; null if nothing is missing.
 */
export function missingTools() {
  const missing = TOOLS.filter(({ there }) => !there());
  if (missing.length === 0) return null;
  const [, packages] = MANAGERS.find(([manager]) => manager === '' || onPath(manager));
  return {
    what: missing.map(({ needs }) => needs).join(', '),
    command: `${packages.install} ${missing.map(({ name }) => packages[name] ?? name).join(' ')}`,
  };
}

/** Finds nvcc: in CUDACXX, where scripts/cuda-compiler.mjs puts it, on the PATH, or where NVIDIA puts it. */
export function findNvcc() {
  const folders = [join(FETCHED_CUDA, 'bin'), ...PATH(), '/usr/local/cuda/bin'];
  const candidates = [process.env.CUDACXX, ...folders.map((folder) => join(folder, 'nvcc'))];
  const found = candidates.find((path) => path && existsSync(path));
  return found && resolve(found);
}

/**
 * Why an addon does not work here; null if it does. It is tried in another process: a truncated file may kill the
 * process that opens it. It is not asked to use a GPU: no GPU's state says anything about the addon.
 */
export function addonProblem(path) {
  const code = 'if (typeof require(process.argv[1]).info().isa !== "string") throw new Error("it is another addon")';
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', code, path], {
    encoding: 'utf8',
    env: { ...process.env, PRL_DEVICE: 'cpu' },
  });
  if (status === 0) return null;
  return (
    stderr.match(/^\w*Error: (.*)/m)?.[1] ?? `a process that loads it ends with ${signal ?? `exit code ${status}`}`
  );
}
