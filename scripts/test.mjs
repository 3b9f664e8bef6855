// Runs the test files, each in a process of its own, as many at once as there are cores, and counts their tests.
//   node scripts/test.mjs [PATTERN]        PATTERN: a regular expression for paths under test/, without .test.ts
// A file that passes gets one line. A file that fails is shown with all its output. Sources are compiled once, into
// build/compiled. The command line is tested as installed, from dist, which is compiled first if lib is newer.
// test/runtime/cuda-*.test.ts need a GPU or its emulator: `npm run test:cuda` and `npm run test:emulated` run them.
// test/model needs a real model: `npm run test:model` runs it. test/engines needs real peers: `npm run test:engines`.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compile, compiledLoader } from './compiled/compile.mjs';
import { countTests } from './uvu.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** It measures time: it runs alone, at the end. */
const ALONE = /^endurance\/loop/;
/** These take longest: they start first. */
const FIRST = [
  'package/pack',
  'package/runners',
  'cli/compare/compare',
  'train/run-folder',
  'runtime/emulator',
  'hub/resolve',
  'examples',
  'endurance/memory',
  'bench/bench',
  'tasks/verify/pool',
  'policy/memory',
  'tasks/data/hostile',
  'cli/eval',
  'kernels/policy-loss',
  'fuzz/fuzz',
  'docs-loss',
];

const nameOf = (file) => file.replace('.test.ts', '');
const pattern = new RegExp(`(?:${process.argv[2] ?? ''}).*\\.test\\.ts$`);
const onGpu = process.env.PRL_TEST_DEVICE === 'cuda';
const withModel = process.env.PRL_TEST_MODEL !== undefined;
const withEngines = process.env.PRL_TEST_ENGINES !== undefined;
const files = readdirSync(join(root, 'test'), { recursive: true })
  .filter((file) => pattern.test(file) && (onGpu || !/(^|\/)cuda-[^/]*$/.test(file)))
  .filter((file) => (withModel || !file.startsWith('model/')) && (withEngines || !file.startsWith('engines/')))
  .map((file) => ({ file, size: statSync(join(root, 'test', file)).size, first: FIRST.includes(nameOf(file)) }))
  .sort((a, b) => b.first - a.first || b.size - a.size)
  .map(({ file }) => file);

// Source maps cost 0.1 s per process: only where a few files are looked at.
const loader = [...(files.length < 10 ? ['--enable-source-maps'] : []), ...compiledLoader()];
const counts = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

function compileWhereNewer() {
  const changed = ['lib', 'bench'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((file) => statSync(join(root, folder, file)).mtimeMs),
  );
  const compiled = join(root, 'dist', 'lib', 'index.js');
  if (existsSync(compiled) && statSync(compiled).mtimeMs > Math.max(...changed)) return;
  compile('tsconfig.build.json');
}

/** Runs one file and prints the result. */
async function run(file) {
  const began = performance.now();
  const child = spawn(process.execPath, [...loader, join('test', file)], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
  });
  const said = [];
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
    said.push(text);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => said.push(text));
  const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
  const { passed, failed, skipped } = countTests(output, status);
  counts.passed += passed;
  counts.failed += failed;
  counts.skipped += skipped;
  const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  console.log(`${failed ? 'FAIL' : 'ok  '} ${seconds} s ${String(passed).padStart(5)}  ${nameOf(file)}`);
  if (!failed) return;
  failures.push(file);
  console.log(`\n${said.join('').trim()}\n\nended with ${status}\n`);
}

/** Takes files from a queue until it is empty. */
async function work(queue) {
  for (let file = queue.shift(); file; file = queue.shift()) await run(file);
}

compileWhereNewer();
const together = files.filter((file) => !ALONE.test(file));
await Promise.all(Array.from({ length: availableParallelism() }, () => work(together)));
await work(files.filter((file) => ALONE.test(file)));

if (files.length === 0) {
  console.error(`no file under test/ matches ${pattern}`);
  counts.failed = 1;
}
if (failures.length) {
  console.log('\nfailed; repeat each alone with:');
  for (const file of failures) console.log(`  node scripts/test.mjs '${nameOf(file)}'`);
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed ? 1 : 0);
