import { setImmediate } from 'node:timers/promises';

/** Long enough that turning costs nothing, short enough that nobody notices. */
const TURN_MILLISECONDS = 5;

/** `list.map(work)` for work that takes long in all: before it and in between the event loop turns. */
export async function mapInTurns<T, R>(list: readonly T[], work: (item: T, index: number) => R): Promise<R[]> {
  const results: R[] = [];
  await setImmediate();
  let begin = performance.now();
  for (const [index, item] of list.entries()) {
    results.push(work(item, index));
    if (performance.now() - begin < TURN_MILLISECONDS) continue;
    await setImmediate();
    begin = performance.now();
  }
  return results;
}
