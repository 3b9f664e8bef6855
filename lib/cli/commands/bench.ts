import { type OptionTable, resolveOptions } from '../../base/options.js';
import type { Command } from '../kit/args.js';
import { Progress } from '../kit/progress.js';

const OPTIONS = {
  filter: { type: 'string', doc: 'Only groups whose name contains this' },
  device: { type: 'choice', choices: ['cpu', 'cuda'], default: 'cpu', doc: 'Where the kernels run' },
  threads: { type: 'integer', min: 1, max: 256, doc: 'Threads of the CPU, also of the peers (default: all cores)' },
  runs: { type: 'integer', default: 21, min: 20, doc: 'Rounds that count, after 3 to warm up' },
  peers: { type: 'string', doc: 'A python with torch (and trl, liger_kernel): measures them in the same rounds' },
  json: { type: 'string', doc: 'Write everything to this file' },
  tiny: { type: 'boolean', default: false, doc: 'Tiny sizes: to see that it works, the figures mean nothing' },
} as const satisfies OptionTable;

export const benchCommand: Command = {
  name: 'bench',
  summary: 'Measures the kernels and the policy against a copy of memory and, with --peers, against PyTorch.',
  groups: [{ title: 'Options', options: OPTIONS }],
  notes: `Ours, the copy and the peers take turns, round by round; the table has the median and where the middle 80% lie. "MB moved": what a
run must read and write at least; "of copy": its speed as a share of the copy's. "extra MB": memory at its peak beyond what was in
use before, results included. "/ ours": how many times as long a peer takes. A peer is timed only after its outputs were
found equal to ours.`,
  examples: [
    ['prl bench --filter token_logprob', 'One kernel'],
    ['prl bench --peers python3 --json bench.json', 'Everything, beside PyTorch'],
  ],
  async run(values) {
    const options = resolveOptions('prl bench', OPTIONS, values);
    const { runBench } = await import('../../../bench/run.js');
    let progress: Progress | undefined;
    const complete = await runBench({
      ...options,
      onProgress({ name, index, groups }, round, rounds) {
        if (round === 0) {
          if (process.stderr.isTTY) progress = new Progress(`${index + 1}/${groups}`, rounds);
          else console.error(`${index + 1}/${groups} ${name}`);
        }
        progress?.update(round, name);
        if (round === rounds) progress?.stop();
      },
    });
    return complete ? 0 : 1;
  },
};
