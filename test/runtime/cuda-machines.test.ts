// Machines that a GPU process may find itself on: several GPUs, GPUs that others have, small parts of a GPU, kernels
// compiled for less than the GPU, faults. `npm run test:emulated` runs them: the emulator plays such machines.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emptyCudaCache, type NativeInfo, synchronize, Tensor } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import { ON_GPU } from '../reference/device.js';
import { near } from '../reference/numbers.js';
import type { Scenario } from './cuda-scenarios.js';
import { inProcess, outcomeOf } from './elsewhere.js';

const MIB = 2 ** 20;
const EMULATED = ON_GPU && nativeInfo().cudaDevices[0].name.includes('emulator');
const cuda = { device: 'cuda' } as const;
const memory = () => native().cudaMemory({ resetPeak: false }) as { inUse: number; cached: number };

async function answer<T>(scenario: Scenario, env: Record<string, string>): Promise<T> {
  const { value, error } = await outcomeOf(scenario, env);
  assert.is(error, undefined, error?.message);
  return value as T;
}

const cache = suite('emptyCudaCache');
cache('it gives cached memory back; tensors and queued work keep theirs', async () => {
  await emptyCudaCache();
  const kept = Tensor.from([1, 2, 3], [3], cuda);
  const gone = Tensor.from(new Float32Array(MIB).fill(7), [MIB], cuda);
  const queued = gone.read();
  const { inUse } = memory();
  gone.dispose();
  assert.is(memory().cached, 4 * MIB);
  assert.is(await emptyCudaCache(), 4 * MIB);
  assert.equal(memory(), { ...memory(), inUse: inUse - 4 * MIB, cached: 0 });
  assert.ok(((await queued) as Float32Array).every((x) => x === 7));
  assert.equal([...(await kept.read())], [1, 2, 3]);
  assert.is(await emptyCudaCache(), 0);
});
cache.run();

