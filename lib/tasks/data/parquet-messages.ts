// What passes between a reader of a Parquet file and the thread that decodes it.

export interface ParquetJob {
  file: string;
}

/** What the thread says; it waits for an answer to each: to names the wanted columns, else leave to go on. */
export type ParquetAnswer =
  | { ready: true }
  | { names: string[] }
  | { rows: unknown[] }
  | { error: string }
  | { done: true };
