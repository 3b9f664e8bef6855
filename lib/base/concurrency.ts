// Work on many items: several at a time, or in turns with the event loop.
import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';

/**
 * Runs `work` on each item, at most `limit` at a time. The first failure aborts the others. It is thrown once they have
 * ended.
 */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T, signal: AbortSignal) => Promise<R>,
  signal?: AbortSignal,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const abort = () => stop.abort(signal!.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  let next = 0;
  let failure: { error: unknown } | undefined;
  const worker = async () => {
    while (next < items.length && !failure) {
      const i = next++;
      try {
        results[i] = await work(items[i], stop.signal);
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  if (failure) throw failure.error;
  return results;
}

/**
 * Yields the result of `work` for each item, in their order, with up to `ahead` of them in progress. If one fails, or
 * the caller stops asking, those in progress are aborted and awaited.
 */
export async function* mapAhead<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  ahead: number,
  work: (item: T, signal: AbortSignal) => Promise<R>,
  signal?: AbortSignal,
): AsyncGenerator<R, void, void> {
  const stop = new AbortController();
  const abort = () => stop.abort(signal!.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  const running: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const result = work(item, stop.signal);
      result.catch(() => {}); // it is handled when its turn comes
      running.push(result);
      if (running.length === ahead) yield await running.shift()!;
    }
    while (running.length > 0) yield await running.shift()!;
  } finally {
    signal?.removeEventListener('abort', abort);
    stop.abort();
    await Promise.allSettled(running);
  }
}

/** Milliseconds of work between turns of the event loop: long enough to cost nothing, short enough to go unnoticed. */
const TURN_MILLISECONDS = 5;

/** `list.map(work)` for work that takes long in all. The event loop turns before it and in between. */
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
