// Fails unless the prebuilt addon runs on the NVIDIA drivers that it should, and says what to do on older ones. The
// driver is a fake (test/fakes/libcuda.c); no GPU is needed.
//
//   node scripts/check-driver.mjs [ADDON]       ADDON: default, the one under prebuilds/
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const prebuilds = () =>
  readdirSync(join(root, 'prebuilds'), { recursive: true })
    .filter((path) => path.endsWith(`.node`) && path.includes(`${process.platform}-${process.arch}`))
    .map((path) => join(root, 'prebuilds', path));
const addon = resolve(process.argv[2] ?? prebuilds()[0]);
const folder = mkdtempSync(join(tmpdir(), 'prl-driver-'));

function run(args, cuda) {
  const env = { ...process.env, PRL_NATIVE: addon, LD_LIBRARY_PATH: folder, FAKE_CUDA: String(cuda) };
  delete env.PRL_DEVICE;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', ...args], {
    cwd: root,
    env,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** What a program gets from the addon: the driver, the reason for no GPU, the error of a GPU tensor, a CPU result. */
const PROGRAM = `
  const { nativeInfo } = await import('./lib/kernels/native.ts');
  const { Tensor, groupAdvantages } = await import('./lib/index.ts');
  const { cudaRuntime, cudaDriver, cudaReason } = nativeInfo();
  let error = '';
  try { Tensor.zeros([1], { device: 'cuda' }); } catch ({ message }) { error = message; }
  const cpu = [...(await groupAdvantages([1, 0], [0, 0], { kind: 'dr_grpo' }).read())];
  console.log(JSON.stringify({ cudaRuntime, cudaDriver, cudaReason, error, cpu }));`;
const program = (cuda) => JSON.parse(run(['--input-type=module', '-e', PROGRAM], cuda));

try {
  const fake = join(root, 'test', 'fakes', 'libcuda.c');
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-o', join(folder, 'libcuda.so.1'), fake], {
    encoding: 'utf8',
  });
  assert.equal(compiled.status, 0, compiled.stderr);

  const major = Number.parseInt(program(99000).cudaRuntime, 10);
  const [oldest, older] = [1000 * major, 1000 * (major - 1) + 80];
  for (const cuda of [oldest, oldest + 90, oldest + 1000]) {
    const { cudaReason, cpu } = program(cuda);
    assert.match(cudaReason, /no CUDA-capable device/, `a driver of CUDA ${cuda} must serve`);
    assert.deepEqual(cpu, [0.5, -0.5]);
    assert.match(run(['lib/cli/main.ts', 'doctor'], cuda), /Nothing is missing/);
  }
  const { cudaReason, error, cpu } = program(older);
  const said = `the NVIDIA driver runs CUDA up to ${major - 1}.8; this addon needs one for CUDA ${major}.0 or newer`;
  assert.equal(cudaReason, said);
  assert.ok(error.includes(said), error);
  assert.deepEqual(cpu, [0.5, -0.5], 'the CPU computes');
  const doctor = run(['lib/cli/main.ts', 'doctor'], older);
  assert.match(doctor, /^CUDA .*, needs driver \d+ or newer$/m);
  assert.match(doctor, /^Missing: .* needs NVIDIA driver \d+ or newer; this machine has /m);
  console.log(`${addon}: works with drivers of CUDA ${major}.0 and newer; an older one is named`);
} finally {
  rmSync(folder, { recursive: true });
}
