// Runs the tests with uvu and counts them.
//   node scripts/test.mjs [FILE PATTERN]
// test/runtime/cuda-*.test.ts need a GPU or its emulator: `npm run test:cuda` and `npm run test:emulated` run them.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countTests } from './uvu.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const tsx = join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
const uvu = join(root, 'node_modules', 'uvu', 'bin.js');
const pattern = process.argv[2] ? `${process.argv[2]}.*\\.test\\.ts$` : '\\.test\\.ts$';
const ignored = process.env.PRL_TEST_DEVICE === 'cuda' ? [] : ['--ignore', '/cuda-[^/]*\\.test\\.ts$'];

const run = spawnSync(process.execPath, [tsx, uvu, 'test', pattern, ...ignored], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 1 << 28,
  stdio: ['ignore', 'pipe', 'inherit'],
  env: process.stdout.isTTY
    ? { ...process.env, FORCE_COLOR: '1' }
    : { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
});
process.stdout.write(run.stdout);
const { passed, failed, skipped } = countTests(run.stdout, run.status);
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed ? 1 : 0);
