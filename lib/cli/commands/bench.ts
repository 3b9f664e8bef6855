import { type OptionTable, resolveOptions } from '../../base/options.js';
import type { Command } from '../kit/args.js';
import { Progress } from '../kit/progress.js';

const OPTIONS = {
  filter: { type: 'string', doc: 'Measure only groups whose name contains this' },
  model: { type: 'string', doc: 'Measure the model in this folder instead of the kernels: minutes a row, 5 rounds' },
  device: { type: 'choice', choices: ['cpu', 'cuda'], default: 'cpu', doc: 'Device that the kernels run on' },
  threads: { type: 'integer', min: 1, max: 256, doc: 'CPU threads, for the peers too (default: all cores)' },
  runs: { type: 'integer', default: 21, min: 20, doc: 'Measured rounds, after 3 warm-up rounds' },
  peers: { type: 'string', doc: 'Measure torch (and trl, liger_kernel) of this python in the same rounds' },
  json: { type: 'string', doc: 'Write all figures to this JSON file' },
  tiny: { type: 'boolean', default: false, doc: 'Use tiny sizes: a check that it works, whose figures mean nothing' },
} as const satisfies OptionTable;

export const benchCommand: Command = {
  name: 'bench',
  summary: 'Measures the kernels and the policy beside a memory copy and, with --peers, beside PyTorch.',
  groups: [{ title: 'Options', options: OPTIONS }],
  notes: `Ours, the copy and the peers take turns, round by round. The table has the median and the range of the middle 80%. "MB moved" is the
least that a run must read and write. "of copy" is its speed as a share of the copy's speed. "extra MB" is its peak memory beyond what
was in use before, results included. "/ ours" is the peer's time divided by ours. A peer is timed only if its outputs equal ours.`,
  examples: [
    ['prl bench --filter token_logprob', 'One kernel'],
    ['prl bench --model runs/base --peers python3', 'A model: updates, scoring, generation'],
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
