// npm's install script: use a prebuilt addon when one fits this machine, else compile it.
// Compiling calls cmake-js directly (not node-gyp), so that it needs no node headers, no python and no network.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

function prebuilt() {
  try {
    const path = require('node-gyp-build').resolve(root);
    require(path);
    return path.includes('prebuilds') ? path : null;
  } catch {
    return null;
  }
}

if (process.env.npm_config_build_from_source === 'true' || !prebuilt()) await buildNative();