if (EMULATED) {
  const targets = suite('rows of a large vocabulary');
  // d log p(target) / d logit(target) = 1 - p, in float64; the result is float32, one rounding of a value below 1.
  const logits = Array.from({ length: 120_000 }, (_, i) => Math.sin(i));
  const sum = logits.reduce((total, x) => total + Math.exp(x), 0);
  const expected = 1 - Math.exp(logits[119_999]) / sum;
  for (const [machine, env] of [
    ['PTX of 8.0 on a GPU of 9.0', { PRL_EMULATOR_PTX: '8.0' }],
    ['a part of a GPU that holds clusters of 2', { PRL_EMULATOR_CLUSTER: '2' }],
    ['a part of a GPU that holds no cluster', { PRL_EMULATOR_CLUSTER: '1' }],
  ] as const) {
    targets(`their gradient is right on ${machine}`, async () => {
      const { targets, finite } = await answer<{ targets: number[]; finite: boolean }>('rows', env);
      near(targets, [expected, expected], 2 ** -24, 'gradient of the target');
      assert.ok(finite, 'some elements were not written');
    });
  }
  targets.run();

  const threads = suite('kernels of two threads');
  threads("one thread's wish for shared memory does not undo the other's", async () => {
    const { child, receive, ended } = inProcess('twoVocabularies', {
      PRL_EMULATOR_CAPABILITY: '8.0',
      PRL_EMULATOR_PAUSE: '2000',
    });
    child.stdin.end();
    const { value, error } = await receive();
    assert.is(error, undefined, error?.message);
    assert.is(value, 'done');
    assert.is(await ended, 0);
  });
  threads.run();

  const machines = suite('machines with several GPUs');
  type Machine = { info: NativeInfo; problem: string | null };
  machines('nativeInfo asks nothing of a GPU not in use that would start CUDA there', async () => {
    const { info } = await answer<Machine>('machine', {
      PRL_EMULATOR_DEVICES: '3',
      PRL_EMULATOR_EXCLUSIVE: '1,2',
    });
    assert.equal(
      info.cudaDevices.map(({ freeBytes, error }) => [freeBytes! > 0, error]),
      [
        [true, undefined],
        [false, undefined],
        [false, undefined],
      ],
    );
  });
  machines('a GPU that is broken or taken is listed with its error, and the others work', async () => {
    const env = { PRL_EMULATOR_DEVICES: '3', PRL_EMULATOR_EXCLUSIVE: '0', PRL_EMULATOR_BROKEN: '2' };
    const { info, problem } = await answer<Machine>('machine', env);
    assert.is(info.cudaDevices.length, 3);
    assert.match(info.cudaDevices[0].error!, /^cudaErrorDevicesUnavailable /);
    assert.is(info.cudaDevices[1].error, undefined);
    assert.match(info.cudaDevices[2].error!, /^cudaErrorUnknown /);
    assert.is(info.cudaDevices[2].name, 'unknown');
    assert.is(problem, null, 'the install would compile the addon again');
    assert.equal(await answer('use', { ...env, PRL_DEVICE: 'cuda:1' }), [1, 2]);
    const broken = await outcomeOf('use', { ...env, PRL_DEVICE: 'cuda:2' });
    assert.is(broken.error?.code, 'ERR_PRL_CUDA');
  });
  machines('a GPU that could not be opened is opened at the next call', async () => {
    const { first, second } = await answer<{ first: string; second: number[] }>('opensLater', {
      PRL_EMULATOR_EXCLUSIVE: '0',
    });
    assert.match(first, /^ERR_PRL_CUDA GPU 0 cannot be used: cudaErrorDevicesUnavailable /);
    assert.equal(second, [5]);
  });
  machines('a library that leaves the thread with another GPU does no harm', async () => {
    const env = { PRL_EMULATOR_DEVICES: '2', PRL_DEVICE: 'cuda:1', PRL_FAKE_CUBLAS_DEVICE: '0' };
    assert.is(await answer('otherDevice', env), 3);
  });
  machines('initCuda starts the GPU and cuBLAS, or says why it cannot', async () => {
    const { failed, inUse } = await answer<{ failed: string; inUse: number }>('start', {});
    assert.is(failed, 'no error');
    assert.is(inUse, 32 * MIB, "cuBLAS's workspace");
    const without = await answer<{ failed: string; inUse: number }>('start', { PRL_CUBLAS: '/nowhere' });
    assert.equal(without, { failed: 'no error', inUse: 0 });
    assert.match(
      (await answer<{ failed: string }>('start', { PRL_EMULATOR_DEVICES: '0' })).failed,
      /^ERR_PRL_UNSUPPORTED/,
    );
  });
  machines.run();

  const waits = suite('waits and faults');
  waits('no wait keeps a core busy', async () => {
    const env = { PRL_EMULATOR_SPIN: 'refuse', PRL_EMULATOR_DELAY: '20000' };
    const [loss, ...values] = await answer<number[]>('waits', env);
    assert.ok(loss > 0);
    assert.equal(values, [1, 2, 3]);
  });
  waits('a fault is not blamed on the calls that find it', async () => {
    const found = await answer<Record<string, string>>('fault', {});
    for (const message of Object.values(found))
      assert.match(
        message,
        /^ERR_PRL_CUDA cudaErrorLaunchFailure: work queued earlier broke the GPU .* The oldest call that may not have ended: tokenLogProbs\./,
      );
  });
  waits('pinned memory that is idle is given back before ERR_PRL_OUT_OF_MEMORY', async () => {
    const { second, third } = await answer<{ second: boolean; third: string }>('pinned', {
      PRL_EMULATOR_PINNED: String(3 * MIB),
    });
    assert.ok(second);
    assert.match(third, /^ERR_PRL_OUT_OF_MEMORY 8388608 bytes of pinned memory could not be had/);
  });
  waits.run();
}
await synchronize();
