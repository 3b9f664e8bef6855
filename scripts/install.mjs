// npm's install script. It keeps the prebuilt addon if that works here, else it compiles one. In a checkout it compiles
// whenever something has changed; `npx prl` comes here too, since it installs the checkout. It does not use node-gyp,
// which would need node's headers, python and a network.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative, isCheckout, whyCompileAgain } from './build-native.mjs';
import { addonProblem } from './toolchain.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Why an addon must be compiled; null if the existing one will do. */
function whyCompile() {
  if (process.env.npm_config_build_from_source === 'true') return 'build-from-source was requested';
  // A prebuilt addon in a checkout may come from older sources.
  if (isCheckout) return whyCompileAgain();
  let path;
  try {
    process.env.PREBUILDS_ONLY = '1';
    path = createRequire(import.meta.url)('node-gyp-build').resolve(root);
  } catch {
    const folder = join(root, 'prebuilds');
    const there = existsSync(folder) ? readdirSync(folder, { recursive: true }) : [];
    const files = there.filter((path) => path.endsWith('.node')).join(', ');
    return `there is no prebuilt addon for ${process.platform}-${process.arch} (only: ${files || 'nothing'})`;
  }
  const problem = addonProblem(path);
  return problem && `the prebuilt addon ${path} does not work here (${problem})`;
}

try {
  if (!['linux', 'darwin'].includes(process.platform))
    throw new Error(`it runs on Linux and macOS, not on ${process.platform}. On Windows, use it inside WSL.`);
  const reason = whyCompile();
  if (reason) {
    console.log(`prl-node: compiling the addon, because ${reason}`);
    await buildNative({ reason });
  } else if (!isCheckout) {
    // Otherwise an addon from an earlier install would be used before the prebuilt one.
    rmSync(join(root, 'build'), { recursive: true, force: true });
  }
} catch (error) {
  console.error(`\nprl-node: ${error.message}\n`);
  process.exitCode = 1;
}
