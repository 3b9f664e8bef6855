import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { weightsHash } from '../../lib/cli/kit/model-folder.js';

const root = mkdtempSync(join(tmpdir(), 'prl-hash-'));
const hash = suite('weightsHash');
hash.after(() => rmSync(root, { recursive: true }));

hash('weightsHash tells models apart, in one file or in shards of the same names', async () => {
  let count = 0;
  const folder = (files: Record<string, string>) => {
    const path = join(root, String(count++));
    mkdirSync(path);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
    return weightsHash(path);
  };
  const index = JSON.stringify({ weight_map: { a: 's1.safetensors', b: 's2.safetensors', c: 's1.safetensors' } });
  const sharded = (first: string, second: string) =>
    folder({ 'model.safetensors.index.json': index, 's1.safetensors': first, 's2.safetensors': second });
  const all = await Promise.all([
    folder({ 'model.safetensors': 'x' }),
    folder({ 'model.safetensors': 'y' }),
    sharded('x', 'y'),
    sharded('x', 'z'),
    sharded('y', 'x'),
  ]);
  assert.is(new Set(all).size, 5);
  assert.is(await folder({ 'model.safetensors': 'x', 'config.json': '{}' }), all[0]);
  assert.is(await sharded('x', 'y'), all[2]);
});
hash.run();
