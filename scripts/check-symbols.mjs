// Fails if objects that are compiled per instruction set hold weak symbols (inline functions, templates). The linker
// keeps one copy of each, and it could be the AVX-512 one on a machine without it. Run after `node
// scripts/build-native.mjs --keep`.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const build = join(dirname(fileURLToPath(import.meta.url)), '..', 'build', 'cmake');
const objects = readdirSync(build, { recursive: true })
  .map((file) => join(build, String(file)))
  .filter((file) => /prl_(generic|avx2|avx512)\.dir.*\.o$/.test(file));
if (objects.length === 0) {
  console.error('no per-ISA objects under build/cmake: build with --keep first');
  process.exit(1);
}
let weak = 0;
for (const object of objects) {
  const { stdout, status } = spawnSync('nm', ['-C', object], { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) {
    console.error(`nm could not read ${object}`);
    process.exit(1);
  }
  for (const line of stdout.split('\n').filter((l) => / [WVu] /.test(l))) {
    console.error(`${object}: weak symbol: ${line.trim()}`);
    weak++;
  }
}
console.log(`${objects.length} per-ISA objects, ${weak} weak symbols`);
process.exit(weak ? 1 : 0);
