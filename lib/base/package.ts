// Where this package is on the disk, and what to say where a bundler has taken its code away from there.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PrlError, type PrlErrorCode } from './errors.js';

/** The folder of package.json, seen from lib/ and from dist/ alike. Empty in a bundle. */
export const packageRoot = findRoot();

function findRoot(): string {
  // A bundle in CommonJS has no import.meta.
  const url: string | undefined = import.meta.url;
  if (!url?.startsWith('file:')) return '';
  for (let folder = fileURLToPath(url); folder !== dirname(folder); ) {
    folder = dirname(folder);
    const file = join(folder, 'package.json');
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')).name === 'prl-node' ? folder : '';
  }
  return '';
}

/** Throws in a bundle, where `what` (addon, threads) is missing. */
export function checkNotBundled(what: string, code: PrlErrorCode): void {
  if (packageRoot !== '') return;
  throw new PrlError(
    code,
    `prl-node is inside a bundle, and ${what} it needs cannot be. Mark prl-node external:
  esbuild  --external:prl-node
  Vite     ssr: { external: ['prl-node'] } or build: { rollupOptions: { external: [/^prl-node/] } }
  Rollup   external: [/^prl-node/]
  webpack  externalsType: 'import', externals: [/^prl-node/]
  Next.js  serverExternalPackages: ['prl-node']`,
  );
}
