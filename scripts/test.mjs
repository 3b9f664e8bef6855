// Runs the tests with uvu and counts them: uvu itself ends well when a `before` hook throws or no file matches.
//   node scripts/test.mjs [FILE PATTERN]
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const tsx = join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
const uvu = join(root, 'node_modules', 'uvu', 'bin.js');
const pattern = process.argv[2] ? `${process.argv[2]}.*\\.test\\.ts$` : '\\.test\\.ts$';

const run = spawnSync(process.execPath, [tsx, uvu, 'test', pattern], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 1 << 28,
  stdio: ['ignore', 'pipe', 'inherit'],
  env: process.stdout.isTTY
    ? { ...process.env, FORCE_COLOR: '1' }
    : { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
});
process.stdout.write(run.stdout);
// biome-ignore lint/suspicious/noControlCharactersInRegex: colours of the output
const text = run.stdout.replaceAll(/\u001b\[\d+m/g, '');
const count = (label) => Number(text.match(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'm'))?.[1] ?? 0);
const total = count('Total');
const passed = count('Passed');
const skipped = count('Skipped');
// A file that throws before its tests are counted shows as FAIL or as a non-zero exit, not in the totals.
let failed = total - passed - skipped;
if (failed === 0 && (run.status !== 0 || total === 0 || /^\s*FAIL\b/m.test(text))) failed = 1;
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed ? 1 : 0);
