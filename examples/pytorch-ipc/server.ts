// Computes the policy loss of a PyTorch trainer on its logits, on the GPU. CUDA IPC shares them; nothing is copied.
// Each line of stdin is a JSON request, each line of stdout a JSON answer. When the answer arrives, the gradient has
// replaced the logits. See train.py beside this file.
import { createInterface } from 'node:readline';
import { type DType, policyLossFromLogits, synchronize, Tensor } from 'prl-node';

interface Request {
  /** Handle of the memory from PyTorch, in base64. */
  handle: string;
  /** Byte of that memory where the logits begin. */
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
    await synchronize(); // the trainer's stream does not wait for ours: finish the gradient before the answer
    return { loss, metrics };
  } finally {
    logits.dispose(); // closes the handle; the trainer keeps the memory
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
