// The policy loss of a PyTorch trainer, computed where its logits are: on the GPU, shared by CUDA IPC and never copied. One JSON
// request a line comes in on stdin, one JSON answer a line goes out on stdout. When the answer is there, the gradient has taken
// the logits' place. See train.py beside this file.
import { createInterface } from 'node:readline';
import { type DType, policyLossFromLogits, synchronize, Tensor } from 'prl-node';

interface Request {
  /** Base64 of the handle, as PyTorch gives it. */
  handle: string;
  /** Where the logits begin in the memory of the handle, in bytes. */
  offset: number;
  /** [tokens, vocab] */
  shape: [number, number];
  dtype: DType;
  targets: number[];
  advantages: number[];
  oldLogProbs: number[];
  cuSeqlens: number[];
}

async function answer({ handle, offset, shape, dtype, ...batch }: Request) {
  const logits = Tensor.importIpc({ handle: Uint8Array.from(Buffer.from(handle, 'base64')), offset }, shape, dtype);
  try {
    const { loss, metrics } = policyLossFromLogits({
      logits,
      targets: Int32Array.from(batch.targets),
      advantages: Float32Array.from(batch.advantages),
      oldLogProbs: Float32Array.from(batch.oldLogProbs),
      cuSeqlens: Int32Array.from(batch.cuSeqlens),
      gradient: 'inplace',
    });
    await synchronize(); // the trainer's stream knows nothing of ours: the gradient must be there before the answer is
    return { loss, metrics };
  } finally {
    logits.dispose(); // closes the handle; the memory stays the trainer's
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let said: object;
  try {
    said = await answer(JSON.parse(line));
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    said = { error: `${code ?? 'error'}: ${message}` };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
