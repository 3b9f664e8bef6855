// What the tests of GPU tensors run in other processes and threads (elsewhere.ts).
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import {
  type CudaIpcMemory,
  emptyCudaCache,
  initCuda,
  linearLogProbs,
  quantileLoss,
  synchronize,
  Tensor,
  tokenLogProbs,
} from '../../lib/index.js';
import { native, nativeInfo, packageRoot } from '../../lib/kernels/native.js';
import { inWorker } from './elsewhere.js';

export type Scenario = keyof typeof scenarios;
export type Outcome = { value?: unknown; error?: { name: string; code: string; message: string } };

type Say = (outcome: Outcome) => void;
const cuda = { device: 'cuda' } as const;
const MIB = 2 ** 20;
/** What CUDA shares at least. */
const UNIT = 2 * MIB;

/** Log-probabilities of the same small row, again and again; the last ones. */
export async function manyCalls(calls: number): Promise<number[]> {
  const logits = Tensor.from(
    Float32Array.from({ length: 500 }, (_, i) => Math.sin(i)),
    [1, 500],
    cuda,
  );
  const targets = Tensor.from(Int32Array.of(499), [1], cuda);
  let out = tokenLogProbs(logits, targets);
  for (let i = 1; i < calls; i++) out = tokenLogProbs(logits, targets);
  return [...(await out.logProbs.read())];
}

/**
 * d log p(target) / d logits of `rows` equal rows, on the GPU: `vocab` decides between how many blocks a row is divided
 * and how much shared memory each has.
 */
export async function gradient(rows: number, vocab: number): Promise<Float32Array> {
  const row = Float32Array.from({ length: vocab }, (_, i) => Math.sin(i));
  const all = new Float32Array(rows * vocab);
  for (let r = 0; r < rows; r++) all.set(row, r * vocab);
  const logits = Tensor.from(all, [rows, vocab], cuda);
  const targets = Tensor.from(new Int32Array(rows).fill(vocab - 1), [rows], cuda);
  const dLogProbs = Tensor.from(new Float32Array(rows).fill(1), [rows], cuda);
  native().tokenLogprobBackward({ logits, targets, temperature: 1, dLogProbs, dLogits: logits });
  return (await logits.read()) as Float32Array;
}

// On a GPU of 8.0 both take more than the 48 KB of shared memory that a kernel gets without asking, one more than the
// other.
const VOCABULARIES = { narrow: 12_600, wide: 13_400 };

/** What an error says of itself. */
const failure = async (run: () => unknown): Promise<string> => {
  try {
    await run();
    return 'no error';
  } catch (error) {
    const { code, message } = error as Error & { code: string };
    return `${code} ${message}`;
  }
};

/** Lines of JSON from the process that started this one. */
async function* messages(): AsyncGenerator<unknown> {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line);
}

const asHandle = (message: unknown): CudaIpcMemory => {
  const { handle, offset } = message as { handle: number[]; offset: number };
  return { handle: Uint8Array.from(handle), offset };
};

