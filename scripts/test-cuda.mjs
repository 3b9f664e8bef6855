// Runs the test files that choose their device (test/reference/device.ts) with their tensors on this machine's GPU.
//
//   node scripts/test-cuda.mjs [FILE PATTERN] [--emulate] [--allow-no-gpu] [--jobs N] [--timeout SECONDS] [--under COMMAND]
//
// Each file has a process of its own: a kernel that breaks the GPU's context, or never ends, affects no other file.
//   --emulate        on the GPU emulator (test/emulator), which is built first; uses no GPU
//   --allow-no-gpu   without a GPU, exits with 0 all the same; the output says that nothing was tested
//   --under COMMAND  runs each process under a tool: "compute-sanitizer --error-exitcode 99"
// It also runs in a folder that scripts/pack-gpu.mjs made, where the tests are JavaScript.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { countTests } from './uvu.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const packed = !existsSync(join(root, 'CMakeLists.txt'));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    emulate: { type: 'boolean' },
    'allow-no-gpu': { type: 'boolean' },
    jobs: { type: 'string' },
    timeout: { type: 'string', default: '300' },
    under: { type: 'string' },
  },
});
const jobs = Number(values.jobs ?? (values.emulate ? Math.min(4, availableParallelism()) : 1));

/** Ends a run that tested nothing. Nobody should take it for a success. */
function nothing(reason, remedy) {
  console.log(`\ntest:cuda: NOTHING WAS TESTED ON A GPU.\n  why:    ${reason}\n  remedy: ${remedy}`);
  if (!values.emulate) console.log('  or:     npm run test:emulated runs the same tests on an emulator of a GPU');
  console.log('\n0 passed, 0 failed, all skipped: no GPU');
  process.exit(values['allow-no-gpu'] ? 0 : 1);
}

/** The addon to test. */
async function addonPath() {
  if (values.emulate) {
    const out = join(root, 'build', 'emulated');
    if (!packed) {
      const { buildNative } = await import('./build-native.mjs');
      await buildNative({ emulate: true, out, keep: true });
    }
    return join(out, 'prl.node');
  }
  if (process.env.PRL_NATIVE) return process.env.PRL_NATIVE;
  try {
    return createRequire(import.meta.url)('node-gyp-build').resolve(root);
  } catch {
    return nothing('the addon was not compiled', 'npm run build:native');
  }
}

/** Uses the GPU in a process of its own: returns the device, or why there is none. */
function probe(env) {
  const code = `
    const addon = require(process.env.PRL_NATIVE);
    addon.initialize(class extends Error { constructor(code, message) { super(message); } });
    const info = addon.info();
    let reason = '';
    try { addon.cudaAllocate({ bytes: 4, zero: true }); } catch (error) { reason = error.message; }
    console.log(JSON.stringify({ ...info, reason }));`;
  const run = spawnSync(process.execPath, ['-e', code], { env, encoding: 'utf8' });
  if (run.status === 0) return JSON.parse(run.stdout);
  const said = run.stderr.match(/^\w*Error:.*$/m)?.[0] ?? run.stderr.trim();
  return { reason: `the addon ${env.PRL_NATIVE} does not load (${said || run.signal})`, broken: true };
}

function remedyFor({ broken, cudaCompiled }) {
  if (broken) return "'npm run prl -- doctor' says what is missing";
  if (!cudaCompiled)
    return 'compile the addon on a machine with nvcc: npm run build:native (CUDACXX=/path/to/nvcc names it)';
  if (process.env.PRL_DEVICE) return `PRL_DEVICE=${process.env.PRL_DEVICE} is set: choose another device, or unset it`;
  return "a machine with an NVIDIA GPU of compute capability 7.5 or more and its driver ('nvidia-smi' must list it)";
}

const loader = packed ? [] : (await import('./compiled/compile.mjs')).compiledLoader();
const running = new Set();
const kill = (child, signal) => {
  try {
    process.kill(-child.pid, signal); // the process group: includes what the test started, and the tool of --under
  } catch {} // it has ended
};
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of running) kill(child, 'SIGKILL');
    process.exit(130);
  });
}

/** Runs one file. It never rejects. */
function runFile(file, env) {
  return new Promise((resolve) => {
    const [command, ...args] = [...(values.under?.split(' ') ?? []), process.execPath, ...loader, join('test', file)];
    const start = performance.now();
    const child = spawn(command, args, { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    let output = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill(child, 'SIGKILL');
    }, Number(values.timeout) * 1000);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => (output += piece));
    child.on('error', (error) => (output += `${error.message}\n`));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      kill(child, 'SIGKILL');
      const counts = countTests(output, code ?? 1);
      if (late) output += `\nkilled: it was still running after ${values.timeout} s\n`;
      else if (signal) output += `\nended by ${signal}\n`;
      else if (code !== 0) output += `\nended with code ${code}\n`;
      resolve({ file, output, seconds: (performance.now() - start) / 1000, ...counts });
    });
  });
}

const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, PRL_TEST_DEVICE: 'cuda' };
env.PRL_NATIVE = await addonPath();
const fakeBlas = join(root, 'build', 'emulated', 'libcublas_fake.so');
if (values.emulate && existsSync(fakeBlas)) env.PRL_CUBLAS ??= fakeBlas;
// A wait that would keep a core of the user's busy is a failure.
if (values.emulate) env.PRL_EMULATOR_SPIN ??= 'refuse';
const found = probe(env);
if (found.reason) nothing(found.reason, remedyFor(found));

const pattern = new RegExp(positionals[0] ?? '');
const files = ['kernels', 'runtime', 'bench']
  .flatMap((folder) => readdirSync(join(root, 'test', folder)).map((name) => `${folder}/${name}`))
  .filter((name) => /\.test\.[jt]s$/.test(name) && pattern.test(name))
  .filter((name) => readFileSync(join(root, 'test', name), 'utf8').includes('reference/device.js'))
  .sort();
if (files.length === 0) {
  console.error(`test:cuda: no test file that chooses its device matches ${positionals[0] ?? 'test/'}`);
  process.exit(1);
}
const { name, computeCapability } = found.cudaDevices.find(({ index }) => index === found.cudaDevice);
const device = values.emulate ? 'the emulator (no GPU is used)' : `${name}, compute capability ${computeCapability}`;
console.log(
  `${files.length} test files on ${device}${values.under ? `, under ${values.under}` : ''}, ${jobs} at a time`,
);

const sum = { passed: 0, failed: 0, skipped: 0 };
const queue = [...files];
async function work() {
  for (let file = queue.shift(); file; file = queue.shift()) {
    const done = await runFile(file, env);
    for (const key of Object.keys(sum)) sum[key] += done[key];
    const verdict = done.failed ? `${done.failed} FAILED of ${done.total}` : `${done.passed} passed`;
    console.log(`${file.padEnd(44)} ${verdict.padEnd(18)} ${done.seconds.toFixed(1).padStart(6)} s`);
    if (done.failed) console.log(done.output);
    // A sanitizer prints a summary even if it finds nothing wrong.
    else if (values.under)
      console.log(done.output.match(/^={9} .*SUMMARY.*$/gm)?.join('\n') ?? '(no summary of the tool)');
  }
}
await Promise.all(Array.from({ length: jobs }, work));
if (values.emulate) console.log('\nOn the emulator: none of this ran on a GPU.');
else console.log(`\nOn ${device}.`);
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exit(sum.failed ? 1 : 0);
