// Fetches a CUDA compiler for a machine without a CUDA toolkit: nvcc 13.0, its headers and static runtime, in about 5
// seconds.
//
//   node scripts/cuda-compiler.mjs [FOLDER]        FOLDER: .cuda of the checkout, where the build looks (scripts/toolchain.mjs)
//
// NVIDIA publishes the parts as Python wheels. pip fetches them, pinned by version and SHA-256, so python3 with pip is
// required. No GPU or driver is needed. The compiler supports every target of build-native.mjs and takes 271 MB on the
// disk.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FETCHED_CUDA, versionOf } from './toolchain.mjs';

// Hashes: x64, then arm64.
const WHEELS = [
  'nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03 --hash=sha256:c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f',
  'nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4 --hash=sha256:ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003',
  'nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0 --hash=sha256:c4376a291d72d22a315d9d2f69bdae8f8cd83a627f75bad395cee49a0fe65dc1',
  'nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 --hash=sha256:ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55',
  'nvidia-cuda-cccl==13.0.85 --hash=sha256:e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649 --hash=sha256:6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c',
];
/** Written last, so a folder with this file is complete. Another text in it means other wheels. */
const STAMP = 'fetched-wheels.txt';

function fetchCompiler(folder) {
  const requirements = `${WHEELS.join('\n')}\n`;
  const stamp = join(folder, STAMP);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === requirements) return 'it was there already';
  if (versionOf('python3') === null) throw new Error('python3 with pip is needed (apt-get install python3-pip)');
  const work = `${folder}.new`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const list = join(work, 'requirements.txt');
  writeFileSync(list, requirements);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--root-user-action=ignore'];
  const options = ['--no-deps', '--no-compile', '--require-hashes', '--only-binary=:all:', '--target', work];
  const { status } = spawnSync('python3', [...pip, ...options, '-r', list], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) throw new Error(`pip could not fetch the compiler (its messages are above)`);

  const toolkit = join(work, 'nvidia', 'cu13');
  // A toolkit has two things that the wheels lack: the folder from which CMake links, and execute permissions.
  symlinkSync('lib', join(toolkit, 'lib64'));
  for (const tools of ['bin', 'nvvm/bin'])
    for (const entry of readdirSync(join(toolkit, tools), { withFileTypes: true }))
      if (entry.isFile()) chmodSync(join(toolkit, tools, entry.name), 0o755);
  if (versionOf(join(toolkit, 'bin', 'nvcc')) === null) throw new Error('the fetched nvcc does not run here');
  writeFileSync(join(toolkit, STAMP), requirements);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(dirname(folder), { recursive: true });
  renameSync(toolkit, folder);
  rmSync(work, { recursive: true, force: true });
  return 'fetched';
}

try {
  const folder = resolve(process.argv[2] ?? FETCHED_CUDA);
  const how = fetchCompiler(folder);
  const nvcc = join(folder, 'bin', 'nvcc');
  const hint = folder === FETCHED_CUDA ? 'npm run build:native' : `CUDACXX=${nvcc} npm run build:native`;
  console.log(`prl-node: nvcc ${versionOf(nvcc)} in ${folder} (${how}); compile with: ${hint}`);
} catch (error) {
  console.error(`prl-node: ${error.message}`);
  process.exitCode = 1;
}
