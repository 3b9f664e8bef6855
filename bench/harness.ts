// What every benchmark shares: interleaved runs, medians, and the yardstick of a copy taken in the same rounds.
import { cpus } from 'node:os';
import { Tensor } from '../lib/index.js';
import { native, nativeInfo } from '../lib/native.js';

export interface Contestant {
  name: string;
  run: () => void;
  /** Bytes that must move at least: inputs read once, outputs written once. */
  bytes: number;
}

export interface Measurement {
  group: string;
  name: string;
  medianMs: number;
  p10Ms: number;
  p90Ms: number;
  bytes: number;
  gigabytesPerSecond: number;
  /** Speed in bytes per second as a share of that of a copy in the same rounds. */
  ofCopy: number;
  runs: number;
}

export interface Group {
  name: string;
  /** Makes the inputs (only when the group is run) and says what competes. */
  setup: () => Contestant[];
}

const quantile = (sorted: number[], q: number) => sorted[Math.round(q * (sorted.length - 1))];

/** Processor time of the machine and of this process, in seconds. */
function processorTime() {
  const all = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0) / 1000;
  const { user, system } = process.cpuUsage();
  return { all, own: (user + system) / 1e6 };
}

/**
 * Runs the contestants of a group in turn, so that a slow moment of the machine meets all of them alike: 3 rounds to warm up,
 * then `runs` rounds that count.
 */
export function measure(group: Group, runs = 21): { measurements: Measurement[]; othersCores: number } {
  const contestants = [...group.setup(), copyOf(64 << 20)];
  const times = contestants.map((): number[] => []);
  let before = processorTime();
  let start = performance.now();
  for (let round = -3; round < runs; round++) {
    if (round === 0) {
      before = processorTime();
      start = performance.now();
    }
    contestants.forEach(({ run }, i) => {
      const begin = performance.now();
      run();
      if (round >= 0) times[i].push(performance.now() - begin);
    });
  }
  const seconds = (performance.now() - start) / 1000;
  const after = processorTime();
  const othersCores = Math.max(0, after.all - before.all - (after.own - before.own)) / seconds;
  const speed = (i: number) =>
    contestants[i].bytes /
    quantile(
      times[i].sort((a, b) => a - b),
      0.5,
    ) /
    1e6;
  const copySpeed = speed(contestants.length - 1);
  const measurements = contestants.map(({ name, bytes }, i) => ({
    group: group.name,
    name,
    gigabytesPerSecond: speed(i),
    ofCopy: speed(i) / copySpeed,
    medianMs: quantile(times[i], 0.5),
    p10Ms: quantile(times[i], 0.1),
    p90Ms: quantile(times[i], 0.9),
    bytes,
    runs,
  }));
  return { measurements, othersCores };
}

/** A copy of `floats` float32 from one place to another, with all threads. */
function copyOf(floats: number): Contestant {
  const from = Tensor.from(new Float32Array(floats).fill(1));
  const to = Tensor.zeros([floats]);
  return { name: `copy of ${(floats * 4) >> 20} MiB`, run: () => void native().copy({ from, to }), bytes: floats * 8 };
}

export function printTable({ measurements, othersCores }: ReturnType<typeof measure>): void {
  const { isa, threads } = nativeInfo();
  const width = Math.max(...measurements.map(({ name }) => name.length));
  console.log(`\n${measurements[0].group} (${isa}, ${threads} threads, ${measurements[0].runs} runs)`);
  console.log(`${''.padEnd(width)}   median ms    10%    90%   GB/s  of a copy`);
  for (const { name, medianMs, p10Ms, p90Ms, gigabytesPerSecond, ofCopy } of measurements) {
    const cells = [medianMs.toFixed(2).padStart(9), p10Ms.toFixed(1).padStart(6), p90Ms.toFixed(1).padStart(6)];
    console.log(
      `${name.padEnd(width)}   ${cells.join(' ')} ${gigabytesPerSecond.toFixed(1).padStart(6)} ${`${Math.round(100 * ofCopy)}%`.padStart(10)}`,
    );
  }
  if (othersCores > 0.1)
    console.log(
      `(other processes kept ${othersCores.toFixed(1)} cores busy meanwhile: the times are not those of a quiet machine)`,
    );
}

/** Logits like a model's: normal with deviation 2, the same each time. */
export function makeLogits(tokens: number, vocab: number, dtype: 'float32' | 'bfloat16' | 'float16'): Tensor {
  const base = Float32Array.from({ length: 65_521 }, (_, i) => 2 * normal(i));
  const values = Float32Array.from({ length: tokens * vocab }, (_, i) => base[i % base.length]);
  return Tensor.from(values, [tokens, vocab], { dtype });
}

/** The i-th of a sequence of standard normal numbers. */
export function normal(i: number): number {
  const uniform = (k: number) => ((Math.imul(k + 1, 0x9e3779b1) ^ Math.imul(k + 7, 0x85ebca6b)) >>> 0) / 2 ** 32;
  return Math.sqrt(-2 * Math.log(1 - uniform(2 * i))) * Math.cos(2 * Math.PI * uniform(2 * i + 1));
}
