// Looks for races between threads. It builds the addon with ThreadSanitizer (g++) and runs the tests of kernels and
// policy, and eight worker threads that call kernels at once. Node itself has no sanitizer: memory that only node's
// code touches is not checked.
//
//   node scripts/test-tsan.mjs [FILE PATTERN] [--jobs N]
//
// --jobs N   parallel jobs of the compiler
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNative } from './build-native.mjs';
import { preload, root, runTests, seconds, testFiles } from './sanitized.mjs';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { jobs: { type: 'string' } } });
const out = join(root, 'build', 'tsan');
console.log('test:tsan: compiling with the sanitizer first takes minutes');
await buildNative({
  sanitize: 'thread',
  cudaArch: 'none',
  out,
  keep: true,
  jobs: values.jobs && Number(values.jobs),
});
const settings = {
  LD_PRELOAD: preload('libtsan.so'),
  TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:exitcode=66',
  PRL_NATIVE: join(out, 'prl.node'),
  // More threads than a small machine has processors.
  PRL_THREADS: '4',
};
const pattern = new RegExp(positionals[0] ?? '');
const files = [...testFiles('kernels'), 'test/endurance/load.test.ts', ...testFiles('policy')];
// memory.test.ts measures the memory of a process, and the sanitizer takes several times as much.
const chosen = files.filter((file) => pattern.test(file) && !file.endsWith('/memory.test.ts'));
// setarch -R: the sanitizer's memory map has no room for randomised addresses.
const passed = await runTests(chosen, ['setarch', '-R', process.execPath], settings, '');
if (passed === 0) throw new Error(`no test matches ${pattern}`);
console.log(`test:tsan: no races in ${seconds()}: ${passed} tests passed`);
