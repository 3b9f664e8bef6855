// Makes the addon that `npm pack` puts into the package: every instruction set and, where nvcc is, every CUDA target, stripped.
//
//   node scripts/prebuild.mjs [--from FILE] [--keep]
//
// It compiles into build/Release and strips that into prebuilds/. --from: strips an addon that is already compiled instead.
import { spawnSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildNative } from './build-native.mjs';
import { addonProblem, findNvcc } from './toolchain.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { from, keep } = parseArgs({ options: { from: { type: 'string' }, keep: { type: 'boolean' } } }).values;

if (!from) await buildNative({ cudaArch: findNvcc() ? 'all' : 'none', keep });

// node-gyp-build reads the C library from the name: a machine with another one compiles.
const { platform, arch, report } = process;
const libc = platform !== 'linux' ? '' : report.getReport().header.glibcVersionRuntime ? '.glibc' : '.musl';
const to = join(root, 'prebuilds', `${platform}-${arch}`, `prl-node${libc}.node`);
mkdirSync(dirname(to), { recursive: true });
const options = platform === 'darwin' ? ['-Sx'] : ['--strip-all'];
const strip = spawnSync('strip', [...options, '-o', to, from ?? join(root, 'build', 'Release', 'prl.node')], {
  stdio: 'inherit',
});
const problem = strip.status === 0 ? addonProblem(to) : 'strip failed';
if (problem) {
  console.error(`prl-node: ${to}: ${problem}`);
  process.exit(1);
}
console.log(`prl-node: ${relative(root, to)}, ${(statSync(to).size / 2 ** 20).toFixed(1)} MiB`);