const scenarios = {
  async use() {
    return [...(await Tensor.from([1, 2], [2], cuda).read())];
  },

  /** Asks for an eighth of the GPU's memory until there is none. */
  async outOfMemory() {
    const { totalBytes } = nativeInfo().cudaDevices[0];
    const elements = Math.floor(totalBytes / 8 / 4);
    const held: Tensor[] = [];
    let message = '';
    let code = '';
    for (let i = 0; i < 9 && !message; i++) {
      try {
        held.push(Tensor.empty([elements], cuda));
      } catch (error) {
        ({ message, code } = error as { message: string; code: string });
      }
    }
    const got = held.length;
    const small = [...(await Tensor.from([7], [1], cuda).read())]; // what is small still fits, or fits again
    for (const tensor of held) tensor.dispose();
    const { inUse, cached } = native().cudaMemory({ resetPeak: false });
    // Twice as large as what was given back: the cache is emptied for it.
    const again = Tensor.zeros([2 * elements], cuda);
    const kept = native().cudaMemory({ resetPeak: false });
    again.dispose();
    return { elements, totalBytes, got, message, code, small, inUse, cached, kept };
  },

  manyCalls: () => manyCalls(300),

  /** The target's place, and whether every place was written, of two rows of a large vocabulary. */
  async rows() {
    const vocab = 120_000;
    const got = await gradient(2, vocab);
    return { targets: [0, 1].map((r) => got[(r + 1) * vocab - 1]), finite: got.every(Number.isFinite) };
  },

  async narrow() {
    for (let i = 0; i < 20; i++) await gradient(1, VOCABULARIES.narrow);
    return 'done';
  },

  /** A worker with one vocabulary, and this thread with another until the worker has ended. */
  async twoVocabularies() {
    const { worker, outcome } = inWorker('narrow');
    let ended = false;
    outcome.finally(() => (ended = true));
    while (!ended) await gradient(1, VOCABULARIES.wide);
    const { value, error } = await outcome;
    await worker.terminate();
    return error?.message ?? value;
  },

  /** What is said of the machine, and of the addon. */
  async machine() {
    const { href } = pathToFileURL(join(packageRoot, 'scripts', 'toolchain.mjs'));
    const { addonProblem } = await import(href);
    return { info: nativeInfo(), problem: addonProblem(process.env.PRL_NATIVE) as string | null };
  },

  /** Every kind of wait. */
  async waits() {
    const values = Tensor.from([1, 2, 3], [1, 3], cuda);
    const { loss } = quantileLoss(values, Tensor.from([2], [1], cuda));
    await synchronize();
    const large = Tensor.zeros([(70 * 2 ** 20) / 4], cuda); // three pieces of an upload
    native().cudaUpload({ memory: large.memory, data: new Float32Array(large.size) });
    large.dispose();
    await emptyCudaCache();
    return [loss, ...(await values.read())];
  },

  /** Opens the GPU where another process has it, and again when that process has ended. */
  async opensLater() {
    const first = await failure(() => Tensor.zeros([1], cuda));
    process.env.PRL_EMULATOR_EXCLUSIVE = '';
    return { first, second: [...(await Tensor.from([5], [1], cuda).read())] };
  },

  /** A kernel breaks the GPU. Other calls then find out. */
  async fault() {
    const logits = Tensor.zeros([1, 4], cuda);
    const targets = Tensor.from(Int32Array.of(1), [1], cuda);
    const values = Tensor.zeros([1, 3], cuda);
    const target = Tensor.zeros([1], cuda);
    await synchronize();
    process.env.PRL_EMULATOR_FAULT = '1';
    tokenLogProbs(logits, targets);
    process.env.PRL_EMULATOR_FAULT = '';
    await new Promise((resolve) => setTimeout(resolve, 100));
    return {
      kernel: await failure(() => quantileLoss(values, target)),
      read: await failure(() => values.read()),
      upload: await failure(() => Tensor.from(new Float32Array(MIB), [MIB], cuda)),
      wait: await failure(() => synchronize()),
    };
  },

  /** Two uploads that fit in pinned memory one after the other, and one that does not fit. */
  async pinned() {
    const upload = (n: number) => Tensor.from(new Float32Array(n).fill(n), [n], cuda);
    upload(MIB / 4).dispose();
    await synchronize();
    const tensor = upload(MIB / 2);
    await synchronize();
    const second = (await tensor.read()).every((x) => x === MIB / 2);
    return { second, third: await failure(() => upload(2 * MIB)) };
  },

  /** cuBLAS leaves the thread with another GPU (PRL_FAKE_CUBLAS_DEVICE). Memory and kernels are of ours as before. */
  async otherDevice() {
    const hidden = Tensor.from([1, 0], [1, 2], cuda);
    const head = Tensor.from([0, 0, 0, 0], [2, 2], cuda);
    const { logProbs } = linearLogProbs({ hidden, head, targets: Int32Array.of(0) });
    const fresh = Tensor.from([3], [1], cuda);
    const view = Tensor.fromDevicePointer(fresh.devicePointer, [1]); // refuses memory of another GPU
    return [...(await logProbs.read()), ...(await view.read()), ...(await manyCalls(1))].length;
  },

  /** What initCuda starts, or its error. */
  async start() {
    const failed = await failure(() => initCuda());
    return { failed, inUse: native().cudaMemory({ resetPeak: false }).inUse };
  },

  /** Leaves work and reads behind and says so: the worker is ended in the middle of them. */
  async unfinished(say: Say) {
    const big = Tensor.zeros([300_000], cuda);
    const forever = Array.from({ length: 20 }, () => big.read());
    for (let i = 0; i < 50; i++) manyCalls(10).catch(() => {});
    say({ value: 'running' });
    await Promise.all(forever);
    await new Promise(() => {});
  },

  /** A target outside the vocabulary, which nobody waits for. */
  async failing() {
    tokenLogProbs(Tensor.from(new Float32Array(8), [2, 4], cuda), Int32Array.of(1, 9));
    await new Promise((resolve) => setTimeout(resolve, 50));
    return 'queued';
  },

  /** Shares a tensor, waits until the other process is done with it, and tells what it holds then. */
  async share(say: Say) {
    const inbox = messages();
    const around = [Tensor.zeros([100], cuda), Tensor.zeros([100], cuda)]; // memory from the cache, not alone
    const tensor = Tensor.from(
      Float32Array.from({ length: 1000 }, (_, i) => i),
      [1000],
      cuda,
    );
    await synchronize();
    const { handle, offset } = tensor.exportIpc();
    say({ value: { handle: [...handle], offset } });
    await inbox.next();
    say({ value: [...(await tensor.read())] });
    for (const other of around) other.dispose();
    return 'done';
  },

  /** Opens what it is sent and doubles it in place. */
  async change(say: Say) {
    const inbox = messages();
    const memory = asHandle((await inbox.next()).value);
    const whole = Tensor.importIpc(memory, [1000]);
    const part = Tensor.importIpc({ ...memory, offset: memory.offset + 400 }, [3]); // the same handle a second time
    const unit = Tensor.importIpc({ ...memory, offset: 0 }, [UNIT / 4]); // all that the handle shows
    const around = ((await unit.read()) as Float32Array).filter((x, i) => x !== 0 && !(i < 1000 && x === i)).length;
    unit.dispose();
    const seen = await whole.read();
    const third = [...(await part.read())];
    native().cudaUpload({ memory: whole.memory, data: (seen as Float32Array).map((x) => 2 * x) });
    await synchronize();
    whole.dispose();
    const afterwards = [...(await part.read())]; // still open
    part.dispose();
    part.dispose();
    say({ value: { first: [...seen.slice(0, 3)], third, afterwards, around } });
    // What must be refused, with this memory still there.
    const refused = (run: () => unknown) => {
      try {
        run();
        return 'accepted';
      } catch (error) {
        const { name, code, message } = error as Error & { code: string };
        return `${name} ${code} ${message}`;
      }
    };
    const imported = Tensor.importIpc(memory, [1000]);
    const answers = {
      beyondUnit: refused(() => Tensor.importIpc({ ...memory, offset: 0 }, [UNIT / 4 + 1])),
      tooLong: refused(() => Tensor.importIpc(memory, [2 ** 28])),
      offsetOutside: refused(() => Tensor.importIpc({ ...memory, offset: 2 ** 40 }, [1])),
      exported: refused(() => imported.exportIpc()),
      disposed: refused(() => {
        imported.dispose();
        imported.exportIpc();
      }),
    };
    return answers;
  },
};

/** Runs it; what it returns or throws is said last. */
export async function run(name: Scenario, say: Say): Promise<void> {
  try {
    say({ value: await scenarios[name](say) });
  } catch (error) {
    const { name, code, message } = error as Error & { code: string };
    say({ error: { name, code, message } });
  }
}

if (isMainThread && process.argv[1] === fileURLToPath(import.meta.url)) {
  await run(process.argv[2] as Scenario, (outcome) => console.log(JSON.stringify(outcome)));
  process.stdin.destroy(); // a pipe that nobody closes would keep the process
}
