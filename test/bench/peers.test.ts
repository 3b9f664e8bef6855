// Benchmark rounds with a fake peer. A peer that is missing, wrong, failing or dying is named, and the others are
// measured.
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openDevice } from '../../bench/device.js';
import { type Group, type GroupResult, measure, WARM_UP } from '../../bench/harness.js';
import { agree } from '../../bench/inputs.js';
import { Peers } from '../../bench/peers.js';
import { tableOf } from '../../bench/report.js';
import { packageRoot } from '../../lib/kernels/native.js';
import { DEVICE } from '../reference/device.js';

const FAKE = join(packageRoot, 'test', 'fakes', 'peer.mjs');
const RUNS = 3;

const device = openDevice(DEVICE, true);

interface Record {
  result: GroupResult;
  /** Runs of ours, with those that were not timed. */
  ours: number;
}

async function withPeers<T>(use: (peers: Peers) => Promise<T>): Promise<T> {
  const peers = await Peers.start(FAKE, { device: DEVICE, threads: 1 });
  try {
    return await use(peers);
  } finally {
    peers.close();
  }
}

async function rounds(peers: Peers, ...variants: string[]): Promise<Record> {
  const x = Float32Array.of(1, 2, 3, 4);
  let ours = 0;
  const group: Group = {
    name: 'doubling',
    setup: () => ({
      contestants: [{ name: 'ours', run: () => void ours++, traffic: 32, versusPeers: true }],
      peers: {
        kind: 'doubling',
        parameters: { variants: variants.join() },
        arrays: { x },
        verify: agree({ y: { values: x.map((value) => 2 * value), absolute: 0 } }),
      },
    }),
  };
  return { result: await measure(group, { device, runs: RUNS, peers }), ours };
}

const timed = ({ result }: Record) => result.rows.filter(({ side }) => side === 'peer').map(({ name }) => name);
/** What was left out, without what the fake always says is absent. */
const rejected = ({ result: { rejected } }: Record) => {
  assert.equal(rejected[0], { name: 'absent', reason: 'no such package' });
  return rejected.slice(1);
};

const test = suite('bench: peers');

test('a package that the peer lacks is named', () =>
  withPeers(async ({ versions, missing }) => {
    assert.equal(versions, { fake: '1.0' });
    assert.equal(missing, [{ name: 'trl', reason: 'not installed here' }]);
  }));

test('every row has its rounds, a ratio to each peer, its bytes and the speed of a copy', () =>
  withPeers(async (peers) => {
    const record = await rounds(peers, 'equal');
    assert.is(record.ours, 1 + WARM_UP + RUNS, 'once for its memory');
    const [own, copy, peer] = record.result.rows;
    assert.equal([own.side, copy.side, peer.side], ['ours', 'copy', 'peer']);
    assert.equal([peer.median, peer.p10, peer.p90, peer.fastest, peer.extraBytes], [10, 10, 10, 10, 8]);
    assert.is(peer.gigabytesPerSecond, 32 / 10 / 1e6);
    assert.ok(own.peers!.equal.median > 1);
    assert.is(copy.ofCopy!.median, 1);
    assert.equal(rejected(record), []);
    const table = tableOf(record.result, 'a machine');
    assert.match(table, /^doubling {2}\(a machine, 3 runs\)\n.*median ms.*of copy.*\/ ours/);
    assert.match(table, /not timed: absent: no such package/);
  }));

test('a peer whose output differs or is missing is never timed', () =>
  withPeers(async (peers) => {
    const record = await rounds(peers, 'off by one bit', 'nan', 'short', 'nameless', 'cannot', 'equal', 'yardstick');
    assert.equal(timed(record), ['equal', 'yardstick']);
    const reasons = new Map(rejected(record).map(({ name, reason }) => [name, reason]));
    assert.match(reasons.get('off by one bit')!, /^y\[1\] is 4\.0+\d+, ours is 4 \(tolerance/);
    assert.match(reasons.get('nan')!, /^y\[2\] is NaN, ours is 6/);
    assert.is(reasons.get('short'), 'y has 3 elements, ours has 4');
    assert.is(reasons.get('nameless'), 'it returns no y');
    assert.is(reasons.get('cannot'), 'RuntimeError: not for this type');
    assert.match(tableOf(record.result, ''), /not timed: nan: y\[2\] is NaN/);
  }));

test('of several formulations the fastest is timed and the others are named', () =>
  withPeers(async (peers) => {
    const record = await rounds(peers, 'family: slow', 'family: fast');
    assert.equal(timed(record), ['family: fast']);
    assert.equal(record.result.slower, [{ name: 'family: slow', milliseconds: 30 }]);
  }));

test('a failing peer is left out and the others stay', () =>
  withPeers(async (peers) => {
    const record = await rounds(peers, 'gives up', 'equal');
    assert.equal(timed(record), ['equal']);
    assert.equal(rejected(record), [{ name: 'gives up', reason: 'RuntimeError: out of memory' }]);
  }));

for (const [variant, doing, end] of [
  ['dies when checked', 'checking', 'SIGKILL'],
  ['dies when timed', 'timing', 'exit code 139'],
])
  test(`a peer that ${variant} ends its group's peers, and the next group starts a new one`, () =>
    withPeers(async (peers) => {
      const record = await rounds(peers, 'equal', variant);
      assert.equal(timed(record), []);
      assert.is(record.ours, 1 + WARM_UP + RUNS, 'ours are measured all the same');
      const reasons = rejected(record);
      assert.equal(new Set(reasons.map(({ name }) => name)), new Set(['equal', variant]));
      for (const { reason } of reasons)
        assert.ok(reason.startsWith(`its process ended in ${doing} '${variant}' (${end})`), reason);
      assert.equal(timed(await rounds(peers, 'equal')), ['equal']);
    }));

test('a missing python, or one without torch, is an error that says so', async () => {
  const start = async (python: string) => {
    try {
      (await Peers.start(python, { device: DEVICE, threads: 1 })).close();
    } catch (error) {
      return error as Error & { code: string };
    }
    assert.unreachable('it started');
  };
  const absent = await start('/nowhere/python');
  assert.is(absent?.code, 'ERR_PRL_UNSUPPORTED');
  assert.match(absent?.message ?? '', /^--peers \/nowhere\/python: its process ended in its start.*ENOENT/);
  process.env.FAKE_PEER = 'broken';
  try {
    assert.match((await start(FAKE))?.message ?? '', /\(exit code 3\) ImportError: no module named torch/);
  } finally {
    delete process.env.FAKE_PEER;
  }
});

test.run();
