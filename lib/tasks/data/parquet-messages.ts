// The messages between a reader of a Parquet file and the thread that decodes it.

export interface ParquetJob {
  file: string;
}

/**
 * The thread's messages. It waits for an answer to each: to `names` the wanted columns, otherwise permission to
 * continue. A row that cannot be used is a text that says why.
 */
export type ParquetAnswer =
  | { ready: true }
  | { names: string[] }
  | { rows: unknown[] }
  | { error: string }
  | { done: true };
