// The rounds: ours, a copy of memory and the peers in turn, so that a slow moment of the machine affects all of them.
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchDevice, Run } from './device.js';
import { type PeerCase, PeerFailure, type Peers, type Rejected, type Variant } from './peers.js';
import { ratio, type Spread, spread } from './statistics.js';

export interface Contestant {
  name: string;
  run: Run;
  /** Runs before each run, not timed: restores what the run overwrites. */
  prepare?: () => void;
  /** Least bytes to move: inputs read once, outputs written once. */
  traffic?: number;
  /** Floating-point operations. */
  operations?: number;
  tokens?: number;
  /** What the machine computes at best: the other rows' speed is given as a share of its speed. */
  limit?: boolean;
  /** Computes the same as the peers: its ratio to each of them is reported. */
  versusPeers?: boolean;
}

export interface Prepared {
  contestants: Contestant[];
  peers?: PeerCase;
}

export interface Group {
  name: string;
  /** Of a group whose runs take seconds. Default: {@link WARM_UP} and those that were asked for. */
  rounds?: { warmUp: number; runs: number };
  /** Makes the inputs, only if the group runs. */
  setup(device: BenchDevice): Prepared | Promise<Prepared>;
}

export interface Row extends Spread {
  name: string;
  side: 'ours' | 'copy' | 'peer';
  fastest: number;
  traffic?: number;
  gigabytesPerSecond?: number;
  /** Speed in bytes per second relative to the copy, round by round. */
  ofCopy?: Spread;
  operations?: number;
  gigaflops?: number;
  /** Operations per second relative to the group's limit, round by round. */
  ofProduct?: Spread;
  tokens?: number;
  tokensPerSecond?: number;
  /** Peak memory beyond what was in use before; null if unknown. */
  extraBytes: number | null;
  /** For a row that the peers compute too: how many times as long each of them takes. */
  peers?: { [name: string]: Spread };
}

export interface GroupResult {
  name: string;
  runs: number;
  rows: Row[];
  /** Peers that are missing, whose outputs differ (these are never timed) or that failed. */
  rejected: Rejected[];
  /** Formulations that were slower in the warm-up than another of their family. */
  slower: { name: string; milliseconds: number }[];
  /** Cores that other processes kept busy. */
  othersCores: number;
}

export interface Measuring {
  device: BenchDevice;
  runs: number;
  peers?: Peers;
  onRound?: (done: number, of: number) => void;
}

export const WARM_UP = 3;
const COPY_BYTES = 256 << 20;
// PyTorch's OpenMP threads keep spinning after their work (7.7 ms on a Zen 3 at 2.4 GHz, measured), so a peer's turn
// ends with a pause that outlasts it. OMP_WAIT_POLICY=passive would do the same, but slow PyTorch down: its threads
// would then take as long to wake as ours.
const SPIN_MS = 20;

interface Turn extends Contestant {
  side: Row['side'];
  family: string;
  extraBytes: number | null;
  /** The time of each round that counts. */
  times: number[];
  warmUp: number[];
  clock: () => Promise<number>;
}

export async function measure(group: Group, { device, peers, onRound, ...asked }: Measuring): Promise<GroupResult> {
  const { warmUp, runs } = group.rounds ?? { warmUp: WARM_UP, runs: asked.runs };
  const { contestants, peers: peerCase } = await group.setup(device);
  const { variants, rejected } = peers && peerCase ? await peers.load(peerCase) : { variants: [], rejected: [] };
  let turns: Turn[] = [];
  for (const contestant of contestants) turns.push(await ownTurn(contestant, 'ours', device));
  if (contestants.some((contestant) => contestant.traffic !== undefined))
    turns.push(await ownTurn({ name: 'copy of memory', ...device.copy(COPY_BYTES) }, 'copy', device));
  const traffic = contestants.find(({ versusPeers }) => versusPeers)?.traffic;
  for (const variant of variants) turns.push(peerTurn(variant, peers!, traffic));

  let slower: GroupResult['slower'] = [];
  let load = processorTime(peers);
  for (let round = -warmUp; round < runs; round++) {
    if (round === 0) {
      ({ turns, slower } = fastestOfFamilies(turns));
      load = processorTime(peers);
    }
    for (const turn of turns) {
      turn.prepare?.();
      device.flush();
      await sleep(1); // the threads that flushed go to sleep, so nobody starts with warm ones
      try {
        (round < 0 ? turn.warmUp : turn.times).push(await turn.clock());
      } catch (error) {
        if (!(error instanceof PeerFailure)) throw error;
        rejected.push({ name: turn.name, reason: error.message });
        turns = turns.filter((other) => other !== turn);
      }
      if (turn.side === 'peer') await sleep(SPIN_MS);
    }
    onRound?.(round + warmUp + 1, warmUp + runs);
  }
  const { others, seconds } = difference(load, processorTime(peers));
  if (peers && peerCase) await peers.unload();
  return {
    name: group.name,
    runs,
    rows: turns.map((turn) => rowOf(turn, turns)),
    rejected,
    slower,
    othersCores: others / seconds,
  };
}

