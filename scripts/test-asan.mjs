// The native boundary under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer: builds the addon with them (g++), fuzzes
// every function of it (test/fuzz), on the emulator of a GPU too, and runs the tests of the kernels and of the policy.
//
//   node scripts/test-asan.mjs [--calls N] [--seed N] [--fuzz-only] [--cpu-only] [--jobs N]
//
//   --calls N     of the fuzz, half of them on the emulator; default 200000
//   --fuzz-only   leaves the tests out
//   --cpu-only    leaves the emulator out
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildNative } from './build-native.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '200000' },
    seed: { type: 'string', default: process.env.PRL_FUZZ_SEED ?? String(Math.floor(Date.now() / 1000)) },
    'fuzz-only': { type: 'boolean' },
    'cpu-only': { type: 'boolean' },
    jobs: { type: 'string' },
  },
});
const calls = Number(values.calls);
const start = performance.now();
const seconds = () => `${((performance.now() - start) / 1000).toFixed(0)} s`;

/** The compiler's libraries: they must be the first that node loads. */
const library = (name) => spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
const sanitized = {
  LD_PRELOAD: `${library('libasan.so')} ${library('libstdc++.so')}`,
  // Too much memory is an error of the caller, not of the addon. What is left at the end is a leak, whoever left it.
  ASAN_OPTIONS: 'allocator_may_return_null=1:detect_leaks=1:detect_stack_use_after_return=0',
  LSAN_OPTIONS: `suppressions=${join(root, 'test', 'fuzz', 'leaks.supp')}:print_suppressions=0`,
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};

/** Runs node with the sanitizers; ends this process where they, or the tests, found something. */
function run(what, args, env) {
  console.log(`== ${what} (at ${seconds()})`);
  const child = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...sanitized, ...env },
  });
  if (child.status === 0) return;
  console.error(`\ntest:asan: ${what} ended with ${child.signal ?? child.status}`);
  process.exitCode = 1;
}

function fuzz(device, count, env) {
  const folder = mkdtempSync(join(tmpdir(), 'prl-fuzz-'));
  const trace = join(folder, 'trace');
  const options = [
    '--calls',
    String(count),
    '--seed',
    values.seed,
    '--workers',
    String(Math.max(4, Math.ceil(count / 5000))),
  ];
  const program = ['--expose-gc', '--import', 'tsx', 'test/fuzz/main.ts', ...options, '--trace', trace];
  run(`fuzz of ${count} calls, ${device}`, program, env);
  if (process.exitCode)
    console.error(
      `the last call: ${readFileSync(trace, 'utf8').trim()}\nagain: npm run test:asan -- --seed ${values.seed}`,
    );
  rmSync(folder, { recursive: true });
}

const jobs = values.jobs && Number(values.jobs);
const cpu = join(root, 'build', 'asan');
await buildNative({ sanitize: true, cudaArch: 'none', out: cpu, keep: true, jobs });
const onCpu = { PRL_NATIVE: join(cpu, 'prl.node') };
const emulated = join(root, 'build', 'asan-emulated');
if (!values['cpu-only']) await buildNative({ sanitize: true, emulate: true, out: emulated, keep: true, jobs });
console.log(`built with the sanitizers (at ${seconds()})`);

fuzz('on the CPU', values['cpu-only'] ? calls : Math.ceil(calls / 2), onCpu);
if (!values['cpu-only'] && !process.exitCode) {
  fuzz('on the emulator of a GPU', Math.floor(calls / 2), {
    PRL_NATIVE: join(emulated, 'prl.node'),
    PRL_CUBLAS: join(emulated, 'libcublas_fake.so'),
    PRL_TEST_DEVICE: 'cuda',
  });
}
if (!values['fuzz-only'] && !process.exitCode) {
  for (const folder of ['kernels', 'policy']) run(`tests of ${folder}/`, ['scripts/test.mjs', `${folder}/`], onCpu);
}
if (!process.exitCode) console.log(`test:asan: all well in ${seconds()}; seed ${values.seed}`);
