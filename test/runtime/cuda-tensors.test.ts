// Tensors on the GPU. `npm run test:cuda` and `npm run test:emulated` run them.

import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DType, PrlError, synchronize, Tensor, tokenLogProbs } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';
import { fails, place } from '../reference/device.js';
import { near, normals, random, throwsError } from '../reference/numbers.js';
import { manyCalls } from './cuda-scenarios.js';
import { inWorker, outcomeOf } from './elsewhere.js';

const cuda = { device: 'cuda' } as const;
const DTYPES: DType[] = ['float32', 'bfloat16', 'float16', 'int32'];
const BYTES = { float32: 4, bfloat16: 2, float16: 2, int32: 4 };
const MIB = 2 ** 20;
const EMULATED = nativeInfo().cudaDevices[0].name.includes('emulator');
const memory = () => native().cudaMemory({ resetPeak: false }) as { inUse: number; peak: number; cached: number };
const upload = (to: Tensor, data: Float32Array) => native().cudaUpload({ memory: to.memory, data });

/** Whole numbers that every dtype holds. */
const wholes = (n: number, seed = 1) => {
  const next = random(seed);
  return Float32Array.from({ length: n }, () => Math.floor(next() * 512) - 256);
};
function same(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.is(actual.length, expected.length, `${what}: length`);
  for (let i = 0; i < actual.length; i++)
    if (actual[i] !== expected[i]) assert.unreachable(`${what}[${i}]: ${actual[i]} is not ${expected[i]}`);
}

const values = suite('GPU tensors: values');
for (const dtype of DTYPES) {
  values(`${dtype}: from, zeros and read agree for sizes around the allocator's steps`, async () => {
    const unit = BYTES[dtype];
    // Beyond a mebibyte the steps are of 2 MiB; once is enough for the types that JavaScript converts one by one.
    const large = unit === 4 ? [MIB - 4, MIB, MIB + 4, 3 * MIB] : [MIB + 4];
    for (const bytes of [0, unit, 508, 512, 516, ...large]) {
      const n = Math.floor(bytes / unit);
      const data = wholes(n, n);
      const tensor = Tensor.from(data, [n], { dtype, device: 'cuda' });
      assert.is(tensor.device, 'cuda');
      const read = await tensor.read();
      assert.instance(read, dtype === 'int32' ? Int32Array : Float32Array);
      same(read, data, `${dtype} ${bytes} bytes`);
      tensor.dispose();
      // The memory of a tensor that was: zeros must write it.
      same(await Tensor.zeros([n], { dtype, device: 'cuda' }).read(), new Float32Array(n), `zeros of ${bytes} bytes`);
      assert.is((await Tensor.empty([n], { dtype, device: 'cuda' }).read()).length, n);
    }
  });
}

values('70 MiB, more than one staging piece, come back unchanged', async () => {
  const data = new Int32Array((70 * MIB) / 4 + 1);
  for (let i = 0; i < data.length; i++) data[i] = Math.imul(i, 0x9e3779b1);
  const tensor = Tensor.from(data, [data.length], cuda);
  const expected = data.slice();
  data.fill(0); // at once: all pieces must have been taken
  same((await tensor.read()) as Int32Array, expected, '70 MiB');
});

values('16-bit values round as on the CPU, and raw bits are kept', async () => {
  for (const dtype of ['bfloat16', 'float16'] as const) {
    const data = normals(1000, 3, 100);
    const onCpu = Tensor.from(data, [1000], { dtype });
    same(await Tensor.from(data, [1000], { dtype, device: 'cuda' }).read(), await onCpu.read(), dtype);
    same(await Tensor.from(onCpu.data, [1000], { dtype, device: 'cuda' }).read(), await onCpu.read(), `${dtype} bits`);
  }
});

values('the source can be changed as soon as from() returns', async () => {
  for (const n of [1, 1000, MIB]) {
    const data = wholes(n);
    const expected = data.slice();
    const tensor = Tensor.from(data, [n], cuda);
    data.fill(Number.NaN);
    same(await tensor.read(), expected, `${n} elements`);
  }
});
values.run();

const order = suite('GPU tensors: order of operations');
order('read() gives the values as of the call, whatever is queued after it', async () => {
  const first = wholes(50_000, 1);
  const second = wholes(50_000, 2);
  const tensor = Tensor.from(first, [50_000], cuda);
  const before = tensor.read();
  upload(tensor, second);
  const between = tensor.read();
  tensor.dispose(); // its memory goes to the next one at once
  const next = Tensor.from(first, [50_000], cuda);
  const after = next.read();
  same(await after, first, 'after');
  same(await before, first, 'before');
  same(await between, second, 'between');
});