async function ownTurn(contestant: Contestant, side: Row['side'], device: BenchDevice): Promise<Turn> {
  contestant.prepare?.();
  const extraBytes = side === 'ours' ? await device.extraBytes(contestant.run) : null;
  const clock = () => device.time(contestant.run);
  return { ...contestant, side, family: contestant.name, extraBytes, times: [], warmUp: [], clock };
}

function peerTurn({ name, family, extraBytes }: Variant, peers: Peers, traffic: number | undefined): Turn {
  const run = () => {};
  return { name, run, traffic, side: 'peer', family, extraBytes, times: [], warmUp: [], clock: () => peers.time(name) };
}

/** Of several formulations of the same thing, only the fastest in the warm-up is measured further. */
function fastestOfFamilies(turns: Turn[]) {
  const milliseconds = (turn: Turn) => Math.min(...turn.warmUp); // the least disturbed run
  const isFastest = (turn: Turn) =>
    turns.every((other) => other === turn || other.family !== turn.family || milliseconds(turn) <= milliseconds(other));
  const slower = turns.filter((turn) => !isFastest(turn));
  return {
    turns: turns.filter(isFastest),
    slower: slower.map((turn) => ({ name: turn.name, milliseconds: milliseconds(turn) })),
  };
}

function rowOf(turn: Turn, turns: Turn[]): Row {
  const { name, side, times, traffic, operations, tokens, extraBytes, versusPeers } = turn;
  const { median, p10, p90 } = spread(times);
  const copy = turns.find((other) => other.side === 'copy');
  const perByte = (other: Turn) => other.times.map((ms) => ms / other.traffic!);
  const limit = turns.find((other) => other.limit && other !== turn);
  const perOperation = (other: Turn) => other.times.map((ms) => ms / other.operations!);
  const rivals = turns.filter((other) => other.side === 'peer');
  return {
    name,
    side,
    median,
    p10,
    p90,
    fastest: Math.min(...times),
    extraBytes,
    ...(traffic !== undefined && {
      traffic,
      gigabytesPerSecond: traffic / median / 1e6,
    }),
    ...(traffic !== undefined && copy && { ofCopy: ratio(perByte(copy), perByte(turn)) }),
    ...(operations !== undefined && { operations, gigaflops: operations / median / 1e6 }),
    ...(operations !== undefined && limit && { ofProduct: ratio(perOperation(limit), perOperation(turn)) }),
    ...(tokens !== undefined && { tokens, tokensPerSecond: (1000 * tokens) / median }),
    ...(versusPeers &&
      rivals.length > 0 && {
        peers: Object.fromEntries(rivals.map((rival) => [rival.name, ratio(rival.times, times)])),
      }),
  };
}

/** Processor time of the machine, and of this process with its peers, in seconds. */
function processorTime(peers: Peers | undefined) {
  const all = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0) / 1000;
  const { user, system } = process.cpuUsage();
  return { all, own: (user + system) / 1e6 + (peers?.cpuSeconds ?? 0), wall: performance.now() / 1000 };
}

function difference(before: ReturnType<typeof processorTime>, after: ReturnType<typeof processorTime>) {
  return {
    others: Math.max(0, after.all - before.all - (after.own - before.own)),
    seconds: after.wall - before.wall,
  };
}
