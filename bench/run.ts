// The work of `prl bench`: runs groups of benchmarks one after the other, prints tables, and writes everything as JSON.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic } from '../lib/base/atomic.js';
import { invalidArgument, outOfRange } from '../lib/base/errors.js';
import { type Device, PrlError, setThreads } from '../lib/index.js';
import { nativeInfo, packageRoot } from '../lib/kernels/native.js';
import { advantageGroups } from './advantages.bench.js';
import { clippedLossGroups } from './clipped_loss.bench.js';
import { collectGarbage, openDevice } from './device.js';
import { gemmGroups } from './gemm.bench.js';
import { growthGroups } from './growth.bench.js';
import { type Group, type GroupResult, measure, WARM_UP } from './harness.js';
import type { Scale } from './inputs.js';
import { linearLogprobGroups } from './linear_logprob.bench.js';
import { type ModelScale, modelGroups } from './model.bench.js';
import { Peers } from './peers.js';
import { policyGroups } from './policy.bench.js';
import { policyLossGroups } from './policy_loss.bench.js';
import { tableOf } from './report.js';
import { tokenLogprobGroups } from './token_logprob.bench.js';
import { tokenizerGroups } from './tokenizer.bench.js';

export interface BenchOptions {
  device: Device;
  runs: number;
  tiny: boolean;
  /** A model's folder: its groups, in place of those of the kernels. */
  model?: string;
  /** Only groups whose name contains it. */
  filter?: string;
  threads?: number;
  /** A python with the peers installed. */
  peers?: string;
  /** File for all results as JSON. */
  json?: string;
  /** Called before each group and after each of its rounds. */
  onProgress?: (group: { name: string; index: number; groups: number }, round: number, rounds: number) => void;
}

const allGroups = (scale: Scale) => [
  ...tokenLogprobGroups(scale),
  ...policyLossGroups(scale),
  ...linearLogprobGroups(scale),
  ...clippedLossGroups(scale),
  ...advantageGroups(scale),
  ...policyGroups(scale),
  ...gemmGroups(scale),
  ...growthGroups(scale),
];

const groupsOfModel = (scale: ModelScale): Group[] => [...tokenizerGroups(scale), ...modelGroups(scale)];

/** Runs the benchmarks. True if every group could be measured. */
export async function runBench(options: BenchOptions): Promise<boolean> {
  const { device, runs, tiny, model, filter = '', threads, json, onProgress } = options;
  if (model !== undefined && device !== 'cpu')
    throw invalidArgument('--model is for --device cpu: the policy computes there');
  const all = model === undefined ? allGroups({ device, tiny }) : groupsOfModel({ folder: model, tiny });
  const groups = all.filter(({ name }) => name.includes(filter));
  if (groups.length === 0)
    throw outOfRange(
      `no benchmark has '${filter}' in its name. There are:\n  ${all.map(({ name }) => name).join('\n  ')}`,
    );
  if (threads !== undefined) setThreads(threads);
  const info = nativeInfo();
  if (device === 'cuda' && info.cudaDevices.length === 0)
    throw new PrlError('ERR_PRL_UNSUPPORTED', `no GPU is usable: ${info.cudaReason}`);
  const machine = device === 'cpu' ? `${info.isa}, ${info.threads} threads` : info.cudaDevices[0].name;

  const peers =
    options.peers === undefined ? undefined : await Peers.start(options.peers, { device, threads: info.threads });
  try {
    if (peers) console.log(peerLines(peers));
    const results: GroupResult[] = [];
    const failed: { name: string; code?: string; message: string }[] = [];
    const bench = openDevice(device, tiny);
    for (const [index, group] of groups.entries()) {
      const progress = (round: number, rounds: number) =>
        onProgress?.({ name: group.name, index, groups: groups.length }, round, rounds);
      progress(0, group.rounds ? group.rounds.warmUp + group.rounds.runs : WARM_UP + runs);
      try {
        const result = await measure(group, { device: bench, runs, peers, onRound: progress });
        results.push(result);
        console.log(`\n${tableOf(result, machine)}`);
      } catch (error) {
        // The other groups may be hours of a rented GPU: they continue.
        const { message, code } = error as PrlError;
        failed.push({ name: group.name, code, message });
        console.log(`\n${group.name}\nfailed: ${message}`);
      }
      if (json) {
        const everything = { ...conditions(options, peers), groups: results, failed };
        await writeFileAtomic(json, `${JSON.stringify(everything, null, 1)}\n`);
      }
      await collectGarbage();
    }
    return failed.length === 0;
  } finally {
    peers?.close();
  }
}

function peerLines({ versions, missing }: Peers): string {
  const found = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [`peers: ${found.join(', ')}`, ...missing.map(({ name, reason }) => `not there: ${name} (${reason})`)].join(
    '\n',
  );
}

/** What a result depends on besides the code. */
function conditions({ device, tiny }: BenchOptions, peers: Peers | undefined) {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  const git = spawnSync('git', ['-C', packageRoot, 'rev-parse', 'HEAD'], { encoding: 'utf8' });
  return {
    version,
    commit: git.status === 0 ? git.stdout.trim() : null,
    date: new Date().toISOString(),
    machine: { processor: cpus()[0]?.model ?? 'unknown', cores: cpus().length, memory: totalmem(), system: release() },
    node: process.version,
    native: nativeInfo(),
    device,
    tiny,
    peers: peers ? { versions: peers.versions, missing: peers.missing } : null,
  };
}
