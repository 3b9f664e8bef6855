// The command line in a process of its own, and a model for it.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ArithmeticTask, Policy } from '../../lib/index.js';
import { packageRoot } from '../../lib/kernels/native.js';

// Node warns on stderr when both are set.
const { FORCE_COLOR: _, NO_COLOR: __, ...rest } = process.env;
export const environment = rest;
/**
 * Node's arguments for it, as it is installed; the command and its own come after them. scripts/test.mjs compiles it.
 */
export const main = [join(packageRoot, 'dist', 'lib', 'cli', 'main.js')];

export const prl = (args: readonly string[], env: Record<string, string> = {}) =>
  spawnSync(process.execPath, [...main, ...args], {
    cwd: packageRoot,
    encoding: 'utf8',
    env: { ...environment, ...env },
  });

/** A random model of the embedded task, so small that a step takes milliseconds, with its tokenizer. */
export async function saveArithmeticModel(folder: string, hidden = 16): Promise<void> {
  const { tokenizer } = new ArithmeticTask();
  const config = {
    model_type: 'llama' as const,
    vocab_size: tokenizer.vocabSize,
    hidden_size: hidden,
    intermediate_size: 2 * hidden,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    tie_word_embeddings: true,
    eos_token_id: tokenizer.eosTokenId,
  };
  await Policy.create(config, { seed: 1 }).save(folder);
  await tokenizer.save(folder);
}
