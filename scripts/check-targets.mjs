// Fails unless the prebuilt addon holds device code for every target that this machine's nvcc has
// (scripts/build-native.mjs). So a build without a CUDA compiler cannot pass for one with it.
//   node scripts/check-targets.mjs [ADDON]      ADDON: default, the one under prebuilds/
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { allCudaTargets } from './build-native.mjs';
import { findNvcc } from './toolchain.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'prebuilds');
const addon =
  process.argv[2] ??
  readdirSync(folder, { recursive: true })
    .filter((path) => path.endsWith('.node'))
    .map((path) => join(folder, path))[0];
const bytes = readFileSync(addon);

// NVIDIA's fat binaries: a header (magic, version, its size, the size of what follows), then for each target a header
// with the kind (1: PTX, 2: machine code), its own size, the size of the code, and the architecture at byte 28.
const MAGIC = Buffer.from([0x50, 0xed, 0x55, 0xba, 0x01, 0x00]);
const found = new Set();
for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) {
  const end = at + bytes.readUInt16LE(at + 6) + Number(bytes.readBigUInt64LE(at + 8));
  for (let entry = at + bytes.readUInt16LE(at + 6); entry + 32 <= end; ) {
    const kind = { 1: 'virtual', 2: 'real' }[bytes.readUInt16LE(entry)];
    found.add(`${bytes.readUInt32LE(entry + 28)}-${kind}`);
    entry += bytes.readUInt32LE(entry + 4) + Number(bytes.readBigUInt64LE(entry + 8));
  }
}
const nvcc = findNvcc();
const targets = nvcc ? allCudaTargets(nvcc) : [];
if (targets.length < 6)
  throw new Error(`nvcc (${nvcc ?? 'not found'}) has the targets ${targets.join(', ') || 'none'} only`);
const missing = targets.filter((target) => !found.has(target.replace('a-', '-')));
console.log(`${addon}: device code for ${[...found].sort().join(', ') || 'no target'}`);
if (missing.length) console.error(`missing: ${missing.join(', ')}`);
process.exit(missing.length ? 1 : 0);
