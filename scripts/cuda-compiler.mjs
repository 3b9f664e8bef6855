// Fetches a CUDA compiler for a machine without a CUDA toolkit: nvcc, its headers and static runtime.
//
//   node scripts/cuda-compiler.mjs [--cuda 13|12] [FOLDER]
//
// --cuda 13   nvcc 13.0, every target of build-native.mjs, in about 5 seconds; 271 MB on the disk. What it compiles
//             needs an NVIDIA driver from 580 on. FOLDER: .cuda of the checkout, where the build looks
//             (scripts/toolchain.mjs).
// --cuda 12   nvcc 12.4, targets up to 90a and PTX; 210 MB. What it compiles runs on drivers from 525 on: the published
//             addon is made with it (scripts/release.mjs). FOLDER: .cuda12 of the checkout; CUDACXX names its nvcc.
//
// NVIDIA publishes all of CUDA 13 as Python wheels; of CUDA 12 the wheels lack nvcc itself, which Debian has among its
// non-free packages. pip and apt fetch them; each file is pinned by its SHA-256. No GPU, driver or root is needed, and
// nothing is installed.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
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
import { parseArgs } from 'node:util';
import { downloadFromDebian } from './debian.mjs';
import { FETCHED_CUDA, FETCHED_CUDA_12, nvccVersion, versionOf } from './toolchain.mjs';

// Hashes: x64, then arm64.
const WHEELS_13 = [
  'nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03 --hash=sha256:c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f',
  'nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4 --hash=sha256:ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003',
  'nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0 --hash=sha256:c4376a291d72d22a315d9d2f69bdae8f8cd83a627f75bad395cee49a0fe65dc1',
  'nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 --hash=sha256:ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55',
  'nvidia-cuda-cccl==13.0.85 --hash=sha256:e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649 --hash=sha256:6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c',
];
const WHEELS_12 = [
  'nvidia-cuda-nvcc-cu12==12.4.131 --hash=sha256:e4c9a35435c3b0e36c6397c5696334c9ea6650e524736cbd1c5d345ea099bb04 --hash=sha256:00ba32f3d7928548455baa877e748a4676ba0731cfc73d4213336fc67bdc87e9',
  'nvidia-cuda-runtime-cu12==12.4.127 --hash=sha256:64403288fa2136ee8e467cdc9c9427e0434110899d07c779f25b5c068934faa5 --hash=sha256:961fe0e2e716a2a1d967aab7caee97512f71767f852f67432d572e36cb3a11f3',
  'nvidia-cuda-cccl-cu12==12.4.127.post1 --hash=sha256:2027fa5fc75fbee703bf24e8275a40a605cf94a3e8fef8a7187897d49b34facb --hash=sha256:641ce4d9c335d4b9e0955ec4f94aa46f5a765356cc38cc4bbf65c7b40f8a4450',
];
// The static runtime, which the wheel of 12.4 lacks. Within CUDA 12 a newer one serves.
const RUNTIME_12 = [
  'nvidia-cuda-runtime-cu12==12.9.79 --hash=sha256:25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3 --hash=sha256:83469a846206f2a733db0c42e223589ab62fd2fabac4432d2f8802de4bded0a4',
];
const DEBIAN_12 = {
  name: 'nvidia-cuda-toolkit',
  version: '12.4.131~12.4.1-2',
  suite: 'trixie',
  component: 'non-free',
  sha256: {
    x64: 'cd5fe85aee38d108b315f408a688641478f2402622a10c677478eb7a6c4e5319',
    arm64: '34c1018e03a87493e2bac39dbb7ca7cff2ca84e64f4556089672ba09c8025858',
  },
};
/** Written last, so a folder with this file is complete. Another text in it means other parts. */
const STAMP = 'fetched-wheels.txt';

function pipInstall(wheels, target) {
  mkdirSync(target, { recursive: true });
  const list = join(target, 'requirements.txt');
  writeFileSync(list, `${wheels.join('\n')}\n`);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--root-user-action=ignore'];
  const options = ['--no-deps', '--no-compile', '--require-hashes', '--only-binary=:all:', '--target', target];
  const { status } = spawnSync('python3', [...pip, ...options, '-r', list], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) throw new Error('pip could not fetch the compiler (its messages are above)');
}

