// The peers that scripts/test-engines.mjs has fetched: each has a Python with its packages.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The Python of a peer; undefined where it could not be fetched, which `npm run test:engines` says. */
export function peer(name: string): string | undefined {
  const python = join(resolve(process.env.PRL_TEST_ENGINES ?? ''), name, 'bin', 'python');
  return existsSync(python) ? python : undefined;
}
