import { badRow } from '../../base/lines.js';
import { startThread, threadModule } from '../../base/thread.js';
import type { ParquetAnswer, ParquetJob } from './parquet-messages.js';
import type { SelectColumns } from './raw-row.js';

export interface ParquetLimits {
  /** Seconds for one row group. A longer one counts as endless. */
  seconds: number;
  /** Memory of the thread that decodes it. */
  megabytes: number;
}
const LIMITS: ParquetLimits = { seconds: 300, megabytes: 4096 };

/**
 * The rows of a Parquet file, or a text for a row that cannot be used. Row groups are decoded one by one in a thread,
 * with the wanted columns only.
 */
export async function* parquetRows(
  file: string,
  select: SelectColumns,
  { seconds, megabytes }: ParquetLimits = LIMITS,
): AsyncGenerator<unknown, void, void> {
  const worker = startThread(threadModule('./parquet-worker', import.meta.url), {
    workerData: { file } satisfies ParquetJob,
    resourceLimits: { maxOldGenerationSizeMb: megabytes },
  });
  let answered: (answer: ParquetAnswer) => void = () => {};
  worker.on('message', (answer: ParquetAnswer) => answered(answer));
  worker.on('error', ({ message }) => answered({ error: message }));
  worker.on('exit', () => answered({ error: 'the thread that reads it ended' }));
  let timer: NodeJS.Timeout | undefined;
  const next = async (limited = true) => {
    const answer = await new Promise<ParquetAnswer>((resolve) => {
      answered = resolve;
      if (limited)
        timer = setTimeout(() => resolve({ error: `the next rows took more than ${seconds} s` }), 1000 * seconds);
    });
    clearTimeout(timer);
    return answer;
  };
  try {
    // On a busy machine a thread takes some time to start.
    let answer = await next(false);
    for (;;) {
      if ('error' in answer) throw badRow(file, answer.error);
      if ('done' in answer) return;
      if ('rows' in answer) yield* answer.rows;
      worker.postMessage('names' in answer ? (select(answer.names) ?? null) : null);
      answer = await next();
    }
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}
