// The native boundary under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer: builds the addon with them (g++), fuzzes
// every function of it (test/fuzz) with each instruction set and on the emulator of a GPU, and runs the tests of the kernels and of
// the policy. What goes wrong is printed with the command that does it again.
//
//   node scripts/test-asan.mjs [--calls N] [--seed N] [--fuzz-only] [--cpu-only] [--jobs N]
//
//   --calls N     of the fuzz, half of them on the emulator; default 200000
//   --fuzz-only   leaves the tests out
//   --cpu-only    leaves the emulator out
//   --jobs N      of the compiler at a time
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildNative } from './build-native.mjs';
import { countTests } from './uvu.mjs';

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
const [calls, seed] = [Number(values.calls), Number(values.seed)];
const seconds = () => `${(performance.now() / 1000).toFixed(0)} s`;
// The best set of this machine first; the lesser ones are code of their own.
const ISAS = [{}, ...(process.arch === 'x64' ? [{ PRL_ISA: 'avx2' }] : []), { PRL_ISA: 'generic' }];
const nameOf = ({ PRL_ISA = 'the best instruction set' }) => PRL_ISA;

/** The compiler's libraries: they must be the first that node loads. */
const library = (name) => spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
const sanitized = {
  LD_PRELOAD: `${library('libasan.so')} ${library('libstdc++.so')}`,
  // Too much memory is an error of the caller, not of the addon. What is left at the end is a leak, whoever left it.
  // intercept_tls_get_addr=0: up to GCC 13 the sanitizer takes the sizes of thread_local blocks from a header that glibc has not
  // written since 2.25; where a block lies 16 bytes into a page, the leak check then reads wild memory and dies ("Tracer caught
  // signal 11"). Nothing is lost: it finds these blocks as it finds all that was allocated.
  ASAN_OPTIONS: 'allocator_may_return_null=1:detect_leaks=1:detect_stack_use_after_return=0:intercept_tls_get_addr=0',
  LSAN_OPTIONS: `suppressions=${join(root, 'test', 'fuzz', 'leaks.supp')}:print_suppressions=0`,
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};

/** Runs node with the sanitizers, shows what it says and returns it. `wrong` tells whether an output that ended well was not. */
async function run(args, env, wrong) {
  const settings = { ...sanitized, ...env };
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...settings, NO_COLOR: '1', FORCE_COLOR: undefined },
  });
  let output = '';
  child.stdout.on('data', (piece) => {
    output += piece;
    process.stdout.write(piece);
  });
  const ended = await new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
  if (ended === 0 && !wrong?.(output)) return output;
  const assignments = Object.entries(settings).map(([name, value]) => `${name}='${value}'`);
  console.error(`\ntest:asan: FAILED (ended with ${ended}) at ${seconds()}. Again:`);
  console.error(`  ${[...assignments, 'node', ...args].join(' ')}`);
  process.exit(1);
}

const sum = { calls: 0, accepted: 0, refused: 0, known: 0, workers: 0, tests: 0 };
let nextSeed = seed;

async function fuzz(where, count, env) {
  const own = nextSeed++;
  console.log(`== fuzz: ${count} calls ${where}, seed ${own} (at ${seconds()})`);
  const trace = join(root, 'build', 'asan', 'trace');
  rmSync(trace, { force: true });
  const last = () => (existsSync(trace) ? readFileSync(trace, 'utf8').trim() : 'before the first call');
  const progress = setInterval(() => console.log(`   ${last().split(':')[0]} (at ${seconds()})`), 20_000);
  const onExit = () => console.error(`The last: ${last()}\n(one call alone: --only NUMBER in place of --calls)`);
  process.on('exit', onExit);
  const workers = Math.max(2, Math.ceil(count / 5000));
  const options = Object.entries({ calls: count, seed: own, workers, trace }).flatMap(([k, v]) => [`--${k}`, `${v}`]);
  const output = await run(['--expose-gc', '--import', 'tsx', 'test/fuzz/main.ts', ...options], env);
  process.off('exit', onExit);
  clearInterval(progress);
  const said = output
    .match(/(\d+) accepted, (\d+) refused .*, (\d+) known .*; (\d+) workers/)
    .slice(1)
    .map(Number);
  for (const [i, name] of ['accepted', 'refused', 'known', 'workers'].entries()) sum[name] += said[i];
  sum.calls += count;
}

/** One process per file: what is left at the end of it is a leak. */
async function testFolder(folder, env) {
  const files = readdirSync(join(root, 'test', folder)).filter((name) => name.endsWith('.test.ts'));
  for (const file of files.sort()) {
    console.log(`== test/${folder}/${file} with ${nameOf(env)} (at ${seconds()})`);
    const failed = (output) => countTests(output, 0).failed > 0;
    const output = await run(['--import', 'tsx', `test/${folder}/${file}`], env, failed);
    sum.tests += countTests(output, 0).passed;
  }
}

console.log(`test:asan: seed ${seed}; first it compiles with the sanitizers, which takes minutes`);
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
  for (const isa of ISAS) await testFolder('kernels', { ...onCpu, ...isa });
  await testFolder('policy', onCpu);
}
console.log(
  `test:asan: all well in ${seconds()}; seed ${seed}\n  ${sum.calls} calls: ${sum.accepted} accepted, ${sum.refused} refused with a typed error, ${sum.known} known answers right; ${sum.workers} workers died in mid-call${values['fuzz-only'] ? '' : `\n  ${sum.tests} tests passed`}`,
);
