import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { packageRoot } from '../../lib/kernels/native.js';

const require = createRequire(import.meta.url);

/** The addon that was compiled here. */
export const addonPath: string = require('node-gyp-build').resolve(packageRoot);

/** A folder to work in, and `remove` for afterwards. */
export function temporaryFolder(name: string) {
  const path = mkdtempSync(join(tmpdir(), `prl-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Where a program of the PATH is. */
function which(program: string): string {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return join(folder, program);
    } catch {}
  }
  throw new Error(`there is no ${program} on the PATH`);
}

/** A folder for the PATH that has these programs of this machine and no others. */
export function binaries(folder: string, programs: readonly string[]): string {
  mkdirSync(folder, { recursive: true });
  for (const program of programs)
    symlinkSync(program === 'node' ? process.execPath : which(program), join(folder, program));
  return folder;
}

/** A program in place of one of the machine's. */
export function fake(folder: string, program: string, script: string) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, program), `#!${which('sh')}\n${script}\n`);
  chmodSync(join(folder, program), 0o755);
}

/** A copy of this checkout without what was made in it, beside the same node_modules. */
export function copyOfCheckout(to: string) {
  const made = ['.git', 'node_modules', 'build', 'dist', 'prebuilds', 'runs', '.cuda'].map((name) =>
    join(packageRoot, name),
  );
  cpSync(packageRoot, to, { recursive: true, filter: (path) => !made.includes(path) });
  symlinkSync(join(packageRoot, 'node_modules'), join(to, 'node_modules'));
}
