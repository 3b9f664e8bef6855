// Tests the native boundary under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer. It builds the addon
// with them (g++), fuzzes every function (test/fuzz) with each instruction set and on the GPU emulator, and runs the
// tests of kernels and policy. Each failure is printed with the command that repeats it.
//
//   node scripts/test-asan.mjs [--calls N] [--seed N] [--fuzz-only] [--cpu-only] [--jobs N]
//
// --calls N     calls of the fuzz, half of them on the emulator; default 200000
//   --fuzz-only   leaves the tests out
//   --cpu-only    leaves the emulator out
// --jobs N      parallel jobs of the compiler
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNative } from './build-native.mjs';
import { preload, root, run, runTests, seconds, testFiles } from './sanitized.mjs';

const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '200000' },
    seed: { type: 'string', default: process.env.PRL_FUZZ_SEED ?? String(Math.floor(Date.now() / 1000)) },
    'fuzz-only': { type: 'boolean' },
    'cpu-only': { type: 'boolean' },
    jobs: { type: 'string' },
  },
});
const [calls, seed] = [Number(values.calls), Number(values.seed)];
// The best set of this machine comes first. The lesser ones have code of their own.
const ISAS = [{}, ...(process.arch === 'x64' ? [{ PRL_ISA: 'avx2' }] : []), { PRL_ISA: 'generic' }];
const nameOf = ({ PRL_ISA = 'the best instruction set' }) => PRL_ISA;

const sanitized = {
  LD_PRELOAD: preload('libasan.so'),
  // Too much memory is an error of the caller, not of the addon. Whatever is left at the end is a leak, whoever left
  // it. intercept_tls_get_addr=0: up to GCC 13 the sanitizer reads the sizes of thread_local blocks from a header that
  // glibc has not written since 2.25. If a block lies 16 bytes into a page, the leak check then reads wild memory and
  // dies ("Tracer caught signal 11"). Nothing is lost: it finds these blocks like all other allocations.
  ASAN_OPTIONS: 'allocator_may_return_null=1:detect_leaks=1:detect_stack_use_after_return=0:intercept_tls_get_addr=0',
  LSAN_OPTIONS: `suppressions=${join(root, 'test', 'fuzz', 'leaks.supp')}:print_suppressions=0`,
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};

const sum = { calls: 0, accepted: 0, refused: 0, known: 0, workers: 0, tests: 0 };
let nextSeed = seed;

async function fuzz(where, count, env) {
  const own = nextSeed++;
  console.log(`== fuzz: ${count} calls ${where}, seed ${own} (at ${seconds()})`);
  const trace = join(root, 'build', 'asan', 'trace');
  rmSync(trace, { force: true });
  const last = () => (existsSync(trace) ? readFileSync(trace, 'utf8').trim() : 'before the first call');
  const progress = setInterval(() => console.log(`   ${last().split(':')[0]} (at ${seconds()})`), 20_000);
  const onExit = () =>
    console.error(`The last call: ${last()}\n(to repeat one call alone: --only NUMBER in place of --calls)`);
  process.on('exit', onExit);
  const workers = Math.max(2, Math.ceil(count / 5000));
  const options = Object.entries({ calls: count, seed: own, workers, trace }).flatMap(([k, v]) => [`--${k}`, `${v}`]);
  const program = [process.execPath, '--expose-gc', '--import', 'tsx', 'test/fuzz/main.ts'];
  const output = await run([...program, ...options], { ...sanitized, ...env });
  process.off('exit', onExit);
  clearInterval(progress);
  const said = output
    .match(/(\d+) accepted, (\d+) refused .*, (\d+) known .*; (\d+) workers/)
    .slice(1)
    .map(Number);
  for (const [i, name] of ['accepted', 'refused', 'known', 'workers'].entries()) sum[name] += said[i];
  sum.calls += count;
}

console.log(`test:asan: seed ${seed}; compiling with the sanitizers first takes minutes`);
const jobs = values.jobs && Number(values.jobs);
const out = join(root, 'build', 'asan');
const onCpu = { PRL_NATIVE: join(out, 'prl.node') };
const emulated = join(root, 'build', 'asan-emulated');
await buildNative({ sanitize: 'address,undefined', cudaArch: 'none', out, keep: true, jobs });
if (!values['cpu-only'])
  await buildNative({ sanitize: 'address,undefined', emulate: true, out: emulated, keep: true, jobs });

const ofCpu = values['cpu-only'] ? calls : Math.ceil(calls / 2);
for (const [i, isa] of ISAS.entries()) {
  const count = Math.floor((ofCpu * (i + 1)) / ISAS.length) - Math.floor((ofCpu * i) / ISAS.length);
  await fuzz(`with ${nameOf(isa)}`, count, { ...onCpu, ...isa });
}
if (!values['cpu-only']) {
  await fuzz('on the emulator of a GPU', calls - ofCpu, {
    PRL_NATIVE: join(emulated, 'prl.node'),
    PRL_CUBLAS: join(emulated, 'libcublas_fake.so'),
    PRL_TEST_DEVICE: 'cuda',
  });
}
if (!values['fuzz-only']) {
  const tests = (folder, isa) =>
    runTests(testFiles(folder), [process.execPath], { ...sanitized, ...onCpu, ...isa }, ` with ${nameOf(isa)}`);
  for (const isa of ISAS) sum.tests += await tests('kernels', isa);
  sum.tests += await tests('policy', {});
}
console.log(
  `test:asan: all passed in ${seconds()}; seed ${seed}\n  ${sum.calls} calls: ${sum.accepted} accepted, ${sum.refused} refused with a typed error, ${sum.known} known answers right; ${sum.workers} workers died in mid-call${values['fuzz-only'] ? '' : `\n  ${sum.tests} tests passed`}`,
);
