// How long the main thread computes between two turns of its event loop: the time that the system gave it, so that a
// busy machine does not count. (Where the system does not say, the time of the clock.)
import { readFileSync } from 'node:fs';

const FILE = `/proc/self/task/${process.pid}/schedstat`;

function milliseconds(): number {
  try {
    return Number(readFileSync(FILE, 'utf8').split(' ')[0]) / 1e6;
  } catch {
    return performance.now();
  }
}

/** The longest turn of the event loop while `work` runs, in milliseconds of the main thread's own time. */
export async function longestTurn(work: () => Promise<unknown>): Promise<{ longest: number; turns: number }> {
  let running = true;
  let longest = 0;
  let turns = 0;
  let last = milliseconds();
  const turn = () => {
    const now = milliseconds();
    longest = Math.max(longest, now - last);
    last = now;
    turns++;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  try {
    await work();
  } finally {
    running = false;
  }
  turn();
  return { longest, turns };
}
