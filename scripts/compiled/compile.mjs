// Compiles TypeScript, and runs the result (register.mjs).
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Compiles without checking types, which `npm run check` does. */
export function compile(project) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', project, '--noCheck'], { cwd: root });
  if (status !== 0) throw new Error(`${project} does not compile: ${stdout}`);
}

/** Compiles the sources and tests, and returns node's arguments to run them. */
export function compiledLoader() {
  compile('tsconfig.compiled.json');
  return ['--import', new URL('register.mjs', import.meta.url).href];
}
