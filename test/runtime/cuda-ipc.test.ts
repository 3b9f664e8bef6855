// GPU memory shared between two processes. `npm run test:cuda` and `npm run test:emulated` run it.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type CudaIpcMemory, PrlError, synchronize, Tensor } from '../../lib/index.js';
import { native } from '../../lib/kernels/native.js';
import { place } from '../reference/device.js';
import { throwsError } from '../reference/numbers.js';
import { inProcess } from './elsewhere.js';

type Message = { handle: number[]; offset: number };
const unbox = ({ handle, offset }: Message): CudaIpcMemory => ({ handle: Uint8Array.from(handle), offset });

const ipc = suite('Tensor.exportIpc and importIpc');
ipc('a process changes a shared tensor in place and the owner reads the change', async () => {
  const sharer = inProcess('share');
  const changer = inProcess('change');
  const shared = (await sharer.receive()).value as Message;
  assert.is(shared.handle.length, 64);
  changer.send(shared);
  const { value, error } = await changer.receive();
  assert.is(error, undefined, error?.message);
  assert.equal(value, { first: [0, 1, 2], third: [100, 101, 102], afterwards: [200, 202, 204], around: 0 });

  const refused = (await changer.receive()).value as Record<string, string>;
  const bytes = (n: number) => `RangeError ERR_PRL_OUT_OF_RANGE the tensor needs ${n} bytes from byte`;
  assert.match(refused.tooLong, bytes(2 ** 30));
  assert.match(
    refused.beyondUnit,
    /the tensor needs 2097156 bytes from byte 0 on, but the memory of the handle has 2097152/,
  );
  assert.match(refused.offsetOutside, new RegExp(`${bytes(4)} ${2 ** 40} on, but the memory of the handle has \\d+`));
  assert.match(refused.exported, /^TypeError ERR_PRL_INVALID_ARGUMENT the tensor came from another process/);
  assert.match(refused.disposed, /^PrlError ERR_PRL_DISPOSED/);
  changer.child.stdin.end();
  assert.is(await changer.ended, 0);

  sharer.send('go on');
  assert.equal(
    (await sharer.receive()).value,
    Array.from({ length: 1000 }, (_, i) => 2 * i),
  );
  assert.is((await sharer.receive()).value, 'done');
  sharer.child.stdin.end();
  assert.is(await sharer.ended, 0);
});

ipc('exportIpc shows no other tensor, and what was shared is never used again', async () => {
  const small = place(Float32Array.from({ length: 100 }, (_, i) => i));
  const queued = small.read();
  const first = small.exportIpc();
  assert.is(first.offset, 0);
  assert.equal(small.exportIpc(), first, 'a second export is of the same memory');
  assert.equal([...(await small.read())], [...(await queued)], 'the tensor moved with its values');
  const { cached } = native().cudaMemory({ resetPeak: false }) as { cached: number };
  small.dispose();
  assert.is((native().cudaMemory({ resetPeak: false }) as { cached: number }).cached, cached);

  // A tensor whose address is known cannot move: only one that fills its memory can be shared.
  const known = place([1, 2, 3]);
  known.devicePointer;
  throwsError(() => known.exportIpc(), PrlError, 'ERR_PRL_UNSUPPORTED', /cannot move .*export it first/);
  assert.equal([...(await known.read())], [1, 2, 3]);
  const large = Tensor.zeros([2 ** 19], { device: 'cuda' });
  const pointer = large.devicePointer;
  large.exportIpc();
  assert.is(large.devicePointer, pointer);
  const borrowed = Tensor.fromDevicePointer(pointer, [1]);
  throwsError(() => borrowed.exportIpc(), PrlError, 'ERR_PRL_UNSUPPORTED', /another owner/);
  large.dispose(); // not collected before
});

ipc("importIpc takes a handle in PyTorch's wrapping", async () => {
  const sharer = inProcess('share');
  const { handle, offset } = unbox((await sharer.receive()).value as Message);
  for (const version of [1, 2, 3]) {
    const wrapped = Uint8Array.of(version, 'c'.charCodeAt(0), ...handle);
    const tensor = Tensor.importIpc({ handle: wrapped, offset: offset + 40 }, [2, 2]);
    assert.equal([...(await tensor.read())], [10, 11, 12, 13]);
    tensor.dispose();
  }
  sharer.child.kill('SIGKILL');
  await sharer.ended;
});

ipc('importIpc refuses handles and offsets that it cannot open, and leaks nothing', async () => {
  const own = place([1, 2, 3]);
  await synchronize();
  const memory = own.exportIpc();
  assert.is(memory.handle.length, 64);
  throwsError(
    () => Tensor.importIpc(memory, [3]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /the handle is this process's own .*use the tensor itself/,
  );
  throwsError(
    () => Tensor.importIpc({ handle: new Uint8Array(64).fill(7), offset: 0 }, [3]),
    PrlError,
    'ERR_PRL_CUDA',
    /^cudaError\w+ when opening the handle .*: it must come from a process of this machine/,
  );
  const sized = (length: number) => () => Tensor.importIpc({ handle: new Uint8Array(length), offset: 0 }, [3]);
  for (const length of [0, 63, 65, 66, 128]) throwsError(sized(length), RangeError, 'ERR_PRL_OUT_OF_RANGE', /64 bytes/);
  // PyTorch's expandable segments are several handles of another kind.
  for (const length of [30, 66, 200])
    throwsError(
      () =>
        Tensor.importIpc(
          { handle: Uint8Array.of(2, 'e'.charCodeAt(0), ...new Uint8Array(length - 2)), offset: 0 },
          [3],
        ),
      PrlError,
      'ERR_PRL_UNSUPPORTED',
      /expandable_segments/,
    );
  throwsError(
    () => Tensor.importIpc({ handle: [...memory.handle] as never, offset: 0 }, [3]),
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /Uint8Array/,
  );
  const ofHandle = { handle: memory.handle };
  for (const offset of [-4, 2, 1.5, Number.NaN])
    throwsError(
      () => Tensor.importIpc({ ...ofHandle, offset }, [3]),
      RangeError,
      'ERR_PRL_OUT_OF_RANGE',
      /multiple of 4 bytes/,
    );
  // Nothing of this left memory behind.
  const { inUse } = native().cudaMemory({ resetPeak: false }) as { inUse: number };
  own.dispose();
  assert.ok((native().cudaMemory({ resetPeak: false }) as { inUse: number }).inUse < inUse);
});

ipc('a handle of a process that has ended is ERR_PRL_CUDA', async () => {
  const sharer = inProcess('share');
  const memory = unbox((await sharer.receive()).value as Message);
  sharer.child.kill('SIGKILL');
  await sharer.ended;
  throwsError(
    () => Tensor.importIpc(memory, [1000]),
    PrlError,
    'ERR_PRL_CUDA',
    /from a process of this machine that runs/,
  );
});
ipc.run();
