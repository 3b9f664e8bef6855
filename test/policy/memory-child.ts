// A process of its own, whose peak memory is that of one policy at work. Prints the bytes above what the process had
// before, and those that native code allocated for the policy.
import { readFileSync, writeFileSync } from 'node:fs';
import { type MemoryOptions, Policy, type PolicyConfig } from '../../lib/index.js';
import { native } from '../../lib/kernels/native.js';
import { tokens } from './tiny.js';

const status = (field: string) =>
  1024 * Number(readFileSync('/proc/self/status', 'utf8').match(new RegExp(`${field}:\\s+(\\d+)`))![1]);
const { config, options }: { config: PolicyConfig; options: MemoryOptions } = JSON.parse(process.argv[2]);
const { microBatchTokens = 1, promptTokens = 0, maxNewTokens = 0, maxBatch = 1 } = options;
Policy.create({ ...config, num_hidden_layers: 1, vocab_size: 8 }, { seed: 1 }).dispose(); // the addon and its threads
const before = status('VmRSS');
writeFileSync('/proc/self/clear_refs', '5'); // the peak counts from here
function allocated(): number {
  globalThis.gc!(); // the source texts of modules wait for it
  return native().externalMemory({});
}
const allocatedBefore = allocated();

const policy = Policy.create(config, { seed: 1, dtype: options.dtype });
const sequence = (n: number, i: number) => tokens(n, i, config.vocab_size);
if (maxNewTokens > 0) {
  const prompts = Array.from({ length: maxBatch }, (_, i) => sequence(promptTokens, i));
  await policy.generate(prompts, { maxNewTokens, maxBatch, ignoreEos: true });
}
if (options.training) {
  const rows = microBatchTokens / 256;
  await policy.update(
    {
      prompts: Array.from({ length: rows }, (_, i) => sequence(128, i)),
      completions: Array.from({ length: rows }, (_, i) => sequence(128, rows + i)),
      advantages: Float32Array.from({ length: rows }, (_, i) => i - 1),
    },
    { learningRate: 1e-4, microBatchTokens, gradientCheckpointing: options.gradientCheckpointing },
  );
}
const bytes = { peak: status('VmHWM') - before, allocated: allocated() - allocatedBefore };
process.stdout.write(JSON.stringify(bytes));
policy.dispose();
