// A bundler moves the code of the package away from its addon and its threads: the error must say what to do. Marked
// external, the package works in the bundle of a program.
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { addonPath, temporaryFolder } from './folder.js';

// The esbuild that tsx brings.
const tsx = createRequire(createRequire(import.meta.url).resolve('tsx'));
const { buildSync }: { buildSync(options: object): void } = tsx('esbuild');
const folder = temporaryFolder('bundle');
const source = join(folder.path, 'program.js');
const PROGRAM = `
import { mkdtempSync, writeFileSync } from 'node:fs';
import { loadDataset, Tensor, tokenLogProbs, verifyMath } from 'prl-node';
const tried = {
  kernel: async () => tokenLogProbs(Tensor.from(new Float32Array(4), [1, 4]), [1]).logProbs.data[0],
  verifier: async () => (await verifyMath('\\\\boxed{1}', '1')).correct,
  parquet: async () => {
    writeFileSync('a.parquet', 'PAR1');
    return loadDataset('a.parquet');
  },
};
(async () => {
  const said = {};
  for (const [name, call] of Object.entries(tried))
    said[name] = await call().catch(({ code, message }) => ({ code, message }));
  console.log(JSON.stringify(said));
})();
`;

/** Bundles the program, and what the bundle says of each thing it tries. */
function run(options: { format: 'esm' | 'cjs'; external?: string[] }, env: NodeJS.ProcessEnv = {}) {
  const name = `${options.format}-${options.external ? 'external' : 'whole'}`;
  const place = join(folder.path, name);
  const outfile = join(place, options.format === 'esm' ? 'bundle.mjs' : 'bundle.cjs');
  buildSync({
    ...{ entryPoints: [source], outfile, bundle: true, platform: 'node', logLevel: 'error', ...options },
    logOverride: { 'empty-import-meta': 'silent' },
  });
  if (!options.external) writeFileSync(join(place, 'package.json'), '{ "name": "a-program" }');
  const { status, stdout, stderr } = spawnSync(process.execPath, [outfile], {
    ...{ cwd: place, encoding: 'utf8', env: { ...process.env, ...env } },
  });
  assert.is(status, 0, stderr);
  return JSON.parse(stdout);
}

const bundles = suite('bundles');
bundles.before(() => {
  mkdirSync(join(folder.path, 'node_modules'));
  symlinkSync(packageRoot, join(folder.path, 'node_modules', 'prl-node'));
  writeFileSync(source, PROGRAM);
});
bundles.after(folder.remove);

for (const format of ['esm', 'cjs'] as const)
  bundles(`in a bundle (${format}) the error says to mark the package external, and how`, () => {
    const { kernel, verifier, parquet } = run({ format });
    assert.is(kernel.code, 'ERR_PRL_NATIVE_MISSING');
    assert.equal([verifier.code, parquet.code], ['ERR_PRL_UNSUPPORTED', 'ERR_PRL_UNSUPPORTED']);
    for (const { message } of [kernel, verifier, parquet]) {
      assert.match(message, /^prl-node is inside a bundle, .*Mark prl-node external:\n/);
      for (const how of ['--external:prl-node', 'ssr: {', 'rollupOptions', 'externalsType', 'serverExternalPackages'])
        assert.ok(message.includes(how), `${how} in: ${message}`);
    }
  });

bundles('PRL_NATIVE gives a bundle its addon', () => {
  assert.is(run({ format: 'cjs' }, { PRL_NATIVE: addonPath }).kernel, Math.fround(-Math.log(4)));
});

bundles('a bundle works with the package external', () => {
  const { kernel, verifier, parquet } = run({ format: 'esm', external: ['prl-node'] });
  assert.equal([kernel, verifier], [Math.fround(-Math.log(4)), true]);
  assert.is(parquet.code, 'ERR_PRL_CORRUPT', 'the thread has read the file');
});

bundles.run();