order('a kernel in place between two reads changes only the second', async () => {
  const logits = place(normals(4 * 100, 1), [4, 100]);
  const values = await logits.read();
  const targets = place(Int32Array.of(0, 5, 9, 99));
  const before = logits.read();
  native().tokenLogprobBackward({
    logits,
    targets,
    temperature: 1,
    dLogProbs: place([1, 1, 1, 1]),
    dLogits: logits,
  });
  const after = logits.read();
  same(await before, values, 'before');
  // d log p(target) / d logits sums to 0 in each row, and the logits do not.
  const gradient = (await after) as Float32Array;
  for (let r = 0; r < 4; r++) {
    const sum = gradient.subarray(100 * r, 100 * (r + 1)).reduce((a, b) => a + b, 0);
    near([sum], [0], 100 * 2 ** -24 * 2, `sum of row ${r}`);
  }
});

// A call takes the emulator a millisecond.
const MANY = EMULATED ? 2500 : 10_000;
order(`${MANY} calls that nobody waits for give the last result (there are 1024 places for reports)`, async () => {
  same(await manyCalls(MANY), await manyCalls(1), 'the last call');
});

order('the first of 1500 failed calls is reported, and only once', async () => {
  const logits = place(new Float32Array(8), [2, 4]);
  for (let i = 0; i < 1500; i++) tokenLogProbs(logits, place(Int32Array.of(3, 100 + i)));
  await fails(() => {}, RangeError, 'ERR_PRL_OUT_OF_RANGE', /^tokenLogProbs: targets\[1\] = 100 /);
  await synchronize();
  same(await logits.read(), new Float32Array(8), 'logits');
});
order.run();

const life = suite('GPU tensors: lifetime');
life('dispose() twice is harmless, and using a disposed tensor is ERR_PRL_DISPOSED', async () => {
  const tensor = Tensor.from([1, 2, 3], [3], cuda);
  const reading = tensor.read();
  tensor.dispose();
  tensor.dispose();
  same(await reading, [1, 2, 3], 'what was being read');
  const wanted = [PrlError, 'ERR_PRL_DISPOSED', /disposed/] as const;
  await fails(() => tensor.devicePointer, ...wanted);
  await fails(() => tensor.exportIpc(), ...wanted);
  await fails(
    () => tokenLogProbs(Tensor.on(tensor as never, [1, 3], 'float32', 'cuda'), Int32Array.of(0)),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /memory/,
  );
  let failure: unknown;
  await tensor.read().catch((error) => (failure = error));
  throwsError(
    () => {
      throw failure;
    },
    ...wanted,
  );
  const logits = Tensor.zeros([1, 4], cuda);
  logits.dispose();
  await fails(() => tokenLogProbs(logits, Int32Array.of(0)), PrlError, 'ERR_PRL_DISPOSED', /disposed/);
});

life('data of a GPU tensor and device pointers of a CPU tensor are refused', () => {
  throwsError(() => Tensor.zeros([2], cuda).data, PrlError, 'ERR_PRL_UNSUPPORTED', /await tensor\.read\(\)/);
  throwsError(() => Tensor.zeros([2]).devicePointer, TypeError, 'ERR_PRL_INVALID_ARGUMENT', /on the CPU/);
  throwsError(() => Tensor.zeros([2]).exportIpc(), TypeError, 'ERR_PRL_INVALID_ARGUMENT', /on the CPU/);
});

life('a call with tensors on two devices names both in its error', () => {
  const logits = place(new Float32Array(8), [2, 4]);
  throwsError(
    () => tokenLogProbs(logits, Tensor.from(Int32Array.of(1, 2))),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /logits is on 'cuda' but targets is on 'cpu'/,
  );
  throwsError(
    () => native().tokenLogprob({ logits: Tensor.zeros([2, 4]), targets: place(Int32Array.of(1, 2)), temperature: 1 }),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /logits.*targets/,
  );
});

