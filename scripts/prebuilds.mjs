// Makes the addon that the package publishes, under prebuilds/, and checks it.
//
//   npm run prebuilds -- [--cuda 12|13]          (npm brings the node-gyp that prebuildify calls)
//
// With CUDA 12, whose runtime works on NVIDIA drivers from 525 on; CUDA 13 needs 580. It has machine code for compute
// capability 7.5 to 9.0. GPUs after that (Blackwell) run its PTX, which the driver compiles once and keeps. CI checks
// with --cuda 13 that every target compiles. Run it on each architecture (x64, arm64); on macOS there is no CUDA.
// The compiler is fetched (scripts/cuda-compiler.mjs; --cuda 12 on Debian only), unless CUDACXX names one.
// PRL_CUDA_ARCH=none makes an addon for the CPU only.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FETCHED_CUDA, FETCHED_CUDA_12 } from './toolchain.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js');
const { values } = parseArgs({ options: { cuda: { type: 'string', default: '12' } } });

function run(script, args, env = {}) {
  const options = { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } };
  const { status } = spawnSync(process.execPath, [script, ...args], options);
  if (status !== 0) process.exit(status ?? 1);
}
const ours = (name) => join(root, 'scripts', `${name}.mjs`);

const arch = process.platform === 'darwin' ? 'none' : (process.env.PRL_CUDA_ARCH ?? 'all');
const libc = process.platform === 'linux' ? ['--tag-libc'] : [];
let { CUDACXX } = process.env;
if (arch !== 'none' && !CUDACXX) {
  run(ours('cuda-compiler'), ['--cuda', values.cuda]);
  CUDACXX = join(values.cuda === '12' ? FETCHED_CUDA_12 : FETCHED_CUDA, 'bin', 'nvcc');
}
run(prebuildify, ['--napi', '--strip', ...libc], { PRL_CUDA_ARCH: arch, ...(CUDACXX && { CUDACXX }) });
if (arch === 'all') run(ours('check-targets'), [], { CUDACXX });
if (arch !== 'none') run(ours('check-driver'), []);
