// Runs node with an addon built with sanitizers, for scripts/test-asan.mjs and scripts/test-tsan.mjs.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countTests } from './uvu.mjs';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const seconds = () => `${(performance.now() / 1000).toFixed(0)} s`;

/** The value of LD_PRELOAD: the compiler's libraries, before everything that node loads. */
export function preload(sanitizer) {
  const library = (name) => spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
  return `${library(sanitizer)} ${library('libstdc++.so')}`;
}

/**
 * Runs a command, shows its output and returns it. If it fails, prints how to repeat it and ends this process. `wrong`
 * tells whether the output of a successful command means a failure.
 */
export async function run(command, settings, wrong) {
  const child = spawn(command[0], command.slice(1), {
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
  console.error(`\nFAILED (ended with ${ended}) at ${seconds()}. Again:\n  ${[...assignments, ...command].join(' ')}`);
  process.exit(1);
}

/** The test files of a folder. */
export const testFiles = (folder) =>
  readdirSync(join(root, 'test', folder))
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => `test/${folder}/${name}`);

/** Runs test files, one process each, and returns how many tests passed. */
export async function runTests(files, command, settings, how) {
  let passed = 0;
  for (const file of files) {
    console.log(`== ${file}${how} (at ${seconds()})`);
    const failed = (output) => countTests(output, 0).failed > 0;
    passed += countTests(await run([...command, '--import', 'tsx', file], settings, failed), 0).passed;
  }
  return passed;
}