life('memory of 10,000 disposed and 2000 forgotten tensors is used again', async () => {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  collect();
  await nextTurn();
  await synchronize();
  const start = memory();
  for (let i = 0; i < 10_000; i++) Tensor.from([i, i, i], [3], cuda).dispose();
  assert.is(memory().inUse, start.inUse);
  assert.ok(memory().cached <= start.cached + 512, `${memory().cached} bytes cached, ${start.cached} at the start`);
  for (let i = 0; i < 2000; i++) {
    Tensor.zeros([100], cuda);
    if (i % 500 !== 499) continue;
    collect();
    await nextTurn(); // finalizers run between turns
    await nextTurn();
  }
  assert.is(memory().inUse, start.inUse);
  assert.ok(memory().cached <= start.cached + 500 * 512, `${memory().cached} bytes cached`);
});

life('disposed memory does not wait for the garbage collector', async () => {
  let collections = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries() as unknown as { detail: { kind: number } }[])
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
  });
  observer.observe({ entryTypes: ['gc'] });
  for (let i = 0; i < 1000; i++) Tensor.empty([MIB], cuda).dispose(); // 4 GiB, one after the other
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.disconnect();
  assert.ok(collections < 5, `${collections} full collections`);
});

life('out of GPU memory reports what was asked and what is free, and later calls work', async () => {
  const { value, error } = await outcomeOf('outOfMemory', { PRL_EMULATOR_MEMORY: String(256 * MIB) });
  assert.is(error, undefined, error?.message);
  const found = value as {
    elements: number;
    totalBytes: number;
    got: number;
    message: string;
    code: string;
    small: number[];
    inUse: number;
    cached: number;
    kept: { inUse: number; cached: number };
  };
  assert.is(found.code, 'ERR_PRL_OUT_OF_MEMORY');
  const [, asked, free, total, used] =
    found.message.match(
      /^([\d.]+) MiB of GPU memory were asked for, but ([\d.]+) of ([\d.]+) MiB are free \(this process uses ([\d.]+) MiB\)/,
    ) ?? [];
  const mib = (bytes: number) => bytes / MIB;
  near([Number(asked)], [mib(4 * found.elements)], 0.06, 'asked for');
  near([Number(total)], [mib(found.totalBytes)], 0.06, 'in all');
  assert.ok(Number(free) < Number(asked), found.message);
  assert.ok(found.got >= 5 && Number(used) >= mib(found.got * 4 * found.elements) - 0.1, found.message);
  assert.equal(found.small, [7]);
  assert.ok(found.inUse < 1 * MIB, `${found.inUse} bytes in use after all was disposed of`);
  assert.ok(found.cached >= found.got * 4 * found.elements);
  assert.ok(found.kept.inUse >= 8 * found.elements);
});
life.run();

const pointers = suite('Tensor.fromDevicePointer');
pointers("a borrowed tensor shares the owner's memory without a copy and never frees it", async () => {
  const owner = Tensor.from([1, 2, 3, 4, 5, 6], [6], cuda);
  const pointer = owner.devicePointer;
  assert.is(typeof pointer, 'bigint');
  const view = Tensor.fromDevicePointer(pointer + 8n, [2, 2]);
  same(await view.read(), [3, 4, 5, 6], 'view');
  upload(view, Float32Array.of(30, 40, 50, 60));
  same(await owner.read(), [1, 2, 30, 40, 50, 60], 'owner');
  assert.is(view.devicePointer, pointer + 8n);
  const { inUse } = memory();
  view.dispose();
  assert.is(memory().inUse, inUse, 'borrowed memory is not given back');
  same(await owner.read(), [1, 2, 30, 40, 50, 60], 'owner, later');
  const bits = Tensor.fromDevicePointer(pointer, [12], 'bfloat16');
  assert.is((await bits.read()).length, 12);
  assert.is((await Tensor.fromDevicePointer(pointer, [0]).read()).length, 0);
  owner.dispose(); // not collected before
});

pointers('null, misaligned, foreign or too short pointers are refused', () => {
  const owner = Tensor.zeros([1000], cuda);
  const pointer = owner.devicePointer;
  const range = [RangeError, 'ERR_PRL_OUT_OF_RANGE'] as const;
  const type = [TypeError, 'ERR_PRL_INVALID_ARGUMENT'] as const;
  throwsError(() => Tensor.fromDevicePointer(0n, [1]), ...range, /other than 0/);
  throwsError(() => Tensor.fromDevicePointer(-8n, [1]), ...range, /64 bits/);
  throwsError(() => Tensor.fromDevicePointer(2n ** 64n, [1]), ...range, /64 bits/);
  throwsError(() => Tensor.fromDevicePointer(pointer + 2n, [1]), ...range, /multiple of 4/);
  throwsError(() => Tensor.fromDevicePointer(pointer + 1n, [1], 'float16'), ...range, /multiple of 2/);
  throwsError(() => Tensor.fromDevicePointer(Number(pointer) as never, [1]), ...type, /bigint/);
  throwsError(() => Tensor.fromDevicePointer(4096n, [1]), ...type, /not memory of a GPU/);
  throwsError(
    () => Tensor.fromDevicePointer(pointer, [2 ** 30]),
    ...range,
    /needs 4294967296 bytes, but only \d+ lie behind/,
  );
  throwsError(() => Tensor.fromDevicePointer(pointer, [-1]), ...range, /from 0 up, not -1/);
  throwsError(() => Tensor.fromDevicePointer(pointer, [1], 'float64' as never), ...type, /dtype/);
  owner.dispose(); // not collected before
});
pointers.run();