/** Wheels lack two things that a toolkit has: the folder from which CMake links, and execute permissions. */
function toolkit13(work) {
  pipInstall(WHEELS_13, work);
  const toolkit = join(work, 'nvidia', 'cu13');
  symlinkSync('lib', join(toolkit, 'lib64'));
  return toolkit;
}

function toolkit12(work) {
  const [wheels, runtime, debian] = ['wheels', 'runtime', 'debian'].map((name) => join(work, name));
  downloadFromDebian(DEBIAN_12, debian);
  pipInstall(WHEELS_12, wheels);
  pipInstall(RUNTIME_12, runtime);
  const toolkit = join(work, 'toolkit');
  const take = (from, to) => cpSync(from, join(toolkit, to), { recursive: true });
  const share = join(debian, 'usr', 'lib', 'nvidia-cuda-toolkit');
  for (const tool of ['nvcc', 'crt']) take(join(share, 'bin', tool), `bin/${tool}`);
  for (const tool of ['cudafe++', 'fatbinary', 'nvlink', 'ptxas', 'bin2c', '__nvcc_device_query'])
    take(join(debian, 'usr', 'bin', tool), `bin/${tool}`);
  take(join(share, 'bin', 'cicc'), 'nvvm/bin/cicc');
  take(join(share, 'libdevice'), 'nvvm/libdevice');
  for (const name of ['cuda_nvcc', 'cuda_runtime', 'cuda_cccl'])
    take(join(wheels, 'nvidia', name, 'include'), 'include');
  take(join(runtime, 'nvidia', 'cuda_runtime', 'lib', 'libcudart_static.a'), 'lib64/libcudart_static.a');
  // An archive of nothing: CMake links the device runtime, which no kernel of ours uses.
  writeFileSync(join(toolkit, 'lib64', 'libcudadevrt.a'), '!<arch>\n');
  // Where nvcc finds its parts; Debian's says where Debian puts them.
  writeFileSync(
    join(toolkit, 'bin', 'nvcc.profile'),
    [
      'TOP              = $(_HERE_)/..',
      'NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice',
      'PATH            += $(TOP)/nvvm/bin:$(_HERE_):',
      'INCLUDES        += "-I$(TOP)/include" $(_SPACE_)',
      'LIBRARIES       =+ $(_SPACE_) "-L$(TOP)/lib64"',
      '',
    ].join('\n'),
  );
  return toolkit;
}

const RECIPES = {
  13: { folder: FETCHED_CUDA, parts: WHEELS_13, make: toolkit13 },
  12: {
    folder: FETCHED_CUDA_12,
    parts: [...WHEELS_12, ...RUNTIME_12, JSON.stringify(DEBIAN_12)],
    make: toolkit12,
  },
};

/** Fetches the parts beside `folder` and moves them there once they are complete. */
function fetchCompiler({ parts, make }, folder) {
  const wanted = `${parts.join('\n')}\n`;
  const stamp = join(folder, STAMP);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return 'it was there already';
  if (versionOf('python3') === null) throw new Error('python3 with pip is needed (apt-get install python3-pip)');
  const work = `${folder}.new`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    const toolkit = make(work);
    for (const tools of ['bin', 'nvvm/bin'])
      for (const entry of readdirSync(join(toolkit, tools), { withFileTypes: true }))
        if (entry.isFile()) chmodSync(join(toolkit, tools, entry.name), 0o755);
    if (versionOf(join(toolkit, 'bin', 'nvcc')) === null) throw new Error('the fetched nvcc does not run here');
    writeFileSync(join(toolkit, STAMP), wanted);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(dirname(folder), { recursive: true });
    renameSync(toolkit, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return 'fetched';
}

try {
  const options = { cuda: { type: 'string', default: '13' } };
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  const recipe = RECIPES[values.cuda];
  if (!recipe) throw new Error(`--cuda must be 13 or 12, not ${values.cuda}`);
  const folder = resolve(positionals[0] ?? recipe.folder);
  const how = fetchCompiler(recipe, folder);
  const nvcc = join(folder, 'bin', 'nvcc');
  const hint = folder === FETCHED_CUDA ? 'npm run build:native' : `CUDACXX=${nvcc} npm run build:native`;
  console.log(`prl-node: nvcc ${nvccVersion(nvcc)} in ${folder} (${how}); compile with: ${hint}`);
} catch (error) {
  console.error(`prl-node: ${error.message}`);
  process.exitCode = 1;
}
