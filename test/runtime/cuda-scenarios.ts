// What the tests of GPU tensors run in other processes and threads (elsewhere.ts).
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { type CudaIpcMemory, synchronize, Tensor, tokenLogProbs } from '../../lib/index.js';
import { native, nativeInfo } from '../../lib/kernels/native.js';

export type Scenario = keyof typeof scenarios;
export type Outcome = { value?: unknown; error?: { name: string; code: string; message: string } };

type Say = (outcome: Outcome) => void;
const cuda = { device: 'cuda' } as const;

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
    const seen = await whole.read();
    const third = [...(await part.read())];
    native().cudaUpload({ memory: whole.memory, data: (seen as Float32Array).map((x) => 2 * x) });
    await synchronize();
    whole.dispose();
    const afterwards = [...(await part.read())]; // still open
    part.dispose();
    part.dispose();
    say({ value: { first: [...seen.slice(0, 3)], third, afterwards } });
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
