// `prl bench` from outside, at tiny sizes: every group runs, and the file holds what the tables show.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../lib/kernels/native.js';
import { DEVICE, ON_GPU } from '../reference/device.js';

const { FORCE_COLOR: _, NO_COLOR: __, ...environment } = process.env;
// TypeScript in a checkout, JavaScript in a packed folder.
const main = join(packageRoot, 'lib', 'cli', `main${extname(import.meta.url)}`);
const bench = (...args: string[]) =>
  spawnSync(process.execPath, [...process.execArgv, main, 'bench', '--tiny', '--device', DEVICE, ...args], {
    cwd: packageRoot,
    encoding: 'utf8',
    env: environment,
  });

const test = suite('prl bench');

test('every benchmark group runs at tiny sizes, and the JSON file holds what the tables show', () => {
  const folder = mkdtempSync(join(tmpdir(), 'prl-bench-'));
  try {
    const json = join(folder, 'bench.json');
    const { status, stdout, stderr } = bench('--json', json, '--threads', '2');
    const { groups, failed, native, device, tiny, peers } = JSON.parse(readFileSync(json, 'utf8'));
    assert.is(status, failed.length ? 1 : 0, stderr);
    // On a GPU a kernel may not be there yet, and says so.
    for (const { name, code, message } of failed) assert.ok(ON_GPU && code === 'ERR_PRL_UNSUPPORTED', name + message);
    assert.equal([device, tiny, peers, native.threads], [DEVICE, true, null, 2]);
    const kinds = new Set([...groups, ...failed].map(({ name }: { name: string }) => name.split(' ')[0]));
    const everywhere = ['token_logprob', 'policy_loss', 'linear_logprob', 'clipped_loss', 'advantages', 'growth'];
    for (const kind of ON_GPU ? everywhere : [...everywhere, 'policy', 'gemm']) assert.ok(kinds.has(kind), kind);
    for (const { name, runs, rows } of groups) {
      assert.is(runs, 21);
      assert.match(stdout, new RegExp(`^${name}  \\(`, 'm'));
      assert.match(stderr, new RegExp(`^\\d+/${groups.length + failed.length} ${name}$`, 'm'), 'progress');
      for (const row of rows) {
        const { median, p10, p90, fastest, traffic, gigabytesPerSecond, ofCopy, extraBytes } = row;
        assert.ok(0 < fastest && fastest <= p10 && p10 <= median && median <= p90, `${name}: ${row.name}`);
        if (traffic !== undefined)
          assert.ok(Math.abs(gigabytesPerSecond * median * 1e6 - traffic) <= 1e-9 * traffic && ofCopy.median > 0);
        if (row.side === 'ours' && process.platform === 'linux') assert.ok(extraBytes >= 0, row.name);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('--filter selects groups, lists them when none fits, and a missing python is an error', () => {
  const one = bench('--filter', 'clipped_loss');
  assert.is(one.status, 0, one.stderr);
  assert.match(one.stdout, /^clipped_loss /m);
  assert.not.match(one.stdout, /^policy_loss /m);
  const none = bench('--filter', 'nothing');
  assert.is(none.status, 2);
  assert.match(none.stderr, /no benchmark has 'nothing' in its name\. There are:\n {2}token_logprob 16 x 500 float32/);
  const absent = bench('--peers', '/nowhere/python');
  assert.is(absent.status, 1);
  assert.match(absent.stderr, /--peers \/nowhere\/python: .*ENOENT/);
});

test.run();
