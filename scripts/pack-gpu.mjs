// Makes one archive that runs the GPU tests, the benchmarks and the PyTorch example on a machine with a GPU but without
// node, a compiler or a network. See docs/gpu.md.
//
//   node scripts/pack-gpu.mjs [--cuda-arch 90a-real] [--out .gpu/prl-gpu.tar.xz] [--emulated]
//
// --cuda-arch  the GPU targets; 90a-real works for H100 and H200
// --emulated   adds the addon for the emulator, so that the archive can be tried without a GPU
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildNative } from './build-native.mjs';
import { findNvcc, nvccVersion } from './toolchain.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values } = parseArgs({
  options: {
    'cuda-arch': { type: 'string', default: '90a-real' },
    out: { type: 'string' },
    emulated: { type: 'boolean' },
  },
});
const folder = join(root, 'build', 'pack', 'prl-gpu');
const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Runs a tool and returns its output, or undefined if it does not exist. Any other failure ends the script. */
function run(command, args, options = {}) {
  const { error, status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  if (error?.code === 'ENOENT') return undefined;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr || stdout || error}`);
  return stdout.trim();
}

/** Copies the files under root/`from` that pass `wanted` to the same place in the archive. */
function take(from, wanted = () => true) {
  const isWanted = (path) => statSync(path).isDirectory() || wanted(path);
  cpSync(join(root, from), join(folder, from), { recursive: true, filter: isWanted });
}

/** The packages needed at run time, from the lock file, with their own dependencies. */
function runtimePackages() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const queue = [...Object.keys(packageJson.dependencies), 'uvu'];
  const found = new Set();
  for (const name of queue) {
    if (found.has(name)) continue;
    found.add(name);
    queue.push(...Object.keys(packages[`node_modules/${name}`].dependencies ?? {}));
  }
  return [...found];
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(join(folder, 'bin'), { recursive: true });

const nvcc = findNvcc();
await buildNative({ cudaArch: values['cuda-arch'], out: join(folder, 'build', 'Release'), keep: true });
if (values.emulated) await buildNative({ emulate: true, out: join(folder, 'build', 'emulated'), keep: true });

// Compiles TypeScript to JavaScript, every file in its place. Relative imports and paths to fixtures stay valid.
run(process.execPath, [
  join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
  '-p',
  '.',
  '--noEmit',
  'false',
  '--rootDir',
  '.',
  '--outDir',
  folder,
]);
for (const fixtures of ['advantages', 'loss']) take(`test/fixtures/${fixtures}`);
for (const scripts of ['bench/peers', 'examples/pytorch-ipc']) take(scripts, (path) => path.endsWith('.py'));
take('test/fakes', (path) => path.endsWith('.mjs'));
take('vendor');
for (const file of ['test-cuda', 'toolchain', 'uvu']) take(`scripts/${file}.mjs`);
for (const name of runtimePackages()) take(`node_modules/${name}`, (path) => !/\.(map|md|d\.[mc]?ts)$/.test(path));

copyFileSync(realpathSync(process.execPath), join(folder, 'bin', 'node'));
chmodSync(join(folder, 'bin', 'node'), 0o755);
if (run('strip', [join(folder, 'bin', 'node')]) === undefined)
  console.warn('strip was not found: the node binary stays as it is');
copyFileSync(join(root, 'scripts', 'gpu-run.sh'), join(folder, 'run.sh'));
chmodSync(join(folder, 'run.sh'), 0o755);

const { name, version, imports } = packageJson;
const exports = JSON.parse(JSON.stringify(packageJson.exports).replaceAll('./dist/', './'));
writeFileSync(
  join(folder, 'package.json'),
  `${JSON.stringify({ name, version, type: 'module', imports, exports }, null, 2)}\n`,
);
const about = {
  commit: `${run('git', ['rev-parse', 'HEAD'])}${run('git', ['status', '--porcelain']) ? ' with changes' : ''}`,
  packed: new Date().toISOString(),
  cudaArch: values['cuda-arch'],
  cuda: (nvcc && nvccVersion(nvcc)) ?? 'unknown',
  node: process.version,
};
writeFileSync(join(folder, 'pack.json'), `${JSON.stringify(about, null, 2)}\n`);

const compression = run('xz', ['--version']) === undefined ? ['gz', '-czf'] : ['xz', '-cJf'];
const out = resolve(root, values.out ?? `.gpu/prl-gpu.tar.${compression[0]}`);
mkdirSync(dirname(out), { recursive: true });
run('tar', ['-C', dirname(folder), compression[1], out, 'prl-gpu'], { env: { ...process.env, XZ_OPT: '-9' } });
const files = readdirSync(folder, { recursive: true }).length;
console.log(
  `${out}: ${(statSync(out).size / 2 ** 20).toFixed(1)} MiB, ${files} files, commit ${about.commit}, for ${about.cudaArch}`,
);