const devices = suite('GPU tensors: choice of the GPU');
devices('PRL_DEVICE chooses the GPU or switches it off, and nonsense is refused', async () => {
  assert.equal((await outcomeOf('use', { PRL_DEVICE: 'cuda' })).value, [1, 2]);
  assert.equal((await outcomeOf('use', { PRL_DEVICE: 'cuda:0' })).value, [1, 2]);
  const off = (await outcomeOf('use', { PRL_DEVICE: 'cpu' })).error!;
  assert.equal([off.name, off.code], ['PrlError', 'ERR_PRL_UNSUPPORTED']);
  assert.match(off.message, /PRL_DEVICE=cpu switches the GPU off/);
  const seventyseventh = (await outcomeOf('use', { PRL_DEVICE: 'cuda:77' })).error!;
  assert.equal([seventyseventh.name, seventyseventh.code], ['RangeError', 'ERR_PRL_OUT_OF_RANGE']);
  assert.match(seventyseventh.message, /PRL_DEVICE=cuda:77, but this machine has \d+ GPU/);
  for (const nonsense of ['gpu', 'cuda:x', 'cuda:-1', 'cuda:99999999999']) {
    const { name, message } = (await outcomeOf('use', { PRL_DEVICE: nonsense })).error!;
    assert.ok(['TypeError', 'RangeError'].includes(name), `${nonsense}: ${name}: ${message}`);
    assert.match(message, /PRL_DEVICE/);
  }
});

if (EMULATED) {
  devices('no GPU is ERR_PRL_UNSUPPORTED with the reason', async () => {
    const { code, message } = (await outcomeOf('use', { PRL_EMULATOR_DEVICES: '0' })).error!;
    assert.is(code, 'ERR_PRL_UNSUPPORTED');
    assert.match(message, /there is no GPU to use \(cudaErrorNoDevice: .*\); 'prl doctor'/);
  });
  devices('PRL_DEVICE=cuda:1 uses the second of two GPUs', async () => {
    assert.equal((await outcomeOf('use', { PRL_EMULATOR_DEVICES: '2', PRL_DEVICE: 'cuda:1' })).value, [1, 2]);
  });
  devices('a GPU below compute capability 7.5 is refused by name', async () => {
    const { message } = (await outcomeOf('use', { PRL_EMULATOR_CAPABILITY: '7.0' })).error!;
    assert.match(message, /compute capability 7\.0; 7\.5 is the least/);
  });
}
devices.run();

const threads = suite('GPU tensors: worker threads');
threads('a worker and the main thread compute the same at the same time', async () => {
  const expected = await manyCalls(1);
  const { worker, outcome } = inWorker('manyCalls');
  const [here, there] = await Promise.all([manyCalls(300), outcome]);
  same(here, expected, 'here');
  assert.is(there.error, undefined, there.error?.message);
  same(there.value as number[], expected, 'there');
  await worker.terminate();
});

threads('a worker that ends in the middle of its calls leaves no memory behind', async () => {
  await synchronize();
  const { inUse } = memory();
  const dying = Array.from({ length: 3 }, () => inWorker('unfinished'));
  for (const { outcome } of dying) assert.is((await outcome).value, 'running');
  await Promise.all(dying.map(({ worker }) => worker.terminate()));
  await synchronize();
  same(await manyCalls(5), await manyCalls(1), 'afterwards');
  assert.ok(memory().inUse <= inUse + MIB, `${memory().inUse - inUse} bytes of the workers are still in use`);
});

threads("a worker's failure is not reported to the main thread", async () => {
  const { worker, outcome } = inWorker('failing');
  assert.is((await outcome).value, 'queued');
  await synchronize();
  same(await Tensor.from([4], [1], cuda).read(), [4], 'here');
  await worker.terminate();
});
threads.run();
