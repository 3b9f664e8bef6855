// Copies the headers that compile the addon into dist, for the package: here they are development dependencies.
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
for (const [name, folder] of Object.entries({ 'node-addon-api': '.', 'node-api-headers': 'include' })) {
  const from = join(root, 'node_modules', name);
  const to = join(root, 'dist', 'headers', name);
  mkdirSync(to, { recursive: true });
  const files = readdirSync(join(from, folder)).filter((file) => file.endsWith('.h'));
  const licence = readdirSync(from).filter((file) => file.startsWith('LICENSE'));
  for (const file of files) cpSync(join(from, folder, file), join(to, file));
  for (const file of licence) cpSync(join(from, file), join(to, file));
}
